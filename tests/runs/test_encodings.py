"""Terminals and batch systems that know no UTF-8 end no program and change no file."""

import ast
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dvae.runs.process import say
from tests.helpers.works import works

ROOT = Path(__file__).parents[2]
_PROGRAM = r"""
import sys
from configs import command_line
from dvae.runs.process import progress_bar, say

def main():
    say("log Z 36.90 \u00b1 0.02")
    print("\u03b2 \u2013 \u03b6")
    with progress_bar(2, 0, "training", "step") as bar:
        bar.set_postfix_str("\u00b1")
        bar.update(2)
    return 0

command_line.start(main, "", [])
"""
_OLD = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
_ENVIRONMENTS = {
    "ascii": ({"PYTHONIOENCODING": "ascii"}, "+-"),
    "strict ascii": ({"PYTHONIOENCODING": "ascii:strict"}, "+-"),
    "C": ({"LC_ALL": "C", **_OLD}, "+-"),
    "latin-1": ({"PYTHONIOENCODING": "latin-1"}, "±"),
    "utf-8": ({"PYTHONIOENCODING": "utf-8"}, "±"),
}


def test_old_terminals_end_nothing():
    started = {
        name: subprocess.Popen(
            [sys.executable, "-c", _PROGRAM],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for name, (environment, _) in _ENVIRONMENTS.items()
    }
    for name, process in started.items():
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, (name, err)
        encoding = "latin-1" if name == "latin-1" else "utf-8"
        first, second = out.decode(encoding).splitlines()
        assert first == f"log Z 36.90 {_ENVIRONMENTS[name][1]} 0.02", name
        assert second in ("β – ζ", r"\u03b2 \u2013 \u03b6"), name


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp437"])
def test_from_python_too(monkeypatch, encoding):
    """Where nobody has prepared the streams."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    with works(UnicodeError):
        say("± ζ \udcff")
    stream.flush()
    shown = stream.buffer.getvalue().decode(encoding)
    assert shown.split()[0] in ("+-", "±") and len(shown.split()) == 3


def _lacks_encoding(call):
    """Whether a call opens text by the encoding that the machine happens to have."""
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    given = {keyword.arg for keyword in call.keywords}
    if name in ("read_text", "write_text"):
        # `tables.documents.write_text` takes a path and a text, and writes bytes.
        is_ours = (
            isinstance(call.func, ast.Name) or ast.unparse(call.func) == "documents.write_text"
        )
        return "encoding" not in given and not is_ours
    if name in ("run", "Popen", "check_output"):
        return bool(given & {"text", "universal_newlines"}) and "encoding" not in given
    modes = [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]
    modes = [mode.value for mode in modes if isinstance(mode, ast.Constant)]
    modes = [mode for mode in modes if isinstance(mode, str) and set(mode) <= set("rwaxbt+")]
    if name == "fdopen" or (name == "open" and (modes or isinstance(call.func, ast.Name))):
        return "encoding" not in given and not any("b" in mode for mode in modes)
    return name == "open" and not call.args and not call.keywords


def test_every_file_is_read_and_written_as_utf_8():
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "*.py"],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    names = [name for name in listed.stdout.split() if not name.startswith("tests/")]
    assert len(names) > 100
    found = []
    for name in names:
        for node in ast.walk(ast.parse((ROOT / name).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and _lacks_encoding(node):
                found.append(f"{name}:{node.lineno}: {ast.unparse(node)[:80]}")
    assert not found, "\n".join(found)
