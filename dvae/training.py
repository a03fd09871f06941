"""One run from start to result: training, evaluations, checkpoints, signals."""

import dataclasses
import logging
import math
import time
from typing import Any

import numpy as np
import tensorflow as tf

from configs.errors import UserError
from configs.paper import ExperimentConfig
from data.batches import batch_indices
from data.dataset import Dataset
from dvae import inspection
from dvae.checkpoints import CheckpointStore
from dvae.evaluation import Evaluator
from dvae.run_directory import RunDirectory
from dvae.signals import SignalWatch, Stopped
from dvae.summaries import Summaries
from dvae.train_step import TrainProgram
from samplers import counter_random

STEPS_PER_CALL = 100
MAX_SKIPPED_IN_A_ROW = 100
_EVAL_STREAM, _FINAL_STREAM, _INSPECT_STREAM = 3, 4, 5
_AIS, _VALIDATION, _TEST = 0, 1, 2


@dataclasses.dataclass
class Progress:
    """What the loop itself remembers; travels in each checkpoint as JSON."""

    step: int = 0
    best_step: int | None = None
    best_val_nll: float = math.inf
    summarized_step: int = -1
    evaluated_step: int = -1
    train_seconds: float = 0.0
    timed_steps: int = 0


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """What decides how a run is kept, and none of its numbers."""

    checkpoint_minutes: float = 10.0
    max_unsaved_minutes: float = 60.0
    flags_text: str = ""


class Run:
    """Trains one configuration in one directory, from wherever it stands."""

    def __init__(
        self,
        config: ExperimentConfig,
        dataset: Dataset,
        directory: RunDirectory,
        options: RunOptions = RunOptions(),
    ) -> None:
        self.config, self.dataset, self.directory = config, dataset, directory
        self.options = options
        self.program = TrainProgram(config, dataset)
        self.model = self.program.model
        self.progress = Progress()
        self._store = CheckpointStore(
            directory.checkpoints,
            model=self.model,
            optimizer=self.program.optimizer,
            state=self.program.state,
        )
        self._best_store = CheckpointStore(
            directory.checkpoints, model=self.model, state=self.program.state
        )
        self.evaluator = Evaluator(self.model)
        self.inspector = inspection.Inspector(self.model, dataset.image_shape)
        self.summaries = Summaries(directory)
        self._run_key = counter_random.key(config.seed)
        self._last_saved = time.monotonic()
        self._signals = SignalWatch()

    def _key(self, stream: int, step: int) -> tf.Tensor:
        return counter_random.fold_in(counter_random.fold_in(self._run_key, stream), step)

    # Resuming and saving.

    def restore(self) -> bool:
        """Loads the newest usable checkpoint; returns whether there was one."""
        record = self._store.restore("latest")
        if record is None:
            return False
        try:
            self.progress = Progress(**record)
        except TypeError as error:
            raise UserError(f"the checkpoint does not fit this version: {error}") from None
        self.directory.forget_after(self.progress.step, self.progress.evaluated_step)
        return True

    def save(self) -> None:
        """Writes a checkpoint; a failure is warned of, and ends the run only after an hour."""
        self.summaries.flush()
        record = dataclasses.asdict(self.progress)
        try:
            self._store.save("latest", self.progress.step, record, keep=2)
            self._last_saved = time.monotonic()
        except (OSError, tf.errors.OpError) as error:
            minutes = (time.monotonic() - self._last_saved) / 60.0
            reason = str(error).split("\n", 1)[0]
            if minutes > self.options.max_unsaved_minutes:
                raise UserError(
                    f"no checkpoint could be written for {minutes:.0f} minutes ({reason}): "
                    "free some space and start the same command again"
                ) from None
            logging.warning("no checkpoint could be written (%s); it will be tried again", reason)

    # The loop.

    def train(self) -> dict[str, Any]:
        """Trains to the end and returns the content of result.json.

        Raises:
          Stopped: a signal asked for it; a checkpoint was written.
          UserError: the numbers stay bad, or no checkpoint can be written.
        """
        if not self.restore():
            self.summaries.start(self.config, self.options.flags_text)
        with self._signals:
            try:
                self._loop()
                return self._finish()
            except Stopped:
                self.save()
                raise

    def _loop(self) -> None:
        total = self.config.num_train_iter
        started_at = self.progress.step
        with _progress_bar(total, started_at, "training", "step") as bar:
            self._boundary(bar)
            while self.progress.step < total:
                seconds = self._advance(self._steps_to_boundary())
                bar.update(self.progress.step - bar.n)
                # The first call compiles: no measure of a step.
                if bar.n - started_at > STEPS_PER_CALL:
                    self.progress.train_seconds += seconds
                    self.progress.timed_steps += min(STEPS_PER_CALL, bar.n - started_at)
                self._boundary(bar)
                if self._signals.save_requested():
                    self.save()
                self._signals.raise_if_stopped()

    def _steps_to_boundary(self) -> int:
        """Steps until something is due, at most one call's."""
        step, config = self.progress.step, self.config
        ends = [config.num_train_iter]
        ends += [(step // every + 1) * every for every in (config.summary_every, config.eval_every)]
        # The first call is a single step, so that the first sign of life comes at once.
        return min(min(ends) - step, STEPS_PER_CALL if step else 1)

    def _advance(self, num_steps: int) -> float:
        config, step = self.config, self.progress.step
        indices = batch_indices(
            len(self.dataset.train), config.train_batchsize, config.seed, step, num_steps
        )
        padded = np.zeros([STEPS_PER_CALL, config.train_batchsize], np.int32)
        padded[:num_steps] = indices
        start = time.perf_counter()
        self.program.run(padded, num_steps)
        self.progress.step = int(self.program.state.step)
        return time.perf_counter() - start
