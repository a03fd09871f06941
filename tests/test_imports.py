"""Imports run one way: tables -> dvae.runs -> dvae -> samplers; configs and data import none."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_ALLOWED = {
    "configs": {"configs"},
    "data": {"data", "configs"},
    "samplers": {"samplers"},
    "dvae": {"dvae", "samplers", "configs"},
    "dvae/runs": {"dvae", "samplers", "data", "configs"},
    "tables": {"tables", "configs", "dvae"},
}
_OURS = {*_ALLOWED, "run", "run_table", "tests", "benchmarks", "examples"}
# What belongs to the life of a run and has no place in the method.
_NOT_OF_THE_METHOD = {"absl", "tqdm", "tensorboard", "matplotlib", "data"}


def _imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _modules(package):
    paths = sorted((ROOT / package).glob("*.py"))
    assert paths
    return paths


@pytest.mark.parametrize("package", _ALLOWED)
def test_a_package_imports_only_what_lies_below_it(package):
    for path in _modules(package):
        ours = {name.split(".")[0] for name in _imported(path)} & _OURS
        assert ours <= _ALLOWED[package], path


@pytest.mark.parametrize("path", _modules("dvae"), ids=lambda path: path.stem)
def test_the_method_knows_nothing_of_runs(path):
    """Only dvae/__init__.py reaches into dvae.runs, for the Python interface, when it is used."""
    names = set(_imported(path))
    assert not {name.split(".")[0] for name in names} & _NOT_OF_THE_METHOD
    reaches = any(name.startswith("dvae.runs") for name in names)
    assert reaches == (path.stem == "__init__")


def test_tables_know_of_dvae_only_how_to_read_files_and_hear_signals():
    used = {
        name
        for path in _modules("tables")
        for name in _imported(path)
        if name.split(".")[0] == "dvae"
    }
    assert used == {
        "dvae.runs.places.places_of",
        "dvae.runs.process.SignalWatch",
        "dvae.runs.records.version_name",
        "dvae.runs.records.RunConfig",
        "dvae.runs.records.read_config",
        "dvae.runs.records.read_result",
    }


def test_only_the_command_line_imports_tables():
    """Pages that benchmarks write share how text goes between markers; one is itself a table."""
    of_tables = ("tables.documents.", "tables.results.", "tables.side_by_side.")
    for package in (set(_ALLOWED) - {"tables"}) | {"benchmarks", "examples"}:
        for path in _modules(package):
            used = [name for name in _imported(path) if name.split(".")[0] == "tables"]
            allowed = ("tables.documents.",) if package == "benchmarks" else ()
            if path == ROOT / "benchmarks" / "methods.py":
                allowed = of_tables
            assert all(name.startswith(allowed) for name in used), path
    assert "tables" not in {name.split(".")[0] for name in _imported(ROOT / "run.py")}
