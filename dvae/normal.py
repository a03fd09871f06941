"""Normal distributions: log density and distribution function, elementwise."""

import math

import tensorflow as tf


def log_density(x: tf.Tensor, mean: float | tf.Tensor, scale: float | tf.Tensor) -> tf.Tensor:
    """log N(x; mean, scale²)."""
    mean, scale = (tf.convert_to_tensor(value, x.dtype) for value in (mean, scale))
    log_normalizer = 0.5 * math.log(2.0 * math.pi) + tf.math.log(scale)
    return -0.5 * tf.math.squared_difference(x / scale, mean / scale) - log_normalizer


def cdf(x: tf.Tensor) -> tf.Tensor:
    """Φ(x) of the standard normal: by erf about 0, and by erfc in the tails that it cancels in."""
    scaled = x * tf.constant(math.sqrt(0.5), x.dtype)
    tail = tf.math.erfc(tf.abs(scaled))
    outer = tf.where(scaled > 0.0, 2.0 - tail, tail)
    return 0.5 * tf.where(tf.abs(scaled) < math.sqrt(0.5), 1.0 + tf.math.erf(scaled), outer)
