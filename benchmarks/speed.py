"""Times of the sampler and of training steps, each beside its floor.

    python -m benchmarks.speed sampler [--sizes=100,200] [--chains=1000] [--keep=sampler]
    python -m benchmarks.speed step [--structs=...] [--baselines=all] [--ks=1] [--keep=train_step]

A floor is one XLA loop of the same matrix products and nothing else. Programs run in turns, so that
other work on the machine meets them all: compare ratios. Images are random, models untrained.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks import records
from benchmarks.records import Record
from configs.errors import UserError
from configs.experiment import ExperimentConfig, build_config
from configs.registry import BASELINES, SAMPLERS
from data.dataset import Dataset
from dvae.train_step import TrainProgram
from samplers import counter_random, gibbs
from samplers.rbm import RBM, Halves, RBMParameters

FLOOR, OURS = "matrix products alone", "ours"
NUM_IMAGES = 5000
# Idle threads spin for a while: each program rests until those of the one before are asleep, and
# is called some times before the call that is timed, so that its own are awake.
_REST_SECONDS, _WARMING_CALLS = 0.1, 4

Program = Callable[[], Any]  # returns when its result is there


def interleaved(programs: dict[str, Program], repeats: int) -> dict[str, list[float]]:
    """Seconds in `repeats` rounds of all programs, after one call of each to compile."""
    times: dict[str, list[float]] = {name: [] for name in programs}
    for program in programs.values():
        program()
    for _ in range(repeats):
        for name, program in programs.items():
            time.sleep(_REST_SECONDS)
            for _ in range(_WARMING_CALLS):
                program()
            start = time.perf_counter()
            program()
            times[name].append(time.perf_counter() - start)
    return times


def summary(times: dict[str, list[float]]) -> list[Record]:
    """One row per program: milliseconds, and both over those of the floor."""
    rows, (floor, floor_least) = [], (f(times[FLOOR]) for f in (statistics.median, min))
    for name, values in times.items():
        median, least = statistics.median(values), min(values)
        ratios = {"median_ratio": median / floor, "min_ratio": least / floor_least}
        row = {"program": name, "median_ms": 1e3 * median, "min_ms": 1e3 * least, **ratios}
        rows.append({**row, "repeats": len(values)})
        print(rows[-1], flush=True)
    return rows


def problem(size: int, num_chains: int) -> tuple[RBM, RBMParameters, tf.Tensor]:
    """A model, parameters at which units are neither free nor frozen, and right halves [C, R]."""
    generator = np.random.default_rng(size)
    arrays = [*(0.5 * generator.normal(size=(2, size)))]
    arrays.append(generator.normal(size=(size, size)) / np.sqrt(size))
    arrays.append(generator.integers(0, 2, size=(num_chains, size)))
    *params, right = (tf.constant(array, tf.float32) for array in arrays)
    return RBM(size, size), RBMParameters(*params), right


def compiled(function: Callable, *arguments: Any) -> Program:
    """A call that waits for its result."""

    def with_element(*arguments: Any) -> tuple[Any, tf.Tensor]:
        states = function(*arguments)
        return states, tf.nest.flatten(states)[-1][0, 0]

    program = tf.function(with_element, jit_compile=True, autograph=False)
    # Reading one number waits for all of them, without a copy from a GPU.
    return lambda: program(*arguments)[1].numpy()


def repeated(products: Callable, rows: tf.Tensor, count: int, *kernels: tf.Tensor) -> Program:
    """The floor: products of rows and kernels, so many times in one loop."""

    def loop(rows: tf.Tensor, *kernels: tf.Tensor) -> tf.Tensor:
        body = lambda index, rows: (index + 1, products(rows, *kernels))  # noqa: E731
        return tf.while_loop(lambda index, _: index < count, body, (tf.constant(0), rows))[1]

    return compiled(loop, rows, *kernels)


def sampler_floor(size: int, num_chains: int, num_sweeps: int) -> Program:
    """Both matrix products of each sweep."""
    _, params, right = problem(size, num_chains)
    both = lambda right, w: tf.matmul(tf.matmul(right, w, transpose_b=True), w)  # noqa: E731
    # An orthogonal matrix keeps the numbers from overflow and from underflow.
    return repeated(both, right, num_sweeps, tf.linalg.qr(params.coupling)[0])


def sampler(size: int, num_chains: int, num_sweeps: int) -> Program:
    """Sweeps as training uses them."""
    model, params, right = problem(size, num_chains)
    chains = model.start(num_chains, counter_random.key(1))._replace(right=right)

    def sweeps(params: RBMParameters, chains: Halves, key: tf.Tensor) -> Halves:
        # Both halves are returned, as in training. Were the left one dropped, XLA would let the
        # halves of the chains share its memory, and they would wait for each other.
        return gibbs.sweeps(model.blocks(params), chains, key, num_sweeps, concurrent=True)

    return compiled(sweeps, params, chains, counter_random.key(1))


def time_sampler(options: argparse.Namespace) -> Record:
    """Floor and sampler for each RBM and number of chains."""
    results = []
    for size, chains in itertools.product(options.sizes, options.chains):
        about = {"size": size, "chains": chains, "sweeps": options.sweeps}
        programs = {FLOOR: sampler_floor(*about.values()), OURS: sampler(*about.values())}
        # Large ones average over their own length.
        repeats = max(3, int(options.repeats / max(1.0, chains * size**2 / 1e8)))
        results.append({**about, "rows": summary(interleaved(programs, repeats))})
    return {"results": results}


def random_images() -> Dataset:
    """A data set of MNIST's image size."""
    images = np.random.default_rng(1).integers(0, 2, (NUM_IMAGES, 784), dtype=np.uint8)
    return Dataset("random", images, 1.0, False, images[:100], images[:100], (28, 28), "", "")


def step_program(config: ExperimentConfig, dataset: Dataset, num_steps: int) -> Program:
    """`num_steps` training steps as one call."""
    program = TrainProgram(config, dataset)
    shape = (num_steps, config.train_batchsize)
    indices = np.random.default_rng(2).integers(0, NUM_IMAGES, shape, dtype=np.int32)
    return lambda: (program.run(indices, num_steps), program.state.counts.numpy())


def time_step(options: argparse.Namespace) -> Record:
    """Of each structure the floor, and a step of all methods that are made for it."""
    results, dataset = [], random_images()
    methods = list(BASELINES) if options.baselines == ["all"] else options.baselines
    for struct in options.structs:
        programs, chosen = {}, []
        for baseline, k in itertools.product(methods, options.ks):
            cell = {"baseline": baseline, "k": k, "sampler": options.sampler}
            try:
                config = build_config(struct=struct, **cell)
                step = step_program(config, dataset, options.steps)
            except UserError as error:
                print(f"{baseline}, k={k}: left out, {error}", flush=True)
                continue
            programs[f"{baseline}, k={k}, {options.sampler}"] = step
            chosen.append(cell)
        shape = config.structure.num_latents // 2, config.num_chains, config.num_sweeps
        programs[FLOOR] = sampler_floor(*shape)
        times = interleaved(programs, options.repeats)
        for name in programs.keys() - {FLOOR}:
            times[name] = [seconds / options.steps for seconds in times[name]]
        *rows, last = summary(times)
        rows = [row | cell for row, cell in zip(rows, chosen, strict=True)]
        results.append({"struct": struct, "chains": config.num_chains, "rows": [*rows, last]})
    return {"results": results}


def main() -> None:
    """Times what is asked for."""
    parser = records.parser(__doc__)
    parts = {"sampler": time_sampler, "step": time_step}
    parser.add_argument("part", choices=parts)
    parser.add_argument("--sizes", type=records.numbers, default=[100, 200, 400, 1000])
    parser.add_argument("--chains", type=records.numbers, default=[100, 1000])
    parser.add_argument("--sweeps", type=int, default=40)
    parser.add_argument("--structs", type=records.names, default=["1-layer-nonlin"])
    parser.add_argument("--baselines", type=records.names, default=["dvaes_power"], help="or all")
    parser.add_argument("--ks", type=records.numbers, default=[1])
    parser.add_argument("--sampler", choices=SAMPLERS, default="pa")
    parser.add_argument("--steps", type=int, default=20, help="in one compiled call")
    parser.add_argument("--repeats", type=int, default=30, help="rounds of a small problem")
    parser.add_argument("--keep", metavar="NAME", help="in benchmarks/results/performance")
    options = parser.parse_args()
    tf.get_logger().setLevel("ERROR")  # every problem is a new program, and meant to be
    record = parts[options.part](options)
    print(record)
    if options.keep:
        records.keep("performance", options.keep, record)


if __name__ == "__main__":
    main()
