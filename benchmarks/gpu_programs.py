"""Compiles our programs for GPUs that need not be there, and counts what a GPU is told to do.

    python -m benchmarks.gpu_programs [--targets=h100,t4] [--programs=sweeps,...] [--keep]

Counts are facts of the compiler in this version of TensorFlow, microseconds are estimates (see
`gpu_compiler.counts`). Nothing is run.
"""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


def sweeps(size: int, chains: int = 1000, num: int = 40) -> Call:
    """Block Gibbs sweeps of an RBM."""
    model, params, _ = speed.problem(size, chains)
    key, sweep = counter_random.key(1), lambda *state: model.sweeps(*state, num)
    function = tf.function(sweep, jit_compile=True, autograph=False)
    return Call(function, (params, model.start(chains, key), key))


def steps(num: int = 100, **fields: Any) -> Call:
    """Training steps, of dvaes_power on 1-layer-nonlin with k = 1 and pa but for some fields."""
    config = build_config(**{"struct": "1-layer-nonlin", "baseline": "dvaes_power"} | fields)
    program = TrainProgram(config, random_images())
    shape = (num, config.train_batchsize)
    indices = np.random.default_rng(2).integers(0, NUM_IMAGES, shape, dtype=np.int32)
    given = tf.constant(indices), tf.constant(num), hardware.STEPS_A_TRIP
    return Call(program.compiled, program.arguments(*given), program.state)


PROGRAMS: dict[str, Callable[[], Call]] = {
    "sweeps 100x100": lambda: sweeps(100),
    "sweeps 200x200": lambda: sweeps(200),
    "training dvaes_power": steps,
    "training dvaes_gi": lambda: steps(baseline="dvaes_gi"),
    "training dvaes_power, k=5, pcd": lambda: steps(k=5, sampler="pcd"),
    "training dvaes_power, 4-layer-nonlin": lambda: steps(struct="4-layer-nonlin"),
}


def measure(name: str, make: Callable[[], Call], target: str) -> Record:
    """Compiles a program for a GPU, and counts 40 sweeps, or one training step."""
    with tempfile.TemporaryDirectory() as folder:
        gpu_compiler.compile_program(exported.export(make).hlo, target, Path(folder) / "made")
        found = counts.count(Path(folder) / "made")
    of_sweeps = name.startswith("sweeps")
    counted = found.in_call if of_sweeps else found.in_loop
    units = 1 if of_sweeps else hardware.STEPS_A_TRIP
    per_unit = {key: counted.get(key, 0) / units for key in counts.KEYS}
    about = {"program": name, "gpu": target, "unit": "40 sweeps" if of_sweeps else "step"}
    return about | per_unit | {"microseconds": counts.microseconds(per_unit)}


def main() -> None:
    """Prints what is counted of each program and GPU."""
    parser = records.parser(__doc__)
    parser.add_argument("--targets", type=records.names, default=["h100", "t4"])
    parser.add_argument("--programs", type=records.names, default=[""], help="words of the names")
    parser.add_argument("--keep", action="store_true", help="keep the numbers for the page")
    options = parser.parse_args()
    records.prepare_device()
    tf.random.set_seed(1)  # TensorFlow draws a number to find its device
    found = []
    for name in (n for n in PROGRAMS if any(word in n for word in options.programs)):
        for target in options.targets:
            try:
                found.append(measure(name, PROGRAMS[name], target))
            except gpu_compiler.NoCompilerError as error:
                raise SystemExit(f"nothing was compiled: {error}") from None
            print(found[-1], flush=True)
    if options.keep:
        records.keep("performance", "gpu_programs", {"programs": found})


if __name__ == "__main__":
    main()
