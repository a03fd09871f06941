"""Which tensors each kind of a run's checkpoints holds, when they are written, and a full disk.

How a checkpoint lies on disk is the matter of `dvae.runs.checkpoint_store`.
"""

import dataclasses
import logging
import time
from typing import Any

import keras
import tensorflow as tf

from configs.errors import NothingTrained, UserError
from dvae.runs.checkpoint_store import CheckpointStore
from dvae.runs.directory import RunDirectory
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
            raise UserError(f"--keep_steps={min(self.keep_steps)} must be at least 1")
        for name in ("checkpoint_minutes", "max_unsaved_minutes"):
            if not getattr(self, name) >= 0.0:
                raise UserError(f"--{name}={getattr(self, name):g} must be 0 or more minutes")


def _tensors(variables: list[keras.Variable]) -> dict[str, tf.Variable]:
    """Keras variables by their place and name.

    Given to a checkpoint one by one: it would pass over layers that Keras holds in lists.
    """
    return {f"{i:03d} {v.name}": v.value for i, v in enumerate(variables)}


def _model_store(
    directory: RunDirectory, weights: list[keras.Variable], sampler_variables: list[tf.Variable]
) -> CheckpointStore:
    """Of what the final evaluation needs: beside the weights only the prior's chains."""
    return CheckpointStore(
        directory.checkpoints,
        directory.owner(),
        model=_tensors(weights),
        chains=sampler_variables,
    )


def _model_sources(
    directory: RunDirectory, weights: list[keras.Variable], sampler_variables: list[tf.Variable]
) -> dict[str, CheckpointStore]:
    """By kind of checkpoint, what reads a step's model from it."""
    alone = _model_store(directory, weights, sampler_variables)
    within = CheckpointStore(
        directory.checkpoints,
        directory.owner(),
        model=_tensors(weights),
        state=tf.train.Checkpoint(sampler=sampler_variables),
    )
    return {"best": alone, "kept": alone, "latest": within}


def _read_model(sources: dict[str, CheckpointStore], step: int) -> dict[str, Any] | None:
    """Loads the model of a step from whichever kind has it whole; its progress, or None."""
    for kind, store in sources.items():
        if store.is_sound(kind, step):
            progress = store.restore(kind, step)
            if progress is not None:
                return progress
    return None


def _best_step(sources: dict[str, CheckpointStore]) -> int | None:
    """The step of the best model, by what the run noted or else by the checkpoint itself."""
    noted, kept = sources["latest"].newest("latest"), sources["best"].newest("best")
    step = noted[1].get("best_step") if noted else None
    return kept[0] if step is None and kept else step


def restore_model(
    directory: RunDirectory,
    weights: list[keras.Variable],
    sampler_variables: list[tf.Variable],
    step: int | None = None,
) -> int:
    """Loads weights and the prior's chains of the best checkpoint, or of one kept at a step.

    weights: of `dvae.build.all_variables`.

    Returns:
      The step that they are of.

    Raises:
      NothingTrained: no update had been taken.
      UserError: there is none, or it is damaged and nowhere else.
    """
    sources = _model_sources(directory, weights, sampler_variables)
    wanted = _best_step(sources) if step is None else step
    progress = None if wanted is None else _read_model(sources, wanted)
    noted = sources["latest"].newest("latest")
    last = progress or (noted[1] if noted else {})
    if last.get("updates") == 0 and last.get("step"):
        raise NothingTrained(
            f"nothing was trained in {directory.path}: none of {last['step']} updates was finite"
        )
    if progress is None:
        if step is not None:
            raise UserError(f"no model of step {step} in {directory.checkpoints}: see --keep_steps")
        raise UserError(_best_is_lost(directory, wanted))
    return wanted


def check_best(directory: RunDirectory, step: int) -> None:
    """Raises UserError unless the checkpoint of the best model is whole, that of `step`."""
    if not CheckpointStore(directory.checkpoints, directory.owner()).is_sound("best", step):
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
        self._directory = directory
        owner = directory.owner()
        self._latest = CheckpointStore(
            directory.checkpoints,
            owner,
            model=_tensors(program.variables),
            optimizer=_tensors(program.optimizer.adam.variables),
            state=program.state,
        )
        self._sources = _model_sources(directory, program.variables, program.state.sampler)
        self._best = self._sources["best"]
        self._waiting: dict[tuple[str, int], tuple[CheckpointStore, dict]] = {}
        self._saved_at = time.monotonic()
        self._due_at = self._saved_at + self._interval()
        self._saved_step = 0

    def restore(self) -> Progress | None:
        """Loads the newest usable checkpoint; None when there never was one.

        A best model that was lost meanwhile is written anew where another checkpoint has it;
        otherwise the evaluations that follow choose among themselves.
        """
        record = self._latest.restore("latest")
        if record is None:
            return None
        progress = _progress_of(record)
        unknown = progress.step - sum(progress.devices.values())
        if unknown:  # a checkpoint from before they were noted
            progress.devices["not recorded"] = unknown
        self._saved_step = progress.step
        best = progress.best_step
        if best is not None and not self._best.is_sound("best", best):
            if _read_model(self._sources, best):
                logging.warning("the best model of step %d was damaged: written anew", best)
                self._save_model("best", dataclasses.replace(progress, step=best))
            else:
                logging.warning(
                    "the best model of step %d is lost: the best from step %d on will count",
                    best,
                    progress.step,
                )
                progress.forget_best()
                progress.evaluated_step = min(progress.evaluated_step, progress.step - 1)
            self._latest.restore("latest", progress.step)
        return progress

    def restore_best(self, step: int) -> None:
        """Loads weights and chains of the best model, that of `step`. Raises UserError."""
        try:
            self._write_waiting()
        except (OSError, tf.errors.OpError) as error:
            reason = str(error).split("\n", 1)[0]
            raise UserError(
                f"no checkpoint could be written ({reason}): free some space and start the same "
                "command again"
            ) from None
        if not _read_model(self._sources, step):
            raise UserError(_best_is_lost(self._directory, step))

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
            self._latest.save("latest", progress.step, dataclasses.asdict(progress), keep=2)
            if progress.best_step is not None:
                self._best.keep_only("best", progress.best_step)
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
                "free some space and start the same command again"
            ) from None
        logging.warning("no checkpoint could be written (%s); it will be tried again", reason)

    def save_best(self, progress: Progress) -> None:
        """Writes `best`; the older one goes with the next `latest`."""
        self._save_model("best", progress)

    def save_kept(self, progress: Progress) -> None:
        """Writes `kept-<step>`, which nothing replaces."""
        self._save_model("kept", progress)

    def _save_model(self, kind: str, progress: Progress) -> None:
        """Writes a model, or keeps a copy of it to be written before the next `latest`."""
        record = dataclasses.asdict(progress)
        try:
            self._directory.restore_if_removed()
            self._best.save(kind, progress.step, record, keep=None)
        except (OSError, tf.errors.OpError) as error:
            # Of best models only the newest is wanted.
            place = (kind, 0 if kind == "best" else progress.step)
            self._waiting[place] = (self._best.copied(), record)
            self._failed(str(error).split("\n", 1)[0])
        else:
            if kind == "best":
                self._waiting.pop((kind, 0), None)

    def _write_waiting(self) -> None:
        """Writes the models that could not be written. Raises OSError or tf.errors.OpError."""
        for (kind, _), (store, record) in list(self._waiting.items()):
            store.save(kind, record["step"], record, keep=None)
        self._waiting.clear()
