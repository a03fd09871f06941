"""Builds an installation, all of it below the one name `dvae`.

In the repository the packages lie side by side and import each other by their own names, which
belong to others too: `tables` is PyTables', `data` and `configs` are anybody's. What is installed
is `dvae.tables`, `dvae.data` and so on (pyproject.toml says what becomes what), and imports are
written anew while the files are copied; nothing else of them changes. An editable installation
copies nothing and has the names of the repository.
"""

import ast
import json
import runpy
from pathlib import Path
from shutil import rmtree

from setuptools import setup
from setuptools.command.build_py import build_py

PROGRAMS = ("run", "run_table")
BELOW_DVAE = {"configs", "data", "samplers", "tables", *PROGRAMS}
VERSION = Path("dvae", "runs", "code_version.py")


def below_dvae(source: str) -> str:
    """The same Python source with its imports of `BELOW_DVAE` from below `dvae`.

    Raises:
      ValueError: an import is neither "from NAME... import ..." nor "import NAME".
    """
    lines = source.split("\n")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and not node.level:
            names, old, new = [node.module], "from ", "from dvae."
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
            old, new = "import ", "from dvae import "
        else:
            continue
        if BELOW_DVAE.isdisjoint(name.partition(".")[0] for name in names):
            continue
        number, name = node.lineno - 1, names[0]
        before, line = lines[number][: node.col_offset], lines[number][node.col_offset :]
        plain = len(names) == 1 and (old == "from " or name in BELOW_DVAE)
        if not plain or not line.startswith(old + name):
            raise ValueError(f"cannot be installed below dvae: {line}")
        lines[number] = before + new + line.removeprefix(old)
    return "\n".join(lines)


class BuildBelowDvae(build_py):
    """Copies every module with its imports written anew."""

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        """run.py and run_table.py, which are no package in the repository, go into `dvae`."""
        programs = [(package, name, f"{name}.py") for name in PROGRAMS if package == "dvae"]
        return super().find_package_modules(package, package_dir) + programs

    def build_module(self, module: str, module_file: str, package: str) -> tuple[str, bool]:
        """Copies one module."""
        target, copied = super().build_module(module, module_file, package)
        source = Path(module_file).read_text(encoding="utf-8")
        Path(target).write_text(below_dvae(source), encoding="utf-8")
        return target, copied

    def run(self) -> None:
        """Copies all, and keeps which version of the repository it was."""
        if self.editable_mode:
            return
        rmtree(self.build_lib, ignore_errors=True)  # what an older build left would go along
        super().run()
        versions = runpy.run_path(str(VERSION))
        target = Path(self.build_lib, VERSION).with_name(versions["INSTALLED"])
        target.write_text(json.dumps(versions["code_version"]()) + "\n", encoding="utf-8")


if __name__ == "__main__":
    # An editable installation is this directory on the path, without import hooks.
    setup(cmdclass={"build_py": BuildBelowDvae}, options={"editable_wheel": {"mode": "compat"}})
