"""The shifted Gaussian mixture, posterior of the Gaussian-integral baseline, in float64.

q N(1+δ, s²) + (1-q) N(δ, s²) for each unit.
"""

import numpy as np
from scipy.special import ndtr


def shifted_mixture_cdf(zeta, q, delta, scale):
    """Its distribution function."""
    return q * ndtr((zeta - 1 - delta) / scale) + (1 - q) * ndtr((zeta - delta) / scale)


def shifted_mixture_log_density(zeta, q, delta, scale, max_q=1.0):
    """Log density of the same; q is clipped to at most max_q inside log(1-q) only."""
    constant = -np.log(scale) - 0.5 * np.log(2 * np.pi)
    zero, one = (constant - 0.5 * ((zeta - z - delta) / scale) ** 2 for z in (0, 1))
    with np.errstate(divide="ignore"):
        return np.logaddexp(np.log(q) + one, np.log1p(-np.minimum(q, max_q)) + zero)
