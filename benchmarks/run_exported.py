"""Runs programs that `benchmarks.exported` wrote: needs NumPy and JAX, and nothing of ours.

    python benchmarks/run_exported.py FOLDER OUT [NAME ...]

OUT/NAME.npz gets what a job keeps; OUT/times.json the device, and of each job the median time of
its unit and the seconds of compiling, beside those of earlier calls on the same device. Programs
are compiled side by side and run one at a time. What fails is named at the end, and the exit code
is 1.
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
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

# What TensorFlow's determinism, which a run asks for, makes of XLA.
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_deterministic_ops=true"

import jax
import numpy as np
from jax._src.lib import xla_client

jax.config.update("jax_enable_x64", True)  # else it would round what it is given
COMPILERS, STACK = 8, 2**29
_ALIAS = re.compile(r"\{(\d*)\}: \((\d+), \{\}")


_ONE_AT_A_TIME = threading.Lock()  # side by side it crashes
_COPY = re.compile(r"mhlo\.copy (%\w+) : (tensor<[^>]*>)")


def _stablehlo(computation: xla_client.XlaComputation) -> str:
    """A program as JAX's compiler wants it, which knows no copies: a reshape to the same shape."""
    with _ONE_AT_A_TIME:
        module = xla_client._xla.mlir.xla_computation_to_mlir_module(computation)
    return _COPY.sub(r"stablehlo.reshape \1 : (\2) -> \2", module)


class Program:
    """A compiled program. feedback: which result is which argument of the next call."""

    def __init__(self, path: Path) -> None:
        computation = xla_client.XlaComputation(gzip.decompress(path.read_bytes()))
        header = computation.as_hlo_text().split("entry_computation_layout", 1)[0]
        self.feedback = [(int(i or 0), int(j)) for i, j in _ALIAS.findall(header)]
        device = jax.devices()[0]
        start = time.perf_counter()
        self._executable = device.client.compile_and_load(
            _stablehlo(computation),
            xla_client.DeviceList((device,)),
            xla_client.CompileOptions(),
        )
        self.compile_seconds = time.perf_counter() - start

    def __call__(self, arguments: list) -> list:
        """The results, when they are there."""
        sharded = self._executable.execute_sharded(arguments)
        results = [r[0] for r in sharded.disassemble_into_single_device_arrays()]
        return jax.block_until_ready(results)


def read_array(folder: Path, name: str) -> np.ndarray:
    """An array of the folder."""
    data = gzip.decompress((folder / "arrays" / f"{name}.npy.gz").read_bytes())
    return np.load(io.BytesIO(data), allow_pickle=False)


def run(folder: Path, job: dict[str, Any], program: Program) -> tuple[list[float], dict]:
    """The seconds of each call, and what the job keeps."""
    arguments = [jax.device_put(read_array(folder, name)) for name in job["arguments"]]
    schedule = {int(i): read_array(folder, name) for i, name in job["schedule"].items()}
    seconds = []
    for call in range(job["calls"]):
        for place, rows in schedule.items():
            arguments[place] = jax.device_put(rows[call])
        jax.block_until_ready(arguments)
        start = time.perf_counter()
        results = program(arguments)
        seconds.append(time.perf_counter() - start)
        for result, place in program.feedback:
            arguments[place] = results[result]
    return seconds, {name: np.asarray(arguments[i]) for name, i in job["keep"].items()}


def main() -> None:
    """Runs all jobs, or those named."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    folder, out = options.folder, options.out
    names = options.names or sorted(path.stem for path in (folder / "jobs").glob("*.json"))
    if not names:
        parser.error(f"there is no job in {folder / 'jobs'}")
    out.mkdir(parents=True, exist_ok=True)
    device = jax.devices()[0]
    kind = f"{device.platform.upper()}: {device.device_kind}"
    times: dict[str, Any] = {"device": kind, "jax": jax.__version__, "jobs": {}}
    if (out / "times.json").exists():
        before = json.loads((out / "times.json").read_text(encoding="utf-8"))
        times["jobs"] = before["jobs"] if before | {"jobs": {}} == times else {}
    failed = []
    threading.stack_size(STACK)
    with ThreadPoolExecutor(COMPILERS) as pool:
        compiling = {
            pool.submit(Program, folder / "programs" / f"{name}.hlo.gz"): name for name in names
        }
        for future in as_completed(compiling):
            name = compiling[future]
            try:
                job = json.loads((folder / "jobs" / f"{name}.json").read_text(encoding="utf-8"))
                program = future.result()
                seconds, kept = run(folder, job, program)
            except Exception as error:  # the others are run all the same
                failed.append(name)
                print(f"{name}: {type(error).__name__}: {str(error)[:500]}", flush=True)
                continue
            if kept:
                np.savez_compressed(out / f"{name}.npz", **kept)
            times["jobs"][name] = {
                "unit": job["unit"],
                "microseconds": 1e6 * statistics.median(seconds) / job["per_call"],
                "first_call_seconds": seconds[0],
                "compile_seconds": program.compile_seconds,
            }
            (out / "times.json").write_text(json.dumps(times) + "\n", encoding="utf-8")
            print(
                f"{name}: compiled in {program.compile_seconds:.1f} s; {len(seconds)} calls, "
                f"{times['jobs'][name]['microseconds']:.1f} us a {job['unit']}",
                flush=True,
            )
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
