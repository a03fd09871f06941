"""The shifted Gaussian mixture, posterior of the Gaussian-integral baseline, in float64.

q N(1+δ, s²) + (1-q) N(δ, s²) for each unit, with δ = (expit(v) - 1/2) / 2 and s = |0.2 t| + 0.05.
Derivatives are at a fixed percentile of the CDF; the KL against any log p(ζ) by quadrature.
"""

import numpy as np
from scipy.special import expit, ndtr

from tests.reference.rbm import bernoulli_log_probability
from tests.reference.smoothing import derivatives_at_percentile


def shifted_mixture_cdf(zeta, q, delta, scale):
    """CDF of q N(1+δ, s²) + (1-q) N(δ, s²)."""
    return q * ndtr((zeta - 1 - delta) / scale) + (1 - q) * ndtr((zeta - delta) / scale)


def shifted_mixture_log_density(zeta, q, delta, scale, max_q=1.0):
    """Log density of the same; q is clipped to at most max_q inside log(1-q) only."""
    constant = -np.log(scale) - 0.5 * np.log(2 * np.pi)
    zero, one = (constant - 0.5 * ((zeta - z - delta) / scale) ** 2 for z in (0, 1))
    with np.errstate(divide="ignore"):
        return np.logaddexp(np.log(q) + one, np.log1p(-np.minimum(q, max_q)) + zero)


def shifted_implicit_derivatives(zeta, q, delta, scale):
    """(dζ/dq, dζ/dδ, dζ/ds) at a fixed percentile."""
    return derivatives_at_percentile(shifted_mixture_cdf, zeta, q, delta, scale)


def shifted_marginal_kl(log_prior, posterior, shifts, scales, count=60, max_q=1 - 1e-4):
    """E[log q(ζ|x) - log p(ζ)] of the Gaussian-integral baseline, by quadrature, for D = 2.

    posterior: logits by the latents before; shifts, scales: v and t of all units, [D]. Nodes are
    those of a trapezoid rule on [-9, 9]; q is clipped to at most max_q inside the log(1-q) of
    log q(ζ|x), as published.
    """
    nodes = np.linspace(-9, 9, count)
    weights = np.exp(-0.5 * nodes**2) / np.exp(-0.5 * nodes**2).sum()
    index = np.indices((2 * count,) * len(shifts)).reshape(len(shifts), -1).T
    z, delta, scale = np.float64(index >= count), 0.5 * (expit(shifts) - 0.5), np.abs(0.2 * scales)
    zeta = z + delta + (scale + 0.05) * nodes[index % count]
    logits = posterior.logits(zeta)
    log_q = shifted_mixture_log_density(zeta, expit(logits), delta, scale + 0.05, max_q)
    probability = np.exp(bernoulli_log_probability(z, logits)) * np.prod(weights[index % count], 1)
    return float(np.sum(probability * (log_q.sum(axis=1) - log_prior(zeta))))
