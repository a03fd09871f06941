"""Runs of a table as processes of this machine, several at once."""

import signal
import subprocess
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tables import attempt
from tables.planned import Outcome, PlannedRun
from tables.stop import StopRequest

_POLL_SECONDS = 0.1


class _Running(NamedTuple):
    run: PlannedRun
    process: subprocess.Popen
    slot: dict[str, str]


class LocalExecutor:
    """Keeps every slot busy with one run.

    Args:
      slots: one environment for each run that may run at once.
      program: the command that takes run.py's flags.
    """

    def __init__(self, slots: Sequence[dict[str, str]], program: list[str]) -> None:
        self._free = deque(slots)
        self._program = program

    def describe(self) -> str:
        """Where the runs go, for people."""
        return f"{len(self._free)} at once on this machine"

    def outcomes(self, runs: Sequence[PlannedRun], stop: StopRequest) -> Iterator[Outcome]:
        """Starts the runs and yields how each of those started ended, in the order of ending.

        When a stop is requested no more are started, and those that run get SIGTERM.
        """
        waiting, running = deque(runs), list[_Running]()
        told = False
        try:
            while running or (waiting and not stop.requested):
                while waiting and self._free and not stop.requested:
                    running.append(self._start(waiting.popleft()))
                if stop.requested and not told:
                    told = True
                    _terminate(running)
                for entry in [entry for entry in running if entry.process.poll() is not None]:
                    running.remove(entry)
                    self._free.append(entry.slot)
                    yield attempt.outcome(entry.run, entry.process.returncode)
                time.sleep(_POLL_SECONDS)
        finally:
            _terminate(running)  # none, unless an error ends this process

    def _start(self, run: PlannedRun) -> _Running:
        slot = self._free.popleft()
        process = attempt.start(run, self._program, slot, at_parents_death=signal.SIGTERM)
        return _Running(run, process, slot)


def _terminate(running: Sequence[_Running]) -> None:
    for entry in running:
        entry.process.terminate()
