"""The KL terms of the baselines and their gradients on tiny models, by quadrature in float64.

A posterior is a list of groups, each giving its logits from the relaxed latents of the groups
before it. The expectation over those is a sum over a fixed grid of (z, percentile) pairs, whose
weights are the only thing that depends on the posterior; the gradient of that sum by finite
differences is therefore an exact gradient, obtained without any reparameterisation.

    joint_kl      KL(q(z,ζ|x) || p(z) r(ζ|z)): DVAE and DVAE++ (r cancels)
    smoothed_kl_value   DVAE++'s one-sample formula with ν, whose mean joint_kl is
    marginal_kl   E[log q(ζ|x) - log p(ζ)]: DVAE#
    importance_weighted_objective   E[log mean_K w] of relaxed latents: DVAE# with K > 1
    pathwise_gradient   the mean of a reparameterised estimator's gradient, biases included

A log prior maps (ζ, 1-ζ) [N, D] to [N].
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import entr, expit

from tests.reference.rbm import (
    ReferenceRBM,
    all_states,
    bernoulli_log_probability,
    numerical_gradient,
)


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


@dataclass(frozen=True)
class Grid:
    """Product grid over units: zeta, complement, z [N, U] and weight [N] (without q)."""

    zeta: np.ndarray
    complement: np.ndarray
    z: np.ndarray
    weight: np.ndarray

    def probability(self, logits):
        """Weight of each node under the posterior, given its logits [N, >= U]; sums to 1."""
        logits = logits[:, : self.z.shape[1]]
        return self.weight * np.exp(bernoulli_log_probability(self.z, logits))


def latent_grid(smoothing, num_units, count=60):
    """Grid of (2 count)^num_units nodes for the smoothed latents of num_units units."""
    nodes = smoothing.nodes(count)
    shape = (len(nodes[0]),) * num_units
    index = np.indices(shape).reshape(num_units, np.prod(shape, dtype=int)).T
    zeta, complement, z, weight = (values[index] for values in nodes)
    return Grid(zeta, complement, z, np.prod(weight, axis=1))


def joint_kl(rbm, posterior, smoothing, count=60):
    """KL between q(z, ζ | x) and p(z) r(ζ | z), from its definition: no ν and no r in it."""
    *_, size = sizes = posterior.group_sizes
    grid = latent_grid(smoothing, sum(sizes) - size, count)
    logits = posterior.logits(grid.zeta)
    probability, total = grid.probability(logits), 0.0
    for last in all_states(size):
        z = np.concatenate([grid.z, np.tile(last, (len(grid.z), 1))], axis=1)
        log_last = bernoulli_log_probability(last, logits[:, -size:])
        log_ratio = bernoulli_log_probability(z, logits) - rbm.log_probability(z)
        total += np.sum(probability * np.exp(log_last) * log_ratio)
    return float(total)


def smoothed_kl_value(rbm, logits, left_log_odds):
    """-H(q) + log Z - [a·q_L + b·q_R + ν_L' W q_R] from logits [N, D] and B(ζ_L) [N, L]; [N]."""
    q, (left, _) = expit(logits), rbm.halves(logits)
    bilinear = np.einsum("ni,ij,nj->n", expit(left + left_log_odds), rbm.coupling, rbm.halves(q)[1])
    entropy = np.sum(entr(q) + entr(1 - q), axis=1)
    return -entropy + rbm.log_partition() - q @ rbm.bias - bilinear


def marginal_kl(log_prior, posterior, smoothing, count=60):
    """E[log q(ζ|x) - log p(ζ)], for D = 2 (or 3)."""
    grid = latent_grid(smoothing, sum(posterior.group_sizes), count)
    logits = posterior.logits(grid.zeta)
    value = marginal_log_ratio(log_prior, smoothing, grid.zeta, grid.complement, logits)
    return float(np.sum(grid.probability(logits) * value))


def marginal_log_ratio(log_prior, smoothing, zeta, complement, logits):
    """log q(ζ|x) - log p(ζ) of relaxed latents [N, D], shape [N]."""
    log_density = smoothing.mixture_log_density(zeta, expit(logits), complement)
    return np.sum(log_density, axis=1) - log_prior(zeta, complement)


def importance_weighted_objective(
    log_likelihood, log_prior, posterior, smoothing, num_samples, kl_weight=1.0, count=20
):
    """E[log mean_K w], log w = log p(x|ζ) + kl_weight (log p(ζ) - log q(ζ|x)), for D = 2, K <= 2.

    log_likelihood maps ζ [N, D] to log p(x|ζ) [N].
    """
    grid = latent_grid(smoothing, sum(posterior.group_sizes), count)
    logits = posterior.logits(grid.zeta)
    probability = grid.probability(logits)
    ratio = marginal_log_ratio(log_prior, smoothing, grid.zeta, grid.complement, logits)
    log_weight = log_likelihood(grid.zeta) - kl_weight * ratio
    if num_samples == 1:
        return float(probability @ log_weight)
    pairs = np.logaddexp.outer(log_weight, log_weight) - np.log(2)
    return float(probability @ pairs @ probability)


def kl_gradient(kl, rbm, constants, weights=(), step=1e-3):
    """Gradient of kl(rbm, table_posterior(constants, weights)) by finite differences.

    Order: the constants, the weights, then a, b, W. For factorial logits: constants = [logits].
    """
    split = len(constants), len(constants) + len(weights)

    def value(arrays):
        posterior = table_posterior(arrays[: split[0]], arrays[split[0] : split[1]])
        return kl(ReferenceRBM(*arrays[split[1] :]), posterior)

    return numerical_gradient(value, [*constants, *weights, *rbm.parameters], step)


def pathwise_gradient(value, smoothing, constants, weights=(), num_units=None, count=60):
    """Mean of the gradient that a sampler with implicit reparameterisation would deliver.

    value(ζ, 1-ζ, logits) [N] is differentiated along dζ = (dζ/dq) dq at fixed node weights, so
    that a bias of the estimator (the power offset, say) shows up here and not in `kl_gradient`.
    num_units: how many leading units are smoothed (default: all groups but the last).
    Gradients are in the order constants, weights.
    """
    base = table_posterior(constants, weights)
    num_units = sum(base.group_sizes[:-1]) if num_units is None else num_units
    grid = latent_grid(smoothing, num_units, count)
    logits = base.logits(grid.zeta)
    q, probability = expit(logits[:, :num_units]), grid.probability(logits)
    slope = smoothing.implicit_slope(grid.zeta, q, grid.complement)

    def mean_value(arrays):
        posterior = table_posterior(arrays[: len(constants)], arrays[len(constants) :])
        by, moved, start = np.zeros(grid.zeta.shape), [], 0
        for group in posterior.groups:
            moved.append(group((grid.zeta + by)[:, :start]))
            units = slice(start, min(start + moved[-1].shape[1], num_units))
            own = expit(moved[-1][:, : units.stop - start])
            by[:, units] = slope[:, units] * (own - q[:, units])
            start += moved[-1].shape[1]
        at = grid.zeta + by, grid.complement - by, np.hstack(moved)
        return float(np.sum(probability * value(*at)))

    return numerical_gradient(mean_value, [*constants, *weights], step=1e-4)
