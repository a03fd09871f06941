"""The final numbers of a run: log Z with its bounds, and a likelihood with its error bars."""

import importlib.metadata
import math
import platform
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from configs.paper import SELECTION_SAMPLES, ExperimentConfig
from data.dataset import Dataset
from dvae.evaluation import Evaluator, Likelihood
from dvae.runs.process import progress_bar, say
from samplers import ais, counter_random, diagnostics, exact
from samplers.rbm import RBM, Chains

# Two-sided 95 % of a normal error.
_Z95 = 1.959963984540054
ALPHA = 0.05
_GROUPS = 32
_FORWARD, _REVERSE, _START = range(3)


class LogPartition(NamedTuple):
    """log Z in nats and what is known of its error.

    value, stderr, ess: forward AIS; low on average (Jensen), blind to modes no chain visits.
    markov_lower: holds with probability 95 % whatever the weights look like.
    reverse, reverse_stderr: reverse AIS, high on average.
    upper_status: "certified" when the reverse start was exact, else "checked".
    exact: the enumerated value, or None.
    """

    value: float
    stderr: float
    ess: float
    markov_lower: float
    reverse: float
    reverse_stderr: float
    upper_status: str
    exact: float | None

    def interval(self) -> tuple[float, float]:
        """95 % interval: from AIS's standard error, widened to reach the reverse estimate.

        An exact value is its own interval.
        """
        if self.exact is not None:
            return self.exact, self.exact
        margin = _Z95 * self.stderr
        disagrees = abs(self.reverse - self.value) > _Z95 * math.hypot(
            self.stderr, self.reverse_stderr
        )
        low = high = self.value
        if disagrees:
            low, high = min(low, self.reverse), max(high, self.reverse)
        return low - margin, high + margin

    def best(self) -> float:
        """The exact value where there is one, else forward AIS."""
        return self.value if self.exact is None else self.exact

    def best_stderr(self) -> float:
        """Standard error of `best`."""
        return self.stderr if self.exact is None else 0.0


def make_base(name: str, rbm: RBM, chains: Chains) -> ais.Base:
    """The AIS base that --ais_base names: "fitted" to the chains' means, or "uniform"."""
    return ais.fitted_base(chains) if name == "fitted" else ais.uniform_base(rbm)


def estimate_log_partition(
    config: ExperimentConfig, rbm: RBM, chains: Chains, key: tf.Tensor
) -> diagnostics.LogMeanEstimate:
    """Forward AIS with the run's settings: quick, for evaluations during training."""
    base = make_base(config.ais_base, rbm, chains)
    return ais.log_partition_estimate(rbm, base, key, config.ais_chains, config.ais_temperatures)


def measure_log_partition(
    config: ExperimentConfig, rbm: RBM, chains: Chains, key: tf.Tensor
) -> LogPartition:
    """log Z with every bound: forward and reverse AIS, Markov's bound, enumeration if small.

    Reverse AIS starts from exact samples where the RBM can be enumerated, else from the chains.
    """
    keys = counter_random.split(key, 3)
    small = exact.is_enumerable(rbm)
    base = make_base(config.ais_base, rbm, chains)
    temperatures = ais.linear_temperatures(config.ais_temperatures, rbm.coupling.dtype)
    forward = ais.run(rbm, base, keys[_FORWARD], temperatures, config.ais_chains).log_weights
    estimate = diagnostics.log_mean_estimate(forward)
    start = exact.samples(rbm, keys[_START], config.ais_chains) if small else chains
    backward = ais.run_reverse(rbm, base, start.left, keys[_REVERSE], temperatures).log_weights
    reverse = diagnostics.log_mean_estimate(-backward)
    lower = diagnostics.markov_lower_bound(forward, min(_GROUPS, config.ais_chains), ALPHA)
    return LogPartition(
        value=float(estimate.value),
        stderr=float(estimate.stderr),
        ess=float(estimate.ess),
        markov_lower=float(lower),
        reverse=-float(reverse.value),
        reverse_stderr=float(reverse.stderr),
        upper_status="certified" if small else "checked",
        exact=float(exact.log_partition(rbm)) if small else None,
    )


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide the numbers."""
    packages = ("tensorflow", "tensorflow-probability", "keras", "numpy")
    found = {name: importlib.metadata.version(name) for name in packages}
    return {"python": platform.python_version(), **found}


def likelihood_record(
    log_z: LogPartition, likelihood: Likelihood, prefix: str = "test"
) -> dict[str, Any]:
    """The likelihood fields of result.json, log Z added, errors apart and together."""
    z_low, z_high = log_z.interval()
    sampling = _Z95 * likelihood.sampling_stderr
    nll = likelihood.nll + log_z.best()
    # The two errors are independent; log Z's may be lopsided.
    low = nll - math.hypot(log_z.best() - z_low, sampling)
    high = nll + math.hypot(z_high - log_z.best(), sampling)
    return {
        f"{prefix}_nll": nll,
        f"{prefix}_neg_elbo": likelihood.neg_elbo + log_z.best(),
        "unnormalized_nll": likelihood.nll,
        "log_z": log_z.best(),
        "log_z_stderr": log_z.best_stderr(),
        "log_z_interval": {
            "low": z_low,
            "high": z_high,
            "confidence": 1.0 - ALPHA,
            "forward_ais": log_z.value,
            "forward_ais_stderr": log_z.stderr,
            "forward_ais_ess": log_z.ess,
            "markov_lower_bound": log_z.markov_lower,
            "reverse_ais": log_z.reverse,
            "reverse_ais_stderr": log_z.reverse_stderr,
            "upper_status": log_z.upper_status,
            "exact": log_z.exact,
        },
        "nll_interval": {
            "low": low,
            "high": high,
            "confidence": 1.0 - ALPHA,
            "log_z": [z_low - log_z.best(), z_high - log_z.best()],
            "importance_sampling_stderr": likelihood.sampling_stderr,
            "test_set_stderr": likelihood.test_set_stderr,
            "low_with_test_set": nll - math.hypot(nll - low, _Z95 * likelihood.test_set_stderr),
            "high_with_test_set": nll + math.hypot(high - nll, _Z95 * likelihood.test_set_stderr),
        },
    }


def protocol(config: ExperimentConfig, dataset: Dataset, num_samples: int) -> dict[str, Any]:
    """What the likelihood was measured with, so that only like is compared with like."""
    binarization = "anew for each batch" if dataset.dynamic_binarization else "fixed"
    return {
        "data_sha256": dataset.sha256,
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


_AIS, _VALIDATION, _TEST = 0, 1, 2


def evaluate_model(
    config: ExperimentConfig,
    dataset: Dataset,
    evaluator: Evaluator,
    rbm: RBM,
    chains: Chains,
    key: tf.Tensor,
    check: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """AIS, validation with 100 samples, test with `config.eval_iw_samples`.

    Args:
      chains: of the prior at `rbm`: for the fitted AIS base and the reverse check.
      check: called now and then; may raise to stop.

    Returns:
      The fields of result.json that an evaluation decides.
    """
    log_z = measure_log_partition(config, rbm, chains, counter_random.fold_in(key, _AIS))
    check()
    validation = evaluator.likelihood(
        dataset.validation,
        SELECTION_SAMPLES,
        config.eval_batchsize,
        counter_random.fold_in(key, _VALIDATION),
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
            counter_random.fold_in(key, _TEST),
            progress=progress,
        )
    record = likelihood_record(log_z, test)
    record["val_nll"] = validation.nll + log_z.best()
    record["eval_iw_samples"] = config.eval_iw_samples
    record["protocol"] = protocol(config, dataset, config.eval_iw_samples)
    return record


def announce(record: dict[str, Any]) -> None:
    """Prints the test NLL with its interval, and log Z."""
    interval, z = record["nll_interval"], record["log_z_interval"]
    say(
        f"log Z {record['log_z']:.3f} [{z['low']:.3f}, {z['high']:.3f}] "
        f"({'exact' if z['exact'] is not None else 'AIS, upper side ' + z['upper_status']})"
    )
    say(
        f"test NLL {record['test_nll']:.2f} [{interval['low']:.2f}, {interval['high']:.2f}] "
        f"from {record['eval_iw_samples']} samples; "
        f"with the finite test set [{interval['low_with_test_set']:.2f}, "
        f"{interval['high_with_test_set']:.2f}]"
    )
