"""Rehearses a hop on this machine: what JAX's CPU gives back against what run.py's program gives.

    python -m benchmarks.rehearse_hop RUN_DIR SCRATCH --data_dir=datasets --steps=200

A copy of the run in SCRATCH/run is exported, trained by JAX, and taken back; the run's own program
trains the same steps from the same checkpoint. Printed is how far the two ended from each other,
as the root mean square over all numbers of a kind, and how far the steps moved them.
"""

import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import tensorflow as tf

from benchmarks import gpu_training
from benchmarks.device import prepare_device
from data.batches import call_indices
from dvae.runs.directory import RunDirectory
from dvae.runs.loop import STEPS_PER_CALL
from dvae.runs.process import say
from dvae.runs.records import read_config
from dvae.train_state import TrainState, named_leaves
from dvae.train_step import TrainProgram


def _values(state: TrainState) -> dict[str, np.ndarray]:
    return {name: np.float64(leaf) for name, leaf in named_leaves(state).items()}


def _show(program: TrainProgram, ends: list[dict[str, np.ndarray]]) -> None:
    """The table. ends: at the checkpoint, trained here, trained there."""
    for kind in ("weights", "averages", "adam", "sampler"):
        names = [name for name in ends[0] if name.split("/")[0] == kind and name != "adam/count"]
        start, here, there = (np.concatenate([end[name].ravel() for name in names]) for end in ends)
        apart, moved = (np.sqrt(np.mean((here - other) ** 2)) for other in (there, start))
        same = np.mean(np.isclose(here, there, rtol=1e-5, atol=1e-6))
        say(f"{kind}: apart {apart:.2e}, moved {moved:.2e}, equal to 1e-5: {100 * same:.2f} %")
    start, here, there = (end["metric_sums"] for end in ends)
    for i, name in enumerate(program.metrics.names):
        mine, theirs = ((end[i] - start[i]) / (end[-1] - start[-1]) for end in (here, there))
        say(f"{name}: mean of the steps {mine:.4f} here, {theirs:.4f} there")


def main() -> None:
    """Rehearses, and prints what came of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, metavar="RUN_DIR")
    parser.add_argument("scratch", type=Path)
    parser.add_argument("--data_dir", default="datasets")
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args()
    prepare_device()
    tf.random.set_seed(1)  # TensorFlow draws a number to find its device
    path, folder, out = (options.scratch / name for name in ("run", "folder", "out"))
    shutil.copytree(options.run, path)
    directory = RunDirectory(path)
    dataset = gpu_training.data_of(directory, options.data_dir)
    config, _ = read_config(directory.path)
    program = TrainProgram(config, dataset)
    saver, progress = gpu_training.restored(directory, program)
    first = progress.step if progress else 0
    ends = [_values(program.state)]
    gpu_training.export(folder, directory, dataset, last=first + options.steps)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    say(f"the folder holds {size / 2**20:.1f} MiB")
    start = time.perf_counter()
    command = [sys.executable, str(folder / "run_exported.py"), str(folder), str(out)]
    say(subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout.strip())
    say(f"there: {time.perf_counter() - start:.0f} s; {[p.name for p in sorted(out.iterdir())]}")
    gpu_training.take(folder, out, directory, dataset)
    shape = len(dataset.train), config.train_batchsize, config.seed
    for step in range(first, first + options.steps, STEPS_PER_CALL):
        size = min(STEPS_PER_CALL, first + options.steps - step)
        if step % config.summary_every == 0:
            program.take_metrics()
        program.run(call_indices(*shape, step, size, STEPS_PER_CALL), size)
    ends.append(_values(program.state))
    saver.restore()
    ends.append(_values(program.state))
    _show(program, ends)


if __name__ == "__main__":
    main()
