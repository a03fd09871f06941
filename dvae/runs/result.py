"""The final numbers of a run: log Z with its bounds, and a likelihood with its error bars."""

import importlib.metadata
import math
import platform
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from configs.errors import UserError, name_of
from configs.experiment import ExperimentConfig
from configs.paper import SELECTION_SAMPLES
from data.dataset import Dataset
from dvae.evaluation import Evaluator, LikelihoodEstimate, normalized
from dvae.runs.checkpoints import Progress
from dvae.runs.process import progress_bar, say
from dvae.runs.records import NUMBERS
from dvae.streams import EvaluationKey
from samplers import counter_random, log_partition
from samplers.diagnostics import known
from samplers.energy_model import State
from samplers.log_partition import Settings
from samplers.log_partition_value import ALPHA, UNTRUSTED, Z95, LogPartition


def ais_settings(config: ExperimentConfig) -> Settings:
    """How a run's log Z is measured."""
    return Settings(config.ais_chains, config.ais_temperatures, config.ais_base)


def likelihood_doubts(log_z: LogPartition, likelihood: LikelihoodEstimate) -> list[str]:
    """Why a likelihood of binary data, log Z in it, is not to be trusted, a clause each."""
    found = [f"log Z is {UNTRUSTED}"] if log_z.doubts() else []
    nll = likelihood.nll
    error = known(Z95 * math.hypot(likelihood.sampling_stderr, log_z.best_stderr() or 0.0))
    # Whatever the error, an unbiased estimate of a probability exceeds exp(3) once in 20 times at
    # most (Markov).
    if nll + (-math.log(ALPHA) if error is None else error) < 0.0:
        found.append(f"{nll:.2f} nats are impossible: the likelihood of bits is below 1")
    return found


def likelihood_record(log_z: LogPartition, unnormalized: LikelihoodEstimate) -> dict[str, Any]:
    """The likelihood fields of result.json, log Z added, errors apart and together.

    An error that is not known, of a single draw or image, is None, and so is what follows from it.
    """
    likelihood, best = normalized(unnormalized, log_z.best()), log_z.best()
    nll = likelihood.nll
    z_low, z_high = (math.nan if end is None else end for end in log_z.interval())
    sampling, test_set = Z95 * likelihood.sampling_stderr, Z95 * likelihood.test_set_stderr
    # The errors are independent; log Z's may be lopsided.
    below, above = math.hypot(best - z_low, sampling), math.hypot(z_high - best, sampling)
    doubts = likelihood_doubts(log_z, likelihood)
    return {
        "test_nll": nll,
        "test_neg_elbo": likelihood.neg_elbo,
        "unnormalized_nll": unnormalized.nll,
        "log_z": best,
        "log_z_stderr": log_z.best_stderr(),
        "log_z_interval": {
            "trusted": not log_z.doubts(),
            "reasons": list(log_z.doubts()),
            "low": known(z_low),
            "high": known(z_high),
            "confidence": 1.0 - ALPHA,
            "forward_ais": log_z.value,
            "forward_ais_stderr": known(log_z.stderr),
            "forward_ais_ess": log_z.ess,
            "markov_lower_bound": known(log_z.markov_lower),
            "reverse_ais": known(log_z.reverse),
            "reverse_ais_stderr": known(log_z.reverse_stderr),
            "reverse_ais_ess": log_z.reverse_ess,
            "reverse_ais_chains": log_z.num_reverse,
            "upper_status": log_z.upper_status,
            "exact": log_z.exact,
        },
        "nll_interval": {
            "trusted": not doubts,
            "reasons": doubts,
            "low": known(nll - below),
            "high": known(nll + above),
            "confidence": 1.0 - ALPHA,
            "log_z": [known(z_low - best), known(z_high - best)],
            "importance_sampling_stderr": known(likelihood.sampling_stderr),
            "test_set_stderr": known(likelihood.test_set_stderr),
            "low_with_test_set": known(nll - math.hypot(below, test_set)),
            "high_with_test_set": known(nll + math.hypot(above, test_set)),
        },
    }


def measure(
    evaluator: Evaluator,
    config: ExperimentConfig,
    dataset: Dataset,
    chains: State,
    key: tf.Tensor,
    num_samples: int,
    check: Callable[[], None],
) -> tuple[LogPartition, LikelihoodEstimate, LikelihoodEstimate]:
    """log Z, and the likelihoods without it: validation with 100 samples, test with `num_samples`.

    Arguments as in `evaluate_model`.
    """
    prior = evaluator.model.prior

    def likelihood(
        images: np.ndarray, samples: int, use: EvaluationKey, progress: Callable[[int], None]
    ) -> LikelihoodEstimate:
        most, own_key = config.eval_batchsize, counter_random.fold_in(key, use)
        return evaluator.likelihood(images, samples, most, own_key, progress=progress)

    log_z = log_partition.measure(
        prior.energy_model,
        prior.parameters(),
        chains,
        counter_random.fold_in(key, EvaluationKey.LOG_PARTITION),
        ais_settings(config),
    )
    check()
    use = EvaluationKey.VALIDATION
    validation = likelihood(dataset.validation, SELECTION_SAMPLES, use, lambda _: check())
    what, seen = "test likelihood", num_samples > SELECTION_SAMPLES
    with progress_bar(len(dataset.test), 0, what, "image", seen) as bar:

        def progress(done: int) -> None:
            bar.update(done - bar.n)
            check()

        test = likelihood(dataset.test, num_samples, EvaluationKey.TEST, progress)
    return log_z, validation, test


def smaller_of(config: ExperimentConfig) -> str:
    """The settings of which a smaller value keeps numbers finite: "a smaller ..."."""
    beta = f" or {name_of('beta')}" if config.has_sharpness else ""
    return f"a smaller {name_of('base_lr')}{beta}"


def evaluate_model(
    evaluator: Evaluator,
    config: ExperimentConfig,
    dataset: Dataset,
    chains: State,
    key: tf.Tensor,
    check: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """AIS, validation with 100 samples, test with `config.eval_iw_samples`.

    Args:
      evaluator: of the model to be evaluated.
      config: its settings of measurement count, which may differ from the model's own.
      dataset: gives the validation and test images.
      chains: of the prior, for the fitted AIS base and the reverse check.
      key: int32 [2].
      check: called now and then; may raise to stop.

    Returns:
      The fields of result.json that an evaluation decides.

    Raises:
      UserError: one of its numbers is not finite.
    """
    samples = config.eval_iw_samples
    log_z, validation, test = measure(evaluator, config, dataset, chains, key, samples, check)
    record = {
        **likelihood_record(log_z, test),
        "val_nll": normalized(validation, log_z.best()).nll,
        "eval_iw_samples": samples,
        "protocol": {  # so that only like is compared with like
            "data_sha256": dataset.sha256,
            "published_data": dataset.published,
            "data": dataset.notes,
            "training_binarization": (
                "anew for each batch" if dataset.dynamic_binarization else "fixed"
            ),
            "test_binarization": "fixed",
            "num_test_images": len(dataset.test),
            "importance_samples": samples,
            "ais_temperatures": config.ais_temperatures,
            "ais_chains": config.ais_chains,
            "ais_base": config.ais_base,
            "checkpoint": (
                "best validation NLL (100 importance samples), never chosen by the test set"
            ),
        },
    }
    bad = [f"{name} {record[name]}" for name in NUMBERS if known(record[name]) is None]
    if bad:
        raise UserError(
            f"the evaluation of the model is not finite ({', '.join(bad)}), so there is no result: "
            f"train anew with {smaller_of(config)}"
        )
    return record


def run_record(
    config: ExperimentConfig,
    dataset: Dataset,
    evaluation: dict[str, Any],
    progress: Progress,
    skipped_updates: int,
) -> dict[str, Any]:
    """The content of result.json: what was trained, what `evaluate_model` found, and how."""
    cell = "struct baseline k prior sampler beta seed num_train_iter log_z_population"
    packages = ("tensorflow", "tensorflow-probability", "keras", "numpy")
    return {
        "dataset": config.dataset_name,
        **{name: getattr(config, name) for name in cell.split()},
        "data_sha256": dataset.sha256,
        "published_data": dataset.published,
        "best_step": progress.best_step,
        **evaluation,
        "skipped_updates": skipped_updates,
        "ms_per_step": progress.ms_per_step(),
        "device": " + ".join(progress.devices),
        "device_steps": progress.devices,
        **({"start": progress.start} if progress.start else {}),
        "code": progress.code[-1],
        "earlier_code": progress.code[:-1],
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in packages},
        },
    }


def span(low: float | None, high: float | None, digits: int = 2) -> str:
    """An interval as text; what is not known of it in words."""
    if low is None and high is None:
        return "(error not known)"
    ends = ("not known" if end is None else f"{end:.{digits}f}" for end in (low, high))
    return f"[{', '.join(ends)}]"


def announce(record: dict[str, Any]) -> None:
    """Prints the test NLL with its interval, and log Z, and why they are not to be trusted."""
    interval, z = record["nll_interval"], record["log_z_interval"]
    how = "exact" if z["exact"] is not None else "forward and reverse AIS agree"
    say(
        f"log Z {record['log_z']:.3f} {span(z['low'], z['high'], 3)} "
        f"({f'AIS, {UNTRUSTED}' if z['reasons'] else how})"
    )
    samples = record["eval_iw_samples"]
    say(
        f"test NLL {record['test_nll']:.2f} {span(interval['low'], interval['high'])} "
        f"from {samples} importance sample{'s' * (samples > 1)}; with the finite test set "
        f"{span(interval['low_with_test_set'], interval['high_with_test_set'])}"
    )
    for what, found in (("log Z", z), ("test NLL", interval)):
        if found["reasons"]:
            say(f"{what} is {UNTRUSTED}: {'; '.join(found['reasons'])}")
