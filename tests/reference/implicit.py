"""Derivatives of a relaxed latent with respect to the parameters of its mixture, in float64.

They come from inverting the CDF of the mixture numerically at a fixed percentile and taking finite
differences: the formula of the implicit gradient (Figurnov et al. 2018) is not used.
"""

import numpy as np
from scipy.optimize import brentq

from tests.reference.rbm import numerical_gradient
from tests.reference.smoothing import SpikeExponential


def derivatives_at_percentile(cdf, zeta, parameters, low, high, step=1e-5):
    """dζ by each of the parameters of an increasing function cdf(ζ, *parameters) (Brent)."""
    percentile = cdf(np.float64(zeta), *parameters)

    def inverse(moved):
        values = [value[()] for value in moved]
        options = {"xtol": 1e-300, "rtol": 1e-15, "maxiter": 3000}
        return brentq(lambda v: cdf(np.float64(v), *values) - percentile, low, high, **options)

    return tuple(map(float, numerical_gradient(inverse, parameters, step)))


def implicit_derivative(smoothing, zeta, q, step=1e-5):
    """dζ/dq at a fixed percentile of the mixture."""
    if zeta > 0.5:  # the same, mirrored, where ζ would have no digits to spare
        return implicit_derivative(smoothing, 1 - zeta, 1 - q, step)
    limits = smoothing.low, smoothing.high
    return derivatives_at_percentile(smoothing.mixture_cdf, zeta, [q], *limits, step)[0]


def spike_implicit_derivative(sharpness, rho, q, step=1e-5):
    """dζ/dq of spike-and-exponential at fixed ρ; a difference must not straddle ρ = 1 - q."""
    assert abs(rho + q - 1) > 2 * step
    inverse = SpikeExponential(sharpness).mixture_inverse_cdf
    return float(numerical_gradient(lambda moved: inverse(rho, moved[0][()]), [q], step)[0])
