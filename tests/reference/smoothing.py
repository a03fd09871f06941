"""Smoothing distributions r(ζ|z) and the mixtures of the two, in float64.

Always r(ζ|z=1) = r(1-ζ|z=0), except spike-and-exponential. A value close to 1 is worthless in
ζ alone (1 - ζ has lost its digits), so functions take `complement` = 1 - ζ beside ζ; left out, it
is computed. The samplers invert the CDF of one component; `nodes` turns the same inverses into
quadratures.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, ndtr, ndtri

TINY = 1e-300


def tanh_sinh_nodes(count):
    """Nodes ρ, 1-ρ and weights [count] for integrals over (0, 1) with singular end points.

    Substitution ρ = expit(π sinh t) with the trapezoid rule in t (Takahasi & Mori 1974).
    """
    t = np.linspace(-3.2, 3.2, count)
    rho, complement = expit(np.pi * np.sinh(t)), expit(-np.pi * np.sinh(t))
    weights = rho * complement * np.pi * np.cosh(t)
    return rho, complement, weights / weights.sum()


@dataclass(frozen=True)
class Smoothing:
    """Base of the mirrored smoothings; `sharpness` is β.

    Of z = 0, a subclass gives `log_density_zero`, `cdf_zero` and `inverse_cdf_pair`: (ζ, 1-ζ) at
    percentile ρ, given 1-ρ too.
    """

    sharpness: float

    def log_densities(self, zeta, complement=None):
        """(log r(ζ|0), log r(ζ|1))."""
        complement = 1 - zeta if complement is None else complement
        return self.log_density_zero(zeta), self.log_density_zero(complement)

    def cdfs(self, zeta, complement=None):
        """(R(ζ|0), R(ζ|1))."""
        complement = 1 - zeta if complement is None else complement
        return self.cdf_zero(zeta), 1 - self.cdf_zero(complement)

    def inverse_cdf(self, rho, z):
        """ζ with R(ζ|z) = ρ: with ρ uniform this is the sampler of r(ζ|z)."""
        rho = np.asarray(rho, dtype=np.float64)
        one, zero = self.inverse_cdf_pair(1 - rho, rho)[1], self.inverse_cdf_pair(rho, 1 - rho)[0]
        return np.where(z, one, zero)

    def nodes(self, count):
        """Quadrature of a mixture: (ζ, z, weight), each [2 * count]; weights sum to 2.

        E[f(ζ)] = sum of weight * (q if z else 1-q) * f(ζ), whatever q.
        """
        rho, rho_complement, weights = tanh_sinh_nodes(count)
        zeta, z = self.inverse_cdf_pair(rho, rho_complement), np.repeat([0, 1], count)
        return np.concatenate(zeta), z, np.concatenate([weights, weights])

    def log_odds(self, zeta, complement=None):
        """B(ζ) = log r(ζ|1) - log r(ζ|0)."""
        zero, one = self.log_densities(zeta, complement)
        return one - zero

    def mixture_log_density(self, zeta, q, complement=None):
        """log(q r(ζ|1) + (1-q) r(ζ|0)) of each unit."""
        zero, one = self.log_densities(zeta, complement)
        return np.logaddexp(np.log(q) + one, np.log1p(-q) + zero)

    def mixture_cdf(self, zeta, q):
        """q R(ζ|1) + (1-q) R(ζ|0)."""
        zero, one = self.cdfs(zeta)
        return q * one + (1 - q) * zero


class Exponential(Smoothing):
    """r(ζ|0) = β exp(-βζ) / (1 - exp(-β)) on [0, 1]."""

    def log_density_zero(self, zeta):
        beta = self.sharpness
        return np.log(beta) - beta * zeta - np.log(-np.expm1(-beta))

    def cdf_zero(self, zeta):
        return np.expm1(-self.sharpness * zeta) / np.expm1(-self.sharpness)

    def inverse_cdf_pair(self, rho, rho_complement):
        beta = self.sharpness
        # Equal to 1 - ζ, but it keeps its digits where ζ is close to 1.
        complement = np.log1p(np.expm1(beta) * rho_complement) / beta
        zeta = -np.log1p(np.expm1(-beta) * rho) / beta
        return np.where(rho < 0.5, zeta, 1 - complement), complement


@dataclass(frozen=True)
class Power(Smoothing):
    """r(ζ|0) = λ ζ^(λ-1), λ = 1/β, on [0, 1].

    With `offset` > 0 the density and the CDF are evaluated at ζ + offset while the sample stays
    ρ^β, as the code does with 1e-7; the density then integrates to (1+offset)^λ - offset^λ < 1.
    """

    offset: float = 0.0

    def log_density_zero(self, zeta):
        exponent = 1 / self.sharpness
        # Without offset a ρ^β that has underflowed stands for the smallest number, not for 0.
        return (exponent - 1) * np.log(np.maximum(zeta + self.offset, TINY)) + np.log(exponent)

    def cdf_zero(self, zeta):
        return np.maximum(zeta + self.offset, 0.0) ** (1 / self.sharpness)

    def inverse_cdf_pair(self, rho, rho_complement):
        with np.errstate(divide="ignore"):
            log_rho = np.where(rho < 0.5, np.log(rho), np.log1p(-rho_complement))
        return np.exp(self.sharpness * log_rho), -np.expm1(self.sharpness * log_rho)


@dataclass(frozen=True)
class UniformExponential(Smoothing):
    """(1-ε) Exponential + ε Uniform on [0, 1]."""

    epsilon: float = 0.05

    def log_density_zero(self, zeta):
        exponential = np.exp(Exponential(self.sharpness).log_density_zero(zeta))
        return np.log((1 - self.epsilon) * exponential + self.epsilon)

    def cdf_zero(self, zeta):
        exponential = Exponential(self.sharpness).cdf_zero(zeta)
        return (1 - self.epsilon) * exponential + self.epsilon * zeta

    def inverse_cdf_pair(self, rho, rho_complement):
        low, high = np.zeros_like(rho), np.ones_like(rho)
        for _ in range(60):
            middle = 0.5 * (low + high)
            below = self.cdf_zero(middle) < rho
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        zeta = 0.5 * (low + high)
        return zeta, 1 - zeta


class Gaussian(Smoothing):
    """N(ζ; z, 1/β) on the real line; at ζ - δ and β = 1/s² the posterior of dvaes_gi."""

    def log_density_zero(self, zeta):
        return 0.5 * np.log(self.sharpness / (2 * np.pi)) - 0.5 * self.sharpness * zeta**2

    def cdf_zero(self, zeta):
        return ndtr(np.sqrt(self.sharpness) * zeta)

    def inverse_cdf_pair(self, rho, rho_complement):
        deviation = np.where(rho < 0.5, ndtri(rho), -ndtri(rho_complement))
        zeta = deviation / np.sqrt(self.sharpness)
        return zeta, 1 - zeta


class SpikeExponential(Smoothing):
    """δ(ζ) for z = 0, β exp(βζ) / (exp(β) - 1) on [0, 1] for z = 1; the spike is one node."""

    def nodes(self, count):
        rho, _, weights = tanh_sinh_nodes(count)
        one = np.log1p(np.expm1(self.sharpness) * rho) / self.sharpness
        return np.append(0.0, one), np.repeat([0, 1], [1, count]), np.append(1.0, weights)
