"""Errors name settings, and each front end writes the names its way."""

import ast
import re
from pathlib import Path

import pytest

from configs import command_line
from configs.errors import UserError, name_of

ROOT = Path(__file__).parents[2]
FRONT_ENDS = {"command_line.py"}


def test_each_front_end_writes_names_its_way(capsys):
    error = UserError(f"{name_of('k')}=0 in /a--k/k: choose another {name_of('log_dir')}")
    assert str(error) == "k=0 in /a--k/k: choose another log_dir"

    def main():
        raise error

    with pytest.raises(SystemExit, match="2"):
        command_line.guarded(main)
    assert capsys.readouterr().err == "error: --k=0 in /a--k/k: choose another --log_dir\n"


def test_no_error_below_the_front_ends_speaks_of_flags():
    for package in ("configs", "data", "samplers", "dvae"):
        for path in (ROOT / package).rglob("*.py"):
            raised = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Raise)]
            texts = [
                node.value
                for statement in raised
                for node in ast.walk(statement)
                if isinstance(node, ast.Constant) and isinstance(node.value, str)
            ]
            if path.name not in FRONT_ENDS:
                assert not [text for text in texts if re.search(r"(^|[\s(])--\w*", text)], path
