"""Boltzmann machines on any graph by enumeration in float64: all states, plain sums."""

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

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


def king_moves(num_units):
    """Edges of a strip two units wide with its diagonals: four colours are needed."""
    pairs = ((i, j) for j in range(num_units) for i in range(j))
    return tuple((i, j) for i, j in pairs if abs(i // 2 - j // 2) <= 1)


def random_graph(num_units, seed, coupling_scale=1.0):
    """A strip of `king_moves`; float32 numbers, so that nothing is lost on the way."""
    rng, edges = np.random.default_rng(seed), king_moves(num_units)
    bias, coupling = rng.normal(size=num_units), coupling_scale * rng.normal(size=len(edges))
    return ReferenceGraph(np.float64(np.float32(bias)), edges, np.float64(np.float32(coupling)))
