"""Standard streams that are closed, full or read no longer: the program goes on and succeeds."""

import subprocess
import sys
from pathlib import Path

import pytest

from dvae.runs import process

ROOT = Path(__file__).parents[2]
# Speaks in every way that the programs have, then leaves what would be a result.
_PROGRAM = """
import logging, sys, warnings
import run
from dvae.runs import process

def main():
    bar = process.progress_bar(3, 0, "steps", "step")
    for number in range(3):
        process.say("x" * 70_000)
        print("y" * 70_000, flush=number == 1)
        logging.warning("careful %d", number)
        bar.update()
    bar.close()
    warnings.warn("odd")
    with open(sys.argv[1].partition("=")[2], "w") as file:
        file.write("done")
    return 0

run.main = main
run.program()
"""
_REDIRECTED = {
    "closed": ">&- 2>&-",
    "all closed": "<&- >&- 2>&-",
    "full": ">/dev/full 2>/dev/full",
    "no longer read": "2>&1 | head -1 >&2",
    "output closed": ">&-",
    "output full": ">/dev/full",
}


@pytest.mark.parametrize("where", _REDIRECTED.values(), ids=_REDIRECTED)
def test_a_program_goes_on_without_its_streams(tmp_path, where):
    """Nothing that was meant for a stream lands in a file that is opened after it was closed."""
    program, result = tmp_path / "program.py", tmp_path / "result"
    program.write_text(_PROGRAM)
    shell = f'set -o pipefail; cd "$3"; "$0" "$1" --log_dir="$2" {where}'
    done = subprocess.run(
        ["bash", "-c", shell, sys.executable, str(program), str(result), str(ROOT)],
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr[-500:]
    assert result.read_text() == "done"
    assert "Exception ignored" not in done.stderr and "Traceback" not in done.stderr


def test_a_service_without_streams(monkeypatch):
    """Python has none where the process was started without, and a run from Python goes on."""
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    process.say("unheard")
    with process.progress_bar(2, 0, "steps", "step") as bar:
        bar.update(2)
