"""Counts what a GPU is told to do by a compiled program: kernels, copies, graphs, round trips.

Reads what `compile_program` left: XLA's thunks (the host's list of things to launch), its optimised
HLO and its PTX. These are facts of one version of the compiler; the times are estimates.
"""

import re
import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from benchmarks.gpu_compiler import TARGETS

# Microseconds: of one operation inside a graph (a small kernel from start to start), and what the
# host needs for a launch, for a graph's launch and for asking the GPU whether a loop goes on.
OPERATION, LAUNCH, GRAPH, ROUND_TRIP = 2.2, 3.0, 6.0, 12.0
ASSUMPTIONS = {
    "us_an_operation": OPERATION,
    "us_a_launch": LAUNCH,
    "us_a_graph": GRAPH,
    "us_a_round_trip": ROUND_TRIP,
}
_THUNK = re.compile(r"^( *)(\d+): (k\w+)(.*)$")
_KINDS = {"kGemm": "products", "kCublasLtMatmul": "products", "kCopy": "copies"}
_KINDS |= {"kMemset": "memsets", "kMemzero": "memsets", "kKernel": "kernels"}
_KERNEL = (
    r"kernel = (\w+)\s*, launch dimensions = blocks: \{(\d+), (\d+), (\d+)\}, "
    r"threads/block: \{(\d+)"
)
_ROTATIONS = 13  # of a block of Threefry-2x32, one in each round
KEYS = ("operations", "kernels", "products", "copies", "memsets", "others", "launched_singly")
KEYS += ("graph_launches", "host_round_trips", "random_blocks")


@dataclass
class _Thunk:
    kind: str
    ident: int
    rest: str
    body: list["_Thunk"] = field(default_factory=list)
    condition: list["_Thunk"] = field(default_factory=list)


def _file(folder: Path, *endings: str) -> Path:
    """The first that there is; thunk passes write theirs only where they changed something."""
    return next(path for ending in endings for path in sorted(folder.glob(f"*{ending}")))


def _parse(text: str) -> _Thunk:
    root = _Thunk("root", 0, "")
    stack: list[tuple[int, _Thunk, list[_Thunk]]] = [(-1, root, root.body)]
    in_condition = False
    for line in text.splitlines():
        if line.strip() == "condition:":
            in_condition = True
            continue
        if line.strip() == "body:":
            depth = len(line) - len(line.lstrip()) - 2
            while stack[-1][0] > depth:
                stack.pop()
            level, loop, _ = stack.pop()
            stack.append((level, loop, loop.body))
            continue
        if (match := _THUNK.match(line)) is None:
            continue
        thunk = _Thunk(match[3], int(match[2]), match[4])
        if in_condition:
            level, loop, _ = stack.pop()
            stack.append((level, loop, loop.condition))
            in_condition = False
        depth = len(match[1])
        while stack[-1][0] >= depth:
            stack.pop()
        stack[-1][2].append(thunk)
        stack.append((depth, thunk, thunk.body))
    return root


class Counts(NamedTuple):
    """of a whole call, and of one trip of its longest outermost loop; by `KEYS`."""

    in_call: Counter
    in_loop: Counter


class _Walk:
    """Goes through thunks; loops count as often as they run, those of unknown length once."""

    def __init__(self, folder: Path) -> None:
        metadata = _file(folder, "thunk_metadata.txt").read_text(encoding="utf-8")
        pairs = re.findall(r'profile_annotation: "([^"]+)"\s+thunk_id: (\d+)', metadata)
        self._names = {int(ident): name for name, ident in pairs}
        self._blocks = _blocks_a_thread(_file(folder, ".ptx").read_text(encoding="utf-8"))
        self._trips: dict[str, int] = {}
        for line in (
            _file(folder, "gpu_after_optimizations.txt").read_text(encoding="utf-8").splitlines()
        ):
            loop = re.match(r"\s*(?:ROOT )?%(\S+) = .* while\(", line)
            known = re.search(r'"known_trip_count":\{"n":"(\d+)"', line)
            if loop and known:
                self._trips[loop[1]] = int(known[1])

    def count(self, thunks: list[_Thunk], in_graph: bool = False) -> Counter:
        total: Counter = Counter()
        for thunk in thunks:
            if thunk.kind == "kWhile":
                trips = self._trips.get(self._names.get(thunk.ident, ""), 1)
                for name, count in self.trip(thunk, in_graph).items():
                    total[name] += count * trips
            elif thunk.kind == "kCommandBuffer":
                total["graph_launches"] += 1
                total += self.count(thunk.body, True)
            elif thunk.kind == "kSequential":
                total += self.count(thunk.body, in_graph)
            elif thunk.kind == "kConditional":
                total["host_round_trips"] += 0 if in_graph else 1
                total += self.count(thunk.body, in_graph)
            else:
                total += self._operation(thunk, in_graph)
        return total

    def trip(self, loop: _Thunk, in_graph: bool = False) -> Counter:
        """One trip of a loop; where its length is not known, the host asks for each."""
        total = self.count(loop.body, in_graph)
        if self._names.get(loop.ident, "") not in self._trips and not in_graph:
            total += self.count(loop.condition, in_graph)
            total["host_round_trips"] += 1
        return total

    def _operation(self, thunk: _Thunk, in_graph: bool) -> Counter:
        kind = _KINDS.get(thunk.kind, "others")
        kernel = re.search(_KERNEL, thunk.rest)
        if kernel and kernel[1].startswith("gemm_fusion"):
            kind = "products"
        found = Counter({kind: 1, "operations": 1, "launched_singly": 0 if in_graph else 1})
        if kernel:
            x, y, z, threads = map(int, kernel.groups()[1:])
            found["random_blocks"] = x * y * z * threads * self._blocks.get(kernel[1], 0.0)
        return found


def _blocks_a_thread(ptx: str) -> dict[str, float]:
    """Threefry blocks that each thread of a kernel computes, told by their rotations."""
    blocks = {}
    for entry in ptx.split(".visible .entry ")[1:]:
        rotations = len(re.findall(r"\bshf\.[lr]\.wrap", entry))
        blocks[re.match(r"\w+", entry)[0]] = rotations / _ROTATIONS
    return blocks


def count(folder: Path) -> Counts:
    """What a compiled program tells the GPU in one call; loops of unknown length run once."""
    text = _file(folder, "thunk_sequence_after_thunk_passes.txt", "thunk_sequence.txt").read_text(
        encoding="utf-8"
    )
    walk, thunks = _Walk(folder), _parse(text).body
    loops = [walk.trip(thunk) for thunk in thunks if thunk.kind == "kWhile"]
    longest = max(loops, key=lambda loop: loop["operations"], default=Counter())
    return Counts(walk.count(thunks), longest)


def spill_bytes(folder: Path, target: str) -> int | None:
    """Bytes of registers that kernels spill to memory, by ptxas; None where there is none."""
    if shutil.which("ptxas") is None:
        return None
    text = TARGETS[target].read_text(encoding="utf-8")
    digits = [re.search(rf"{part}: (\d+)", text) for part in ("major", "minor")]
    architecture = "".join(match[1] if match else "0" for match in digits)
    for suffix in ("a", ""):  # what PTX asks for where XLA used features of one architecture alone
        command = ["ptxas", "-v", f"-arch=sm_{architecture}{suffix}"]
        command += [str(_file(folder, ".ptx")), "-o", "/dev/null"]
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", check=False
        )
        if done.returncode == 0:
            spills = re.findall(r"(\d+) bytes spill (?:stores|loads)", done.stderr)
            return sum(map(int, spills))
    return None


def microseconds(counted: dict[str, float]) -> float:
    """The estimate: GPU or host, whichever is slower, and the round trips that both wait for."""
    device = OPERATION * counted["operations"]
    host = LAUNCH * counted["launched_singly"] + GRAPH * counted["graph_launches"]
    return max(device, host) + ROUND_TRIP * counted["host_round_trips"]
