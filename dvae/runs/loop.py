"""One run from start to result: the loop, its signals, and the final evaluation."""

import logging
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

from configs.errors import NothingTrained, UserError
from configs.experiment import ExperimentConfig
from configs.files import writing_to
from data.batches import call_indices
from data.dataset import Dataset
from dvae.runs.checkpoints import Progress, RunOptions, Saver
from dvae.runs.code_version import code_version, version_name
from dvae.runs.directory import RunDirectory
from dvae.runs.monitor import Monitor
from dvae.runs.pictures import write_png
from dvae.runs.process import SignalWatch, Stopped, device_name, progress_bar, say
from dvae.runs.records import write_result
from dvae.runs.result import evaluate_model, run_record, smaller_of
from dvae.runs.summaries import Summaries
from dvae.streams import Stream, stream_key
from dvae.train_state import BAD_TERMS
from dvae.train_step import TrainProgram

STEPS_PER_CALL = 100
MAX_SKIPPED_IN_A_ROW = 100
MAX_SKIPPED_SHARE = 0.01  # of a run, from where on its end speaks of it


class Run:
    """Trains one configuration in one directory, from wherever it stands."""

    def __init__(
        self,
        config: ExperimentConfig,
        dataset: Dataset,
        directory: RunDirectory,
        options: RunOptions,
    ) -> None:
        self.config, self.dataset = config, dataset
        self.directory, self.options = directory, options
        self.program = TrainProgram(config, dataset)
        self.progress = Progress()
        self._summaries = Summaries(directory)
        self.monitor = Monitor(config, dataset, self.program, self._summaries)
        self._saver = Saver(directory, self.program, options)
        self._signals = SignalWatch()
        self._timed = (0.0, 0)  # seconds and steps since the last summary
        self._code, self._device = code_version(), device_name()
        # Traced before anything that differs between a fresh start and a resumed one, so that both
        # find the same compiled program in the cache.
        self.program.trace(STEPS_PER_CALL)

    def save(self) -> None:
        """Writes a checkpoint of where the run stands."""
        self.directory.lock.check()
        self._summaries.flush()
        self._saver.save(self.progress)

    def train(self) -> None:
        """Trains to the end, which is result.json.

        Raises:
          Stopped: a signal asked for it; a checkpoint was written.
          UserError: the numbers stay bad, or no checkpoint or result can be written.
        """
        # Checkpoints and summaries bear their failures themselves.
        with writing_to(self.directory.path, "mend that and start again"):
            self._resume()
            with self._signals:
                try:
                    self._loop()
                except Stopped:
                    self.save()
                    raise
                self._finish()

    def _resume(self) -> None:
        """Goes back to the newest checkpoint; without one, starts with empty logs."""
        restored = self._saver.restore()
        if restored is None:
            # A run that was killed before its first checkpoint may have left some.
            self._summaries.forget_after(-1, -1)
            self._summaries.start(self.config)
            self._begin()
        else:
            self.progress = restored
            self._summaries.forget_after(restored.step, restored.evaluated_step)
            say(f"resumed at step {restored.step} of {self.config.num_train_iter}")
        self._note_code()

    def _begin(self) -> None:
        """Of new weights, or from the best model of another run."""
        if self.options.start is not None:
            path, step = Path(self.options.start_from), self.options.start["step"]
            self._saver.start_from(path, step)
            self.progress.start = self.options.start
            say(f"starts from step {step} of {path}")
        self.monitor.begin(self.progress)

    def _note_code(self) -> None:
        """Adds this version of the code to those that trained the run; says so if it is another."""
        versions = self.progress.code
        if versions and versions[-1]["sources"] == self._code["sources"]:
            return
        if versions:
            say(
                f"trained by other code so far ({version_name(versions[-1])}, now "
                f"{version_name(self._code)}): result.json will name both"
            )
        versions.append(self._code)

    def _loop(self) -> None:
        total, progress = self.config.num_train_iter, self.progress
        what = "compiling" if progress.step < total else "training"
        with progress_bar(total, progress.step, what, "step") as bar:
            self._boundary(bar)
            compiled = False
            while progress.step < total:
                before = progress.step
                seconds = self._advance(self._steps_to_boundary())
                if compiled:
                    steps = progress.step - before
                    bar.update(steps)
                    progress.train_seconds += seconds
                    progress.timed_steps += steps
                    self._timed = (self._timed[0] + seconds, self._timed[1] + steps)
                else:  # the first call's time is the compiler's
                    bar.start_anew("training", progress.step)
                compiled = True
                self._check_numbers()
                self.directory.lock.check()
                self._boundary(bar)
                if self._signals.save_requested():
                    self.save()
                self._signals.raise_if_stopped()

    def _steps_to_boundary(self) -> int:
        """Steps until something is due, at most one call's."""
        step, config = self.progress.step, self.config
        ends = [config.num_train_iter]
        ends += [(step // every + 1) * every for every in (config.summary_every, config.eval_every)]
        ends += [kept for kept in self.options.keep_steps if kept > step]
        # The very first call is a single step, so that the first sign of life comes at once.
        return min(min(ends) - step, STEPS_PER_CALL if step else 1)

    def _advance(self, num_steps: int) -> float:
        """Trains `num_steps` steps in one compiled call; returns its seconds."""
        config, step = self.config, self.progress.step
        num_images, batch_size = len(self.dataset.train), config.train_batchsize
        indices = call_indices(num_images, batch_size, config.seed, step, num_steps, STEPS_PER_CALL)
        start = time.perf_counter()
        self.program.run(indices, num_steps)
        self.progress.step = self.program.state.step
        self.progress.devices[self._device] = self.progress.devices.get(self._device, 0) + num_steps
        self.progress.updates = self.progress.step - self.program.state.skipped
        return time.perf_counter() - start

    def _check_numbers(self) -> None:
        """Raises UserError when no update is finite any more."""
        in_a_row, best = self.program.state.skipped_in_a_row, self.progress.best_step
        if in_a_row >= MAX_SKIPPED_IN_A_ROW:
            self._check_trained()
            kept = "" if best is None else f" The best model so far, of step {best}, is kept."
            raise UserError(
                f"{in_a_row} updates in a row were not finite, {self._blame()}.{kept} "
                f"Try {smaller_of(self.config)}"
            )

    def _blame(self) -> str:
        """What was not finite in most skipped updates."""
        return f"first of all in: {BAD_TERMS[int(np.argmax(self.program.state.skipped_terms))]}"

    def _check_trained(self) -> None:
        """Raises NothingTrained when no step so far was taken."""
        if self.progress.updates == 0:
            raise NothingTrained(
                f"nothing was trained: none of {self.progress.step} updates was finite, "
                f"{self._blame()}. Try {smaller_of(self.config)}"
            )

    def _boundary(self, bar: tqdm) -> None:
        """Does what is due at this step and not done yet: summary, evaluation, checkpoint."""
        step, config, progress = self.progress.step, self.config, self.progress
        if step in self.options.keep_steps:  # before `latest`: a resumed run comes by here again
            self._saver.save_model("kept", progress)
        if step and step % config.summary_every == 0 and progress.summarized_step < step:
            bar.set_postfix_str(self.monitor.summarize(progress))
            seconds, steps = self._timed
            if steps:
                self._summaries.step_time(step, seconds / steps)
            self._timed = (0.0, 0)
        at_end = step == config.num_train_iter
        if step and (step % config.eval_every == 0 or at_end) and progress.evaluated_step < step:
            if self.monitor.evaluate(progress, self._signals.raise_if_stopped):
                self._saver.save_model("best", progress)
            self.save()
        elif self._saver.is_due(step):
            self.save()

    def _finish(self) -> None:
        """Final numbers and pictures from the best checkpoint; writes result.json."""
        config, progress = self.config, self.progress
        skipped, steps = self.program.state.skipped, progress.step
        if progress.best_step is None and progress.evaluated_step == steps:
            self._check_trained()
            raise UserError(
                "no model has a finite validation NLL, so there is no result: "
                f"{skipped} of {steps} updates were not finite and skipped. "
                f"Try {smaller_of(config)}"
            )
        say(f"final evaluation of the best checkpoint (step {progress.best_step})")
        self._saver.restore_best(progress.best_step)
        chains = self.program.chains()
        record = evaluate_model(
            self.monitor.evaluator,
            config,
            self.dataset,
            chains,
            stream_key(self.program.run_key, Stream.FINAL),
            self._signals.raise_if_stopped,
        )
        recon, generated, _ = self.monitor.pictures(config.num_train_iter)
        write_png(self.directory.path / "reconstructions.png", recon)
        write_png(self.directory.path / "samples.png", generated)
        result = run_record(config, self.dataset, record, progress, skipped)
        self.directory.lock.check()
        self._summaries.finish(config.num_train_iter, result)
        write_result(self.directory.path, result)
        if skipped > MAX_SKIPPED_SHARE * steps:
            logging.warning(
                "%d of %d updates (%.1f %%) were not finite and skipped, %s: a smaller base_lr "
                "%swould help",
                skipped,
                steps,
                100.0 * skipped / steps,
                self._blame(),
                "or beta " if config.has_sharpness else "",
            )
