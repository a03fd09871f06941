"""Bias and variance of every method's gradient, against the exact gradient of a small model.

    python -m benchmarks.estimators [--baselines=A,B] [--groups=1,2,4] [--ks=1,2,5] [--quick]
    python -m benchmarks.estimators --time      milliseconds of training steps, on an idle machine

Results are kept in benchmarks/results/estimators/ as JSON, each row in the place of an older one of
the same method, groups and k; `python -m benchmarks.pages` puts them into docs/estimators.md. A
quick run keeps nothing.
"""

import argparse
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from scipy import stats

from benchmarks import pages, timing
from benchmarks.small_models import (
    STRUCTURES,
    SmallModel,
    exact_gradient,
    part_variables,
    small_model,
)
from benchmarks.train_step import random_images, step_program
from configs.errors import UserError
from configs.experiment import build_config
from configs.registry import BASELINES
from dvae.adam import unflatten
from dvae.encoder import Batch
from dvae.estimators.base import Inputs, Step
from dvae.runs.compile_cache import compile_cache_directory, enable_compile_cache
from dvae.undirected import UndirectedEncoder
from samplers import counter_random, exact

PAGE = "estimators"
KS = (1, 2, 5)
BLOCKS, COPIES, QUICK_BLOCKS, LEAST_BLOCKS = 256, 256, 64, 3
# Of the chains of images, where a method has some: at first, and before each gradient.
WARM_STEPS, STEPS_BETWEEN = 50, 4
TUNING_STEPS, TUNING_COPIES, TUNING_RATE = 500, 16, 0.01  # of what an estimator learns for itself
TIMED_STRUCT = "1-layer-nonlin"
LIMIT = 4.0  # standard errors
# Of sums of single-precision numbers, relative to the largest component.
ROUNDING = 1e-4

Record = dict[str, Any]


class Sample(NamedTuple):
    """Means over blocks of `copies` independent gradients, [T, P] of a part, and the exact one."""

    blocks: np.ndarray
    exact: np.ndarray
    copies: int


def _step(
    small: SmallModel, copies: int, key: tf.Tensor, states: Any, kl_weight: tf.Tensor
) -> Step:
    """One step on copies of all images."""
    batch = Batch(tf.tile(tf.constant(small.images), [copies, 1]))
    inputs = Inputs(batch, small.model.prior.parameters(), key, kl_weight)
    return small.estimator.step(small.model, inputs, states)


def _follow(small: SmallModel, copies: int, key: tf.Tensor, states: Any, steps: int) -> Any:
    """The states after some steps, at the same weights."""

    def body(index: tf.Tensor, states: Any) -> tuple[tf.Tensor, Any]:
        index_key = counter_random.fold_in(key, index)
        return index + 1, _step(small, copies, index_key, states, tf.constant(1.0)).state

    return tf.while_loop(lambda index, _: index < steps, body, (tf.constant(0), states))[1]


def _warm_states(small: SmallModel, copies: int, key: tf.Tensor) -> Any:
    """Chains of each image near equilibrium, where a method has some."""
    keys = counter_random.split(key, 2)
    states = small.estimator.init(small.model, copies * len(small.images), keys[0])
    return _follow(small, copies, keys[1], states, WARM_STEPS) if tf.nest.flatten(states) else ()


def flat_gradient(
    small: SmallModel,
    variables: list[keras.Variable],
    copies: int,
    key: tf.Tensor,
    states: Any = (),
    kl_weight: float = 1.0,
) -> tf.Tensor:
    """The gradient of one step's surrogate for some variables, [P], on copies of all images."""
    if tf.nest.flatten(states):
        key, moving = tf.unstack(counter_random.split(key, 2))
        states = _follow(small, copies, moving, states, STEPS_BETWEEN)
    values = [tf.convert_to_tensor(variable) for variable in variables]
    with (
        keras.StatelessScope(zip(variables, values, strict=True)),
        tf.GradientTape(watch_accessed_variables=False) as tape,
    ):
        tape.watch(values)
        found = _step(small, copies, key, states, tf.constant(kl_weight))
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
        return unflatten(-flat_gradient(small, own, TUNING_COPIES, key, states), own)

    for key in keys[:-1]:
        optimizer.apply_gradients(zip(gradient(key), own, strict=True))


def is_sampled(small: SmallModel) -> bool:
    """Whether the gradient of a step has any use for random numbers."""

    def one(key: tf.Tensor) -> tf.Tensor:
        states = _warm_states(small, 1, counter_random.key(0))
        return flat_gradient(small, small.model.trainable_variables, 1, key, states)

    traced = tf.function(one, autograph=False).get_concrete_function(tf.TensorSpec([2], tf.int32))
    return bool(traced.inputs[0].consumers())


def gradient_blocks(
    small: SmallModel, num_blocks: int, copies: int, seed: int = 1, kl_weight: float = 1.0
) -> dict[str, np.ndarray]:
    """Gradients of one training step on all images: means over blocks of independent ones.

    Within a block they are those of copies of the images in one batch, whose rows are independent.
    That of log Z is the exact one.

    Returns:
      [num_blocks, P] float64 for encoder, prior and decoder.
    """
    parts = part_variables(small.model)
    variables = [variable for part in parts.values() for variable in part]

    @tf.function(jit_compile=True, autograph=False)
    def run(key: tf.Tensor) -> tf.Tensor:
        keys = counter_random.split(key, num_blocks + 1)
        states = _warm_states(small, copies, keys[0])

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


def statistics_of(sample: Sample) -> Record:
    """Bias and variance of one part of the parameters, relative to the exact gradient.

    squared_bias: ‖E g - g*‖² / ‖g*‖², without the bias of noise: the mean of d_s'd_t over all pairs
    of blocks, d = g - g*; stderr: by the jackknife over blocks, up to 1.4 times too large where
    there is no bias. variance: the trace of the covariance of one gradient over ‖g*‖². largest: of
    |mean - g*| over its standard error; beyond: components for which this exceeds `LIMIT`.
    seen: relative bias of a gradient (1 + r) g* that `LIMIT` misses with 5 % at most.
    """
    used = sample.exact != 0.0  # what the binary model does not depend on is no part of it
    blocks, target = sample.blocks[:, used], sample.exact[used]
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
        "variance": float(sample.copies * variances.sum() / norm),
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
        sampled = is_sampled(small)
        copies = COPIES if sampled else 1
        found = gradient_blocks(small, num_blocks if sampled else LEAST_BLOCKS, copies)
    except UserError as error:
        return {**row, "left_out": str(error)}
    target = exact_gradient(small)
    parts = {
        part: statistics_of(Sample(blocks, target[part], copies)) for part, blocks in found.items()
    }
    return {
        **row,
        "objective": f"L_{k}" if small.estimator.objective.importance_weighted else "ELBO",
        "sharpness": small.config.beta,
        "sampled": sampled,
        "own_posterior": isinstance(small.model.encoder, UndirectedEncoder),
        "blocks": len(found["prior"]),
        "copies": copies,
        "images": len(small.images),
        "pixels": small.images.shape[1],
        "seconds": time.perf_counter() - start,
        "parts": parts,
    }


def keep(name: str, rows: list[Record], about: Record) -> None:
    """Keeps rows, each in the place of an older one of the same method, groups and k."""

    def place(row: Record) -> tuple:
        return list(BASELINES).index(row["baseline"]), row.get("groups", 0), row["k"]

    old = pages.read(PAGE).get(name, {"rows": []})["rows"]
    merged = {place(row): row for row in old if row["baseline"] in BASELINES}
    merged |= {place(row): row for row in rows}
    pages.keep(PAGE, name, {**about, "rows": [merged[key] for key in sorted(merged)]})


def show(row: Record) -> None:
    """One line per part of a row, as it is measured."""
    title = f"{row['baseline']}, {row['groups']} groups, k={row['k']}"
    if "left_out" in row:
        print(f"{title}: left out, {row['left_out']}", flush=True)
        return
    print(f"{title}: {row['seconds']:.1f} s", flush=True)
    for part, found in row["parts"].items():
        shown = (f"{name.replace('_', ' ')} {value:.3g}" for name, value in found.items())
        print(f"  {part}: {', '.join(shown)}", flush=True)


def times(baselines: list[str], k: int, steps: int, repeats: int) -> Iterator[Record]:
    """Milliseconds of one training step of each method that is made for k, by medians."""
    dataset, programs = random_images(), {}
    for baseline in baselines:
        try:
            config = build_config(struct=TIMED_STRUCT, baseline=baseline, k=k)
            programs[baseline] = step_program(config, dataset, steps)
        except UserError as error:
            print(f"{baseline}, k={k}: left out, {error}", flush=True)
    for baseline, values in timing.interleaved(programs, repeats).items():
        row = {"baseline": baseline, "k": k, "ms": 1e3 * float(np.median(values)) / steps}
        print(f"{baseline}, k={k}: {row['ms']:.2f} ms a step", flush=True)
        yield row


def main() -> None:
    """Measures what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    numbers = lambda text: [int(number) for number in text.split(",")]  # noqa: E731
    parser.add_argument("--baselines", type=lambda text: text.split(","), default=list(BASELINES))
    parser.add_argument("--groups", type=numbers, default=list(STRUCTURES))
    parser.add_argument("--ks", type=numbers, default=list(KS))
    parser.add_argument("--quick", action="store_true", help="few gradients, nothing kept")
    parser.add_argument("--time", action="store_true", help="time training steps instead")
    parser.add_argument("--steps", type=int, default=10, help="in one timed call")
    parser.add_argument("--repeats", type=int, default=7, help="timed calls of each program")
    options = parser.parse_args()
    for given, known in ((options.baselines, BASELINES), (options.groups, STRUCTURES)):
        if unknown := set(given) - set(known):
            parser.error(f"unknown: {', '.join(map(str, unknown))}")
    if not options.time:
        tf.config.set_visible_devices([], "GPU")  # whose batch norm asks for no norm of ours
    tf.get_logger().setLevel("ERROR")  # every setting has a program of its own, and means to
    enable_compile_cache(compile_cache_directory())
    if options.time:
        for k in options.ks:
            rows = list(times(options.baselines, k, options.steps, options.repeats))
            if not options.quick:
                keep("times", rows, {"struct": TIMED_STRUCT, "machine": timing.machine()})
        return
    num_blocks = QUICK_BLOCKS if options.quick else BLOCKS
    for num_groups in options.groups:
        rows = []
        for baseline in options.baselines:
            for k in options.ks:
                rows.append(measure(baseline, num_groups, k, num_blocks))
                show(rows[-1])
        if not options.quick:
            keep(f"groups-{num_groups}", rows, {"groups": num_groups})


if __name__ == "__main__":
    main()
