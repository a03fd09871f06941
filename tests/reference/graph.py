"""Boltzmann machines on any graph by enumeration in float64: all states, plain sums."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import entr, logsumexp

from tests.reference.rbm import all_states


@dataclass(frozen=True)
class ReferenceGraph:
    """E(z) = -(b·z + Σ w_ij z_i z_j): bias [D], edges (i, j), coupling one number for each."""

    bias: np.ndarray
    edges: tuple[tuple[int, int], ...]
    coupling: np.ndarray

    def states(self):
        return all_states(len(self.bias))

    def features(self, states):
        """Units and the products along the edges, [N, D + M]."""
        return np.column_stack([states, *(states[:, i] * states[:, j] for i, j in self.edges)])

    def energy(self, states):
        return -self.features(states) @ np.concatenate([self.bias, self.coupling])

    @property
    def parameters(self) -> list[np.ndarray]:
        return [self.bias, self.coupling]

    def matrix(self) -> np.ndarray:
        """J [D, D], symmetric with a zero diagonal."""
        found = np.zeros([len(self.bias)] * 2)
        for (i, j), value in zip(self.edges, self.coupling, strict=True):
            found[i, j] = found[j, i] = value
        return found

    def log_probability(self, states: np.ndarray) -> np.ndarray:
        return -self.energy(states) - self.log_partition()

    def log_partition(self):
        return float(logsumexp(-self.energy(self.states())))

    def probabilities(self):
        return np.exp(-self.energy(self.states()) - self.log_partition())

    def moments(self):
        """Means of `features` under p(z), [D + M]."""
        return self.probabilities() @ self.features(self.states())

    def sample(self, rng, num):
        return self.states()[rng.choice(2 ** len(self.bias), num, p=self.probabilities())]

    def between(self, base, temperature):
        """On the way from independent units with log odds `base`, energies mixed linearly."""
        bias = (1 - temperature) * base + temperature * self.bias
        return ReferenceGraph(bias, self.edges, temperature * self.coupling)


def mean_field_means(
    graph: ReferenceGraph, classes: tuple, fields: np.ndarray, iterations: int = 5
) -> np.ndarray:
    """Means [N, D] from one half, each class in turn; fields [N, D] beside those of the graph."""
    means, matrix = np.full(fields.shape, 0.5), graph.matrix()
    for _ in range(iterations):
        for units in map(list, classes):
            field = means @ matrix + graph.bias + fields
            means[:, units] = 1.0 / (1.0 + np.exp(-field[:, units]))
    return means


def mean_field_bound(graph: ReferenceGraph, fields: np.ndarray, means: np.ndarray) -> np.ndarray:
    """A lower bound of log Σ_z exp(-E(z) + fields.z) at any means, [N]."""
    pairs = 0.5 * np.sum((means @ graph.matrix()) * means, axis=1)
    entropy = np.sum(entr(means) + entr(1.0 - means), axis=1)
    return means @ graph.bias + np.sum(fields * means, axis=1) + pairs + entropy


def log_sum(graph: ReferenceGraph, fields: np.ndarray) -> np.ndarray:
    """What `mean_field_bound` bounds, by enumeration."""
    states = graph.states()
    return logsumexp(fields @ states.T - graph.energy(states), axis=1)


def gaussian_integral(graph: ReferenceGraph, zeta: np.ndarray, strength: float) -> np.ndarray:
    """log Σ_z exp(-E(z)) N(ζ; z, M^-1), M = J + λI, of relaxed latents [N, D], shape [N]."""
    precision = graph.matrix() + strength * np.eye(len(graph.bias))
    sign, log_det = np.linalg.slogdet(precision)
    assert sign > 0 and np.linalg.eigvalsh(precision)[0] > 0
    states = graph.states()
    away = zeta[:, None, :] - states
    quadratic = np.einsum("nsi,ij,nsj->ns", away, precision, away, optimize=True)
    log_normal = 0.5 * (log_det - len(graph.bias) * np.log(2.0 * np.pi) - quadratic)
    return logsumexp(log_normal - graph.energy(states), axis=1)


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
