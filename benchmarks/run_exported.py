"""Runs programs that `benchmarks.exported` wrote: needs NumPy and JAX, and nothing of ours.

    python FOLDER/run_exported.py FOLDER OUT [NAME ...] [--seconds=N]

Programs are measured, or train a run: see `train_exported`. OUT/times.json gets the device, and of
each job the median time of its unit and the seconds of compiling, beside those of earlier calls on
the same device. Programs are compiled side by side and run one at a time. With --seconds it ends
within so many seconds, compiling included; SIGTERM ends it at once; both keep what was trained.
What fails is named at the end, and the exit code is 1.
"""

import argparse
import gzip
import io
import json
import os
import re
import statistics
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

# What TensorFlow's determinism, which a run asks for, makes of XLA.
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_deterministic_ops=true"

import jax
import numpy as np
from jax._src.lib import xla_client
from train_exported import Hop, Limit  # beside this file, here and in FOLDER

jax.config.update("jax_enable_x64", True)  # else it would round what it is given
COMPILERS, STACK = 8, 2**29

_ONE_AT_A_TIME = threading.Lock()  # side by side it crashes
_COPY = re.compile(r"mhlo\.copy (%\w+) : (tensor<[^>]*>)")


def _stablehlo(computation: xla_client.XlaComputation) -> str:
    """A program as JAX's compiler wants it, which knows no copies: a reshape to the same shape."""
    with _ONE_AT_A_TIME:
        module = xla_client._xla.mlir.xla_computation_to_mlir_module(computation)
    return _COPY.sub(r"stablehlo.reshape \1 : (\2) -> \2", module)


class Program:
    """A compiled program. carried: which argument of the next call each result is, if any."""

    def __init__(self, path: Path, carried: list[int]) -> None:
        computation = xla_client.XlaComputation(gzip.decompress(path.read_bytes()))
        self._carried = carried
        device = jax.devices()[0]
        start = time.perf_counter()
        self._executable = device.client.compile_and_load(
            _stablehlo(computation),
            xla_client.DeviceList((device,)),
            xla_client.CompileOptions(),
        )
        self.compile_seconds = time.perf_counter() - start

    def __call__(self, arguments: list, meanwhile: Callable[[], Any]) -> tuple[list, Any]:
        """The arguments of the next call, when they are there, and what the host did meanwhile."""
        arguments = [jax.device_put(argument) for argument in arguments]
        sharded = self._executable.execute_sharded(arguments)
        done = meanwhile()
        results = [r[0] for r in sharded.disassemble_into_single_device_arrays()]
        jax.block_until_ready(results)
        for result, place in zip(results, self._carried, strict=bool(self._carried)):
            arguments[place] = result
        return arguments, done


def read_array(folder: Path, name: str) -> np.ndarray:
    """An array of the folder."""
    data = gzip.decompress((folder / "arrays" / f"{name}.npy.gz").read_bytes())
    return np.load(io.BytesIO(data), allow_pickle=False)


def measure(calls: int, program: Program, arguments: list) -> list[float]:
    """The seconds of each of so many calls."""
    seconds = []
    for _ in range(calls):
        arguments = jax.block_until_ready([jax.device_put(argument) for argument in arguments])
        start = time.perf_counter()
        arguments, _ = program(arguments, lambda: None)
        seconds.append(time.perf_counter() - start)
    return seconds


def read_job(folder: Path, name: str) -> dict[str, Any]:
    """What `benchmarks.exported` wrote of a job."""
    return json.loads((folder / "jobs" / f"{name}.json").read_text(encoding="utf-8"))


def compiled(folder: Path, name: str) -> Program:
    """The program of a job."""
    carried = read_job(folder, name)["carried"]
    return Program(folder / "programs" / f"{name}.hlo.gz", carried)


def run(folder: Path, out: Path, name: str, program: Program, limit: Limit) -> dict[str, Any]:
    """Runs a job; returns what is told of it."""
    job = read_job(folder, name)
    arguments = [read_array(folder, array) for array in job["arguments"]]
    told: dict[str, Any] = {"compile_seconds": program.compile_seconds}
    if "training" not in job:
        seconds = measure(job["calls"], program, arguments)
        microseconds = 1e6 * statistics.median(seconds) / job["per_call"]
        told |= {"first_call_seconds": seconds[0], "unit": job["unit"]}
        return told | {"microseconds": microseconds}
    hop = Hop(out, name, job["training"], arguments, device_name())
    before = hop.step
    hop.train(program, limit)
    microseconds = 1e6 * hop.facts["seconds"] / max(hop.facts["timed_steps"], 1)
    return told | {"unit": "step", "microseconds": microseconds, "steps": [before, hop.step]}


def device_name() -> str:
    """As results name it."""
    device = jax.devices()[0]
    return f"{device.platform.upper()}: {device.device_kind}"


def main() -> None:
    """Runs all jobs, or those named."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    options = parser.parse_args()
    limit = Limit(options.seconds)
    folder, out = options.folder, options.out
    names = options.names or sorted(path.stem for path in (folder / "jobs").glob("*.json"))
    if not names:
        parser.error(f"there is no job in {folder / 'jobs'}")
    out.mkdir(parents=True, exist_ok=True)
    print(device_name(), flush=True)  # at once: JAX takes a CPU where it finds no GPU
    times: dict[str, Any] = {"device": device_name(), "jax": jax.__version__, "jobs": {}}
    if (out / "times.json").exists():
        before = json.loads((out / "times.json").read_text(encoding="utf-8"))
        times["jobs"] = before["jobs"] if before | {"jobs": {}} == times else {}
    failed = []
    threading.stack_size(STACK)
    with ThreadPoolExecutor(COMPILERS) as pool:
        compiling = {pool.submit(compiled, folder, name): name for name in names}
        for future in as_completed(compiling):
            name = compiling[future]
            if limit.reached():  # what is compiled is asked all the same: it ends at once
                for other in compiling:
                    other.cancel()
            try:
                told = run(folder, out, name, future.result(), limit)
            except Exception as error:  # the others are run all the same
                failed.append(name)
                print(f"{name}: {type(error).__name__}: {str(error)[:500]}", flush=True)
                continue
            times["jobs"][name] = told
            (out / "times.json").write_text(json.dumps(times) + "\n", encoding="utf-8")
            first, last = told.get("steps", (0, 0))
            print(
                f"{name}: compiled in {told['compile_seconds']:.1f} s; "
                f"{told['microseconds']:.1f} us a {told['unit']}"
                f"{f'; from step {first} to {last}' if last else ''}",
                flush=True,
            )
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
