"""Programs of ours as files that a machine without TensorFlow can run: see `run_exported`.

A folder holds `jobs/NAME.json`, `programs/NAME.hlo.gz` (serialized, unoptimised HLO in the layout
for a GPU), `arrays/SHA.npy.gz`, each array once however many jobs use it, and the code that runs
them, so that it needs nothing beside it.
"""

import gzip
import hashlib
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from benchmarks.records import ROOT
from samplers import hardware


class Call(NamedTuple):
    """A `tf.function`, its arguments, and a nest among them that it returns the next of, or ()."""

    function: Any
    arguments: tuple
    carried: Any = ()


class Exported(NamedTuple):
    """A program: its HLO, arguments (what it captured last), and the places of the carried ones."""

    hlo: bytes
    arguments: list[np.ndarray]
    carried: list[int]


def lowered(function: Any, *arguments: Any) -> bytes:
    """The HLO of a `tf.function`, for a GPU where that can be had."""
    make = function.experimental_get_compiler_ir(*arguments)
    try:
        return make(stage="hlo_serialized", platform_name="GPU")
    except ValueError:  # the device of a variable must be there; unoptimised HLO is the same
        return make(stage="hlo_serialized")


def export(make: Callable[[], Call]) -> Exported:
    """A call as a program in the layout for a GPU, with `hardware.exact_products`."""
    with hardware.use("gpu"), hardware.exact_products():
        function, arguments, carried = make()
        hlo = lowered(function, *arguments)
        concrete = function.get_concrete_function(*arguments)
    given = [leaf for leaf in tf.nest.flatten(arguments) if tf.is_tensor(leaf)]
    at = {id(tensor): place for place, tensor in enumerate(given)}
    places = [at[id(leaf)] for leaf in tf.nest.flatten(carried)]
    values = {id(v.handle): v for v in concrete.graph.variables}
    captured = [values.get(id(tensor), tensor) for tensor in concrete.captured_inputs]
    return Exported(hlo, [tensor.numpy() for tensor in (*given, *captured)], places)


def write(folder: Path, name: str, exported: Exported, job: dict[str, Any]) -> None:
    """Writes one job, what is to be done with it (JSON), and the code that runs it."""
    for part in ("jobs", "programs", "arrays", "data", "configs"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / "programs" / f"{name}.hlo.gz").write_bytes(gzip.compress(exported.hlo, 6))
    record: dict[str, Any] = {"arguments": [], "carried": exported.carried, **job}
    for array in exported.arguments:
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        record["arguments"].append(hashlib.sha256(buffer.getvalue()).hexdigest()[:16])
        path = folder / "arrays" / f"{record['arguments'][-1]}.npy.gz"
        if not path.exists():
            path.write_bytes(gzip.compress(buffer.getvalue(), 6))
    (folder / "jobs" / f"{name}.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
    shutil.copy(ROOT / "benchmarks" / "run_exported.py", folder)
    for file in ("data/batches.py", "configs/errors.py"):
        shutil.copy(ROOT / file, folder / file)
        (folder / file).with_name("__init__.py").touch()
