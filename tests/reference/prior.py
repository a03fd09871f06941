"""log p(ζ) of the relaxed priors, by summing the binary variables out one state at a time.

Overlapping smoothing (DVAE#, exp/power/uniform+exp/Gaussian): p(ζ) = sum_z p(z) prod r(ζ_i|z_i).
Gaussian integral: p(ζ) = sum_z p(z) N(ζ; z, M⁻¹), M = [[0, W], [W', 0]] + λI.
The mean-field lower bound is here for comparison: at any magnetisations, after a number of
iterations, and maximised.
"""

import numpy as np
from scipy.special import entr, expit, logsumexp

from tests.reference.rbm import ReferenceRBM, all_states
from tests.reference.smoothing import Smoothing

CHUNK = 2**22


def overlap_log_prior(
    rbm: ReferenceRBM,
    smoothing: Smoothing,
    zeta: np.ndarray,
    complement: np.ndarray | None = None,
) -> np.ndarray:
    """Exact log p(ζ) of relaxed latents [N, D], shape [N]."""
    zero, one = smoothing.log_densities(zeta, complement)
    states = rbm.states()
    log_probability = rbm.log_probability(states)
    rows = max(1, CHUNK // len(states))
    parts = [
        logsumexp(
            log_probability
            + one[start : start + rows] @ states.T
            + zero[start : start + rows] @ (1 - states).T,
            axis=1,
        )
        for start in range(0, len(zeta), rows)
    ]
    return np.concatenate(parts)


def mean_field_value(
    rbm: ReferenceRBM,
    smoothing: Smoothing,
    zeta: np.ndarray,
    magnetisation: np.ndarray,
    complement: np.ndarray | None = None,
) -> np.ndarray:
    """Lower bound of log p(ζ) at given means m [N, D]: E_m[log p(z) r(ζ|z)] + H(m), [N]."""
    zero, one = smoothing.log_densities(zeta, complement)
    m = np.broadcast_to(magnetisation, one.shape)
    # The bound is linear in each m_i but for the entropy, so the energy of the means is the mean
    # of the energies; densities are weighted apart because B can be infinite.
    expected = np.sum(m * one + (1 - m) * zero, axis=-1) - rbm.energy(m)
    return expected - rbm.log_partition() + np.sum(entr(m) + entr(1 - m), axis=-1)


def mean_field_means(
    rbm: ReferenceRBM,
    smoothing: Smoothing,
    zeta: np.ndarray,
    iterations: int = 5,
    complement: np.ndarray | None = None,
    start_left: np.ndarray | float = 0.5,
) -> np.ndarray:
    """Means m [N, D] after alternating updates, the right half first, from m_L = start_left."""
    odds = smoothing.log_odds(zeta, complement) + rbm.bias
    odds_left, odds_right = odds[:, : rbm.num_left], odds[:, rbm.num_left :]
    left = np.broadcast_to(np.float64(start_left), odds_left.shape)
    for _ in range(iterations):
        right = expit(left @ rbm.coupling + odds_right)
        left = expit(right @ rbm.coupling.T + odds_left)
    return np.concatenate([left, right], axis=1)


def mean_field_log_prior(
    rbm: ReferenceRBM,
    smoothing: Smoothing,
    zeta: np.ndarray,
    iterations: int = 5,
    complement: np.ndarray | None = None,
) -> np.ndarray:
    """The bound of log p(ζ) after so many iterations from 0.5, [N]."""
    means = mean_field_means(rbm, smoothing, zeta, iterations, complement)
    return mean_field_value(rbm, smoothing, zeta, means, complement)


def mean_field_maximum(
    rbm: ReferenceRBM,
    smoothing: Smoothing,
    zeta: np.ndarray,
    complement: np.ndarray | None = None,
    iterations: int = 1000,
) -> np.ndarray:
    """The bound at its best fixed point: the best of runs from 0.5 and from every binary z_L."""
    starts = [0.5, *all_states(rbm.num_left)]
    values = []
    for start in starts:
        means = mean_field_means(rbm, smoothing, zeta, iterations, complement, start)
        values.append(mean_field_value(rbm, smoothing, zeta, means, complement))
    return np.max(values, axis=0)


def precision_matrix(rbm: ReferenceRBM, strength: float) -> np.ndarray:
    """M = [[0, W], [W', 0]] + λI, [D, D]."""
    matrix = strength * np.eye(rbm.num_units)
    matrix[: rbm.num_left, rbm.num_left :] = rbm.coupling
    matrix[rbm.num_left :, : rbm.num_left] = rbm.coupling.T
    return matrix


def default_strength(rbm: ReferenceRBM, sharpness: float) -> float:
    """λ = max(largest singular value of W + 5, β)."""
    return float(max(np.linalg.svd(rbm.coupling, compute_uv=False)[0] + 5, sharpness))


def gaussian_integral_log_prior(rbm: ReferenceRBM, zeta: np.ndarray, strength: float) -> np.ndarray:
    """Exact log p(ζ) = log sum_z p(z) N(ζ; z, M⁻¹) of relaxed latents [N, D], shape [N]."""
    matrix = precision_matrix(rbm, strength)
    sign, log_det = np.linalg.slogdet(matrix)
    if sign <= 0 or np.linalg.eigvalsh(matrix)[0] <= 0:
        raise ValueError("the precision matrix is not positive definite: raise the strength")
    states = rbm.states()
    deviation = zeta[:, None, :] - states[None, :, :]
    quadratic = np.einsum("nsi,ij,nsj->ns", deviation, matrix, deviation, optimize=True)
    log_normal = 0.5 * (log_det - rbm.num_units * np.log(2 * np.pi) - quadratic)
    return logsumexp(rbm.log_probability(states) + log_normal, axis=1)
