"""One step of the prior's chains in float64: population annealing, and contrastive divergence.

Draws are those of the program (see `counter_random`), so that the chains come out the same bits.
"""

from dataclasses import dataclass, replace

import numpy as np

from tests.reference.counter_random import bernoulli, fold_in, split, uniform
from tests.reference.rbm import ReferenceRBM


@dataclass(frozen=True)
class Population:
    """states [C, D], log weights [C] with mean weight one, the RBM they are samples of, log Z."""

    states: np.ndarray
    log_weights: np.ndarray
    rbm: ReferenceRBM
    log_partition: float

    def weights(self):
        """Normalised weights [C]."""
        return np.exp(self.log_weights) / np.sum(np.exp(self.log_weights))


def sweep(rbm, states, key, count):
    """`count` block-Gibbs sweeps of states [C, D], left half first; an even C in two parts."""

    def draw(logits, stream, part):  # part 1 counts on where part 0 stops
        return bernoulli(key, logits, stream, part * -(-logits.size // 4))

    swept = []
    for part, rows in enumerate(np.split(states, 2 if len(states) % 2 == 0 else 1)):
        right = rows[:, rbm.num_left :]
        for index in range(count):
            left = draw(right @ rbm.coupling.T + rbm.left_bias, 2 * index, part)
            right = draw(left @ rbm.coupling + rbm.right_bias, 2 * index + 1, part)
        swept.append(np.concatenate([left, right], axis=1))
    return np.concatenate(swept)


def contrastive_divergence(rbm, population, key, num_sweeps):
    """PCD: sweeps at the new parameters, nothing else."""
    return replace(population, rbm=rbm, states=sweep(rbm, population.states, key, num_sweeps))


def systematic(weights, offset):
    """Ancestors [C]: member c has a child for each point (j + offset) / C inside its weight."""
    points = (np.arange(len(weights)) + offset) / len(weights)
    return np.minimum(np.searchsorted(np.cumsum(weights), points), len(weights) - 1)


def anneal(rbm, old, key, num_sweeps, threshold):
    """Population annealing: weight by exp(E_old - E_new), resample if the ESS is low, sweep."""
    for_resampling, for_sweeps = split(fold_in(key, 0), 2)
    total = old.log_weights + old.rbm.energy(old.states) - rbm.energy(old.states)
    log_ratio = np.log(np.mean(np.exp(total)))
    new = Population(old.states, total - log_ratio, rbm, old.log_partition + log_ratio)
    share = 1 / np.sum(new.weights() ** 2) / len(total)
    if share < threshold or threshold >= 1:
        ancestors = systematic(new.weights(), float(uniform(for_resampling, [])))
        new = replace(new, states=new.states[ancestors], log_weights=np.zeros(len(total)))
    return replace(new, states=sweep(rbm, new.states, for_sweeps, num_sweeps))
