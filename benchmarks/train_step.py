"""Times whole training steps beside the matrix products of their sampler alone (the floor).

    python -m benchmarks.train_step [--structs=...] [--baselines=...] [--ks=...] [--json=FILE]

A step is what `run.py` does in one: sampler, batch, forward and backward pass, update, metrics;
`--steps` of them in one compiled call. Images are random bits: times do not depend on them.
"""

import argparse
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks import product_floor, timing
from benchmarks.sampler import FLOOR, make_problem, products_alone
from configs.experiment import ExperimentConfig, build_config
from configs.registry import BASELINES, SAMPLERS, STRUCTURES
from data.dataset import Dataset
from dvae.train_step import TrainProgram

NUM_IMAGES, IMAGE_SHAPE = 5000, (28, 28)


def random_images() -> Dataset:
    """A data set of MNIST's image size."""
    size = IMAGE_SHAPE[0] * IMAGE_SHAPE[1]
    images = np.random.default_rng(1).integers(0, 2, (NUM_IMAGES, size), dtype=np.uint8)
    return Dataset("random", images, 1.0, False, images[:100], images[:100], IMAGE_SHAPE, "", "")


def floor_program(config: ExperimentConfig) -> Callable[[], Any]:
    """The matrix products of one step's sampler: sweeps of all chains, nothing else."""
    half = config.structure.num_latents // 2
    problem = make_problem(half, config.num_chains, config.num_sweeps)
    orthogonal = tf.linalg.qr(tf.constant(problem.coupling))[0]
    right = tf.constant(problem.right)

    def function(coupling: tf.Tensor, right: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        states = products_alone(coupling, right, config.num_sweeps)
        return states, states[0, 0]

    program = tf.function(function, jit_compile=True, autograph=False)
    return lambda: program(orthogonal, right)[1].numpy()


def step_program(config: ExperimentConfig, dataset: Dataset, num_steps: int) -> Callable[[], Any]:
    """`num_steps` training steps as one call; it returns when they are done."""
    program = TrainProgram(config, dataset)
    shape = (num_steps, config.train_batchsize)
    indices = np.random.default_rng(2).integers(0, NUM_IMAGES, shape, dtype=np.int32)

    def call() -> None:
        program.run(indices, num_steps)
        program.state.counts.numpy()

    return call


def measure(struct: str, options: argparse.Namespace) -> dict[str, Any]:
    """One table: the floor of a structure, and a step of each baseline, k and sampler."""
    dataset = random_images()
    programs: dict[str, Callable[[], Any]] = {}
    steps: dict[str, int] = {}
    for sampler in options.samplers:
        for baseline in options.baselines:
            for k in options.ks:
                config = build_config(
                    struct=struct,
                    baseline=baseline,
                    k=k,
                    sampler=sampler,
                    num_chains=options.chains,
                    log_z_population=options.log_z_population,
                )
                if not programs:
                    half = config.structure.num_latents // 2
                    shape = half, config.num_chains, config.num_sweeps
                    programs[FLOOR] = floor_program(config)
                    programs[product_floor.OPENBLAS] = product_floor.program(*shape)
                name = f"{baseline}, k={k}, {sampler}"
                programs[name] = step_program(config, dataset, options.steps)
                steps[name] = options.steps
    times = timing.interleaved(programs, options.repeats)
    per_step = {name: [t / steps.get(name, 1) for t in values] for name, values in times.items()}
    rows = timing.summary(per_step, FLOOR, [product_floor.OPENBLAS])
    load = os.getloadavg()[0]
    title = (
        f"{struct}, {options.chains} chains x {config.num_sweeps} sweeps, "
        f"{options.steps} steps a call, {options.repeats} rounds, load {load:.1f}"
    )
    timing.print_rows(title, rows)
    return {"struct": struct, "chains": options.chains, "load": load, "rows": rows}


def main() -> None:
    """Prints one table per structure, and writes them all to a file if asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = lambda text: text.split(",")  # noqa: E731
    numbers = lambda text: [int(number) for number in text.split(",")]  # noqa: E731
    parser.add_argument("--structs", type=names, default=["1-layer-nonlin", "2-layer-nonlin"])
    parser.add_argument("--baselines", type=names, default=["dvaes_power"])
    parser.add_argument("--ks", type=numbers, default=[1])
    parser.add_argument("--samplers", type=names, default=["pa"], help="several with commas")
    parser.add_argument("--log_z_population", default="shared")
    parser.add_argument("--chains", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=20, help="in one compiled call")
    parser.add_argument("--repeats", type=int, default=30, help="rounds")
    parser.add_argument("--json", default="", metavar="FILE", help="write the numbers there")
    options = parser.parse_args()
    for given, known in (
        (options.structs, STRUCTURES),
        (options.baselines, BASELINES),
        (options.samplers, SAMPLERS),
    ):
        if unknown := set(given) - set(known):
            parser.error(f"unknown: {', '.join(unknown)}")
    tf.get_logger().setLevel("ERROR")  # every table has programs of its own, and means to
    print(timing.machine())
    results = []
    for struct in options.structs:
        results.append(measure(struct, options))
        if options.json:
            timing.write_json(options.json, {"results": results})


if __name__ == "__main__":
    main()
