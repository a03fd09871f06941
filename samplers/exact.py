"""Exact log-partition function and moments of small RBMs, by enumerating one half in float64."""

import math
from typing import NamedTuple

import tensorflow as tf

from samplers.rbm import RBM, left_log_marginal

MAX_ENUMERATED_UNITS = 20
_CHUNK_BITS = 14


class Moments(NamedTuple):
    """Means under p(z): left [L], right [R], and products E[z_L z_R'] [L, R], in float64."""

    left: tf.Tensor
    right: tf.Tensor
    product: tf.Tensor


def _float64(rbm: RBM) -> RBM:
    return RBM(*(tf.cast(parameter, tf.float64) for parameter in rbm))


def _transposed(rbm: RBM) -> RBM:
    return RBM(rbm.right_bias, rbm.left_bias, tf.transpose(rbm.coupling))


def is_enumerable(rbm: RBM) -> bool:
    """Whether the smaller half is small enough for `log_partition`."""
    return min(rbm.coupling.shape) <= MAX_ENUMERATED_UNITS


def _states(first: tf.Tensor, count: int, num_units: int) -> tf.Tensor:
    """The binary expansions of first, ..., first + count - 1 as [count, num_units] float64."""
    numbers = first + tf.range(count, dtype=tf.int32)
    bits = tf.bitwise.right_shift(numbers[:, None], tf.range(num_units, dtype=tf.int32)[None, :])
    return tf.cast(bits & 1, tf.float64)


@tf.function(jit_compile=True)
def _log_partition_by_left(rbm: RBM) -> tf.Tensor:
    num_units = rbm.left_bias.shape[0]
    chunk = 2 ** min(num_units, _CHUNK_BITS)
    total = tf.constant(-math.inf, tf.float64)
    for index in tf.range(2**num_units // chunk):
        left = _states(index * chunk, chunk, num_units)
        value = tf.reduce_logsumexp(left_log_marginal(rbm, left))
        high = tf.maximum(total, value)
        total = high + tf.math.log(tf.exp(total - high) + tf.exp(value - high))
    return total


def log_partition(rbm: RBM) -> tf.Tensor:
    """log Z = log sum_z exp(-E(z)) in nats, a float64 scalar, exact up to rounding.

    Enumerates the smaller half and sums the other out (method of Section 5: logsumexp over z_L of
    a.z_L + sum softplus). Raises ValueError when both halves exceed MAX_ENUMERATED_UNITS units.
    """
    if not is_enumerable(rbm):
        raise ValueError(f"an RBM of {rbm.coupling.shape} is too large to enumerate")
    rbm = _float64(rbm)
    left, right = rbm.coupling.shape
    return _log_partition_by_left(rbm if left <= right else _transposed(rbm))


def moments(rbm: RBM) -> Moments:
    """Exact moments: the gradient of `log_partition` with respect to a, b and W.

    Raises ValueError when both halves exceed MAX_ENUMERATED_UNITS units.
    """
    rbm = _float64(rbm)
    with tf.GradientTape() as tape:
        tape.watch(rbm)
        value = log_partition(rbm)
    return Moments(*tape.gradient(value, list(rbm)))
