"""Relaxed bits in the energies of binary ones: ζ stands for z in log q and in the prior's energy.

log q(ζ | x) is the Bernoulli log-probability at ζ, Σ ζ log q + (1-ζ) log(1-q), which is no density:
with ζ between 0 and 1 the objective is a bound of neither the binary model nor a relaxed one
(Khoshaman and Amin 2018, 1805.07349). With hard ζ (`StraightThrough`, `ReinMax`) the values are
those of the binary model, and only gradients are biased.
"""

import abc

import tensorflow as tf

from dvae.posteriors import Posterior, PosteriorParams
from samplers import counter_random

# ρ of the Concrete relaxation lies this far from 0 and 1, so that its logit is finite.
CONCRETE_CLIP = 1e-5
# Bounds the slope of the piecewise-linear relaxation where q is nearly 0 or 1.
SLOPE_OFFSET = 1e-2


class RelaxedBernoulli(Posterior, abc.ABC):
    """Base: one logit per unit. sharpness: β; the hard ones have none and take no notice of it."""

    def __init__(self, sharpness: float) -> None:
        super().__init__()
        self.sharpness = float(sharpness)

    def log_density(self, relaxed: tf.Tensor, params: PosteriorParams) -> tf.Tensor:
        """ζ log q + (1-ζ) log(1-q) of each unit [N, d], in nats; a probability at 0 and 1 alone."""
        logits = params.logits
        return -tf.nn.sigmoid_cross_entropy_with_logits(labels=relaxed, logits=logits)


class Concrete(RelaxedBernoulli):
    """ζ = σ(β(ℓ + logit ρ)), ρ uniform (Maddison et al. 2017, 1611.00712, eq. 6)."""

    def sample(self, params: PosteriorParams, key: tf.Tensor) -> tf.Tensor:
        """Pathwise gradients. P(ζ > 1/2) = q."""
        rho = counter_random.uniform(key, params.logits.shape)
        rho = tf.clip_by_value(rho, CONCRETE_CLIP, 1.0 - CONCRETE_CLIP)
        noise = tf.math.log(rho) - tf.math.log1p(-rho)
        return tf.sigmoid(self.sharpness * (params.logits + noise))


class PiecewiseLinear(RelaxedBernoulli):
    """ζ = clip(1/2 + s (ρ - (1-q)), 0, 1) with s = β/4 / (q(1-q) + 0.01) (1810.00116)."""

    def sample(self, params: PosteriorParams, key: tf.Tensor) -> tf.Tensor:
        """Pathwise gradients, through the slope s too. P(ζ > 1/2) = q."""
        q = tf.sigmoid(params.logits)
        rho = counter_random.uniform(key, params.logits.shape)
        slope = 0.25 * self.sharpness / (q * (1.0 - q) + SLOPE_OFFSET)
        return tf.clip_by_value(0.5 + slope * (rho - (1.0 - q)), 0.0, 1.0)


class StraightThrough(RelaxedBernoulli):
    """Bits z ~ Bernoulli(q) with dz/dℓ := dq/dℓ = q(1-q) (Bengio et al. 2013, 1308.3432)."""

    def sample(self, params: PosteriorParams, key: tf.Tensor) -> tf.Tensor:
        """Exactly 0 or 1; the gradient is right in expectation for what is linear in z."""
        return _with_gradient_of(_bits(params, key), tf.sigmoid(params.logits))


class ReinMax(RelaxedBernoulli):
    """Bits with dz/dℓ := 2 π(1-π) - q(1-q)/2, π = (q+z)/2 (Liu et al. 2023, 2304.08612, alg. 2).

    Heun's rule for f(1) - f(0) where straight-through has Euler's.
    """

    def sample(self, params: PosteriorParams, key: tf.Tensor) -> tf.Tensor:
        """Exactly 0 or 1; the gradient is right in expectation for what is quadratic in a bit."""
        bits, q = _bits(params, key), tf.sigmoid(params.logits)
        middle = tf.stop_gradient(0.5 * (q + bits))
        slope = 2.0 * middle * (1.0 - middle) - tf.stop_gradient(0.5 * q * (1.0 - q))
        return _with_gradient_of(bits, slope * params.logits)


def _bits(params: PosteriorParams, key: tf.Tensor) -> tf.Tensor:
    return counter_random.bernoulli_logits(key, params.logits)


def _with_gradient_of(values: tf.Tensor, source: tf.Tensor) -> tf.Tensor:
    # source - source is an exact zero, where source + (values - source) would be rounded.
    return tf.stop_gradient(values) + (source - tf.stop_gradient(source))
