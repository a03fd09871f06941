"""Relaxed bits that stand for bits, for derivatives by complex step: see `relaxation`.

Hard bits have an imaginary part all the same, that of the gradient their paper gives them.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import logit

from tests.reference.counter_random import bernoulli, uniform
from tests.reference.relaxation import Draw, expit, real, softplus

ALL = ("gumbolt", "pwl", "concrete", "st", "reinmax")
# Those whose encoder's gradient goes along samples alone, with squared weights.
SQUARED = ALL[1:]


def log_q(zeta, logits):
    """ζ log q + (1-ζ) log(1-q) of each unit."""
    return -zeta * softplus(-logits) - (1 - zeta) * softplus(logits)


def concrete(logits, rho, sharpness):
    """σ(β (ℓ + logit ρ))."""
    return expit(sharpness * (logits + logit(np.clip(rho, 1e-5, 1 - 1e-5))))


def piecewise_linear(logits, rho, sharpness):
    """A line through 1/2 at ρ = 1 - q, cut off at 0 and 1."""
    q = expit(logits)
    zeta = 0.5 + 0.25 * sharpness / (q * (1 - q) + 1e-2) * (rho - (1 - q))
    return np.where(real(zeta) < 0, 0, np.where(real(zeta) > 1, 1, zeta))


def straight_through(logits, z):
    """The bit, moving with its mean."""
    return z + expit(logits) - expit(real(logits))


def reinmax(logits, z):
    """Algorithm 2 of Liu et al. 2023 in its own form: two soft bits, 2 π_1 - π_0 / 2."""
    start = real(logits)
    middle = (expit(start) + z) / 2
    soft_2 = 2 * expit(logit(middle) - start + logits) - expit(logits) / 2
    return z + soft_2 - real(soft_2)


@dataclass(frozen=True)
class Bits:
    """What `relaxation.Mixture` is for smoothed bits; log q is that of `log_q`."""

    baseline: str
    sharpness: float

    def __call__(self, outputs, raw_scale, key):
        if self.baseline in ("st", "reinmax"):
            z = bernoulli(key, real(outputs)[0])
            zeta = (straight_through if self.baseline == "st" else reinmax)(outputs, z)
        else:
            relax = piecewise_linear if self.baseline == "pwl" else concrete
            zeta = relax(outputs, uniform(key, outputs.shape[1:]), self.sharpness)
        return Draw(outputs, zeta, log_q(zeta, outputs))
