"""What a run keeps on disk so that it can go on: its progress and its checkpoints."""

import dataclasses
import logging
import math
import time

import keras
import tensorflow as tf

from configs.errors import UserError
from dvae.checkpoints import CheckpointStore
from dvae.run_directory import RunDirectory
from dvae.train_step import TrainProgram

# A checkpoint that could not be written is tried again after so long.
_RETRY_SECONDS = 60.0


@dataclasses.dataclass
class Progress:
    """What the loop itself remembers; travels in each checkpoint as JSON.

    code: each version of the code that trained the run, as `code_version`, the present one last.
    """

    step: int = 0
    best_step: int | None = None
    best_val_nll: float = math.inf
    summarized_step: int = -1
    evaluated_step: int = -1
    train_seconds: float = 0.0
    timed_steps: int = 0
    code: list[dict[str, str | None]] = dataclasses.field(default_factory=list)


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


class Saver:
    """Writes and reads the checkpoints of one run: `latest` (two of them) and `best`."""

    def __init__(self, directory: RunDirectory, program: TrainProgram, options: RunOptions) -> None:
        self._options = options
        self._directory = directory
        owner = directory.owner()
        self._latest = CheckpointStore(
            directory.checkpoints,
            owner,
            model=_tensors(program.model.variables),
            optimizer=_tensors(program.optimizer.adam.variables),
            state=program.state,
        )
        # Beside the weights only the prior's chains matter to the final evaluation.
        self._best = CheckpointStore(
            directory.checkpoints,
            owner,
            model=_tensors(program.model.variables),
            chains=program.state.sampler,
        )
        self._saved_at = time.monotonic()
        self._due_at = self._saved_at + self._interval()
        self._saved_step = 0

    def restore(self) -> Progress | None:
        """Loads the newest usable checkpoint; None when there never was one."""
        record = self._latest.restore("latest")
        if record is None:
            return None
        try:
            progress = Progress(**record)
        except TypeError as error:
            raise UserError(f"the checkpoint does not fit this version: {error}") from None
        self._saved_step = progress.step
        return progress

    def restore_best(self) -> None:
        """Loads the weights and chains of the best checkpoint. Raises UserError without one."""
        if self._best.restore("best") is None:
            raise UserError(
                f"no best checkpoint in {self._directory.checkpoints}: the run has not come to an "
                "evaluation, or the disk was full then; its command, started again, goes on"
            )

    def _interval(self) -> float:
        return 60.0 * self._options.checkpoint_minutes

    def is_due(self, step: int) -> bool:
        """Whether the last checkpoint is older than the options allow, or one that failed waits."""
        return step > self._saved_step and time.monotonic() >= self._due_at

    def save(self, progress: Progress) -> None:
        """Writes `latest`. A failure is warned of; it ends the run only after the limit.

        Raises:
          UserError: none could be written for `max_unsaved_minutes`.
        """
        try:
            self._directory.restore_if_removed()
            self._latest.save("latest", progress.step, dataclasses.asdict(progress), keep=2)
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

    def save_best(self, progress: Progress) -> bool:
        """Writes `best`; returns whether that worked (if not, the older best stays)."""
        return self._save_model("best", progress, keep=1)

    def save_kept(self, progress: Progress) -> bool:
        """Writes `kept-<step>`, which nothing replaces; returns whether that worked."""
        return self._save_model("kept", progress, keep=None)

    def _save_model(self, kind: str, progress: Progress, keep: int | None) -> bool:
        try:
            self._best.save(kind, progress.step, dataclasses.asdict(progress), keep)
        except (OSError, tf.errors.OpError) as error:
            self._failed(str(error).split("\n", 1)[0])
            return False
        return True
