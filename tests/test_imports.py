"""Imports run one way: tables -> dvae.runs -> dvae -> samplers; configs and data import none.

Names in the registry ("module:attribute") are imports too, of whoever resolves them, and so is what
stands under TYPE_CHECKING.
"""

import ast
import graphlib
from pathlib import Path

import pytest

from configs import datasets, registry
from dvae.runs import code_version

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


def _imported(text):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _modules(package):
    """Files of a package and its sub-packages, but for those that have a row of their own."""
    apart = [ROOT / other for other in _ALLOWED if other.startswith(f"{package}/")]
    paths = sorted((ROOT / package).rglob("*.py"))
    paths = [path for path in paths if not any(path.is_relative_to(other) for other in apart)]
    assert paths
    return paths


def _name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _registered():
    """Modules that each table of the registry names, and those that options of baselines do."""
    public = vars(registry) | vars(datasets)
    tables = {name: table for name, table in public.items() if isinstance(table, dict)}
    modules = {"resolve": set()}
    for name, table in tables.items():
        rows = [entry for entry in table.values() if isinstance(entry, registry.Baseline)]
        targets = [*table.values(), *(row.method for row in rows)]
        modules[name] = {t.split(":")[0] for t in targets if isinstance(t, str)}
        loaders = [e.loader for e in table.values() if isinstance(e, datasets.DatasetEntry)]
        modules[name] |= {f"data{loader.split(':')[0]}" for loader in loaders}
        modules["resolve"] |= {o.split(":")[0] for row in rows for o in row.options.values()}
    return modules


def _graph(sources):
    """What each module, {name: text}, imports of the others.

    Who resolves names of a table of the registry imports what it names; who resolves without one
    is given the options of a baseline.
    """
    registered, graph = _registered(), {}
    for name, text in sources.items():
        found, tables = set(), set()
        for imported in _imported(text):
            parts = imported.split(".")
            prefixes = [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
            found |= {*[module for module in prefixes if module in sources][:1]}
            if imported.startswith(("configs.registry.", "configs.datasets.")):
                tables.add(parts[-1])
        if "resolve" in tables:
            for table in (tables & set(registered)) - {"resolve"} or {"resolve"}:
                found |= registered[table] & set(sources)
        graph[name] = found - {name}
    return graph


def test_there_is_no_circle():
    paths = [path for package in _ALLOWED for path in _modules(package)]
    graph = _graph({_name(path): path.read_text() for path in paths})
    assert {"dvae.methods", "dvae.encoder"} <= graph["dvae.build"]
    assert {"dvae.smoothing", "dvae.estimators.rodeo"} <= graph["dvae.methods"]
    assert {"data.digits", "data.omniglot"} <= graph["data"]
    graphlib.TopologicalSorter(graph).prepare()


def test_the_digest_of_the_code_covers_all_that_a_run_imports():
    paths = [ROOT / "run.py", *(path for package in _ALLOWED for path in _modules(package))]
    graph = _graph({_name(path): path.read_text() for path in paths})
    graph["dvae"] = {"dvae.runs.interface"}  # imported when it is used
    reached, waiting = set(), {"run"}
    while waiting:
        reached |= waiting
        waiting = set().union(*(graph[name] for name in waiting)) - reached
    covered = {path for pattern in code_version._SOURCES for path in ROOT.glob(pattern)}
    assert {"data.digits", "dvae.estimators.rodeo", "samplers.gibbs"} <= reached
    child = ROOT / "data" / "mat_child.py"  # which is started, not imported
    assert {child, *(path for path in paths if _name(path) in reached)} <= covered


def test_a_circle_is_found():
    """Also one that closes by the registry alone."""
    text = "from configs.registry import BASELINES, resolve"
    graph = _graph({"dvae.build": text, "dvae.methods": ""})
    assert graph == {"dvae.build": {"dvae.methods"}, "dvae.methods": set()}
    circle = _graph(
        {"dvae.build": text, "dvae.methods": "if TYPE_CHECKING:\n    from dvae.build import build"}
    )
    with pytest.raises(graphlib.CycleError):
        graphlib.TopologicalSorter(circle).prepare()


def test_no_import_is_hidden_from_the_runtime():
    """No guards for type checkers but in the lazy interface."""
    guarded = {
        _name(path)
        for package in _ALLOWED
        for path in _modules(package)
        if "TYPE_CHECKING" in path.read_text()
    }
    assert guarded == {"dvae"}


@pytest.mark.parametrize("package", _ALLOWED)
def test_a_package_imports_only_what_lies_below_it(package):
    for path in _modules(package):
        if path.name == "__main__.py":  # of an installation: it starts the programs
            continue
        ours = {name.split(".")[0] for name in _imported(path.read_text())} & _OURS
        assert ours <= _ALLOWED[package], path


@pytest.mark.parametrize("path", _modules("dvae"), ids=lambda path: path.stem)
def test_the_method_knows_nothing_of_runs(path):
    """Only dvae/__init__.py reaches into dvae.runs, for the Python interface, when it is used."""
    names = set(_imported(path.read_text()))
    assert not {name.split(".")[0] for name in names} & _NOT_OF_THE_METHOD
    reaches = any(name.startswith("dvae.runs") for name in names)
    assert reaches == (_name(path) == "dvae")


def test_tables_know_of_dvae_only_how_to_read_files_and_hear_signals():
    used = {
        name
        for path in _modules("tables")
        for name in _imported(path.read_text())
        if name.split(".")[0] == "dvae"
    }
    assert used == {
        "dvae.runs.records.places_of",
        "dvae.runs.process.SignalWatch",
        "dvae.runs.process.num_cores",
        "dvae.runs.code_version.version_name",
        "dvae.runs.metrics_file.MAX_METRICS_BYTES",
        "dvae.runs.metrics_file.read_metrics",
        "dvae.runs.records.RunConfig",
        "dvae.runs.records.read_config",
        "dvae.runs.records.read_result",
    }


def test_only_the_command_line_imports_tables():
    """Pages that benchmarks write share how text goes between markers; two show results."""
    of_results = ("tables.results.", "tables.side_by_side.", "tables.report.")
    showing = {ROOT / "benchmarks" / name for name in ("methods.py", "long_runs_page.py")}
    for package in (set(_ALLOWED) - {"tables"}) | {"benchmarks", "examples"}:
        for path in _modules(package):
            used = [name for name in _imported(path.read_text()) if name.split(".")[0] == "tables"]
            allowed = ("tables.documents.",) if package == "benchmarks" else ()
            allowed += of_results if path in showing else ()
            assert all(name.startswith(allowed) for name in used), path
    assert "tables" not in {name.split(".")[0] for name in _imported((ROOT / "run.py").read_text())}
