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
from dvae.relaxed_priors import (
    LAMBDA_MARGIN,
    gram_powers,
    largest_singular_value,
    log_det_identity_minus_gram,
)
from dvae.runs.trained_model import TrainedModel
from samplers import ais, counter_random, gibbs
from samplers.diagnostics import LogMeanEstimate, log_mean_estimate
from samplers.rbm import RBM, Chains, energy

_AIS_SETTINGS = {"chains": 1024, "temperatures": 1000}
_EQUAL_ROWS = 5  # K of the comparison of first groups

Record = dict[str, Any]


@tf.function(jit_compile=True)
def ais_of_both_halves(
    rbm: RBM, base: ais.Base, key: tf.Tensor, temperatures: tf.Tensor, num_chains: int
) -> tf.Tensor:
    """[C] float64 log weights of AIS whose weights hold both halves: nothing is summed out."""
    keys = counter_random.split(key, 3)
    shape = [num_chains, 1]
    start = Chains(
        counter_random.bernoulli_logits(keys[0], tf.tile(base.left_bias[None], shape)),
        counter_random.bernoulli_logits(keys[1], tf.tile(base.right_bias[None], shape)),
    )
    # Energies are linear in the parameters.
    way = RBM(rbm.left_bias - base.left_bias, rbm.right_bias - base.right_bias, rbm.coupling)

    def body(index: tf.Tensor, chains: Chains, log_weights: tf.Tensor) -> tuple:
        new = temperatures[index + 1]
        increment = (temperatures[index] - new) * energy(way, chains)
        mixed = RBM(
            base.left_bias + new * way.left_bias,
            base.right_bias + new * way.right_bias,
            new * rbm.coupling,
        )
        chains = gibbs.sweeps(mixed, chains, counter_random.fold_in(keys[2], index), 1)
        return index + 1, chains, log_weights + tf.cast(increment, tf.float64)

    steps = tf.shape(temperatures)[0] - 1
    loop = (tf.constant(0), start, tf.zeros([num_chains], tf.float64))
    log_weights = tf.while_loop(lambda index, *_: index < steps, body, loop)[2]
    return log_weights + tf.cast(ais.base_log_partition(base), tf.float64)


def _spread(estimate: LogMeanEstimate) -> Record:
    return {name: float(getattr(estimate, name)) for name in ("value", "stderr", "ess")}


def ais_weights(trained: TrainedModel) -> Record:
    """log Z, its standard error and ESS with and without the right half summed out."""
    rbm, chains = trained.model.prior.parameters(), trained.chains
    count, steps = _AIS_SETTINGS["chains"], _AIS_SETTINGS["temperatures"]
    temperatures = ais.linear_temperatures(steps)
    key, found = counter_random.key(1), {}
    for name, base in (("uniform", ais.uniform_base(rbm)), ("fitted", ais.fitted_base(chains))):
        both = ais_of_both_halves(rbm, base, key, temperatures, count)
        found[name] = {
            "right half summed out": _spread(
                ais.log_partition_estimate(rbm, base, key, count, steps)
            ),
            "both halves": _spread(log_mean_estimate(both)),
        }
    return found


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
        products = encoder.image_products(images)
        return encoder.group_params(products, 0, [], repeats, True).logits.numpy()

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
