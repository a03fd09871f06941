"""Imports run one way: tables -> dvae -> samplers; configs and data import none of them."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_ALLOWED = {
    "configs": {"configs"},
    "data": {"data", "configs"},
    "samplers": {"samplers"},
    "dvae": {"dvae", "samplers", "data", "configs"},
    "tables": {"tables", "configs", "dvae"},
}
_OURS = {*_ALLOWED, "run", "run_table", "tests", "benchmarks", "examples"}


def _imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("room", _ALLOWED)
def test_a_room_imports_only_what_lies_below_it(room):
    paths = sorted((ROOT / room).glob("**/*.py"))
    assert paths
    for path in paths:
        ours = {name.split(".")[0] for name in _imported(path)} & _OURS
        assert ours <= _ALLOWED[room], path


def test_tables_know_of_dvae_only_how_to_read_files():
    used = {
        name
        for path in (ROOT / "tables").glob("*.py")
        for name in _imported(path)
        if name.split(".")[0] == "dvae"
    }
    assert used == {
        "dvae.runs.records.version_name",
        "dvae.runs.records.read_json",
        "dvae.runs.records.read_result",
    }


def test_only_the_command_line_imports_tables():
    """The pages that benchmarks write share with it how text goes between markers."""
    for room in (set(_ALLOWED) - {"tables"}) | {"benchmarks", "examples"}:
        for path in (ROOT / room).glob("**/*.py"):
            used = [name for name in _imported(path) if name.split(".")[0] == "tables"]
            allowed = room == "benchmarks"
            assert all(allowed and name.startswith("tables.documents.") for name in used), path
    assert "tables" not in {name.split(".")[0] for name in _imported(ROOT / "run.py")}
