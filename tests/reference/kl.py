"""KL(q(z, ζ | x) || p(z) r(ζ | z)) of tiny models and its gradient, by quadrature in float64.

A posterior is a list of groups, each giving its logits from the relaxed latents of the groups
before it. The expectation over those is a sum over a fixed grid of (z, percentile) pairs, whose
weights are the only thing that depends on the posterior; the gradient of that sum by finite
differences is therefore an exact gradient, obtained without any reparameterisation.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np

from tests.reference.rbm import all_states, bernoulli_log_probability, numerical_gradient


@dataclass(frozen=True)
class Posterior:
    """Groups of the posterior of one image: group l maps latents [N, P_l] to logits [N, n_l]."""

    groups: tuple[Callable[[np.ndarray], np.ndarray], ...]

    def logits(self, latents):
        """All logits [N, D], given the latents [N, >= D - n_last] of all groups but the last."""
        parts, start = [], 0
        for group in self.groups:
            parts.append(group(latents[:, :start]))
            start += parts[-1].shape[1]
        return np.concatenate(parts, axis=1)

    @property
    def group_sizes(self):
        """Number of units of each group."""
        sizes = []
        for group in self.groups:
            sizes.append(group(np.zeros((1, sum(sizes)))).shape[1])
        return sizes


def table_posterior(constants, weights=()):
    """Logits c_l + tanh(ζ of the earlier groups) A_l.

    constants: c_l [n_l] of each group; weights: A_l [P_l, n_l] of the second group onwards.
    """

    def group(constant, weight):
        return lambda previous: constant + np.tanh(previous) @ weight

    weights = [np.zeros((0, len(constants[0]))), *weights]
    return Posterior(tuple(group(*pair) for pair in zip(constants, weights, strict=True)))


def joint_kl(rbm, posterior, smoothing, count=60):
    """From the definition, of DVAE and DVAE++: there is no ν in it, and r cancels."""
    *_, size = sizes = posterior.group_sizes
    nodes = smoothing.nodes(count)
    shape = (len(nodes[0]),) * (sum(sizes) - size)
    index = np.indices(shape).reshape(len(shape), prod(shape)).T
    zeta, earlier, weight = (values[index] for values in nodes)
    logits, total = posterior.logits(zeta), 0.0
    for last in all_states(size):
        z = np.concatenate([earlier, np.tile(last, (len(earlier), 1))], axis=1)
        log_q = bernoulli_log_probability(z, logits)
        total += np.sum(np.prod(weight, 1) * np.exp(log_q) * (log_q - rbm.log_probability(z)))
    return float(total)


def kl_gradient(kl, model, constants, weights=()):
    """Gradient of kl(model, table_posterior(constants, weights)) by finite differences, flat.

    Order: the constants, the weights, then the model's parameters.
    """
    first, last = len(constants), -len(model.parameters)

    def value(arrays):
        table = table_posterior(arrays[:first], arrays[first:last])
        return kl(model.replaced(arrays[last:]), table)

    gradient = numerical_gradient(value, [*constants, *weights, *model.parameters])
    return np.concatenate([np.ravel(array) for array in gradient])
