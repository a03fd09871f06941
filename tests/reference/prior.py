"""log p(ζ) of the relaxed priors, by summing the binary variables out one state at a time.

Overlapping smoothing (DVAE#, exp/power/uniform+exp/Gaussian): p(ζ) = sum_z p(z) prod r(ζ_i|z_i).
Gaussian integral: p(ζ) = sum_z p(z) N(ζ; z, M⁻¹), M = [[0, W], [W', 0]] + λI.
The mean-field lower bound is here for comparison: at any magnetisations, and after a number of
iterations.
"""

import numpy as np
from scipy.special import entr, expit, logsumexp


def overlap_log_prior(rbm, smoothing, zeta, complement=None):
    """Exact log p(ζ) of relaxed latents [N, D], shape [N]."""
    zero, one = smoothing.log_densities(zeta, complement)
    states = rbm.states()
    terms = rbm.log_probability(states) + one @ states.T + zero @ (1 - states).T
    return logsumexp(terms, axis=1)


def mean_field_value(rbm, smoothing, zeta, magnetisation, complement=None):
    """Lower bound of log p(ζ) at given means m [N, D]: E_m[log p(z) r(ζ|z)] + H(m), [N]."""
    zero, one = smoothing.log_densities(zeta, complement)
    m = np.broadcast_to(magnetisation, one.shape)
    # The bound is linear in each m_i but for the entropy, so the energy of the means is the mean
    # of the energies; densities are weighted apart because B can be infinite.
    expected = np.sum(m * one + (1 - m) * zero, axis=-1) - rbm.energy(m)
    return expected - rbm.log_partition() + np.sum(entr(m) + entr(1 - m), axis=-1)


def mean_field_means(rbm, smoothing, zeta, iterations=5, complement=None):
    """Means m [N, D] after alternating updates, the right half first, from m_L = 1/2."""
    odds_left, odds_right = rbm.halves(smoothing.log_odds(zeta, complement) + rbm.bias)
    left = np.full(odds_left.shape, 0.5)
    for _ in range(iterations):
        right = expit(left @ rbm.coupling + odds_right)
        left = expit(right @ rbm.coupling.T + odds_left)
    return np.concatenate([left, right], axis=1)


def mean_field_log_prior(rbm, smoothing, zeta, iterations=5, complement=None):
    """The bound of log p(ζ) after so many iterations from 1/2, [N]."""
    means = mean_field_means(rbm, smoothing, zeta, iterations, complement)
    return mean_field_value(rbm, smoothing, zeta, means, complement)


def precision_matrix(rbm, strength):
    """M = [[0, W], [W', 0]] + λI, [D, D]."""
    left, right = (strength * np.eye(size) for size in rbm.coupling.shape)
    return np.block([[left, rbm.coupling], [rbm.coupling.T, right]])


def gaussian_integral_log_prior(rbm, zeta, strength):
    """Exact log p(ζ) = log sum_z p(z) N(ζ; z, M⁻¹) of relaxed latents [N, D], shape [N].

    Raises LinAlgError where M is not positive definite.
    """
    matrix, states = precision_matrix(rbm, strength), rbm.states()
    log_det = 2 * np.sum(np.log(np.diag(np.linalg.cholesky(matrix))))
    deviation = zeta[:, None, :] - states[None, :, :]
    quadratic = np.einsum("nsi,ij,nsj->ns", deviation, matrix, deviation, optimize=True)
    log_normal = 0.5 * (log_det - len(matrix) * np.log(2 * np.pi) - quadratic)
    return logsumexp(rbm.log_probability(states) + log_normal, axis=1)
