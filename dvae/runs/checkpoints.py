"""Which tensors each kind of a run's checkpoints holds, when they are written, and a full disk.

How a checkpoint lies on disk is the matter of `dvae.runs.checkpoint_store`.
"""

import dataclasses
import logging
import time
from typing import Any

import tensorflow as tf

from configs.errors import NothingTrained, UserError, name_of
from dvae.runs.checkpoint_store import CheckpointStore
from dvae.runs.directory import RunDirectory
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

    def ms_per_step(self) -> float | None:
        """Mean time of a step, in milliseconds; None where none but the compiler's was timed."""
        return 1e3 * self.train_seconds / self.timed_steps if self.timed_steps else None

    def forget_best(self) -> None:
        """Leaves the choice of the best model to the evaluations that follow."""
        self.best_step, self.best_val_nll, self.best_trusted = None, None, False


def _progress_of(record: dict[str, Any]) -> Progress:
    """The progress that a checkpoint's manifest holds. Raises UserError when it does not fit."""
    try:
        progress = Progress(**record)
        numbers = [progress.step, progress.updates]
        numbers += [progress.summarized_step, progress.evaluated_step]
        numbers += [progress.timed_steps, 0 if progress.best_step is None else progress.best_step]
        numbers += dict(progress.devices).values()
        reals = [progress.best_val_nll or 0.0, progress.log_z or 0.0, progress.train_seconds]
        sound = all(type(n) is int for n in numbers) and all(type(r) in (int, float) for r in reals)
        sound = sound and (progress.best_step is None) == (progress.best_val_nll is None)
        sound = sound and all("sources" in dict(version) for version in progress.code)
    except (TypeError, ValueError):  # another number of fields, or no list of objects
        sound = False
    if not sound:
        raise UserError("the progress in the checkpoint is damaged: restore it from a copy")
    return progress


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """What decides how a run is kept, and none of its numbers."""

    checkpoint_minutes: float = 10.0
    max_unsaved_minutes: float = 60.0
    flags_text: str = ""
    keep_steps: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if any(step < 1 for step in self.keep_steps):
            raise UserError(f"{name_of('keep_steps')}={min(self.keep_steps)} must be at least 1")
        for name in ("checkpoint_minutes", "max_unsaved_minutes"):
            if not getattr(self, name) >= 0.0:
                raise UserError(
                    f"{name_of(name)}={getattr(self, name):g} must be 0 or more minutes"
                )


def _store(directory: RunDirectory) -> CheckpointStore:
    return CheckpointStore(directory.checkpoints, directory.owner())


def _read(
    store: CheckpointStore, kind: str, like: TrainState, step: int | None = None
) -> tuple[dict[str, Any], TrainState] | None:
    """Progress and state, of the structure of `like`, of the newest checkpoint or of a step's."""
    found = store.restore(kind, named_leaves(like), step)
    if found is None:
        return None
    progress, tensors = found
    return progress, tf.nest.pack_sequence_as(like, list(tensors.values()))


def _read_model(
    store: CheckpointStore, like: TrainState, step: int
) -> tuple[dict[str, Any], TrainState] | None:
    """The model of a step from whichever kind of checkpoint has it whole, with its progress."""
    for kind in ("best", "kept", "latest"):
        if store.is_sound(kind, step):
            found = _read(store, kind, like.model, step)
            if found:
                return found
    return None


def _best_step(store: CheckpointStore) -> int | None:
    """The step of the best model, by what the run noted or else by the checkpoint itself."""
    noted, kept = store.newest("latest"), store.newest("best")
    step = noted[1].get("best_step") if noted else None
    return kept[0] if step is None and kept else step


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
    wanted = _best_step(store) if step is None else step
    found = None if wanted is None else _read_model(store, like, wanted)
    noted = store.newest("latest")
    last = found[0] if found else noted[1] if noted else {}
    if last.get("updates") == 0 and last.get("step"):
        raise NothingTrained(
            f"nothing was trained in {directory.path}: none of {last['step']} updates was finite"
        )
    if found is None:
        if step is not None:
            raise UserError(
                f"no model of step {step} in {directory.checkpoints}: see {name_of('keep_steps')}"
            )
        raise UserError(_best_is_lost(directory, wanted))
    return found[1], wanted


def check_best(directory: RunDirectory, step: int) -> None:
    """Raises UserError unless the checkpoint of the best model is whole, that of `step`."""
    if not _store(directory).is_sound("best", step):
        raise UserError(_best_is_lost(directory, step))


def _best_is_lost(directory: RunDirectory, step: int | None) -> str:
    """What is wrong, and what helps, when no checkpoint has the best model whole."""
    what = "no best checkpoint" + ("" if step is None else f" of step {step} that is whole")
    if directory.card.exists():
        remedy = "copy the exported model there again"
    elif directory.result.exists():
        remedy = (
            f"copy it there again, or remove {directory.result} and start the run's command again, "
            "which finds it in another checkpoint or ends with the best of what it evaluates anew"
        )
    else:
        remedy = "the run has not come to an evaluation that counts, or lost it; its command, "
        remedy += "started again, goes on or says why there is none"
    return f"{what} in {directory.checkpoints}: {remedy}"


class Saver:
    """Writes and reads the checkpoints of one run: `latest` (two of them), `best` and `kept`."""

    def __init__(self, directory: RunDirectory, program: TrainProgram, options: RunOptions) -> None:
        self._options = options
        self._directory, self._program = directory, program
        self._store = _store(directory)
        self._waiting: dict[tuple[str, int], tuple[dict, dict[str, tf.Tensor]]] = {}
        self._saved_at = time.monotonic()
        self._due_at = self._saved_at + self._interval()
        self._saved_step = 0

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
        progress = _progress_of(record)
        unknown = progress.step - sum(progress.devices.values())
        if unknown:  # a checkpoint from before they were noted
            progress.devices["not recorded"] = unknown
        self._saved_step = progress.step
        best = progress.best_step
        if best is not None and not self._store.is_sound("best", best):
            model = _read_model(self._store, state, best)
            if model:
                logging.warning("the best model of step %d was damaged: written anew", best)
                self._save_model("best", dataclasses.replace(progress, step=best), model[1])
            else:
                logging.warning(
                    "the best model of step %d is lost: the best from step %d on will count",
                    best,
                    progress.step,
                )
                progress.forget_best()
                progress.evaluated_step = min(progress.evaluated_step, progress.step - 1)
        program.state = state
        return progress

    def restore_best(self, step: int) -> None:
        """Loads weights, averages and chains of the best model, of a step. Raises UserError."""
        try:
            self._write_waiting()
        except (OSError, tf.errors.OpError) as error:
            reason = str(error).split("\n", 1)[0]
            raise UserError(
                f"no checkpoint could be written ({reason}): free some space and start the same "
                "command again"
            ) from None
        state = self._program.state
        found = _read_model(self._store, state, step)
        if not found:
            raise UserError(_best_is_lost(self._directory, step))
        self._program.state = state.with_model(found[1])

    def _interval(self) -> float:
        return 60.0 * self._options.checkpoint_minutes

    def is_due(self, step: int) -> bool:
        """Whether the last checkpoint is older than the options allow, or one that failed waits."""
        return step > self._saved_step and time.monotonic() >= self._due_at

    def save(self, progress: Progress) -> None:
        """Writes `latest`. A failure is warned of; it ends the run only after the limit.

        Models that could not be written come first: a run that goes on from here passes by them
        no more.

        Raises:
          UserError: none could be written for `max_unsaved_minutes`.
        """
        try:
            self._directory.restore_if_removed()
            self._write_waiting()
            leaves = named_leaves(self._program.state)
            record = dataclasses.asdict(progress)
            self._store.save("latest", progress.step, record, leaves, keep=2)
            if progress.best_step is not None:
                self._store.keep_only("best", progress.best_step)
            self._saved_at, self._saved_step = time.monotonic(), progress.step
            self._due_at = self._saved_at + self._interval()
        except (OSError, tf.errors.OpError) as error:
            self._failed(str(error).split("\n", 1)[0])

    def _failed(self, reason: str) -> None:
        now = time.monotonic()
        self._due_at = now + min(_RETRY_SECONDS, self._interval())
        minutes = (now - self._saved_at) / 60.0
        if minutes > self._options.max_unsaved_minutes:
            raise UserError(
                f"no checkpoint could be written for {minutes:.0f} minutes ({reason}): "
                "free some space and start again"
            ) from None
        logging.warning("no checkpoint could be written (%s); it will be tried again", reason)

    def save_best(self, progress: Progress) -> None:
        """Writes `best`; the older one goes with the next `latest`."""
        self._save_model("best", progress, self._program.state.model)

    def save_kept(self, progress: Progress) -> None:
        """Writes `kept-<step>`, which nothing replaces."""
        self._save_model("kept", progress, self._program.state.model)

    def _save_model(self, kind: str, progress: Progress, model: TrainState) -> None:
        """Writes a model, or keeps it in memory to be written before the next `latest`."""
        record, leaves = dataclasses.asdict(progress), named_leaves(model)
        # Of best models only the newest is wanted.
        place = (kind, 0 if kind == "best" else progress.step)
        try:
            self._directory.restore_if_removed()
            self._store.save(kind, progress.step, record, leaves)
        except (OSError, tf.errors.OpError) as error:
            self._waiting[place] = (record, leaves)
            self._failed(str(error).split("\n", 1)[0])
        else:
            if kind == "best":
                self._waiting.pop(place, None)

    def _write_waiting(self) -> None:
        """Writes the models that could not be written. Raises OSError or tf.errors.OpError."""
        for (kind, _), (record, leaves) in list(self._waiting.items()):
            self._store.save(kind, record["step"], record, leaves)
        self._waiting.clear()
