"""The shifted Gaussian mixture, posterior of the Gaussian-integral baseline, in float64.

q N(1+δ, s²) + (1-q) N(δ, s²) for each unit, with δ = (expit(v) - 1/2) / 2 and s = |0.2 t| + 0.05.
Derivatives by inverting the CDF at a fixed percentile; the KL against any log p(ζ) by quadrature.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, ndtr

from tests.reference.implicit import invert_increasing
from tests.reference.rbm import bernoulli_log_probability, numerical_gradient


def shifted_mixture_cdf(
    zeta: np.ndarray, q: np.ndarray, delta: np.ndarray, scale: np.ndarray
) -> np.ndarray:
    """CDF of q N(1+δ, s²) + (1-q) N(δ, s²)."""
    return q * ndtr((zeta - 1 - delta) / scale) + (1 - q) * ndtr((zeta - delta) / scale)


def shifted_mixture_log_density(
    zeta: np.ndarray, q: np.ndarray, delta: np.ndarray, scale: np.ndarray, max_q: float = 1.0
) -> np.ndarray:
    """Log density of the same; q is clipped to at most max_q inside log(1-q) only."""
    constant = -np.log(scale) - 0.5 * np.log(2 * np.pi)
    zero = constant - 0.5 * ((zeta - delta) / scale) ** 2
    one = constant - 0.5 * ((zeta - 1 - delta) / scale) ** 2
    with np.errstate(divide="ignore"):
        return np.logaddexp(np.log(q) + one, np.log1p(-np.minimum(q, max_q)) + zero)


def shifted_implicit_derivatives(
    zeta: float, q: float, delta: float, scale: float, step: float = 1e-5
) -> tuple[float, float, float]:
    """(dζ/dq, dζ/dδ, dζ/ds) at a fixed percentile, by differences of the inverted CDF."""
    # The upper tail is inverted in its mirror image, where percentiles keep their digits.
    upper = zeta > 0.5 + delta
    if upper:
        by_q, by_delta, by_scale = shifted_implicit_derivatives(
            1 + 2 * delta - zeta, 1 - q, delta, scale, step
        )
        # ζ = 1 + 2δ - ζ', and q' = 1 - q
        return by_q, 2 - by_delta, -by_scale
    percentile = shifted_mixture_cdf(zeta, q, delta, scale)

    def inverse(arguments: list[np.ndarray]) -> float:
        values = [argument[()] for argument in arguments]
        return invert_increasing(lambda v: shifted_mixture_cdf(v, *values), percentile, -20, 20)

    derivatives = numerical_gradient(inverse, [np.float64(q), np.float64(delta), scale], step)
    return tuple(float(derivative) for derivative in derivatives)


ShiftedGroup = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class ShiftedPosterior:
    """Posterior of the Gaussian-integral baseline.

    groups: latents [N, P_l] -> (logits, v), each [N, n_l]; scale_parameters: t [n_l] of each.
    ζ = z + δ + s·e with δ = (expit(v) - 1/2) / 2, s = |0.2 t| + 0.05 and e standard normal.
    """

    groups: tuple[ShiftedGroup, ...]
    scale_parameters: tuple[np.ndarray, ...]


def normal_nodes(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights [count] for a standard normal (trapezoid rule on [-9, 9])."""
    nodes = np.linspace(-9, 9, count)
    weights = np.exp(-0.5 * nodes**2)
    return nodes, weights / weights.sum()


def shifted_marginal_kl(
    log_prior: Callable[[np.ndarray], np.ndarray],
    posterior: ShiftedPosterior,
    count: int = 60,
    max_q: float = 1 - 1e-4,
) -> float:
    """E[log q(ζ|x) - log p(ζ)] of the Gaussian-integral baseline, by quadrature, for D = 2.

    q is clipped to at most max_q inside the log(1-q) of log q(ζ|x), as published.
    """
    num_units = sum(len(scale) for scale in posterior.scale_parameters)
    deviations, weights = normal_nodes(count)
    index = np.indices((2 * count,) * num_units).reshape(num_units, -1).T
    z, deviation = (index >= count).astype(np.float64), deviations[index % count]
    probability = np.prod(weights[index % count], axis=1)
    zeta, log_density = np.zeros((len(z), 0)), np.zeros(len(z))
    for group, parameter in zip(posterior.groups, posterior.scale_parameters, strict=True):
        logits, shift_logits = group(zeta)
        units = slice(zeta.shape[1], zeta.shape[1] + len(parameter))
        delta, scale = 0.5 * (expit(shift_logits) - 0.5), np.abs(0.2 * parameter) + 0.05
        new = z[:, units] + delta + scale * deviation[:, units]
        probability = probability * np.exp(bernoulli_log_probability(z[:, units], logits))
        log_q = shifted_mixture_log_density(new, expit(logits), delta, scale, max_q)
        log_density += np.sum(log_q, axis=1)
        zeta = np.concatenate([zeta, new], axis=1)
    return float(np.sum(probability * (log_density - log_prior(zeta))))


def shifted_table_posterior(
    constants: Sequence[np.ndarray],
    shift_logits: Sequence[np.ndarray],
    scale_parameters: Sequence[np.ndarray],
    weights: Sequence[np.ndarray] = (),
) -> ShiftedPosterior:
    """Logits c_l + tanh(ζ of the earlier groups) A_l, with constant v_l and t_l, [n_l] each.

    weights: A_l [P_l, n_l] of the second group onwards.
    """

    def group(index: int) -> ShiftedGroup:
        def outputs(previous: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            logits = np.tile(constants[index], (len(previous), 1))
            if index > 0:
                logits = logits + np.tanh(previous) @ weights[index - 1]
            return logits, np.tile(shift_logits[index], (len(previous), 1))

        return outputs

    return ShiftedPosterior(
        tuple(group(index) for index in range(len(constants))), tuple(scale_parameters)
    )
