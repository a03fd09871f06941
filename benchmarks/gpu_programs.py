"""Compiles our programs for GPUs that need not be there, and counts what a GPU is told to do.

    python -m benchmarks.gpu_programs [--targets=h100,...] [--programs=kernel,sweeps,...] [--keep]

Counts are of XLA's thunks, the host's list of things to launch; microseconds are estimates, which
kernels of our own, larger than any other operation, do not have.
"""

import os
import re
import resource
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np
import tensorflow as tf

from benchmarks import exported, gpu_compiler, records, speed
from benchmarks.exported import Call
from benchmarks.records import Record
from benchmarks.speed import NUM_IMAGES, random_images
from configs.experiment import build_config
from dvae.train_step import TrainProgram
from samplers import ais, counter_random, hardware, tempering
from samplers.energy_model import uniform_base
from samplers.gpu_kernels import sweeps as sweeps_kernel

# Microseconds: of one operation inside a graph (a small kernel from start to start), and what the
# host needs for a launch, for a graph's launch and for asking the GPU whether a loop goes on.
OPERATION, LAUNCH, GRAPH, ROUND_TRIP = 2.2, 3.0, 6.0, 12.0
_THUNK = re.compile(r"^( *)(\d+): (k\w+)")
KEYS = ("operations", "launched_singly", "graph_launches", "host_round_trips")


@dataclass
class _Thunk:
    kind: str
    ident: int
    body: list["_Thunk"] = field(default_factory=list)
    condition: list["_Thunk"] = field(default_factory=list)


def _read(folder: Path, *endings: str) -> str:
    """The first file there is; thunk passes write theirs only where they changed something."""
    paths = (path for ending in endings for path in sorted(folder.glob(f"*{ending}")))
    return next(paths).read_text(encoding="utf-8")


def _parse(text: str) -> list[_Thunk]:
    root = _Thunk("root", 0)
    stack: list[tuple[int, _Thunk, list[_Thunk]]] = [(-1, root, root.body)]
    for line in text.splitlines():
        if line.strip() == "condition:":
            level, loop, _ = stack.pop()
            stack.append((level, loop, loop.condition))
        elif line.strip() == "body:":
            while stack[-1][0] > len(line) - len(line.lstrip()) - 2:
                stack.pop()
            level, loop, _ = stack.pop()
            stack.append((level, loop, loop.body))
        elif match := _THUNK.match(line):
            thunk, depth = _Thunk(match[3], int(match[2])), len(match[1])
            while stack[-1][0] >= depth:
                stack.pop()
            stack[-1][2].append(thunk)
            stack.append((depth, thunk, thunk.body))
    return root.body


class Counts(NamedTuple):
    """Of a whole call, and of one trip of its longest outermost loop; by `KEYS`."""

    in_call: Counter
    in_loop: Counter


def _trips(folder: Path) -> dict[int, int]:
    """How often loops run whose length the compiler knows, by the number of their thunk."""
    pattern = r'^\s*(?:ROOT )?%(\S+) = .* while\(.*"known_trip_count":\{"n":"(\d+)"'
    text = _read(folder, "gpu_after_optimizations.txt")
    known = dict(re.findall(pattern, text, re.MULTILINE))
    pattern = r'profile_annotation: "([^"]+)"\s+thunk_id: (\d+)'
    pairs = re.findall(pattern, _read(folder, "thunk_metadata.txt"))
    return {int(ident): int(known[name]) for name, ident in pairs if name in known}


def count(folder: Path) -> Counts:
    """What a compiled program tells the GPU in one call; loops of unknown length run once."""
    trips = _trips(folder)

    def total(thunks: list[_Thunk], in_graph: bool = False) -> Counter:
        found: Counter = Counter()
        for thunk in thunks:
            if thunk.kind == "kWhile":
                for name, number in trip(thunk, in_graph).items():
                    found[name] += number * trips.get(thunk.ident, 1)
            elif thunk.kind in ("kCommandBuffer", "kSequential", "kConditional"):
                is_graph = thunk.kind == "kCommandBuffer"
                found["graph_launches"] += is_graph
                found["host_round_trips"] += thunk.kind == "kConditional" and not in_graph
                found += total(thunk.body, in_graph or is_graph)
            else:
                found += Counter(operations=1, launched_singly=0 if in_graph else 1)
        return found

    def trip(loop: _Thunk, in_graph: bool = False) -> Counter:
        """One trip of a loop; where its length is not known, the host asks for each."""
        found = total(loop.body, in_graph)
        if loop.ident not in trips and not in_graph:
            found += total(loop.condition, in_graph) + Counter(host_round_trips=1)
        return found

    thunks = _parse(_read(folder, "thunk_sequence_after_thunk_passes.txt", "thunk_sequence.txt"))
    loops = [trip(thunk) for thunk in thunks if thunk.kind == "kWhile"]
    longest = max(loops, key=lambda loop: loop["operations"], default=Counter())
    return Counts(total(thunks), longest)


def microseconds(counted: dict[str, float]) -> float:
    """The estimate: GPU or host, whichever is slower, and the round trips that both wait for."""
    device = OPERATION * counted["operations"]
    host = LAUNCH * counted["launched_singly"] + GRAPH * counted["graph_launches"]
    return max(device, host) + ROUND_TRIP * counted["host_round_trips"]


def sweeps(size: int, chains: int = 1000, num: int = 40) -> Call:
    """Block Gibbs sweeps of an RBM."""
    model, params, _ = speed.problem(size, chains)
    key, sweep = counter_random.key(1), lambda *state: model.sweeps(*state, num)
    function = tf.function(sweep, jit_compile=True, autograph=False)
    return Call(function, (params, model.start(chains, key), key))


def annealing(temperatures: int = 1000) -> Call:
    """AIS of an RBM of 100x100, as evaluations do it."""
    model, params, _ = speed.problem(100, 1024)
    path = params, uniform_base(model), counter_random.key(1)
    return Call(ais._run, (model, *path, ais.linear_temperatures(temperatures), 1024))


def rounds() -> Call:
    """Tempering of an RBM of 100x100: 64 ladders of 16 temperatures."""
    model, params, _ = speed.problem(100, 1024)
    path = params, uniform_base(model), counter_random.key(1)
    return Call(tempering._run, (model, *path, ais.linear_temperatures(15), 64, 900, 100))


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
    "AIS 100x100": annealing,
    "tempering 100x100": rounds,
}


_OF_A_CALL = {"sweeps": "40 sweeps"}
_OF_A_LOOP = {"AIS": "temperature", "tempering": "round", "training": "step"}
KERNEL = ", kernel"  # ends the name of a program that takes kernels of ours


def takes_kernels(target: str) -> bool:
    """Whether a GPU can hold the sweeps of any RBM."""
    with hardware.use("gpu"), hardware.use_kernels(gpu_compiler.gpu_of(target)):
        return sweeps_kernel.holds(1, 8, 2)


def measure(name: str, make: Callable[[], Call], target: str) -> Record:
    """Compiles a program for a GPU, and counts 40 sweeps, or one of a loop's steps."""
    kernels = gpu_compiler.gpu_of(target) if name.endswith(KERNEL) else None
    with tempfile.TemporaryDirectory() as folder, hardware.use_kernels(kernels):
        hlo, begun = exported.export(make).hlo, resource.getrusage(resource.RUSAGE_CHILDREN)
        gpu_compiler.compile_program(hlo, target, Path(folder) / "made")
        ended, found = resource.getrusage(resource.RUSAGE_CHILDREN), count(Path(folder) / "made")
    kind = name.split()[0]
    counted = found.in_call if kind in _OF_A_CALL else found.in_loop
    units = 1 if kind in _OF_A_CALL else hardware.STEPS_A_TRIP
    per_unit = {key: counted.get(key, 0) / units for key in KEYS}
    unit = (_OF_A_CALL | _OF_A_LOOP)[kind]
    about = {"program": name, "gpu": target, "unit": unit}
    about["seconds_to_compile"] = round(ended.ru_utime - begun.ru_utime, 1)  # of a processor
    return about | per_unit | {"microseconds": None if kernels else microseconds(per_unit)}


def _asked(words: list[str]) -> list[str]:
    """Names that words are in; with kernels where one of the words is "kernel" or there is none."""
    ends = ("", KERNEL) if "" in words else (KERNEL,) if "kernel" in words else ("",)
    asked = [word for word in words if word != "kernel"] or [""]
    names = [name + end for name in PROGRAMS for end in ends]
    return [name for name in names if any(word in name for word in asked)]


def main() -> None:
    """Prints what is counted of each program and GPU."""
    parser = records.parser(__doc__)
    parser.add_argument("--targets", type=records.names, default=["h100", "a100", "t4"])
    parser.add_argument("--programs", type=records.names, default=[""], help="words of the names")
    parser.add_argument(
        "--keep", action="store_true", help="for the page, beside what is kept of others"
    )
    options = parser.parse_args()
    records.prepare_device()
    tf.random.set_seed(1)  # TensorFlow draws a number to find its device
    found = []
    for name in _asked(options.programs):
        for target in options.targets:
            if name.endswith(KERNEL) and not takes_kernels(target):
                continue
            try:
                found.append(measure(name, PROGRAMS[name.removesuffix(KERNEL)], target))
            except gpu_compiler.NoCompilerError as error:
                raise SystemExit(f"nothing was compiled: {error}") from None
            print(found[-1], flush=True)
    if options.keep:
        kept = records.read("performance").get("gpu_programs", {}).get("programs", [])
        rows = {(row["program"], row["gpu"]): row for row in kept + found}
        records.keep("performance", "gpu_programs", {"programs": [*rows.values()]})


if __name__ == "__main__":
    main()
