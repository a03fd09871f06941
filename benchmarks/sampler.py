"""Times block Gibbs sampling: ours, the matrix products alone (the floor), and other generators.

    python -m benchmarks.sampler [--full] [--json=FILE]

The floor is one XLA loop of the same matrix products and nothing else, each on one core. Beside it
stand the same products with the halves of the chains apart, and those of OpenBLAS on all cores; the
best of the three is what the limit of the machine is. PyTorch, JAX and the package `rbms` are timed
in the same rounds when they are installed.
"""

import argparse
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks import product_floor, rivals, timing
from samplers import counter_random, gibbs
from samplers.rbm import RBM, Halves, RBMParameters

FLOOR, OURS = "matrix products alone", "ours"
APART = "matrix products alone, halves apart"
FLOORS = (APART, product_floor.OPENBLAS)
SIZES = (100, 200, 400, 1000)
CHAINS = (100, 1000, 10_000, 100_000)
QUICK_WORK = 1000 * 1000**2  # chains times couplings: larger problems take minutes


def make_problem(size: int, num_chains: int, num_sweeps: int) -> rivals.Problem:
    """Couplings of a size at which the units are neither free nor frozen; the same every time."""
    generator = np.random.default_rng(size)
    biases = 0.5 * generator.normal(size=(2, size))
    coupling = generator.normal(size=(size, size)) / np.sqrt(size)
    right = generator.integers(0, 2, size=(num_chains, size))
    arrays = (array.astype(np.float32) for array in (*biases, coupling, right))
    return rivals.Problem(*arrays, num_sweeps)


def products_alone(coupling: tf.Tensor, right: tf.Tensor, num_sweeps: int) -> tf.Tensor:
    """The floor: both matrix products of each sweep, in one loop."""

    def body(step: tf.Tensor, right: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        left = tf.matmul(right, coupling, transpose_b=True)
        return step + 1, tf.matmul(left, coupling)

    return tf.while_loop(lambda step, _: step < num_sweeps, body, (tf.constant(0), right))[1]


def products_apart(coupling: tf.Tensor, right: tf.Tensor, num_sweeps: int) -> list[tf.Tensor]:
    """The same with the two halves of the chains as operations that XLA may run at once."""

    def body(step: tf.Tensor, rights: list) -> tuple[tf.Tensor, list]:
        lefts = [tf.matmul(right, coupling, transpose_b=True) for right in rights]
        return step + 1, [tf.matmul(left, coupling) for left in lefts]

    halves = tf.split(right, 2) if right.shape[0] % 2 == 0 else [right]
    return tf.while_loop(lambda step, _: step < num_sweeps, body, (tf.constant(0), halves))[1]


def library_sweeps(
    params: RBMParameters, right: tf.Tensor, num_sweeps: int, algorithm: str
) -> tf.Tensor:
    """The same sampler with TensorFlow's own generator."""

    def draw(field: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        u = tf.random.stateless_uniform(tf.shape(field), seed, alg=algorithm)
        return tf.cast(u < tf.sigmoid(field), field.dtype)

    def body(step: tf.Tensor, right: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        field = params.left_bias + tf.matmul(right, params.coupling, transpose_b=True)
        left = draw(field, tf.stack([step, 0]))
        field = params.right_bias + tf.matmul(left, params.coupling)
        return step + 1, draw(field, tf.stack([step, 1]))

    return tf.while_loop(lambda step, _: step < num_sweeps, body, (tf.constant(0), right))[1]


def our_programs(problem: rivals.Problem) -> dict[str, Callable[[], Any]]:
    """The floor, ours in its variants, and the generators of XLA, each as a program."""
    params = RBMParameters(*map(tf.constant, problem[:3]))
    right = tf.constant(problem.right)
    key = counter_random.key(1)
    num_chains, size = right.shape
    model = RBM(size, size)
    chains = model.start(num_chains, key)._replace(right=right)
    # An orthogonal matrix keeps the floor's numbers from overflow and from underflow.
    orthogonal = tf.linalg.qr(params.coupling)[0]
    sweeps = problem.num_sweeps

    def compiled(function: Callable, *arguments: Any, jit_compile: bool = True) -> Callable:
        def with_element(*arguments: Any) -> tuple[Any, tf.Tensor]:
            states = function(*arguments)
            return states, tf.nest.flatten(states)[-1][0, 0]

        program = tf.function(with_element, jit_compile=jit_compile, autograph=False)
        # Reading one number waits for all of them, without a copy from a GPU.
        return lambda: program(*arguments)[1].numpy()

    def ours(concurrent: bool, jit_compile: bool = True) -> Callable:
        def function(params: RBMParameters, chains: Halves, key: tf.Tensor) -> tuple:
            # Both sides are returned, as in training. Were the left one dropped, XLA would let the
            # halves of the chains share its memory, and they would wait for each other.
            return gibbs.sweeps(model.blocks(params), chains, key, sweeps, concurrent=concurrent)

        return compiled(function, params, chains, key, jit_compile=jit_compile)

    def library(algorithm: str, jit_compile: bool = True) -> Callable:
        def function(params: RBMParameters, right: tf.Tensor) -> tf.Tensor:
            return library_sweeps(params, right, sweeps, algorithm)

        return compiled(function, params, right, jit_compile=jit_compile)

    return {
        FLOOR: compiled(lambda w, x: products_alone(w, x, sweeps), orthogonal, right),
        APART: compiled(lambda w, x: products_apart(w, x, sweeps), orthogonal, right),
        product_floor.OPENBLAS: product_floor.program(size, num_chains, sweeps),
        OURS: ours(concurrent=True),
        "ours, halves of the chains together": ours(concurrent=False),
        "XLA, alg='threefry'": library("threefry"),
        "XLA, alg='philox'": library("philox"),
        "TensorFlow graph, alg='philox'": library("philox", jit_compile=False),
        "TensorFlow graph, our generator": ours(concurrent=False, jit_compile=False),
    }


def measure(size: int, num_chains: int, options: argparse.Namespace) -> dict[str, Any]:
    """One table: all programs for one RBM and one number of chains."""
    problem = make_problem(size, num_chains, options.sweeps)
    programs = our_programs(problem)
    if options.programs == "ours":
        programs = {name: programs[name] for name in (FLOOR, *FLOORS, OURS)}
    if options.programs == "all":
        programs |= rivals.programs(problem)
    if options.dwave:
        programs |= rivals.dwave_programs(problem)
    # Large problems average over their own length.
    work = num_chains * size**2 / 1e7
    repeats = max(3, int(options.repeats / max(1.0, work / 10)))
    rows = timing.summary(timing.interleaved(programs, repeats), FLOOR, FLOORS)
    load = os.getloadavg()[0]
    title = f"RBM {size}x{size}, {num_chains} chains x {options.sweeps} sweeps, {repeats} rounds"
    timing.print_rows(f"{title}, load {load:.1f}", rows)
    return {
        "size": size,
        "chains": num_chains,
        "sweeps": options.sweeps,
        "load": load,
        "rows": rows,
    }


def main() -> None:
    """Prints one table per problem, and writes them all to a file if asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    numbers = lambda text: [int(number) for number in text.split(",")]  # noqa: E731
    parser.add_argument("--sizes", type=numbers, default=SIZES, help="RBM sizes, e.g. 100,200")
    parser.add_argument("--chains", type=numbers, default=CHAINS, help="e.g. 1000,10000")
    parser.add_argument("--sweeps", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=30, help="rounds of a small problem")
    parser.add_argument(
        "--programs",
        choices=["ours", "tensorflow", "all"],
        default="all",
        help="ours and the floor, with TensorFlow's generators too, or with PyTorch, JAX and rbms",
    )
    parser.add_argument("--dwave", action="store_true", help="D-Wave's plugin too: 12 s a call")
    parser.add_argument("--full", action="store_true", help="the largest problems too (an hour)")
    parser.add_argument("--quick", action="store_true", help="leave them out (default)")
    parser.add_argument("--json", default="", metavar="FILE", help="write the numbers there")
    options = parser.parse_args()
    tf.get_logger().setLevel("ERROR")  # every problem is a new program, and meant to be
    print(timing.machine())
    results = []
    for size in options.sizes:
        for num_chains in options.chains:
            if num_chains * size**2 > QUICK_WORK and not options.full:
                continue
            results.append(measure(size, num_chains, options))
            if options.json:
                timing.write_json(options.json, {"results": results})


if __name__ == "__main__":
    main()
