"""One attempt at a run: run.py as a child process that never outlives its parent."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from tables.planned import Outcome, PlannedRun

_ROOT = Path(__file__).parents[1]
_PR_SET_PDEATHSIG = 1
_STOPPED_CODES = (128 + signal.SIGTERM, 128 + signal.SIGINT, -signal.SIGTERM, -signal.SIGINT)


def training_program() -> list[str]:
    """The command that trains: run.py, under this Python."""
    return [sys.executable, str(_ROOT / "run.py")]


def _dies_with_parent(number: signal.Signals) -> Callable[[], None]:
    """For the child: asks Linux to send it a signal when its parent dies."""
    if not sys.platform.startswith("linux"):
        return lambda: None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    return lambda: prctl(_PR_SET_PDEATHSIG, number)


def start(
    run: PlannedRun,
    program: list[str],
    environment: Mapping[str, str],
    at_parents_death: signal.Signals,
) -> subprocess.Popen:
    """Starts a run; what it prints is added to its log.

    Args:
      program: the command that takes run.py's flags.
      environment: variables beside this process's own.
      at_parents_death: the signal that the child gets when this process dies.
    """
    run.log_path.parent.mkdir(parents=True, exist_ok=True)
    with run.log_path.open("a") as log:
        return subprocess.Popen(
            [*program, *run.arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            cwd=run.start_in,
            # Ctrl-C in a terminal reaches the parent alone, which passes it on once.
            start_new_session=True,
            preexec_fn=_dies_with_parent(at_parents_death),
        )


def outcome(run: PlannedRun, code: int, attempts: int = 1) -> Outcome:
    """What an exit code means; why a run failed is the last line that it printed."""
    if code == 0 and run.is_finished():
        return Outcome(run, "finished", "", attempts)
    if code in _STOPPED_CODES:
        return Outcome(run, "stopped", "", attempts)
    last = _last_line(run.log_path)
    return Outcome(run, "failed", f"exit code {code}: {last} (all of it: {run.log_path})", attempts)


def _last_line(path: Path) -> str:
    lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].removeprefix("error: ")[-300:] if lines else "it printed nothing"
