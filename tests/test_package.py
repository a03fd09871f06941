"""What pyproject.toml installs is what there is."""

import ast
import tomllib
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SETUPTOOLS = PROJECT["tool"]["setuptools"]
NOT_INSTALLED = {"tests", "benchmarks", "examples", "docs", "build"}


def test_every_package_and_its_data_are_installed():
    found = {path.parent.relative_to(ROOT) for path in ROOT.glob("[a-z]*/**/__init__.py")}
    expected = {".".join(path.parts) for path in found if path.parts[0] not in NOT_INSTALLED}
    assert set(SETUPTOOLS["packages"]) == expected
    assert {f"{name}.py" for name in SETUPTOOLS["py-modules"]} == {
        path.name for path in ROOT.glob("*.py")
    }
    for package in expected:
        folder = ROOT.joinpath(*package.split("."))
        patterns = SETUPTOOLS["package-data"].get(package, ())
        data = {path for pattern in patterns for path in folder.glob(pattern)}
        tracked = {p for p in folder.glob("*") if p.is_file() and p.suffix != ".py"}
        assert tracked <= data, package
        assert package != "tables" or any(p.suffix == ".j2" for p in data)


def test_console_scripts_name_functions():
    for target in PROJECT["project"]["scripts"].values():
        module, function = target.split(":")
        tree = ast.parse((ROOT / f"{module}.py").read_text())
        assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_requirements_are_pinned_and_installed():
    dynamic = SETUPTOOLS["dynamic"]
    files = [dynamic["dependencies"]["file"]]
    files += [extra["file"] for extra in dynamic["optional-dependencies"].values()]
    for name in (name for group in files for name in group):
        for line in (ROOT / name).read_text().splitlines():
            requirement = line.split("#")[0].strip()
            if requirement:  # neither options nor other files: setuptools reads names alone
                package, _, pinned = requirement.partition("==")
                assert version(package) == pinned, name
