"""One run of a table: whether it is done, its process, and how that ended."""

import ctypes
import dataclasses
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from configs.errors import UserError
from configs.experiment import ExperimentConfig
from configs.files import open_to_append, own_directory, read_bytes
from configs.signals import STOPPING
from configs.text import printable
from dvae.runs.records import RunConfig, places_of, read_config, read_result

_ROOT = Path(__file__).parents[1]
_PR_SET_PDEATHSIG = 1
_MOST_BYTES = 200  # of the name of a log
_MAX_LOG_BYTES, _LAST_BYTES = 1 << 31, 1 << 16
_STOPPED_CODES = {code for number in STOPPING for code in (128 + number, -number)}


class PlannedRun(NamedTuple):
    """One run of a table: a setting and a seed.

    Attributes:
      config: its configuration.
      arguments: of run.py, without the program itself.
      log_dir: absolute; the run's own directory lies under it.
      start_in: the directory that relative paths among the arguments start from.
      data_sha256: of a user's own data file, which is known by its content; None: a named data set.
    """

    config: ExperimentConfig
    arguments: tuple[str, ...]
    log_dir: Path
    start_in: Path
    data_sha256: str | None = None

    @property
    def directory(self) -> Path:
        """Where the run leaves everything, unless a run of other settings has that."""
        return self.config.run_directory(self.log_dir)

    @property
    def name(self) -> str:
        """For people: the directory under LOG_DIR."""
        return str(self.directory.relative_to(self.log_dir))

    @property
    def log_path(self) -> Path:
        """The file that receives what the run prints."""
        name = os.fsencode(self.name.replace("/", "_"))
        if len(name) > _MOST_BYTES:  # longer than each of its parts, and than a name may be
            name = name[:_MOST_BYTES] + hashlib.sha256(name).hexdigest()[:16].encode()
        return self.log_dir / "output" / f"{name.decode(errors='ignore')}.txt"

    def is_finished(self) -> bool:
        """Whether the run has a result, of this configuration; others' may lie beside it."""
        return any(map(self._is_this, places_of(self.directory)))

    def _is_this(self, place: Path) -> bool:
        """Whether a directory holds the result of this configuration and these data."""
        try:
            read_result(place / "result.json")
            found = read_config(place)
        except UserError:
            return False
        sha256 = self.data_sha256 or found.data_sha256
        # run.py sets the size once it has read the data.
        config = dataclasses.replace(self.config, input_size=found.config.input_size)
        return RunConfig(config, sha256).identity == found.identity


class Outcome(NamedTuple):
    """How one run ended.

    Attributes:
      status: "finished", "stopped" (it can go on) or "failed".
      message: why it failed, in one line.
      attempts: how often it was started.
    """

    run: PlannedRun
    status: str
    message: str
    attempts: int


def training_program() -> list[str]:
    """The command that trains: run.py, under this Python."""
    # Installed, it lies among the modules of `dvae`, whose names are not to be found by themselves.
    alone = ["-P"] if __name__.startswith("dvae.") else []
    return [sys.executable, *alone, str(_ROOT / "run.py")]


def _child_of(number: signal.Signals) -> Callable[[], None]:
    """For the child: asks Linux to send it a signal when its parent dies.

    A request to save that comes before it watches for any is passed over.
    """
    linux = sys.platform.startswith("linux")
    prctl = ctypes.CDLL(None, use_errno=True).prctl if linux else lambda *_: None

    def prepare() -> None:
        prctl(_PR_SET_PDEATHSIG, number)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)

    return prepare


def start_process(
    run: PlannedRun,
    program: list[str],
    environment: Mapping[str, str],
    at_parents_death: signal.Signals,
) -> subprocess.Popen:
    """Starts a run as a child process that never outlives this one.

    What it prints is added to its log.

    Args:
      program: the command that takes run.py's flags.
      environment: variables beside this process's own.
      at_parents_death: the signal that the child gets when this process dies.

    Raises:
      UserError: its log cannot be written.
    """
    try:
        own_directory(run.log_path.parent)
        log = open_to_append(run.log_path)
    except OSError as error:
        raise UserError(f"cannot write to {run.log_path} ({error.strerror})") from None
    with log:
        return subprocess.Popen(
            [*program, *run.arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            cwd=run.start_in,
            # Ctrl-C in a terminal reaches the parent alone, which passes it on once.
            start_new_session=True,
            preexec_fn=_child_of(at_parents_death),
        )


def outcome_of(run: PlannedRun, code: int, attempts: int = 1) -> Outcome:
    """What an exit code means; why a run failed is the last line that it printed."""
    if code == 0 and run.is_finished():
        return Outcome(run, "finished", "", attempts)
    if code in _STOPPED_CODES:
        return Outcome(run, "stopped", "", attempts)
    last = _last_line(run.log_path)
    return Outcome(run, "failed", f"exit code {code}: {last} (all of it: {run.log_path})", attempts)


def _last_line(path: Path) -> str:
    end = read_bytes(path, _MAX_LOG_BYTES, may_be_empty=True)[-_LAST_BYTES:]
    lines = [line for line in end.decode(errors="replace").splitlines() if line.strip()]
    return printable(lines[-1].removeprefix("error: ")[-300:]) if lines else "it printed nothing"
