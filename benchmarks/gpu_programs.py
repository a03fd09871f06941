"""Compiles our programs for GPUs that need not be there, and counts what a GPU is told to do.

    python -m benchmarks.gpu_programs [--targets=h100,t4] [--programs=sweeps,...] [--json=FILE]
    python -m benchmarks.gpu_programs --export=FOLDER    for `run_exported`, which measures them

Counts are facts of the compiler in this version of TensorFlow. Times are estimates: 2.2 us an
operation inside a CUDA graph, 3 us a launch, 6 us a graph's launch, 12 us a host round trip.
Nothing is run.
"""

import argparse
import os
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np
import tensorflow as tf

from benchmarks import exported, gpu_compiler, timing
from benchmarks.device import prepare_device
from benchmarks.exported import Call
from benchmarks.gpu_compiler import counts
from benchmarks.sampler import make_problem
from benchmarks.train_step import NUM_IMAGES, random_images
from configs.experiment import build_config
from dvae import evaluation
from dvae.build import build
from dvae.train_step import TrainProgram
from samplers import ais, counter_random, hardware, tempering
from samplers.energy_model import fitted_base
from samplers.rbm import RBM, RBMParameters

Record = dict[str, Any]
REPEATS = 20  # calls of an exported program


class Program(NamedTuple):
    """A program, and how it is counted.

    make: gives it. unit: what is counted. per_call: how many of them a call is. units: of them in a
    trip of the outermost loop; 0: the call is the unit. blocks: of random bits that a unit needs at
    least.
    """

    make: Callable[[], Call]
    unit: str
    per_call: int
    units: int
    blocks: float


def _problem(size: int, chains: int) -> tuple[RBM, RBMParameters, tf.Tensor, tf.Tensor]:
    """A model, its parameters, units that a base is fitted to, and a key."""
    problem = make_problem(size, chains, 1)
    params = RBMParameters(*map(tf.constant, problem[:3]))
    units = tf.tile(tf.constant(problem.right), [1, 2])
    return RBM(size, size), params, units, counter_random.key(1)


def sweeps(size: int = 100, chains: int = 1000, num: int = 40) -> Program:
    """Block Gibbs sweeps of an RBM."""

    def make() -> Call:
        model, params, _, key = _problem(size, chains)
        function = tf.function(
            lambda *state: model.sweeps(*state, num), jit_compile=True, autograph=False
        )
        return Call(function, (params, model.start(chains, key), key))

    return Program(make, f"{num} sweeps", 1, 0, 2 * num * chains * size / 4)


def step(**fields: Any) -> Program:
    """A training step."""
    config, steps = build_config(**fields), 100

    def make() -> Call:
        program = TrainProgram(config, random_images())
        shape = (steps, config.train_batchsize)
        indices = np.random.default_rng(2).integers(0, NUM_IMAGES, shape, dtype=np.int32)
        arguments = program.arguments(
            tf.constant(indices), tf.constant(steps), hardware.STEPS_A_TRIP
        )
        return Call(program.compiled, arguments, program.state)

    draws = config.num_sweeps * config.num_chains * config.structure.num_latents
    return Program(make, "step", steps, hardware.STEPS_A_TRIP, draws / 4)


def evaluation_pass(struct: str = "1-layer-nonlin") -> Program:
    """One pass of the networks in the final evaluation."""
    config = build_config(struct=struct, baseline="dvaes_power")
    rows = samples = 4000

    def make() -> Call:
        evaluator = evaluation.Evaluator(build(config, np.full(784, 0.2, np.float32))[0])
        images = tf.zeros([config.eval_batchsize, 784], tf.uint8)
        per_pass = evaluation.rows_per_pass(config.eval_batchsize, rows) // config.eval_batchsize
        key = counter_random.key(1)
        first, num = tf.constant(0), tf.constant(samples)
        return Call(evaluator._compiled, (images, key, first, num, per_pass))

    passes = config.eval_batchsize * samples // rows
    return Program(make, f"pass of {rows} rows", passes, 1, rows * config.structure.num_latents / 4)


def annealed(temperatures: int = 1000, chains: int = 1024) -> Program:
    """Forward AIS at 100x100."""

    def make() -> Call:
        *problem, units, key = _problem(100, chains)
        path = ais.linear_temperatures(temperatures)
        return Call(ais._run, (*problem, fitted_base(units), key, path, chains))

    return Program(make, "temperature", temperatures, 10, 2 * chains * 100 / 4)


def tempered(rounds: int = 1000, ladders: int = 32, rungs: int = 32) -> Program:
    """Parallel tempering at 100x100."""

    def make() -> Call:
        *problem, units, key = _problem(100, 1000)
        path = ais.linear_temperatures(rungs)
        arguments = fitted_base(units), key, path, ladders, rounds, rounds // 4
        return Call(tempering._run, (*problem, *arguments))

    return Program(make, "round", rounds, 10, 2 * ladders * (rungs + 1) * 100 / 4)


_POWER = {"struct": "1-layer-nonlin", "baseline": "dvaes_power", "k": 1, "sampler": "pa"}
PROGRAMS = {
    "sweeps 100x100": sweeps,
    "sweeps 200x200": lambda: sweeps(200),
    "training dvaes_power": lambda: step(**_POWER),
    "training dvaes_gi": lambda: step(**(_POWER | {"baseline": "dvaes_gi"})),
    "training dvaes_power, k=5, pcd": lambda: step(**(_POWER | {"k": 5, "sampler": "pcd"})),
    "training dvaes_power, 4-layer-nonlin": lambda: step(**(_POWER | {"struct": "4-layer-nonlin"})),
    "evaluation": evaluation_pass,
    "AIS": annealed,
    "tempering": tempered,
}


def measure(name: str, program: Program, hlo: bytes, target: str, folder: Path) -> Record:
    """Compiles one program for one GPU, and counts by its unit."""
    start = time.perf_counter()
    gpu_compiler.compile_program(hlo, target, folder)
    seconds = time.perf_counter() - start
    found = counts.count(folder)
    counted = found.in_loop if program.units else found.in_call
    units = max(program.units, 1)
    per_unit = {key: counted.get(key, 0) / units for key in counts.KEYS}
    return {
        "program": name,
        "gpu": target,
        "unit": program.unit,
        **per_unit,
        "random_blocks_needed": program.blocks,
        "spill_bytes": counts.spill_bytes(folder, target),
        "microseconds": counts.microseconds(per_unit),
        "compile_seconds": seconds,
    }


def main() -> None:
    """Prints a table, and writes it to a file if asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--targets", default="h100,t4", help="of benchmarks/gpu_compiler/targets")
    parser.add_argument("--programs", default="", help="words of the names, e.g. sweeps,AIS")
    parser.add_argument("--keep", default="", metavar="DIR", help="keep what the compiler wrote")
    parser.add_argument("--json", default="", metavar="FILE", help="write the numbers there")
    parser.add_argument("--export", type=Path, metavar="FOLDER", help="write the programs there")
    options = parser.parse_args()
    prepare_device()
    tf.random.set_seed(1)  # TensorFlow draws a number to find its device
    words = options.programs.split(",")
    programs = {
        name: make() for name, make in PROGRAMS.items() if any(word in name for word in words)
    }
    if options.export:
        for name, program in programs.items():
            exported.write(
                options.export,
                re.sub(r"\W+", "-", name),
                exported.export(program.make),
                {"calls": REPEATS, "unit": program.unit, "per_call": program.per_call},
            )
        return
    try:
        gpu_compiler.build()
    except gpu_compiler.NoCompilerError as error:
        raise SystemExit(f"nothing was compiled: {error}") from None
    records = []
    with tempfile.TemporaryDirectory() as scratch:
        for name, program in programs.items():
            hlo = exported.export(program.make).hlo
            for target in options.targets.split(","):
                folder = Path(options.keep or scratch) / f"{name} {target}".replace(" ", "_")
                records.append(measure(name, program, hlo, target, folder.absolute()))
                shown = records[-1]
                print(
                    f"{name}, {target}: {shown['operations']:g} operations a {shown['unit']}, "
                    f"{shown['graph_launches']:g} graph launches, "
                    f"{shown['host_round_trips']:g} round trips, {shown['microseconds']:.0f} us",
                    flush=True,
                )
    if options.json:
        timing.write_json(options.json, {"assumptions": counts.ASSUMPTIONS, "programs": records})


if __name__ == "__main__":
    main()
