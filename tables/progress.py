"""How far the runs of a table have come, reported now and then while they train."""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from configs.errors import UserError
from configs.files import open_to_read
from tables.runs import PlannedRun

_SECONDS = 60.0
_MAX_BYTES = 2**40
_TAIL_BYTES = 16_384  # holds the last line of metrics.jsonl


def _step(run: PlannedRun) -> int:
    """The step of a run's newest summary or evaluation; 0 before the first."""
    try:
        with open_to_read(run.directory / "metrics.jsonl", _MAX_BYTES) as file:
            file.seek(max(0, file.seek(0, 2) - _TAIL_BYTES))
            lines = file.read().splitlines()
        return int(json.loads(lines[-1])["step"])
    except (OSError, UserError, RecursionError, ValueError, TypeError, KeyError, IndexError):
        return 0


def _steps(run: PlannedRun) -> int:
    total = run.config.num_train_iter
    return total if run.is_finished() else min(_step(run), total)


def _duration(seconds: float) -> str:
    minutes = max(1, round(seconds / 60.0))
    return f"{minutes} min" if minutes < 100 else f"{minutes / 60.0:.1f} h"


class Progress:
    """Counts the steps of the runs that were missing when it was made."""

    def __init__(self, runs: Sequence[PlannedRun]) -> None:
        self._runs = runs
        self._start = time.monotonic()
        self._before = [_steps(run) for run in runs]

    def text(self) -> str:
        """Runs done, steps of those that have moved, and the time left if all steps cost alike."""
        now, wanted = [_steps(run) for run in self._runs], 0
        done, moved, training = 0, 0, []
        for run, step, before in zip(self._runs, now, self._before, strict=True):
            total = run.config.num_train_iter
            wanted += total - before
            moved += step - before
            done += run.is_finished()
            if before < step < total:
                training.append(f"{run.name} at step {step} of {total}")
        elapsed = time.monotonic() - self._start
        parts = [f"{done} of {len(self._runs)} runs done", *training]
        if 0 < moved < wanted:
            parts.append(f"about {_duration(elapsed * (wanted - moved) / moved)} left")
        return "; ".join(parts)


@contextlib.contextmanager
def reported(runs: Sequence[PlannedRun], log: Callable[[str], None]) -> Iterator[Progress]:
    """While it is entered, says every minute how far the runs have come."""
    progress, ended = Progress(runs), threading.Event()

    def say() -> None:
        while not ended.wait(_SECONDS):
            log(progress.text())

    thread = threading.Thread(target=say, daemon=True)
    thread.start()
    try:
        yield progress
    finally:
        ended.set()
        thread.join()
