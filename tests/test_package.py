"""What pyproject.toml and setup.py install is what there is, below one name."""

import ast
import json
import os
import runpy
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from setuptools import Distribution

from configs.programs import as_started
from dvae.runs.code_version import code_version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SETUPTOOLS = PROJECT["tool"]["setuptools"]
SETUP = runpy.run_path(str(ROOT / "setup.py"))
BELOW_DVAE, below_dvae = SETUP["BELOW_DVAE"], SETUP["below_dvae"]
NOT_INSTALLED = {"tests", "benchmarks", "examples", "docs", "build"}
MODEL = ROOT / "models" / "digits-1-layer-nonlin-dvaes_power-k1"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Where setup.py has put all that is installed."""
    keys = ("packages", "package-dir", "package-data", "include-package-data")
    distribution = Distribution({key.replace("-", "_"): SETUPTOOLS[key] for key in keys})
    distribution.script_name = "setup.py"
    build = SETUP["BuildBelowDvae"](distribution)
    build.build_lib = str(tmp_path_factory.mktemp("installed"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        build.ensure_finalized()
        build.run()
    return Path(build.build_lib)


@pytest.fixture
def start(installed, tmp_path):
    """Starts Python with what is installed, in a directory that has other modules of our names."""
    for name in BELOW_DVAE:
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('not our {name}')\n")

    def run(*arguments):
        done = subprocess.run(
            [sys.executable, *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(installed)},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_every_package_and_its_data_are_installed_below_dvae(installed):
    expected = {path.name: path for path in ROOT.glob("*.py") if path.name != "setup.py"}
    assert {Path(name).stem for name in expected} == set(SETUP["PROGRAMS"])
    for package in ("dvae", *BELOW_DVAE - set(SETUP["PROGRAMS"])):
        for path in (ROOT / package).rglob("*"):
            if path.is_file() and path.suffix != ".pyc":
                expected[str(path.relative_to(ROOT)).removeprefix("dvae/")] = path
    found = {str(p.relative_to(installed)): p for p in installed.rglob("*") if p.is_file()}
    assert {f"dvae/{name}" for name in [*expected, "runs/code_version.json"]} == set(found)
    for name, path in expected.items():
        if path.suffix != ".py":
            assert found[f"dvae/{name}"].read_bytes() == path.read_bytes()
    others = {p.parent.name for p in ROOT.glob("*/__init__.py")} - NOT_INSTALLED - {"dvae"}
    assert others <= BELOW_DVAE


def test_only_imports_are_written_anew(installed):
    for path in installed.rglob("*.py"):
        name = path.relative_to(installed / "dvae")
        source = ROOT / name if name.parts[0].removesuffix(".py") in BELOW_DVAE else None
        old = (source or ROOT / "dvae" / name).read_text().split("\n")
        new = path.read_text().split("\n")
        for before, after in zip(old, new, strict=True):
            words = before.split()
            if words[:1] in (["from"], ["import"]) and words[1].split(".")[0] in BELOW_DVAE:
                assert "dvae" in after.split()[1]
            else:
                assert before == after, path
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            assert BELOW_DVAE.isdisjoint(name.split(".")[0] for name in names), path


def test_imports_below_dvae():
    source = "import data\nif x:\n    from tables.a import (\n        data,\n    )\nimport numpy\n"
    text = "def f():\n    '''\n    from data import x\n    '''\n    import run as r  # é\n"
    assert below_dvae(source) == source.replace("import data\n", "from dvae import data\n").replace(
        "from tables", "from dvae.tables"
    )
    assert below_dvae(text) == text.replace("import run", "from dvae import run")
    for refused in ("import data.npz", "import os, data", "from  data import x"):
        with pytest.raises(ValueError, match="cannot be installed"):
            below_dvae(refused)


def test_an_installation_knows_which_sources_it_is_of(installed, start):
    program = "from dvae.runs.code_version import *; import json; print(json.dumps(code_version()))"
    assert json.loads(start("-c", program)) == code_version.__wrapped__()


def test_installed_programs_answer_beside_modules_of_the_same_names(start):
    """Under the names that they have there."""
    for program, command, flag in (
        ("run", "dvae-run --dataset=digits ", "--num_train_iter"),
        ("table", "dvae-table --report_only ", "--table"),
    ):
        said = start("-c", f"from dvae.__main__ import {program}; {program}()", "--help")
        assert command in said and flag in said
        assert "run.py" not in said and "run_table.py" not in said
    assert "--num_train_iter" in start("-m", "dvae", "--help")


def test_an_editable_installation_has_the_names_of_its_commands(monkeypatch):
    text = "python run_table.py --x: as of run.py"
    for started, expected in (("run.py", text), ("dvae-table", "dvae-table --x: as of dvae-run")):
        monkeypatch.setattr(sys, "argv", [f"/somewhere/{started}"])
        assert as_started(text) == expected


def test_an_editable_installation_says_where_it_cannot_work(tmp_path):
    (tmp_path / "tables.py").write_text("")
    code = "from dvae.__main__ import table; table()"
    places = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    command = [sys.executable, "-P", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=places)
    assert done.returncode == 1 and done.stderr.startswith("error: cannot import name 'comparison'")
    assert done.stderr.endswith("install without --editable\n") and done.stderr.count("\n") == 1


@pytest.mark.slow
def test_an_installation_works_beside_modules_of_the_same_names(start, tmp_path):
    cache = f"--compile_cache={ROOT}/build/xla-cache"
    program = f"import dvae; print(dvae.load({str(MODEL)!r}).sample(3).shape)"
    assert start("-c", program).strip() == "(3, 8, 8)"
    start("-m", "dvae", "--mode=generate", f"--run={MODEL}", "--out_dir=out", cache)
    assert any((tmp_path / "out").iterdir())
    lists = ["--datasets=digits", "--structs=1-layer-nonlin", "--ks=1", "--seeds=0", "--jobs=1"]
    short = ["--num_train_iter=8", "--eval_iw_samples=4", "--ais_temperatures=8", "--ais_chains=64"]
    table = "from dvae.__main__ import table; table()"
    start("-c", table, *lists, "--baselines=dvaes_power", *short, "--log_dir=logs", cache)
    assert len([*(tmp_path / "logs").rglob("result.json")]) == 1


def test_console_scripts_name_functions():
    for target in PROJECT["project"]["scripts"].values():
        module, function = target.split(":")
        tree = ast.parse(ROOT.joinpath(*module.split(".")).with_suffix(".py").read_text())
        assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def _pins(name):
    lines = (line.split("#")[0].strip() for line in (ROOT / name).read_text().splitlines())
    found = [Requirement(line) for line in lines if line]
    here = [one for one in found if one.marker is None or one.marker.evaluate()]
    return {one.name: str(one.specifier).removeprefix("==") for one in here}


@pytest.mark.parametrize("path", sorted(ROOT.glob("requirements*.txt")), ids=lambda p: p.name)
def test_requirements_are_pinned_and_installed(path):
    if path.name == "requirements-annealing.txt":  # nothing but --prior=pegasus and zephyr needs it
        pytest.importorskip("dwave.graphs")
    for package, pinned in _pins(path).items():
        assert version(package) == pinned


def test_an_installation_requires_ranges_that_hold_what_is_pinned():
    project = PROJECT["project"]
    groups = {
        "requirements.txt": project["dependencies"],
        "requirements-cluster.txt": project["optional-dependencies"]["cluster"],
        "requirements-annealing.txt": project["optional-dependencies"]["annealing"],
    }
    for name, lines in groups.items():
        ranges = {r.name: r.specifier for r in map(Requirement, lines)}
        pins = _pins(name)
        assert set(ranges) == set(pins)
        assert all(pinned in ranges[package] for package, pinned in pins.items())
        assert all(len(parts) == 2 or "*" in str(parts) for parts in ranges.values())
