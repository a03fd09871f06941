"""Derivatives of a relaxed latent with respect to the parameters of its mixture, in float64.

They come from inverting the CDF of the mixture numerically at a fixed percentile and taking finite
differences: the formula of the implicit gradient (Figurnov et al. 2018) is not used.
"""

from collections.abc import Callable

import numpy as np
from scipy.optimize import brentq

from tests.reference.rbm import numerical_gradient
from tests.reference.smoothing import Smoothing, SpikeExponential


def invert_increasing(
    function: Callable[[float], float], target: float, low: float, high: float
) -> float:
    """The argument at which an increasing function takes the value target (Brent's method)."""
    return brentq(
        lambda value: function(value) - target, low, high, xtol=1e-300, rtol=1e-15, maxiter=3000
    )


def implicit_derivative(smoothing: Smoothing, zeta: float, q: float, step: float = 1e-5) -> float:
    """dζ/dq at a fixed percentile of the mixture: differences of its numerically inverted CDF."""
    if zeta > 0.5:  # the same, mirrored, where ζ would have no digits to spare
        return implicit_derivative(smoothing, 1 - zeta, 1 - q, step)
    percentile = smoothing.mixture_cdf(np.float64(zeta), q)

    def inverse(arguments: list[np.ndarray]) -> float:
        return invert_increasing(
            lambda value: smoothing.mixture_cdf(np.float64(value), arguments[0][()]),
            percentile,
            smoothing.low,
            smoothing.high,
        )

    return float(numerical_gradient(inverse, [np.float64(q)], step)[0])


def spike_implicit_derivative(sharpness: float, rho: float, q: float, step: float = 1e-5) -> float:
    """dζ/dq of spike-and-exponential at fixed ρ; a difference must not straddle ρ = 1 - q."""
    if abs(rho + q - 1) <= 2 * step:
        raise ValueError("rho is too close to 1 - q for a finite difference")
    smoothing = SpikeExponential(sharpness)

    def inverse(arguments: list[np.ndarray]) -> float:
        return float(smoothing.mixture_inverse_cdf(rho, arguments[0][()]))

    return float(numerical_gradient(inverse, [np.float64(q)], step)[0])
