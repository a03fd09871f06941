"""What differences from the published method do, measured on the best model of a finished run.

    python -m benchmarks.deviations --run=DIR [--name=NAME] [--data_dir=DIR]

Results are kept in benchmarks/results/deviations/ as JSON; `python -m benchmarks.pages` puts them
into docs/deviations.md.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks import pages
from dvae.encoder import Batch
from dvae.relaxed_priors import (
    LAMBDA_MARGIN,
    gram_powers,
    largest_singular_value,
    log_det_identity_minus_gram,
)
from dvae.runs.trained_model import TrainedModel
from samplers import ais, counter_random
from samplers.diagnostics import LogMeanEstimate
from samplers.energy_model import EnergyModel, fitted_base, uniform_base
from samplers.rbm import RBM

_AIS_SETTINGS = {"chains": 1024, "temperatures": 1000}
_EQUAL_ROWS = 5  # K of the comparison of first groups

Record = dict[str, Any]


class UnsummedRBM(RBM):
    """An RBM whose AIS weights hold both halves: nothing is summed out."""

    path = EnergyModel.path


def _spread(estimate: LogMeanEstimate) -> Record:
    return {name: float(getattr(estimate, name)) for name in ("value", "stderr", "ess")}


def ais_weights(trained: TrainedModel) -> Record:
    """log Z, its standard error and ESS with and without the right half summed out."""
    rbm, params = trained.model.prior.energy_model, trained.model.prior.parameters()
    key, (count, steps) = counter_random.key(1), _AIS_SETTINGS.values()
    unsummed = UnsummedRBM(rbm.num_left, rbm.num_right)
    models = {"right half summed out": rbm, "both halves": unsummed}
    bases = {"uniform": uniform_base(rbm), "fitted": fitted_base(tf.constant(trained.chains))}
    return {
        name: {
            weights: _spread(ais.log_partition_estimate(model, params, base, key, count, steps))
            for weights, model in models.items()
        }
        for name, base in bases.items()
    }


def largest_value_bound(coupling: tf.Tensor) -> Record:
    """The bound of σ_max(W) and what λ = σ_max + 5 becomes by it."""
    exact = float(np.linalg.svd(coupling.numpy().astype(np.float64), compute_uv=False)[0])
    bound = float(largest_singular_value(gram_powers(coupling)))
    return {
        "exact": exact,
        "bound": bound,
        "lambda_exact": exact + LAMBDA_MARGIN,
        "lambda": bound + LAMBDA_MARGIN,
    }


def log_det_gradient(coupling: tf.Tensor) -> Record:
    """Largest difference from a float64 solve, and of a float32 solve, over the largest entry."""
    powers = gram_powers(coupling)
    scale = largest_singular_value(powers) + LAMBDA_MARGIN
    with tf.GradientTape() as tape:
        tape.watch(coupling)
        value = log_det_identity_minus_gram(coupling, scale, powers)
    ours = tape.gradient(value, coupling).numpy()

    def by_solving(dtype: type) -> np.ndarray:
        matrix, square = coupling.numpy().astype(dtype), dtype(float(scale)) ** 2
        rest = np.eye(matrix.shape[1], dtype=dtype) - matrix.T @ matrix / square
        return -2.0 / square * np.linalg.solve(rest, matrix.T).T

    truth = by_solving(np.float64)
    largest = np.abs(truth).max()
    return {
        "products": float(np.abs(ours - truth).max() / largest),
        "solve": float(np.abs(by_solving(np.float32) - truth).max() / largest),
    }


def first_group(trained: TrainedModel) -> float:
    """Largest difference of logits when K equal rows go through the first group's network."""
    encoder = trained.model.encoder
    images = tf.cast(trained.dataset().train[: trained.config.train_batchsize], tf.float32)

    def logits(images: tf.Tensor, repeats: int) -> np.ndarray:
        condition = encoder.condition(Batch(images))
        return encoder.group_params(condition, 0, [], repeats, True).logits.numpy()

    once = logits(images, _EQUAL_ROWS)
    return float(np.abs(once - logits(tf.repeat(images, _EQUAL_ROWS, axis=0), 1)).max())


def measure(trained: TrainedModel) -> Record:
    """Everything of this module, of one run."""
    coupling = trained.model.prior.parameters().coupling
    result = trained.result
    kept = ("dataset", "struct", "baseline", "k", "seed", "num_train_iter", "skipped_updates")
    return {
        "run": {name: result[name] for name in kept},
        "half": int(coupling.shape[0]),
        "ais": {**_AIS_SETTINGS, "bases": ais_weights(trained)},
        "tracked": trained.tracked_log_partition,
        "largest_singular_value": largest_value_bound(coupling),
        "log_det_gradient": log_det_gradient(coupling),
        "first_group": first_group(trained),
        "equal_rows": _EQUAL_ROWS,
    }


def main() -> None:
    """Measures one run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--name", help="of the result; default: struct-baseline of the run")
    parser.add_argument("--data_dir", default="datasets")
    options = parser.parse_args()
    record = measure(TrainedModel(options.run, options.data_dir))
    name = options.name or f"{record['run']['struct']}-{record['run']['baseline']}"
    pages.keep("deviations", name, record)


if __name__ == "__main__":
    main()
