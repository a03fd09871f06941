"""Counts what a GPU is told to do by a compiled program: operations, graphs, round trips.

Reads what `compile_program` left: XLA's thunks (the host's list of things to launch) and its
optimised HLO. These are facts of one version of the compiler; the times are estimates.
"""

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

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
