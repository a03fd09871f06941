"""Compiles our programs for GPUs that need not be there, and counts what a GPU is told to do.

    python -m benchmarks.gpu_programs [--targets=h100,t4] [--programs=sweeps,...] [--keep]

Counts are facts of the compiler in this version of TensorFlow, microseconds are estimates (see
`gpu_compiler.counts`). Nothing is run.
"""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np
import tensorflow as tf

from benchmarks import exported, gpu_compiler, records, speed
from benchmarks.exported import Call
from benchmarks.gpu_compiler import counts
from benchmarks.records import Record
from benchmarks.speed import NUM_IMAGES, random_images
from configs.experiment import build_config
from dvae.train_step import TrainProgram
from samplers import counter_random, hardware


class Program(NamedTuple):
    """A program, and how it is counted.

    make: gives it. unit: what is counted. units: of them in a trip of the outermost loop; 0: the
    call is the unit.
    """

    make: Callable[[], Call]
    unit: str
    units: int


def sweeps(size: int = 100, chains: int = 1000, num: int = 40) -> Program:
    """Block Gibbs sweeps of an RBM."""

    def make() -> Call:
        model, params, _ = speed.problem(size, chains)
        key = counter_random.key(1)
        function = tf.function(
            lambda *state: model.sweeps(*state, num), jit_compile=True, autograph=False
        )
        return Call(function, (params, model.start(chains, key), key))

    return Program(make, f"{num} sweeps", 0)


def step(**fields: Any) -> Program:
    """A training step, of dvaes_power on 1-layer-nonlin with k = 1 and pa but for some fields."""
    fields = {
        "struct": "1-layer-nonlin",
        "baseline": "dvaes_power",
        "k": 1,
        "sampler": "pa",
    } | fields
    config, steps = build_config(**fields), 100

    def make() -> Call:
        program = TrainProgram(config, random_images())
        shape = (steps, config.train_batchsize)
        indices = np.random.default_rng(2).integers(0, NUM_IMAGES, shape, dtype=np.int32)
        given = tf.constant(indices), tf.constant(steps), hardware.STEPS_A_TRIP
        return Call(program.compiled, program.arguments(*given), program.state)

    return Program(make, "step", hardware.STEPS_A_TRIP)


PROGRAMS = {
    "sweeps 100x100": sweeps,
    "sweeps 200x200": lambda: sweeps(200),
    "training dvaes_power": step,
    "training dvaes_gi": lambda: step(baseline="dvaes_gi"),
    "training dvaes_power, k=5, pcd": lambda: step(k=5, sampler="pcd"),
    "training dvaes_power, 4-layer-nonlin": lambda: step(struct="4-layer-nonlin"),
}


def measure(name: str, program: Program, hlo: bytes, target: str, folder: Path) -> Record:
    """Compiles one program for one GPU, and counts by its unit."""
    start = time.perf_counter()
    gpu_compiler.compile_program(hlo, target, folder)
    seconds = time.perf_counter() - start
    found = counts.count(folder)
    counted = found.in_loop if program.units else found.in_call
    per_unit = {key: counted.get(key, 0) / max(program.units, 1) for key in counts.KEYS}
    return {
        **{"program": name, "gpu": target, "unit": program.unit, **per_unit},
        "microseconds": counts.microseconds(per_unit),
        "compile_seconds": seconds,
    }


def main() -> None:
    """Prints a line for each program and GPU."""
    parser = records.parser(__doc__)
    parser.add_argument("--targets", type=records.names, default=["h100", "t4"])
    parser.add_argument("--programs", type=records.names, default=[""], help="words of the names")
    parser.add_argument("--keep", action="store_true", help="keep the numbers for the page")
    options = parser.parse_args()
    records.prepare_device()
    tf.random.set_seed(1)  # TensorFlow draws a number to find its device
    chosen = [name for name in PROGRAMS if any(word in name for word in options.programs)]
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        for name in chosen:
            program = PROGRAMS[name]()
            made = exported.export(program.make)
            for target in options.targets:
                try:
                    found.append(measure(name, program, made.hlo, target, Path(scratch) / target))
                except gpu_compiler.NoCompilerError as error:
                    raise SystemExit(f"nothing was compiled: {error}") from None
                print(found[-1], flush=True)
    if options.keep:
        records.keep(
            "performance", "gpu_programs", {"assumptions": counts.ASSUMPTIONS, "programs": found}
        )


if __name__ == "__main__":
    main()
