"""Bias and variance of every method's gradient, against the exact gradient of a small model.

    python -m benchmarks.estimators [--baselines=A,B] [--groups=1,2,4] [--ks=1,2,5] [--blocks=256]

A row is kept in the place of an older one of the same method, groups and k.
"""

import itertools
import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from scipy import stats

from benchmarks import records
from benchmarks.records import Record
from benchmarks.small_models import (
    STRUCTURES,
    SmallModel,
    exact_gradient,
    part_variables,
    small_model,
)
from configs.errors import UserError
from configs.registry import BASELINES
from dvae.adam import unflatten
from dvae.encoder import Batch
from dvae.estimators.base import Inputs, Step
from dvae.runs.compile_cache import compile_cache_directory, enable_compile_cache
from dvae.undirected import UndirectedEncoder
from samplers import counter_random, exact

BLOCKS, COPIES, LEAST_BLOCKS = 256, 256, 3
# Of the chains of images, where a method has some: at first, and before each gradient.
WARM_STEPS, STEPS_BETWEEN = 50, 4
TUNING_STEPS, TUNING_COPIES, TUNING_RATE = 500, 16, 0.01  # of what an estimator learns for itself
LIMIT = 4.0  # standard errors
ROUNDING = 1e-4  # of sums of single-precision numbers, relative to the largest component


def _step(small: SmallModel, copies: int, key: tf.Tensor, states: Any, weight: float) -> Step:
    """One step on copies of all images."""
    batch = Batch(tf.tile(tf.constant(small.images), [copies, 1]))
    inputs = Inputs(batch, small.model.prior.parameters(), key, tf.constant(weight))
    return small.estimator.step(small.model, inputs, states)


def _follow(small: SmallModel, copies: int, key: tf.Tensor, states: Any, steps: int) -> Any:
    """The states of images after some steps at the same weights, where a method has some."""

    def body(index: tf.Tensor, states: Any) -> tuple[tf.Tensor, Any]:
        index_key = counter_random.fold_in(key, index)
        return index + 1, _step(small, copies, index_key, states, 1.0).state

    if not tf.nest.flatten(states):
        return states
    return tf.while_loop(lambda index, _: index < steps, body, (tf.constant(0), states))[1]


def flat_gradient(
    small: SmallModel, of: list[Any], copies: int, key: tf.Tensor, states: Any, kl_weight: float
) -> tf.Tensor:
    """The gradient of one step's surrogate of some variables, [P], on copies of all images."""
    if tf.nest.flatten(states):
        key, moving = tf.unstack(counter_random.split(key, 2))
        states = _follow(small, copies, moving, states, STEPS_BETWEEN)
    values = [tf.convert_to_tensor(variable) for variable in of]
    with (
        keras.StatelessScope(zip(of, values, strict=True)),
        tf.GradientTape(watch_accessed_variables=False) as tape,
    ):
        tape.watch(values)
        found = _step(small, copies, key, states, kl_weight)
    zero = tf.UnconnectedGradients.ZERO
    gradients = tape.gradient(found.surrogate, values, unconnected_gradients=zero)
    return tf.concat([tf.reshape(gradient, [-1]) for gradient in gradients], axis=0)


def tune(small: SmallModel, seed: int = 2) -> None:
    """Trains what an estimator learns for itself, the model's weights held fixed."""
    if not (own := list(small.estimator.trainable_variables)):
        return
    keys = counter_random.split(counter_random.key(seed), TUNING_STEPS + 1)
    states = small.estimator.init(small.model, TUNING_COPIES * len(small.images), keys[-1])
    optimizer = keras.optimizers.Adam(TUNING_RATE)
    optimizer.build(own)

    @tf.function(jit_compile=True, autograph=False)
    def gradient(key: tf.Tensor) -> list[tf.Tensor]:
        return unflatten(-flat_gradient(small, own, TUNING_COPIES, key, states, 1.0), own)

    for key in keys[:-1]:
        optimizer.apply_gradients(zip(gradient(key), own, strict=True))


def gradient_blocks(
    small: SmallModel, num_blocks: int, copies: int, seed: int = 1, kl_weight: float = 1.0
) -> dict[str, np.ndarray]:
    """Gradients of one training step on all images, float64 [num_blocks, P] for each part.

    A block is a batch of copies of the images, whose rows are independent. log Z's is exact.
    """
    parts = part_variables(small.model)
    variables = [variable for part in parts.values() for variable in part]

    @tf.function(jit_compile=True, autograph=False)
    def run(key: tf.Tensor) -> tf.Tensor:
        keys = counter_random.split(key, num_blocks + 1)
        first, moving = tf.unstack(counter_random.split(keys[0], 2))
        states = small.estimator.init(small.model, copies * len(small.images), first)
        states = _follow(small, copies, moving, states, WARM_STEPS)

        def one(block_key: tf.Tensor) -> tf.Tensor:
            return flat_gradient(small, variables, copies, block_key, states, kl_weight)

        return tf.map_fn(one, keys[1:], fn_output_signature=tf.float32)

    flat = run(counter_random.key(seed)).numpy().astype(np.float64)
    sizes = [sum(int(np.prod(v.shape)) for v in part) for part in parts.values()]
    found = dict(zip(parts, np.split(flat, np.cumsum(sizes)[:-1], axis=1), strict=True))
    prior = small.model.prior
    moments = exact.moments(prior.energy_model, prior.parameters())
    log_z = np.concatenate([moment.numpy().ravel() for moment in moments])
    return {**found, "prior": found["prior"] - kl_weight * log_z}


def statistics_of(blocks: np.ndarray, exact: np.ndarray, copies: int) -> Record:
    """Bias and variance of means over blocks of independent gradients [T, P], beside the exact one.

    squared_bias: ‖E g - g*‖² / ‖g*‖², without the bias of noise: the mean of d_s'd_t over all pairs
    of blocks, d = g - g*; stderr: by the jackknife over blocks, up to 1.4 times too large where
    there is no bias. variance: the trace of the covariance of one gradient over ‖g*‖². largest: of
    |mean - g*| over its standard error; beyond: components for which this exceeds `LIMIT`.
    seen: relative bias of a gradient (1 + r) g* that `LIMIT` misses with 5 % at most.
    """
    used = exact != 0.0  # what the binary model does not depend on is no part of it
    blocks, target = blocks[:, used], exact[used]
    count, norm = len(blocks), float(target @ target)
    distances = blocks - target
    products = distances @ distances.T
    np.fill_diagonal(products, 0.0)
    sums, pairs = products.sum(axis=1), count * (count - 1)
    without = (products.sum() - 2.0 * sums) / ((count - 1) * (count - 2))
    variances = blocks.var(axis=0, ddof=1)
    rounding = ROUNDING * np.abs(target).max()
    errors = np.hypot(np.sqrt(variances / count), rounding)
    scores = np.abs(distances.mean(axis=0)) / errors
    return {
        "squared_bias": float(products.sum() / pairs / norm),
        "stderr": float(np.sqrt((count - 1) * without.var()) / norm),
        "variance": float(copies * variances.sum() / norm),
        "components": int(used.sum()),
        "beyond": int((scores > LIMIT).sum()),
        "largest": float(scores.max()),
        "seen": float((LIMIT + stats.norm.ppf(0.95)) / np.max(np.abs(target) / errors)),
        "norm": norm**0.5,
    }


def measure(baseline: str, num_groups: int, k: int, num_blocks: int) -> Record:
    """One row: a method at one number of groups and k, or why there is none."""
    row = {"baseline": baseline, "groups": num_groups, "k": k}
    start = time.perf_counter()
    try:
        small = small_model(baseline, num_groups, k)
        tune(small)
        copies, found = 1, gradient_blocks(small, LEAST_BLOCKS, 1)
        sampled = any(np.ptp(blocks, axis=0).any() for blocks in found.values())
        if sampled:
            copies, found = COPIES, gradient_blocks(small, num_blocks, COPIES)
    except UserError as error:
        return {**row, "left_out": str(error)}
    target = exact_gradient(small)
    weighted = small.estimator.objective.importance_weighted
    return {
        **row,
        **{"objective": f"L_{k}" if weighted else "ELBO", "sharpness": small.config.beta},
        "sampled": sampled,
        "own_posterior": isinstance(small.model.encoder, UndirectedEncoder),
        **{"blocks": len(found["prior"]), "copies": copies},
        **{"images": len(small.images), "pixels": small.images.shape[1]},
        "seconds": time.perf_counter() - start,
        "parts": {p: statistics_of(b, target[p], copies) for p, b in found.items()},
    }


def keep(groups: int, rows: list[Record]) -> None:
    """Keeps rows, each in the place of an older one of the same method and k."""
    name, order = f"groups-{groups}", list(BASELINES)
    old = records.read("estimators").get(name, {"rows": []})["rows"]
    merged = {(order.index(row["baseline"]), row["k"]): row for row in (*old, *rows)}
    kept = [merged[place] for place in sorted(merged)]
    records.keep("estimators", name, {"groups": groups, "rows": kept})


def main() -> None:
    """Measures what is asked for."""
    parser = records.parser(__doc__)
    parser.add_argument("--baselines", type=records.names, default=list(BASELINES))
    parser.add_argument("--groups", type=records.numbers, default=list(STRUCTURES))
    parser.add_argument("--ks", type=records.numbers, default=[1, 2, 5])
    parser.add_argument("--blocks", type=int, default=BLOCKS, help="if fewer, nothing is kept")
    options = parser.parse_args()
    if unknown := {*options.baselines, *options.groups} - {*BASELINES, *STRUCTURES}:
        parser.error(f"unknown: {', '.join(map(str, unknown))}")
    tf.config.set_visible_devices([], "GPU")  # whose batch norm asks for no norm of ours
    tf.get_logger().setLevel("ERROR")  # every setting has a program of its own, and means to
    enable_compile_cache(compile_cache_directory())
    for num_groups in options.groups:
        rows = []
        for baseline, k in itertools.product(options.baselines, options.ks):
            rows.append(measure(baseline, num_groups, k, options.blocks))
            print(rows[-1], flush=True)
        if options.blocks >= BLOCKS:
            keep(num_groups, rows)


if __name__ == "__main__":
    main()
