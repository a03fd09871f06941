"""The final numbers of a run: log Z with its bounds, and a likelihood with its error bars."""

import importlib.metadata
import math
import platform
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from configs.errors import UserError, name_of
from configs.experiment import ExperimentConfig
from configs.paper import SELECTION_SAMPLES
from data.dataset import Dataset
from dvae.evaluation import Evaluator, LikelihoodEstimate, normalized
from dvae.runs.process import progress_bar, say
from dvae.runs.records import NUMBERS
from dvae.streams import EvaluationKey
from samplers import counter_random, log_partition
from samplers.diagnostics import known
from samplers.log_partition import Settings
from samplers.log_partition_value import ALPHA, UNTRUSTED, Z95, LogPartition


def ais_settings(config: ExperimentConfig) -> Settings:
    """How a run's log Z is measured."""
    return Settings(config.ais_chains, config.ais_temperatures, config.ais_base)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide the numbers."""
    packages = ("tensorflow", "tensorflow-probability", "keras", "numpy")
    found = {name: importlib.metadata.version(name) for name in packages}
    return {"python": platform.python_version(), **found}


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


def likelihood_record(
    log_z: LogPartition, unnormalized: LikelihoodEstimate, prefix: str = "test"
) -> dict[str, Any]:
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
        f"{prefix}_nll": nll,
        f"{prefix}_neg_elbo": likelihood.neg_elbo,
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


def protocol(config: ExperimentConfig, dataset: Dataset, num_samples: int) -> dict[str, Any]:
    """What the likelihood was measured with, so that only like is compared with like."""
    binarization = "anew for each batch" if dataset.dynamic_binarization else "fixed"
    return {
        "data_sha256": dataset.sha256,
        "published_data": dataset.published,
        "data": dataset.notes,
        "training_binarization": binarization,
        "test_binarization": "fixed",
        "num_test_images": len(dataset.test),
        "importance_samples": num_samples,
        "ais_temperatures": config.ais_temperatures,
        "ais_chains": config.ais_chains,
        "ais_base": config.ais_base,
        "checkpoint": "best validation NLL (100 importance samples), never chosen by the test set",
    }


def evaluate_model(
    evaluator: Evaluator,
    config: ExperimentConfig,
    dataset: Dataset,
    chains: Any,
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
    prior = evaluator.model.prior
    log_z = log_partition.measure(
        prior.energy_model,
        prior.parameters(),
        chains,
        counter_random.fold_in(key, EvaluationKey.LOG_PARTITION),
        ais_settings(config),
    )
    check()
    validation = evaluator.likelihood(
        dataset.validation,
        SELECTION_SAMPLES,
        config.eval_batchsize,
        counter_random.fold_in(key, EvaluationKey.VALIDATION),
        progress=lambda _: check(),
    )
    with progress_bar(len(dataset.test), 0, "test likelihood", "image") as bar:

        def progress(done: int) -> None:
            bar.update(done - bar.n)
            check()

        test = evaluator.likelihood(
            dataset.test,
            config.eval_iw_samples,
            config.eval_batchsize,
            counter_random.fold_in(key, EvaluationKey.TEST),
            progress=progress,
        )
    record = likelihood_record(log_z, test)
    record["val_nll"] = normalized(validation, log_z.best()).nll
    record["eval_iw_samples"] = config.eval_iw_samples
    record["protocol"] = protocol(config, dataset, config.eval_iw_samples)
    bad = [f"{name} {record[name]}" for name in NUMBERS if known(record[name]) is None]
    if bad:
        raise UserError(
            f"the evaluation of the model is not finite ({', '.join(bad)}), so there is no result: "
            f"train anew with a smaller {name_of('base_lr')} or {name_of('beta')}"
        )
    return record


def run_record(
    config: ExperimentConfig,
    dataset: Dataset,
    evaluation: dict[str, Any],
    *,
    best_step: int | None,
    skipped_updates: int,
    ms_per_step: float | None,
    devices: dict[str, int],
    code: list[dict[str, str | None]],
) -> dict[str, Any]:
    """The content of result.json: what was trained, what `evaluate_model` found, and how.

    devices: how many steps each trained. code: each version that trained it, the last one last.
    """
    cell = ("struct", "baseline", "k", "sampler", "beta", "seed", "num_train_iter")
    return {
        "dataset": config.dataset_name,
        **{name: getattr(config, name) for name in (*cell, "log_z_population")},
        "data_sha256": dataset.sha256,
        "published_data": dataset.published,
        "best_step": best_step,
        **evaluation,
        "skipped_updates": skipped_updates,
        "ms_per_step": ms_per_step,
        "device": " + ".join(devices),
        "device_steps": devices,
        "code": code[-1],
        "earlier_code": code[:-1],
        "versions": versions(),
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
    how = "exact" if z["exact"] is not None else f"AIS, upper side {z['upper_status']}"
    say(
        f"log Z {record['log_z']:.3f} {span(z['low'], z['high'], 3)} "
        f"({f'AIS, {UNTRUSTED}' if z['reasons'] else how})"
    )
    samples = record["eval_iw_samples"]
    say(
        f"test NLL {record['test_nll']:.2f} {span(interval['low'], interval['high'])} "
        f"from {samples} sample{'s' * (samples > 1)}; with the finite test set "
        f"{span(interval['low_with_test_set'], interval['high_with_test_set'])}"
    )
    for what, found in (("log Z", z), ("test NLL", interval)):
        if found["reasons"]:
            say(f"{what} is {UNTRUSTED}: {'; '.join(found['reasons'])}")
