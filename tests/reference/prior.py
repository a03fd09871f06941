"""log p(ζ) of the relaxed priors, by summing the binary variables out one state at a time.

Overlapping smoothing (DVAE#, exp/power/uniform+exp/Gaussian): p(ζ) = sum_z p(z) prod r(ζ_i|z_i).
Gaussian integral: p(ζ) = sum_z p(z) N(ζ; z, M⁻¹), M = J + λI with the matrix J of the couplings.
The mean-field lower bound is here for comparison: at any magnetisations, and after a number of
iterations. Models are RBMs or graphs, relaxed latents ζ [N, D], values [N].
"""

import numpy as np
from scipy.special import entr, expit, logsumexp


def overlap_log_prior(model, smoothing, zeta, complement=None):
    """Exact log p(ζ)."""
    zero, one = smoothing.log_densities(zeta, complement)
    states = model.states()
    terms = model.log_probability(states) + one @ states.T + zero @ (1 - states).T
    return logsumexp(terms, axis=1)


def mean_field_value(model, smoothing, zeta, means, complement=None):
    """Lower bound of log p(ζ) at given means m [N, D]: E_m[log p(z) r(ζ|z)] + H(m)."""
    zero, one = smoothing.log_densities(zeta, complement)
    # The bound is linear in each m_i but for the entropy, so the energy of the means is the mean
    # of the energies; densities are weighted apart because B can be infinite.
    expected = np.sum(means * one + (1 - means) * zero, axis=-1) + model.log_probability(means)
    return expected + np.sum(entr(means) + entr(1 - means), axis=-1)


def mean_field_means(model, classes, fields, iterations=5):
    """Means m [N, D] from one half, each class of units in turn, with fields B(ζ) [N, D]."""
    means, matrix = np.full(fields.shape, 0.5), model.matrix()
    for _ in range(iterations):
        for units in map(list, classes):
            means[:, units] = expit((means @ matrix + model.bias + fields)[:, units])
    return means


def mean_field_log_prior(model, classes, smoothing, zeta, iterations=5, complement=None):
    """The bound of log p(ζ) after so many iterations."""
    fields = smoothing.log_odds(zeta, complement)
    means = mean_field_means(model, classes, fields, iterations)
    return mean_field_value(model, smoothing, zeta, means, complement)


def precision_matrix(model, strength):
    """M = J + λI, [D, D]."""
    return model.matrix() + strength * np.eye(len(model.bias))


def gaussian_integral_log_prior(model, zeta, strength):
    """Exact log p(ζ) = log sum_z p(z) N(ζ; z, M⁻¹).

    Raises LinAlgError where M is not positive definite.
    """
    matrix, states = precision_matrix(model, strength), model.states()
    log_det = 2 * np.sum(np.log(np.diag(np.linalg.cholesky(matrix))))
    deviation = zeta[:, None, :] - states[None, :, :]
    quadratic = np.einsum("nsi,ij,nsj->ns", deviation, matrix, deviation, optimize=True)
    log_normal = 0.5 * (log_det - len(matrix) * np.log(2 * np.pi) - quadratic)
    return logsumexp(model.log_probability(states) + log_normal, axis=1)
