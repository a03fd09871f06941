"""Boltzmann machines on any graph by enumeration in float64: all states, plain sums."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tests.reference.rbm import ReferenceModel


@dataclass(frozen=True)
class ReferenceGraph(ReferenceModel):
    """bias [D], edges (i, j), coupling one number for each."""

    bias: np.ndarray
    edges: tuple[tuple[int, int], ...]
    coupling: np.ndarray
    names = ("bias", "coupling")


def complete(num_units: int) -> tuple[tuple[int, int], ...]:
    return tuple((i, j) for j in range(num_units) for i in range(j))


def king_moves(num_units):
    """Edges of a strip two units wide with its diagonals: four colours are needed."""
    pairs = ((i, j) for j in range(num_units) for i in range(j))
    return tuple((i, j) for i, j in pairs if abs(i // 2 - j // 2) <= 1)


def random_graph(
    num_units: int,
    seed: int,
    coupling_scale: float = 1.0,
    graph: Callable[[int], tuple] = king_moves,
) -> ReferenceGraph:
    """On a strip of `king_moves`; float32 numbers, so that nothing is lost on the way."""
    rng, edges = np.random.default_rng(seed), graph(num_units)
    bias, coupling = rng.normal(size=num_units), coupling_scale * rng.normal(size=len(edges))
    return ReferenceGraph(np.float64(np.float32(bias)), edges, np.float64(np.float32(coupling)))
