"""Relaxed posteriors and KL terms of one batch, written for derivatives by complex step.

A derivative is the imaginary part of a value at an argument moved by a tiny imaginary amount
(Squire and Trapp 1998), exact to rounding; `real` is then the gradient's stop. All arrays have an
axis in front, one entry for each weight that is moved: rows are [P, N, ...], biases [P, 1, n].
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import entr

from tests.reference import smoothing
from tests.reference.counter_random import bernoulli, normal, split, uniform
from tests.reference.prior import mean_field_means
from tests.reference.rbm import ReferenceRBM

STEP = 1e-20
real = np.real


def expit(x):
    return 1 / (1 + np.exp(-x))


def softplus(x):
    high = np.where(real(x) > 0, x, 0)
    return high + np.log(np.exp(-high) + np.exp(x - high))


def logaddexp(x, y):
    return x + softplus(y - x)


def at_most(bound, x):
    return np.where(real(x) > bound, bound, x)


class RBM(NamedTuple):
    """left_bias [P, 1, L], right_bias [P, 1, R], coupling [P, L, R]."""

    left_bias: np.ndarray
    right_bias: np.ndarray
    coupling: np.ndarray

    def stopped(self):
        return RBM(*map(real, self))

    def halves(self, units):
        size = self.left_bias.shape[-1]
        return units[..., :size], units[..., size:]

    def linear(self, units):
        left, right = self.halves(units)
        return np.sum(self.left_bias * left, -1) + np.sum(self.right_bias * right, -1)

    def pairs(self, left, right):
        return np.sum((left @ self.coupling) * right, axis=-1)

    def negative_energy(self, units):
        return self.linear(units) + self.pairs(*self.halves(units))

    def fields(self, units):
        """W times the other half, [P, N, D]."""
        left, right = self.halves(units)
        return np.concatenate([right @ np.swapaxes(self.coupling, -1, -2), left @ self.coupling], 2)


class Draw(NamedTuple):
    """Logits, relaxed latents and log q(ζ) (None without density) of units, [P, N, d] each."""

    logits: np.ndarray
    zeta: np.ndarray
    log_q: np.ndarray | None


def implicit(cdf, zeta, *parameters):
    """ζ as a function of the parameters at its own percentile, by one step of Newton's method.

    The density is the slope of the distribution function itself.
    """
    slope = np.imag(cdf(zeta + STEP * 1j, *map(real, parameters))) / STEP
    return zeta - 1j * np.imag(cdf(zeta, *parameters)) / slope


@dataclass(frozen=True)
class Mixture:
    """q r(ζ|1) + (1-q) r(ζ|0)."""

    smoothing: smoothing.Smoothing

    def at_0(self, key, shape):
        """Draws of r(ζ|0)."""
        if isinstance(self.smoothing, smoothing.Gaussian):
            return normal(key, shape) / np.sqrt(self.smoothing.sharpness)
        if isinstance(self.smoothing, smoothing.UniformExponential):
            first, second, third = split(key, 3)
            exponential = Mixture(smoothing.Exponential(self.smoothing.sharpness))
            is_uniform = uniform(first, shape) < self.smoothing.epsilon
            return np.where(is_uniform, uniform(second, shape), exponential.at_0(third, shape))
        rho = uniform(key, shape)
        return self.smoothing.inverse_cdf_pair(rho, 1 - rho)[0]

    def __call__(self, logits, raw_scale, key):
        for_z, for_zeta = split(key, 2)
        z = bernoulli(for_z, real(logits)[0])
        zero = np.float32(self.at_0(for_zeta, z.shape))
        # In single precision 1 - ζ has few digits where ζ is close to 1: that is part of the model.
        zeta = np.float64(np.where(z > 0.5, np.float32(1) - zero, zero))[None]
        zeta = implicit(self.smoothing.mixture_cdf, zeta, expit(logits))
        log_0, log_1 = self.smoothing.log_densities(zeta)
        log_q = logaddexp(log_1 - softplus(-logits), log_0 - softplus(logits))
        return Draw(logits, zeta, log_q)


@dataclass(frozen=True)
class SpikeExponential:
    """A spike at 0, or β e^(βζ) / (e^β - 1)."""

    sharpness: float

    def __call__(self, outputs, raw_scale, key):
        q = at_most(1 - 1e-7, -at_most(-1e-7, -expit(outputs)))
        rho = uniform(key, outputs.shape[1:])[None]
        spike = rho < 1 - real(q)
        fraction = np.where(spike, 0, (rho + q - 1) / q)
        zeta = np.log(1 + np.expm1(self.sharpness) * fraction) / self.sharpness
        return Draw(outputs, np.where(spike, 0, zeta), None)


@dataclass(frozen=True)
class ShiftedGaussian:
    """(1-q) N(δ, s²) + q N(1+δ, s²)."""

    def __call__(self, outputs, raw_scale, key):
        for_z, for_noise = split(key, 2)
        logits, raw_shift = np.split(outputs, 2, axis=-1)
        shift = 0.5 * (expit(raw_shift) - 0.5)
        scale = np.where(real(raw_scale) < 0, -0.2, 0.2) * raw_scale + 0.05
        z = bernoulli(for_z, real(logits)[0])
        zeta = z + real(shift) + real(scale) * normal(for_noise, z.shape)

        def cdf(zeta, q, shift, scale):
            return smoothing.Gaussian(scale**-2).mixture_cdf(zeta - shift, q)

        zeta = implicit(cdf, zeta, expit(logits), shift, scale)
        log_0, log_1 = smoothing.Gaussian(scale**-2).log_densities(zeta - shift)
        log_0 = log_0 + np.log(1 - at_most(1 - 1e-4, expit(logits)))
        return Draw(logits, zeta, logaddexp(log_1 - softplus(-logits), log_0))


def negative_entropy(logits):
    q = expit(logits)
    return -np.sum(q * softplus(-logits) + (1 - q) * softplus(logits), axis=-1)


def factorial_kl(rbm, draw, terms):
    """Of independent units, without log Z, [P, N] as all that follow.

    terms: factors of single terms, 1 where not named, to see what a fault would do.
    """
    prior = terms.get("prior", 1) * rbm.negative_energy(expit(draw.logits))
    return terms.get("posterior", 1) * negative_entropy(draw.logits) - prior


def smoothed_kl(rbm, draw, terms, log_odds):
    """DVAE++ of several groups."""
    q = expit(draw.logits)
    left = rbm.halves(draw.logits)[0] + log_odds(rbm.halves(draw.zeta)[0])
    prior = rbm.linear(q) + rbm.pairs(expit(left), rbm.halves(q)[1])
    return terms.get("posterior", 1) * negative_entropy(draw.logits) - terms.get("prior", 1) * prior


def spike_kl(rbm, draw, terms, last):
    """DVAE of several groups: something with the gradient of the KL."""
    logits = at_most(88.0, -at_most(88.0, -draw.logits))
    q = expit(logits)
    s = np.concatenate([real(draw.zeta)[..., :-last] > 0, real(q)[..., -last:]], axis=-1)
    q_hat = at_most(0.999, q)
    correction = (1 - s) / (1 - real(q_hat))
    rbm.halves(correction)[1][...] = 1
    fixed = rbm.stopped()
    bias = np.concatenate([fixed.left_bias, fixed.right_bias], axis=-1)
    toward = terms.get("posterior", 1) * real(logits) - bias - fixed.fields(s) * correction
    prior = rbm.linear(real(q)) + rbm.pairs(*rbm.halves(s))
    return np.sum(toward * q_hat, axis=-1) - terms.get("prior", 1) * prior


def mean_field_log_prior(rbm, zeta, densities):
    """Bound of log p(ζ) + log Z after five iterations, whose means are constants."""
    log_0, log_1 = densities(zeta)
    odds, (left, right, coupling) = log_1 - log_0, rbm.stopped()
    fixed = ReferenceRBM(left[0, 0], right[0, 0], coupling[0])
    means = mean_field_means(fixed, fixed.classes, real(odds)[0])[None]
    entropy = np.sum(entr(means) + entr(1 - means), axis=-1)
    return rbm.negative_energy(means) + np.sum(means * odds + log_0, axis=-1) + entropy


def gaussian_integral_log_prior(rbm, zeta, sharpness):
    """log p(ζ) + log Z with M = W̃ + λI, λ constant: max(5 + bound of σ_max, β)."""
    # The bound is the Schatten norm of order 256, at most 2 % above σ_max for 200 units.
    singular = np.linalg.svd(real(rbm.coupling)[0], compute_uv=False)
    strength = max(5 + np.sum(singular**256.0) ** (1 / 256), sharpness)
    product = strength * zeta + rbm.fields(zeta)
    gram = np.swapaxes(rbm.coupling, -1, -2) @ rbm.coupling / strength**2
    log_det = np.log(np.linalg.det(np.eye(gram.shape[-1]) - gram))[:, None]
    bias = np.concatenate([rbm.left_bias, rbm.right_bias], axis=-1)
    integral = np.sum(softplus(product + bias - strength / 2), axis=-1)
    constant = 0.5 * zeta.shape[-1] * np.log(strength / (2 * np.pi))
    return constant + 0.5 * log_det - 0.5 * np.sum(zeta * product, axis=-1) + integral
