"""Which tensors each kind of a run's checkpoints holds, when they are written, and a full disk.

How a checkpoint lies on disk is the matter of `dvae.runs.checkpoint_store`.
"""

import contextlib
import dataclasses
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from configs.errors import NothingTrained, UserError, name_of
from configs.experiment import ExperimentConfig
from configs.files import one_line
from dvae.runs.checkpoint_store import CheckpointStore, DamagedCheckpoint
from dvae.runs.directory import RunDirectory
from dvae.runs.records import checkpoint_digest, checkpoint_name, read_config
from dvae.train_state import TrainState, named_leaves
from dvae.train_step import TrainProgram

# A checkpoint that could not be written is tried again after so long.
_RETRY_SECONDS = 60.0


@dataclasses.dataclass
class Progress:
    """What the loop itself remembers; travels in each checkpoint as JSON.

    updates: of the steps, those that were taken and not skipped.
    best_trusted: whether log Z in `best_val_nll` is to be trusted.
    log_z: of the last summary, or of the start, in nats; None where it was not finite.
    code: each version of the code that trained the run, as `code_version`, the present one last.
    devices: how many steps each device trained.
    start: the run, step and checkpoint of the model that it started from, if any.
    """

    step: int = 0
    updates: int = 0
    best_step: int | None = None
    best_val_nll: float | None = None
    best_trusted: bool = False
    log_z: float | None = None
    summarized_step: int = -1
    evaluated_step: int = -1
    train_seconds: float = 0.0
    timed_steps: int = 0
    code: list[dict[str, str | None]] = dataclasses.field(default_factory=list)
    devices: dict[str, int] = dataclasses.field(default_factory=dict)
    start: dict[str, Any] | None = None

    def ms_per_step(self) -> float | None:
        """Mean time of a step, in milliseconds; None where none but the compiler's was timed."""
        return 1e3 * self.train_seconds / self.timed_steps if self.timed_steps else None


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """What decides how a run is kept, and none of its numbers: settings that were checked.

    start_from: a run from which a new one starts; start: what `starting_point` says of it.
    """

    checkpoint_minutes: float = 10.0
    max_unsaved_minutes: float = 60.0
    keep_steps: tuple[int, ...] = ()
    start_from: str | None = None
    start: dict[str, Any] | None = None


# What a run and the one that it starts from must have in common: the shapes of weights and chains.
_SHARED = ("baseline", "structure", "input_size", "sampler", "num_chains", "num_temperatures")
_SHARED += ("log_z_population", "log_z_chains")
Read = tuple[dict[str, Any], TrainState]  # progress, and the state or the model's part of it


def _store(directory: RunDirectory) -> CheckpointStore:
    return CheckpointStore(directory.checkpoints, directory.owner())


def _read(
    store: CheckpointStore, kind: str, like: TrainState, step: int | None = None
) -> Read | None:
    """As `CheckpointStore.restore`, a state of the structure of `like`."""
    found = store.restore(kind, named_leaves(like), step)
    return found and (found[0], tf.nest.pack_sequence_as(like, list(found[1].values())))


def _read_model(store: CheckpointStore, like: TrainState, step: int) -> Read | None:
    """The model of a step from whichever kind of checkpoint has it whole, with its progress."""
    for kind in ("best", "kept", "latest"):
        with contextlib.suppress(DamagedCheckpoint):
            if found := _read(store, kind, like.model, step):
                return found
    return None


def restore_model(
    directory: RunDirectory, like: TrainState, step: int | None = None
) -> tuple[TrainState, int]:
    """Weights, averages and the prior's chains of the best checkpoint, or of one kept at a step.

    like: a state of the same structure.

    Returns:
      The state, and the step that it is of.

    Raises:
      NothingTrained: no update had been taken.
      UserError: there is none, or it is damaged and nowhere else.
    """
    store = _store(directory)
    last = store.newest("latest")
    wanted = step or last.get("best_step") or store.newest("best").get("step")
    found = wanted and _read_model(store, like, wanted)
    record = found[0] if found else last
    if record.get("updates") == 0 and record.get("step"):
        raise NothingTrained(
            f"nothing was trained in {directory.path}: none of {record['step']} updates was finite"
        )
    if found:
        return found[1], wanted
    if step is None:
        raise UserError(_best_is_lost(directory, wanted))
    raise UserError(
        f"no model of step {step} in {directory.checkpoints}: see {name_of('keep_steps')}"
    )


def starting_point(path: Path, config: ExperimentConfig) -> dict[str, Any]:
    """The run, step and checkpoint's digest of the best model of a run, for one that starts there.

    Raises UserError where there is none, or a run of `config` could not take it over.
    """
    theirs = read_config(path).config
    differ = [name for name in _SHARED if getattr(theirs, name) != getattr(config, name)]
    if differ:
        raise UserError(
            f"{name_of('start_from')}={path} is a run of another {', '.join(differ)}: a run starts "
            "from one with the same"
        )
    directory = RunDirectory(path)
    step = _store(directory).newest("best").get("step")
    if step is None:
        raise UserError(_best_is_lost(directory, None))
    digest = checkpoint_digest(directory.checkpoints / checkpoint_name("best", step))
    return {"run": path.resolve().name, "step": step, "checkpoint": digest}


def best_files(directory: RunDirectory, step: int) -> list[str]:
    """Names of the files of the best model's checkpoint. Raises UserError unless it is whole."""
    names = _store(directory).files("best", step)
    if not names:
        raise UserError(_best_is_lost(directory, step))
    return names


def _best_is_lost(directory: RunDirectory, step: int | None) -> str:
    """What is wrong, and what helps, when no checkpoint has the best model whole."""
    what = "no best checkpoint" + ("" if step is None else f" of step {step} that is whole")
    remedy = (
        "the run has not come to an evaluation that counts, or lost it; its command, started "
        "again, goes on or says why there is none"
    )
    if directory.card.exists():
        remedy = "copy the exported model there again"
    elif directory.result.exists():
        remedy = (
            f"copy it there again, or remove {directory.result} and start the run's command again, "
            "which finds it in another checkpoint or ends with the best of what it evaluates anew"
        )
    return f"{what} in {directory.checkpoints}: {remedy}"


class Saver:
    """Writes and reads the checkpoints of one run: `latest` (two of them), `best` and `kept`."""

    def __init__(self, directory: RunDirectory, program: TrainProgram, options: RunOptions) -> None:
        self._directory, self._program, self._options = directory, program, options
        self._store = _store(directory)
        # Models that could not be written yet: of best ones only the newest is wanted.
        self._waiting: dict[tuple[str, int], tuple[dict, dict[str, tf.Tensor]]] = {}
        self._saved_step, self._saved_at = 0, time.monotonic()
        self._interval = 60.0 * options.checkpoint_minutes
        self._due_at = self._saved_at + self._interval

    def restore(self) -> Progress | None:
        """Loads the newest usable checkpoint; None when there never was one.

        A best model that was lost meanwhile is written anew where another checkpoint has it;
        otherwise the evaluations that follow choose among themselves.
        """
        program = self._program
        found = _read(self._store, "latest", program.state)
        if found is None:
            return None
        record, state = found
        program.state = state
        try:
            progress = Progress(**record)
        except TypeError:
            raise UserError(
                f"the newest checkpoint in {self._directory.checkpoints} is of another version of "
                f"the code: go on with that one, or start anew with {name_of('fresh')}=True"
            ) from None
        self._saved_step, best = progress.step, progress.best_step
        if best is None or self._store.files("best", best):
            return progress
        model = _read_model(self._store, state, best)
        if model:
            logging.warning("the best model of step %d was damaged: written anew", best)
            self.save_model("best", dataclasses.replace(progress, step=best), model[1])
            return progress
        logging.warning(
            "the best model of step %d is lost: the best from step %d on will count",
            best,
            progress.step,
        )
        evaluated = min(progress.evaluated_step, progress.step - 1)
        forgotten = {"best_step": None, "best_val_nll": None, "best_trusted": False}
        return dataclasses.replace(progress, evaluated_step=evaluated, **forgotten)

    def start_from(self, path: Path, step: int) -> None:
        """Takes over weights, averages and chains of another run at a step. Raises UserError."""
        state = self._program.state
        model, _ = restore_model(RunDirectory(path), state, step)
        self._program.state = state.with_model(model)

    def restore_best(self, step: int) -> None:
        """Loads weights, averages and chains of the best model, of a step. Raises UserError."""
        with self._failure_borne(0.0):
            self._write_waiting()
        state = self._program.state
        found = _read_model(self._store, state, step)
        if not found:
            raise UserError(_best_is_lost(self._directory, step))
        self._program.state = state.with_model(found[1])

    def is_due(self, step: int) -> bool:
        """Whether the last checkpoint is older than the options allow, or one that failed waits."""
        return step > self._saved_step and time.monotonic() >= self._due_at

    def save(self, progress: Progress) -> None:
        """Writes `latest`. Raises UserError when none could be written for `max_unsaved_minutes`.

        Models that could not be written come first: a run that goes on from here passes by them
        no more.
        """
        with self._failure_borne():
            self._write_waiting()
            leaves = named_leaves(self._program.state)
            record = dataclasses.asdict(progress)
            self._store.save("latest", progress.step, record, leaves, keep=2)
            if progress.best_step is not None:
                self._store.keep_only("best", progress.best_step)
            self._saved_at, self._saved_step = time.monotonic(), progress.step
            self._due_at = self._saved_at + self._interval

    def save_model(self, kind: str, progress: Progress, model: TrainState | None = None) -> None:
        """Writes a model, the present one if none is given, or keeps it for the next time.

        kind: "best", of which the older ones go with the next `latest`; or "kept", which stays.
        """
        leaves = named_leaves(self._program.state.model if model is None else model)
        place = kind, 0 if kind == "best" else progress.step
        self._waiting[place] = dataclasses.asdict(progress), leaves
        with self._failure_borne():
            self._write_waiting()

    def _write_waiting(self) -> None:
        """Writes the models that could not be written. Raises OSError or tf.errors.OpError."""
        self._directory.restore_if_removed()
        for place in [*self._waiting]:
            record, leaves = self._waiting[place]
            self._store.save(place[0], record["step"], record, leaves)
            del self._waiting[place]

    @contextlib.contextmanager
    def _failure_borne(self, minutes: float | None = None) -> Iterator[None]:
        """What cannot be written is tried again later. Raises UserError after the limit.

        minutes: the limit; None: that of the options.
        """
        try:
            yield
        except (OSError, tf.errors.OpError) as error:
            now = time.monotonic()
            self._due_at = now + min(_RETRY_SECONDS, self._interval)
            unsaved = (now - self._saved_at) / 60.0
            if unsaved >= (self._options.max_unsaved_minutes if minutes is None else minutes):
                raise UserError(
                    f"no checkpoint could be written for {unsaved:.0f} minutes "
                    f"({one_line(error)}): free some space and start again"
                ) from None
            warning = "no checkpoint could be written (%s); it will be tried again"
            logging.warning(warning, one_line(error))
