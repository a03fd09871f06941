"""The final evaluation of a model: log Z with its bounds and the test likelihood."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from configs.paper import SELECTION_SAMPLES, ExperimentConfig
from data.dataset import Dataset
from dvae import report
from dvae.console import progress_bar, say
from dvae.evaluation import Evaluator
from samplers import counter_random
from samplers.rbm import RBM, Chains

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
    log_z = report.measure_log_partition(config, rbm, chains, counter_random.fold_in(key, _AIS))
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
    record = report.likelihood_record(log_z, test)
    record["val_nll"] = validation.nll + log_z.best()
    record["eval_iw_samples"] = config.eval_iw_samples
    record["protocol"] = report.protocol(config, dataset, config.eval_iw_samples)
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
