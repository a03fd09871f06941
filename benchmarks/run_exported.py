"""Trains runs that `benchmarks.gpu_training` exported: needs NumPy and JAX, and nothing of ours.

    python FOLDER/run_exported.py FOLDER OUT [--seconds=N]

OUT gets NAME.state.npz, replaced as a whole every half minute, NAME.models-0.npz, ... with the
models on the way, and times.json: the device, and of each job seconds of compiling and microseconds
of a step. Programs compile side by side and run in turn. --seconds include compiling; then, and at
SIGTERM, what was trained is kept. What fails is named at the end, and the exit code is 1.
"""

import argparse
import gzip
import io
import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np

if __name__ == "__main__":  # JAX is there on that machine alone
    # What TensorFlow's determinism, which a run asks for, makes of XLA.
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_deterministic_ops=true"
    os.environ["XLA_FLAGS"] = flags
    import jax
    from jax._src.lib import xla_client

    jax.config.update("jax_enable_x64", True)  # else it would round what it is given

COMPILERS, STACK = 8, 2**29
SAVE_SECONDS = 30.0
PACK_BYTES = 14 * 2**20  # of models in a file, so that none is larger than 16 MiB

_ONE_AT_A_TIME = threading.Lock()  # side by side it crashes
_COPY = re.compile(r"mhlo\.copy (%\w+) : (tensor<[^>]*>)")


class Program:
    """The compiled program of a job; its results are arguments of the next call."""

    def __init__(self, folder: Path, name: str) -> None:
        hlo = gzip.decompress((folder / "programs" / f"{name}.hlo.gz").read_bytes())
        computation = xla_client.XlaComputation(hlo)
        with _ONE_AT_A_TIME:
            module = xla_client._xla.mlir.xla_computation_to_mlir_module(computation)
        # JAX's compiler knows no copies: a reshape to the same shape.
        module = _COPY.sub(r"stablehlo.reshape \1 : (\2) -> \2", module)
        self._carried, device = read_job(folder, name)["carried"], jax.devices()[0]
        on, options = xla_client.DeviceList((device,)), xla_client.CompileOptions()
        start = time.perf_counter()
        self._executable = device.client.compile_and_load(module, on, options)
        self.compile_seconds = time.perf_counter() - start

    def __call__(self, arguments: list, meanwhile: Callable[[], Any]) -> tuple[list, Any]:
        """The arguments of the next call, when they are there, and what the host did meanwhile."""
        arguments = [jax.device_put(argument) for argument in arguments]
        sharded = self._executable.execute_sharded(arguments)
        done = meanwhile()
        results = [r[0] for r in sharded.disassemble_into_single_device_arrays()]
        for result, place in zip(jax.block_until_ready(results), self._carried, strict=True):
            arguments[place] = result
        return arguments, done


class Limit:
    """When to stop: some seconds after this was made, or when a signal asks for it."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: setattr(self, "_asked", True))

    def reached(self, needed: float = 0.0) -> bool:
        """Whether work of so many seconds would come too late."""
        return self._asked or time.monotonic() + needed >= self._end


def write_arrays(path: Path, arrays: dict[str, Any]) -> None:
    """Replaces a file as a whole."""
    aside = path.with_name(f".{path.name}")
    with aside.open("wb") as file:
        np.savez_compressed(file, **arrays)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """What `write_arrays` wrote; nothing when there is no file."""
    return dict(np.load(path, allow_pickle=False)) if path.exists() else {}


class Hop:
    """One use of a machine by one run; OUT keeps how far it came, and is gone on with.

    plan: what `gpu_training.export` wrote: which argument of the program is what, and the steps.
    arguments: of the program, at the run's checkpoint. device: its name.
    """

    def __init__(
        self, out: Path, name: str, plan: dict[str, Any], arguments: list, device: str
    ) -> None:
        self._out, self._name, self._plan = out, name, plan
        self._arguments, self._device = arguments, device
        self._path = out / f"{name}.state.npz"
        self.facts = {"id": plan["id"], "step": plan["first"], "devices": {}}
        self.facts |= {"seconds": 0.0, "timed_steps": 0}
        if found := read_arrays(self._path):
            self.facts = json.loads(str(found["facts"]))
            if self.facts["id"] != plan["id"]:
                raise ValueError(f"{self._path} is of another run or checkpoint: change OUT")
            for key, place in plan["state"].items():
                self._arguments[place] = found[key]
        self._saved_at, self._save_seconds = time.monotonic(), 0.0

    def train(self, call: Callable, limit: Limit) -> None:
        """Goes on to the last step, or until the limit, and keeps where that is.

        call: see `Program`. Raises ArithmeticError when the numbers stay bad.
        """
        plan, facts, seconds = self._plan, self.facts, None
        rows = self._rows(facts["step"])
        while facts["step"] < plan["last"]:
            if limit.reached(2.0 * ((seconds or 0.0) + self._save_seconds)):
                break
            step, every = facts["step"], (plan["summary_every"], plan["model_every"])
            end = min(plan["last"], *((step // each + 1) * each for each in every))
            size = min(end - step, plan["per_call"])
            if step % plan["summary_every"] == 0:  # a summary would have taken them
                for place in plan["sums"]:
                    self._arguments[place] = np.zeros_like(self._arguments[place])
            self._arguments[plan["rows"]] = rows
            self._arguments[plan["count"]] = np.int32(size)
            start = time.perf_counter()
            following = lambda step=step + size: self._rows(step)  # noqa: E731
            self._arguments, rows = call(self._arguments, following)
            if seconds is not None:  # the first call may hold some of the compiler's time
                facts["seconds"] += time.perf_counter() - start
                facts["timed_steps"] += size
            seconds = time.perf_counter() - start
            facts["step"] += size
            facts["devices"][self._device] = facts["devices"].get(self._device, 0) + size
            place, index = plan["bad_in_a_row"]
            if (bad := int(np.asarray(self._arguments[place])[index])) >= plan["most_bad"]:
                raise ArithmeticError(f"step {step}: {bad} updates in a row were not finite")
            if is_model := facts["step"] % plan["model_every"] == 0:
                self._keep_model()
            if is_model or time.monotonic() > self._saved_at + SAVE_SECONDS:
                self._save()
        self._save()

    def _rows(self, step: int) -> np.ndarray:
        """Indices of the images of a call's steps; past the last step they are not used."""
        from data.batches import batch_indices

        plan = self._plan
        shape = plan["num_images"], plan["batch_size"], plan["seed"]
        return batch_indices(*shape, step, plan["per_call"])

    def _named(self, names: Iterable[str]) -> dict[str, np.ndarray]:
        return {name: np.asarray(self._arguments[self._plan["state"][name]]) for name in names}

    def _keep_model(self) -> None:
        step, every = self.facts["step"], self._plan["model_every"]
        model = self._named(self._plan["model"])
        in_a_pack = max(1, PACK_BYTES // sum(array.nbytes for array in model.values()))
        index = step // every - self._plan["first"] // every - 1
        path = self._out / f"{self._name}.models-{index // in_a_pack}.npz"
        found = {f"{step}/{name}": array for name, array in model.items()}
        write_arrays(path, read_arrays(path) | found)

    def _save(self) -> None:
        start, facts = time.monotonic(), np.array(json.dumps(self.facts))
        write_arrays(self._path, {"facts": facts, **self._named(self._plan["state"])})
        self._saved_at = time.monotonic()
        self._save_seconds = self._saved_at - start


def read_job(folder: Path, name: str) -> dict[str, Any]:
    """What `benchmarks.exported` wrote of a job."""
    return json.loads((folder / "jobs" / f"{name}.json").read_text(encoding="utf-8"))


def run(
    folder: Path, out: Path, name: str, device: str, program: Program, limit: Limit
) -> dict[str, Any]:
    """Runs a job; returns what is told of it."""
    job = read_job(folder, name)
    paths = (folder / "arrays" / f"{array}.npy.gz" for array in job["arguments"])
    arguments = [np.load(io.BytesIO(gzip.decompress(path.read_bytes()))) for path in paths]
    hop = Hop(out, name, job["training"], arguments, device)
    hop.train(program, limit)
    microseconds = 1e6 * hop.facts["seconds"] / max(hop.facts["timed_steps"], 1)
    told = {"unit": "step", "microseconds": microseconds, "step": hop.facts["step"]}
    return told | {"compile_seconds": program.compile_seconds}


def main() -> None:
    """Runs all jobs."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    options = parser.parse_args()
    limit, folder, out = Limit(options.seconds), options.folder, options.out
    names = sorted(path.stem for path in (folder / "jobs").glob("*.json"))
    if not names:
        parser.error(f"there is no job in {folder / 'jobs'}")
    out.mkdir(parents=True, exist_ok=True)
    device = f"{jax.devices()[0].platform.upper()}: {jax.devices()[0].device_kind}"
    times: dict[str, Any] = {"device": device, "jax": jax.__version__, "jobs": {}}
    print(device, flush=True)  # at once: JAX takes a CPU where it finds no GPU
    failed = []
    threading.stack_size(STACK)
    with ThreadPoolExecutor(COMPILERS) as pool:
        compiling = {pool.submit(Program, folder, name): name for name in names}
        for future in as_completed(compiling):
            name = compiling[future]
            if limit.reached():  # what is compiled is asked all the same: it ends at once
                _ = [other.cancel() for other in compiling]
            try:
                times["jobs"][name] = run(folder, out, name, device, future.result(), limit)
            except Exception as error:  # the others are run all the same
                failed.append(name)
                print(f"{name}: {type(error).__name__}: {str(error)[:500]}", flush=True)
                continue
            (out / "times.json").write_text(json.dumps(times) + "\n", encoding="utf-8")
            print(f"{name}: {times['jobs'][name]}", flush=True)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
