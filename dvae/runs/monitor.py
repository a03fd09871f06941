"""What a run does every so many steps: summaries for TensorBoard, and evaluations."""

import logging
import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from configs.experiment import ExperimentConfig
from configs.paper import SELECTION_SAMPLES
from data.dataset import Dataset
from dvae import adam, schedules
from dvae.evaluation import Evaluator, normalized
from dvae.networks import weight_decay
from dvae.objective import RECONSTRUCTION
from dvae.runs import tags
from dvae.runs.checkpoints import Progress
from dvae.runs.pictures import CHAINS_SHOWN, Diagnostics, raster
from dvae.runs.process import say
from dvae.runs.result import ais_settings, likelihood_doubts, measure
from dvae.runs.summaries import Summaries
from dvae.streams import Stream, stream_key
from dvae.train_step import TrainProgram
from samplers import counter_random, log_partition
from samplers.diagnostics import known
from samplers.log_partition_value import UNTRUSTED, LogPartition

# A tracked log Z further than this many standard errors from AIS is taken back to it.
MAX_DRIFT = 5.0
COLLAPSED_SHARE = 0.02
# Of the log Z that completes the loss in summaries: a fraction of a nat is enough there.
SUMMARY_TEMPERATURES = 100


class Monitor:
    """Summaries and evaluations of one run."""

    def __init__(
        self,
        config: ExperimentConfig,
        dataset: Dataset,
        program: TrainProgram,
        summaries: Summaries,
    ) -> None:
        self._config, self._dataset, self._program = config, dataset, program
        self._model = program.model
        self.summaries = summaries
        self.evaluator = Evaluator(program.model)
        self._objective = program.estimator.objective
        self.diagnostics = Diagnostics(
            program.model, dataset.image_shape, self._objective.log_ratio, config.k
        )

    def _key(self, stream: Stream, step: int) -> tf.Tensor:
        return counter_random.fold_in(stream_key(self._program.run_key, stream), step)

    def begin(self, progress: Progress) -> None:
        """Notes log Z of a run's start, which the first summary needs."""
        if self._config.started_from:
            progress.log_z = known(self._quick_log_z(progress.step))
        else:  # no state is likelier
            progress.log_z = self._model.prior.energy_model.num_units * math.log(2.0)

    def _quick_log_z(self, step: int) -> float:
        program, settings = self._program, ais_settings(self._config)
        settings = settings._replace(num_temperatures=SUMMARY_TEMPERATURES)
        of = self._model.prior.energy_model, program.parameters(), program.chains()
        key = self._key(Stream.SUMMARY, step)
        return float(log_partition.estimate(*of, key, settings).value)

    def summarize(self, progress: Progress) -> str:
        """Writes scalars, histograms and pictures of this step; returns a word for the console."""
        step, config, program = progress.step, self._config, self._program
        mean_kl_weight = self._mean_kl_weight(progress)
        rate = schedules.learning_rate(step, config.num_train_iter, config.base_lr)
        values = {
            **self._losses(progress),
            **self._gradient_norms(),
            "kl_coeff": float(schedules.kl_weight(step, config.num_train_iter)),
            "learning_rate": float(rate),
            "train/skipped_updates": float(program.state.skipped),
            "beta": config.beta,
            "posterior/beta": config.beta,
        }
        log_z = program.tracked_log_partition()
        if log_z is not None:
            values["log_z/train"] = float(log_z)
        recon, generated, latents = self.pictures(step)
        values |= self.diagnostics.scalars(latents)
        self.summaries.scalars("train", step, values)
        self.summaries.histograms(step, latents)
        self.summaries.image(tags.RECONSTRUCTIONS, step, recon)
        self.summaries.image(tags.SAMPLES, step, generated)
        self.summaries.image(tags.CHAINS, step, raster(self._chains()[:CHAINS_SHOWN]))
        progress.summarized_step = step
        self._warn_of_collapse(values)
        shown = {"loss": self._objective.bound_name, "recon": RECONSTRUCTION}
        words = [f"{word} {values[tag]:.2f}" for word, tag in shown.items() if tag in values]
        if words and mean_kl_weight < 1.0:
            words.append(f"KL weight {mean_kl_weight:.2f}")
        return ", ".join(words) or "no update taken"

    def _mean_kl_weight(self, progress: Progress) -> float:
        """Of the steps since the last summary: the one that belongs to the means of the losses."""
        steps = tf.range(max(progress.summarized_step, 0), progress.step)
        return float(tf.reduce_mean(schedules.kl_weight(steps, self._config.num_train_iter)))

    def _losses(self, progress: Progress) -> dict[str, float]:
        """The loss and its terms since the last summary, completed by quick AIS at both ends."""
        model, log_z = self._model, self._quick_log_z(progress.step)
        before = math.nan if progress.log_z is None else progress.log_z
        values = self._program.take_metrics((before, log_z))
        progress.log_z = known(log_z)
        parts = {"encoder": model.encoder, "decoder": model.decoder, "total": model}
        for name, part in parts.items():
            values[f"weight_decay/{name}"] = float(weight_decay(part.decayed_variables()))
        return {**values, "log_z/quick_ais": log_z}

    def pictures(self, step: int) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        """Reconstructions of some validation images, samples of the prior, and arrays of latents.

        The images are the same at each step, the latents are theirs: see `Diagnostics.latents`.
        """
        count = min(self._config.train_batchsize, len(self._dataset.validation))
        images = tf.cast(self._dataset.validation[:count], tf.float32)
        latents = self.diagnostics.latents(images, self._key(Stream.LATENTS, step))
        recon = self.diagnostics.reconstructions(images, latents.pop("reconstruction"))
        return recon, self.diagnostics.generated(self._chains()), latents

    def _chains(self) -> tf.Tensor:
        """The prior's chains, [C, D] of 0 and 1."""
        return self._model.prior.energy_model.units(self._program.chains())

    def _gradient_norms(self) -> dict[str, float]:
        """Of each part and all, from Adam's second moment; {} before the first update."""
        program, model = self._program, self._model
        if not int(program.state.adam.count):
            return {}
        squares = adam.unflatten(adam.mean_square(program.state.adam), program.trained)
        sums = {
            id(v): float(tf.reduce_sum(s)) for v, s in zip(program.trained, squares, strict=True)
        }
        parts = {"encoder": model.encoder, "decoder": model.decoder, "prior": model.prior}
        found = {name: [id(v) for v in part.trainable_variables] for name, part in parts.items()}
        found["total"] = [*sums]
        return {
            f"gradient_norm/{name}": math.sqrt(sum(sums[variable] for variable in variables))
            for name, variables in found.items()
        }

    def _warn_of_collapse(self, values: dict[str, float]) -> None:
        families = values.get("sampler/surviving_families", math.inf)
        if families < COLLAPSED_SHARE * self._config.num_chains:
            logging.warning(
                "the population has collapsed to %.0f families of %d: its log Z gradient is "
                "poor; more num_chains or num_sweeps, or a smaller base_lr, would help",
                families,
                self._config.num_chains,
            )

    def evaluate(self, progress: Progress, check: Callable[[], None]) -> bool:
        """AIS, validation and test with 100 samples.

        Args:
          progress: of the run; the evaluation is noted in it.
          check: called between batches; may raise to stop.

        Returns:
          Whether this is the best model so far: see `_is_better`.
        """
        step, program = progress.step, self._program
        log_z, validation, test = measure(
            self.evaluator,
            self._config,
            self._dataset,
            program.chains(),
            self._key(Stream.EVALUATION, step),
            SELECTION_SAMPLES,
            check,
        )
        if not log_z.doubts():
            self._anchor(log_z)
        values = {
            "log_z/ais": log_z.value,
            "log_z/ais_stderr": log_z.stderr,
            "log_z/ais_ess": log_z.ess,
            "log_z/ais_reverse": log_z.reverse,
            "log_z/ais_trusted": float(not log_z.doubts()),
        }
        trusted = True
        for name, found in (("val", validation), ("test", test)):
            likelihood = normalized(found, log_z.best())
            values[f"{name}/neg_ll"] = likelihood.nll
            values[f"{name}/neg_elbo"] = likelihood.neg_elbo
            trusted = trusted and not likelihood_doubts(log_z, likelihood)
        tracked = program.tracked_log_partition()
        if tracked is not None:
            values["log_z/drift"] = float(tracked) - log_z.value
        self.summaries.scalars("evaluation", step, values)
        say(_evaluation_line(step, values, log_z))
        progress.evaluated_step = step
        if not _is_better(progress, values["val/neg_ll"], trusted):
            return False
        progress.best_val_nll, progress.best_step = values["val/neg_ll"], step
        progress.best_trusted = trusted
        return True

    def _anchor(self, log_z: LogPartition) -> None:
        """Takes AIS as the value of log Z; mends a separate population that drifted off it."""
        if self._config.log_z_population != "separate":
            return
        drift = float(self._program.tracked_log_partition()) - float(log_z.value)
        if abs(drift) > MAX_DRIFT * float(log_z.stderr):
            logging.warning("tracked log Z drifted %.2f nats from AIS: re-anchored to it", drift)
            self._program.anchor_log_partition(tf.constant(float(log_z.value), tf.float64))


def _is_better(progress: Progress, val_nll: float, trusted: bool) -> bool:
    """Whether a model takes the place of the best one so far.

    Only one that was trained at all, and whose validation NLL is finite. Of two whose log Z is to
    be trusted the lower NLL wins, and either wins over one whose log Z is not: a failing estimate
    is low, and would win for good. While there are only such, the newest stands in.
    """
    if progress.updates == 0 or not math.isfinite(val_nll):
        return False
    if progress.best_val_nll is None or not progress.best_trusted:
        return True
    return trusted and val_nll < progress.best_val_nll


def _evaluation_line(step: int, values: dict[str, float], log_z: LogPartition) -> str:
    """What the console says of an evaluation."""
    stderr = log_z.best_stderr()
    digits = 3 if stderr and stderr < 0.01 else 2
    error = "(error not known)" if stderr is None else f"± {stderr:.{digits}f}"
    if log_z.exact is not None:
        error = "(exact)"
    line = (
        f"step {step}: validation NLL {values['val/neg_ll']:.2f}, "
        f"test NLL {values['test/neg_ll']:.2f} ({SELECTION_SAMPLES} importance samples), "
        f"log Z {log_z.best():.{digits}f} {error}"
    )
    doubts = log_z.doubts()
    return f"{line}, {UNTRUSTED}: {'; '.join(doubts)}" if doubts else line
