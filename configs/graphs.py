"""The graph of a prior: which pairs of latent units are coupled. No tensors, and nothing random.

A prior goes by a name: `complete`, `partite:4`, `zephyr:3` or a file of edges. What the name alone
does not say, the edges of a hardware graph or of a file, becomes a part of the structure, so that a
model can be read back without the package or the file that they came from.

A graph with more nodes than there are units lends them a connected part: it starts in the middle of
the graph and takes, again and again, the node with the most edges into the part (of equal ones that
nearest to the middle, then the first). Units of a hardware graph are numbered colour by colour of
its known four-colouring, so that the groups of a hierarchy, which are consecutive units, are made
of whole colours as far as sizes allow: as those of the RBM lie in its halves. Units of a file keep
the order of their nodes.
"""

import dataclasses
import functools
import hashlib
import importlib
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from configs.errors import UserError, name_of
from configs.files import bad_file, exists, read_bytes
from configs.registry import GRAPHS, PRIORS, Structure
from configs.setting import value_text

Edge = tuple[int, int]
_PRIOR = name_of("prior")
MISSING = "hardware graphs need two packages: pip install dwave-graphs networkx"
_FORMAT = "a file of edges has the number of nodes N in its first line, then one edge i j a line"
_MAX_BYTES = 1 << 26


class Graph(NamedTuple):
    """Nodes 0 to N - 1, and their edges (i, j), i < j; colour: one number for each node."""

    num_nodes: int
    edges: tuple[Edge, ...]
    colour: tuple[int, ...]

    def neighbours(self) -> list[set[int]]:
        """Those of each node."""
        found: list[set[int]] = [set() for _ in range(self.num_nodes)]
        for i, j in self.edges:
            found[i].add(j)
            found[j].add(i)
        return found


def complete(num_units: int) -> tuple[Edge, ...]:
    """All pairs."""
    return tuple((i, j) for i in range(num_units) for j in range(i + 1, num_units))


def partite(num_units: int, num_parts: int) -> tuple[Edge, ...]:
    """All pairs of units of different parts: consecutive units, the first parts one larger."""
    if not 2 <= num_parts <= num_units:
        raise UserError(f"{_PRIOR}=partite:{num_parts} needs 2 to {num_units} parts")
    size, more = divmod(num_units, num_parts)
    part = [p for p in range(num_parts) for _ in range(size + (p < more))]
    return tuple((i, j) for i, j in complete(num_units) if part[i] != part[j])


def argument(name: str) -> int:
    """The number after the colon of a prior's name. Raises UserError."""
    kind, _, text = name.partition(":")
    if not re.fullmatch("[0-9]{1,4}", text):
        raise UserError(
            f"{_PRIOR}={value_text(name, quotes=False)} must be {kind}:N, a whole number N"
        )
    return int(text)


def _distances(near: Sequence[set[int]], start: int) -> dict[int, int]:
    """Edges from `start` to each node that can be reached, in the order in which it is."""
    found = {start: 0}
    queue = [start]
    for node in queue:
        for other in sorted(near[node]):
            if other not in found:
                found[other] = found[node] + 1
                queue.append(other)
    return found


def _middle(near: Sequence[set[int]]) -> int:
    """The node nearest to the furthest of four ends: nodes as far as can be from those before."""
    ways = [_distances(near, 0)]
    for _ in range(4):
        ways.append(_distances(near, max(ways[0], key=lambda n: min(way[n] for way in ways))))
    ends = ways[1:]
    return min(ends[0], key=lambda n: (max(way[n] for way in ends), sum(way[n] for way in ends), n))


def part(graph: Graph, num_units: int) -> tuple[Edge, ...]:
    """Edges between the units of a model that are placed on a graph, i < j, sorted.

    Raises:
      UserError: the graph has too few nodes.
    """
    if num_units > graph.num_nodes:
        raise UserError(
            f"the model has {num_units} latent units and the graph {graph.num_nodes} nodes: choose "
            f"a larger graph, or another {name_of('struct')}"
        )
    near = graph.neighbours()
    newest = _middle(near)
    chosen, inside, away = {newest}, Counter[int](), _distances(near, newest)
    while len(chosen) < num_units:
        inside.update(near[newest] - chosen)
        newest = min(inside, key=lambda node: (-inside[node], away[node], node))
        del inside[newest]
        chosen.add(newest)
    order = sorted(chosen, key=lambda node: (graph.colour[node], node))
    unit = {node: index for index, node in enumerate(order)}
    pairs = ((unit[i], unit[j]) for i, j in graph.edges if i in unit and j in unit)
    return tuple(sorted((min(pair), max(pair)) for pair in pairs))


@functools.cache
def hardware(name: str, size: int) -> Graph:
    """Pegasus or Zephyr of D-Wave's annealers with its four-colouring (`dwave.graphs`).

    Raises:
      UserError: the package is not installed, or there is no such size.
    """
    least = 2 if name == "pegasus" else 1
    if not least <= size <= 16:
        raise UserError(f"{_PRIOR}={name}:{size} must have a size of {least} to 16")
    try:
        package = importlib.import_module("dwave.graphs")
        made = getattr(package, f"{name}_graph")(size, coordinates=True)
        four_colour = getattr(package, f"{name}_four_color")
    except ImportError as error:
        raise UserError(f"{_PRIOR}={name}:{size}: {MISSING} ({error})") from None
    nodes = sorted(made.nodes)
    number = {node: index for index, node in enumerate(nodes)}
    edges = (sorted((number[i], number[j])) for i, j in made.edges)
    colour = tuple(four_colour(node) for node in nodes)
    return Graph(len(nodes), tuple(sorted((i, j) for i, j in edges)), colour)


def _checked_edge(line: str, num_nodes: int) -> Edge:
    """The edge of a line. Raises ValueError, which says what is wrong with it."""
    ends = line.split()
    if len(ends) != 2 or not all(re.fullmatch("[0-9]{1,9}", end) for end in ends):
        raise ValueError("is no edge i j of two whole numbers")
    i, j = sorted(map(int, ends))
    if j >= num_nodes:
        raise ValueError(f"names a node that is not there: they are 0 to {num_nodes - 1}")
    if i == j:
        raise ValueError("joins a node to itself")
    return i, j


def read_edges(path: Path) -> Graph:
    """The graph of a file: N in its first line, then an edge a line; # begins a comment.

    Raises:
      UserError: it cannot be read, or is no connected graph with each edge once.
    """
    text = read_bytes(path, _MAX_BYTES, _FORMAT).decode(errors="replace")
    lines = [
        (number, line.partition("#")[0].strip()) for number, line in enumerate(text.split("\n"), 1)
    ]
    lines = [(number, line) for number, line in lines if line]
    if not lines or not re.fullmatch("[0-9]{1,7}", lines[0][1]) or int(lines[0][1]) < 1:
        raise bad_file(path, "does not begin with a number of nodes", _FORMAT)
    num_nodes, seen = int(lines[0][1]), dict[Edge, int]()
    for number, line in lines[1:]:
        try:
            edge = _checked_edge(line, num_nodes)
            if seen.setdefault(edge, number) != number:
                raise ValueError(f"is that of line {seen[edge]} again")
        except ValueError as error:
            raise bad_file(path, f"line {number}: {value_text(line)} {error}", _FORMAT) from None
    graph = Graph(num_nodes, tuple(sorted(seen)), (0,) * num_nodes)
    reached = _distances(graph.neighbours(), 0)
    if len(reached) < num_nodes:
        alone = next(node for node in range(num_nodes) if node not in reached)
        raise bad_file(path, f"is not connected: no way leads from node 0 to node {alone}", _FORMAT)
    return graph


def as_text(edges: Sequence[Edge]) -> str:
    """Edges as a configuration holds them: "0-1 0-2"."""
    return " ".join(f"{i}-{j}" for i, j in edges)


@functools.lru_cache(maxsize=16)
def from_text(text: str) -> tuple[Edge, ...]:
    """The inverse of `as_text`. Raises ValueError for any other text."""
    edges = [tuple(map(int, pair.split("-"))) for pair in text.split()]
    if any(len(edge) != 2 for edge in edges):
        raise ValueError("edges are no pairs")
    return tuple(edges)


def with_prior(structure: Structure, name: str) -> Structure:
    """The structure with the prior that --prior names, edges and all.

    A file is recorded by its name and a digest of its edges: "kings.txt-1a2b3c4d".

    Raises:
      UserError: the name is unknown, or what it stands for cannot be made.
    """
    kind = name.partition(":")[0]
    if kind in PRIORS:
        if kind == "partite":
            partite(structure.num_latents, argument(name))
        elif kind != name:
            raise UserError(f"{_PRIOR}={value_text(name, quotes=False)}: {kind} takes no number")
        return dataclasses.replace(structure, prior=name, edges="")
    if kind in GRAPHS:
        graph = hardware(kind, argument(name))
    elif exists(Path(name)):
        graph = read_edges(Path(name))
    else:
        known = ["partite:N" if prior == "partite" else prior for prior in PRIORS]
        choice = ", ".join([*known, *(f"{graph}:M" for graph in GRAPHS)])
        raise UserError(
            f"{_PRIOR}={value_text(name, quotes=False)} is unknown; choose one of: {choice}, "
            "or the path of a file of edges"
        )
    edges = as_text(part(graph, structure.num_latents))
    if kind not in GRAPHS:
        name = f"{Path(name).name}-{hashlib.sha256(edges.encode()).hexdigest()[:8]}"
    return dataclasses.replace(structure, prior=name, edges=edges)


def is_named(recorded: str, asked: str) -> bool:
    """Whether a recorded prior is the one that --prior=ASKED would be; of a file, by its name."""
    return (
        recorded == asked
        or re.fullmatch(re.escape(Path(asked).name) + "-[0-9a-f]{8}", recorded) is not None
    )
