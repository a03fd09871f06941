"""The KL terms of the baselines and their gradients on tiny models, by quadrature in float64.

A posterior is a list of groups, each giving its logits from the relaxed latents of the groups
before it. The expectation over those is a sum over a fixed grid of (z, percentile) pairs, whose
weights are the only thing that depends on the posterior; the gradient of that sum by finite
differences is therefore an exact gradient, obtained without any reparameterisation.

    joint_kl      KL(q(z,ζ|x) || p(z) r(ζ|z)): DVAE and DVAE++ (r cancels)
    smoothed_kl   the mean of DVAE++'s one-sample formula with ν; equals joint_kl if it is right
    marginal_kl   E[log q(ζ|x) - log p(ζ)]: DVAE#
    importance_weighted_objective   E[log mean_K w] of relaxed latents: DVAE# with K > 1
    pathwise_gradient   the mean of a reparameterised estimator's gradient, biases included
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import entr, expit

from tests.reference.rbm import (
    ReferenceRBM,
    all_states,
    bernoulli_log_probability,
    numerical_gradient,
)
from tests.reference.smoothing import Smoothing

GroupLogits = Callable[[np.ndarray], np.ndarray]
LogPrior = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Posterior:
    """Groups of the posterior of one image: group l maps latents [N, P_l] to logits [N, n_l]."""

    groups: tuple[GroupLogits, ...]

    def logits(self, latents: np.ndarray) -> np.ndarray:
        """All logits [N, D], given the latents [N, >= D - n_last] of all groups but the last."""
        parts, start = [], 0
        for group in self.groups:
            parts.append(group(latents[:, :start]))
            start += parts[-1].shape[1]
        return np.concatenate(parts, axis=1)

    @property
    def group_sizes(self) -> list[int]:
        """Number of units of each group."""
        sizes = []
        for group in self.groups:
            sizes.append(group(np.zeros((1, sum(sizes)))).shape[1])
        return sizes


def table_posterior(
    constants: Sequence[np.ndarray], weights: Sequence[np.ndarray] = ()
) -> Posterior:
    """Logits c_l + tanh(ζ of the earlier groups) A_l.

    constants: c_l [n_l] of each group; weights: A_l [P_l, n_l] of the second group onwards.
    """
    if len(weights) != len(constants) - 1:
        raise ValueError("one weight matrix for each group but the first")

    def first(previous: np.ndarray) -> np.ndarray:
        return np.tile(constants[0], (len(previous), 1))

    def later(index: int) -> GroupLogits:
        return lambda previous: constants[index] + np.tanh(previous) @ weights[index - 1]

    return Posterior((first, *(later(index) for index in range(1, len(constants)))))


@dataclass(frozen=True)
class Grid:
    """Product grid over units: zeta, complement, z [N, U] and weight [N] (without q)."""

    zeta: np.ndarray
    complement: np.ndarray
    z: np.ndarray
    weight: np.ndarray

    def probability(self, logits: np.ndarray) -> np.ndarray:
        """Weight of each node under the posterior, given its logits [N, >= U]; sums to 1."""
        logits = logits[:, : self.z.shape[1]]
        return self.weight * np.exp(bernoulli_log_probability(self.z, logits))


def latent_grid(smoothing: Smoothing, num_units: int, count: int = 60) -> Grid:
    """Grid of (2 count)^num_units nodes for the smoothed latents of num_units units."""
    nodes = smoothing.nodes(count)
    shape = (len(nodes[0]),) * num_units
    index = np.indices(shape).reshape(num_units, len(nodes[0]) ** num_units).T
    zeta, complement, z, weight = (values[index] for values in nodes)
    return Grid(zeta, complement, z, np.prod(weight, axis=1))


def joint_kl(
    rbm: ReferenceRBM, posterior: Posterior, smoothing: Smoothing, count: int = 60
) -> float:
    """KL between q(z, ζ | x) and p(z) r(ζ | z), from its definition: no ν and no r in it."""
    sizes = posterior.group_sizes
    grid = latent_grid(smoothing, sum(sizes[:-1]), count)
    logits = posterior.logits(grid.zeta)
    probability = grid.probability(logits)
    total = 0.0
    for last in all_states(sizes[-1]):
        z = np.concatenate([grid.z, np.tile(last, (len(grid.z), 1))], axis=1)
        log_last = bernoulli_log_probability(last, logits[:, -sizes[-1] :])
        log_ratio = bernoulli_log_probability(z, logits) - rbm.log_probability(z)
        total += np.sum(probability * np.exp(log_last) * log_ratio)
    return float(total)


def smoothed_kl(
    rbm: ReferenceRBM, posterior: Posterior, smoothing: Smoothing, count: int = 60
) -> float:
    """Mean over ζ of the DVAE++ formula: -H(q) + log Z - [a·q_L + b·q_R + ν_L' W q_R].

    With a power smoothing of offset > 0 this is the mean of what the code computes.
    """
    sizes = posterior.group_sizes
    grid = latent_grid(smoothing, sum(sizes[:-1]), count)
    logits = posterior.logits(grid.zeta)
    left = rbm.num_left
    if grid.zeta.shape[1] < left:
        raise ValueError("the left half must lie in the groups before the last")
    odds = smoothing.log_odds(grid.zeta[:, :left], grid.complement[:, :left])
    value = smoothed_kl_value(rbm, logits, odds)
    return float(np.sum(grid.probability(logits) * value))


def smoothed_kl_value(
    rbm: ReferenceRBM, logits: np.ndarray, left_log_odds: np.ndarray
) -> np.ndarray:
    """The one-sample formula itself from logits [N, D] and B(ζ_L) [N, L]; shape [N]."""
    left = rbm.num_left
    q = expit(logits)
    posterior_left = expit(logits[:, :left] + left_log_odds)
    bilinear = np.einsum("ni,ij,nj->n", posterior_left, rbm.coupling, q[:, left:])
    entropy = np.sum(entr(q) + entr(1 - q), axis=1)
    return -entropy + rbm.log_partition() - q @ rbm.bias - bilinear


def marginal_kl(
    log_prior: LogPrior, posterior: Posterior, smoothing: Smoothing, count: int = 60
) -> float:
    """E[log q(ζ|x) - log p(ζ)]; log_prior maps (ζ, 1-ζ) [N, D] to [N]. For D = 2 (or 3)."""
    grid = latent_grid(smoothing, sum(posterior.group_sizes), count)
    logits = posterior.logits(grid.zeta)
    value = marginal_log_ratio(log_prior, smoothing, grid.zeta, grid.complement, logits)
    return float(np.sum(grid.probability(logits) * value))


def marginal_log_ratio(
    log_prior: LogPrior,
    smoothing: Smoothing,
    zeta: np.ndarray,
    complement: np.ndarray,
    logits: np.ndarray,
) -> np.ndarray:
    """log q(ζ|x) - log p(ζ) of relaxed latents [N, D], shape [N]."""
    log_density = smoothing.mixture_log_density(zeta, expit(logits), complement)
    return np.sum(log_density, axis=1) - log_prior(zeta, complement)


def importance_weighted_objective(
    log_likelihood: Callable[[np.ndarray], np.ndarray],
    log_prior: LogPrior,
    posterior: Posterior,
    smoothing: Smoothing,
    num_samples: int,
    kl_weight: float = 1.0,
    count: int = 20,
) -> float:
    """E[log mean_K w], log w = log p(x|ζ) + kl_weight (log p(ζ) - log q(ζ|x)), for D = 2, K <= 2.

    log_likelihood maps ζ [N, D] to log p(x|ζ) [N].
    """
    if num_samples not in (1, 2):
        raise ValueError("quadrature for one or two samples only")
    grid = latent_grid(smoothing, sum(posterior.group_sizes), count)
    logits = posterior.logits(grid.zeta)
    probability = grid.probability(logits)
    ratio = marginal_log_ratio(log_prior, smoothing, grid.zeta, grid.complement, logits)
    log_weight = log_likelihood(grid.zeta) - kl_weight * ratio
    if num_samples == 1:
        return float(probability @ log_weight)
    pairs = np.logaddexp.outer(log_weight, log_weight) - np.log(2)
    return float(probability @ pairs @ probability)


def sample_latents(
    rng: np.random.Generator, posterior: Posterior, smoothing: Smoothing, num_samples: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Samples (ζ, 1-ζ, logits), each [num_samples, D], group by group."""
    zeta = complement = np.zeros((num_samples, 0))
    for group in posterior.groups:
        q = expit(group(zeta))
        z = rng.random(q.shape) < q
        new = smoothing.inverse_cdf(rng.random(q.shape), z)
        zeta = np.concatenate([zeta, new], axis=1)
        complement = np.concatenate([complement, 1 - new], axis=1)
    return zeta, complement, posterior.logits(zeta)


def marginal_kl_monte_carlo(
    log_prior: LogPrior,
    posterior: Posterior,
    smoothing: Smoothing,
    num_samples: int,
    seed: int,
) -> tuple[float, float]:
    """`marginal_kl` for larger D: mean and its standard error."""
    rng = np.random.default_rng(seed)
    zeta, complement, logits = sample_latents(rng, posterior, smoothing, num_samples)
    value = marginal_log_ratio(log_prior, smoothing, zeta, complement, logits)
    return float(value.mean()), float(value.std(ddof=1) / np.sqrt(num_samples))


def kl_gradient(
    kl: Callable[[ReferenceRBM, Posterior], float],
    rbm: ReferenceRBM,
    constants: Sequence[np.ndarray],
    weights: Sequence[np.ndarray] = (),
    step: float = 1e-3,
) -> list[np.ndarray]:
    """Gradient of kl(rbm, table_posterior(constants, weights)) by finite differences.

    Order: the constants, the weights, then a, b, W. For factorial logits: constants = [logits].
    """
    split = len(constants), len(constants) + len(weights)

    def value(arrays: list[np.ndarray]) -> float:
        posterior = table_posterior(arrays[: split[0]], arrays[split[0] : split[1]])
        return kl(ReferenceRBM(*arrays[split[1] :]), posterior)

    return numerical_gradient(value, [*constants, *weights, *rbm.parameters], step)


def pathwise_gradient(
    value: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
    smoothing: Smoothing,
    constants: Sequence[np.ndarray],
    weights: Sequence[np.ndarray] = (),
    num_units: int | None = None,
    count: int = 60,
) -> list[np.ndarray]:
    """Mean of the gradient that a sampler with implicit reparameterisation would deliver.

    value(ζ, 1-ζ, logits) [N] is differentiated along dζ = (dζ/dq) dq at fixed node weights, so
    that a bias of the estimator (the power offset, say) shows up here and not in `kl_gradient`.
    num_units: how many leading units are smoothed (default: all groups but the last).
    Gradients are in the order constants, weights.
    """
    base = table_posterior(constants, weights)
    sizes = base.group_sizes
    num_units = sum(sizes[:-1]) if num_units is None else num_units
    grid = latent_grid(smoothing, num_units, count)
    logits = base.logits(grid.zeta)
    q = expit(logits[:, :num_units])
    slope = smoothing.implicit_slope(grid.zeta, q, grid.complement)
    probability = grid.probability(logits)

    def mean_value(arrays: list[np.ndarray]) -> float:
        posterior = table_posterior(arrays[: len(constants)], arrays[len(constants) :])
        zeta, complement, start = grid.zeta.copy(), grid.complement.copy(), 0
        moved = []
        for group, size in zip(posterior.groups, sizes, strict=True):
            moved.append(group(zeta[:, :start]))
            stop = min(start + size, num_units)
            flow = expit(moved[-1][:, : stop - start]) - q[:, start:stop]
            zeta[:, start:stop] += slope[:, start:stop] * flow
            complement[:, start:stop] -= slope[:, start:stop] * flow
            start += size
        return float(np.sum(probability * value(zeta, complement, np.hstack(moved))))

    return numerical_gradient(mean_value, [*constants, *weights], step=1e-4)
