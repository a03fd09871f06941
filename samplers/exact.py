"""Exact log Z, moments and samples of small RBMs, by enumerating one half in float64."""

import math
from typing import NamedTuple

import tensorflow as tf

from samplers import checks, counter_random, hardware
from samplers.rbm import RBM, Chains, check_rbm, left_log_marginal

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


def _bits(numbers: tf.Tensor, num_units: int) -> tf.Tensor:
    """Binary expansions of int32 [N], the first unit fastest: [N, num_units] float64."""
    bits = tf.bitwise.right_shift(numbers[:, None], tf.range(num_units, dtype=tf.int32)[None, :])
    return tf.cast(bits & 1, tf.float64)


def _states(first: tf.Tensor, count: int, num_units: int) -> tf.Tensor:
    """The binary expansions of first, ..., first + count - 1: [count, num_units] float64."""
    return _bits(first + tf.range(count, dtype=tf.int32), num_units)


@hardware.Program
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

    Enumerates the smaller half and sums the other out (logsumexp over z_L of
    a.z_L + sum softplus). Raises ValueError when both halves exceed MAX_ENUMERATED_UNITS units.
    """
    check_rbm(rbm)
    if not is_enumerable(rbm):
        raise ValueError(f"an RBM of {rbm.coupling.shape} is too large to enumerate")
    rbm = _float64(rbm)
    left, right = rbm.coupling.shape
    return _log_partition_by_left(rbm if left <= right else _transposed(rbm))


@hardware.Program
def _moments_by_left(rbm: RBM, log_z: tf.Tensor) -> Moments:
    num_left, num_right = rbm.coupling.shape
    chunk = 2 ** min(num_left, _CHUNK_BITS)
    total = Moments(
        tf.zeros([num_left], tf.float64),
        tf.zeros([num_right], tf.float64),
        tf.zeros([num_left, num_right], tf.float64),
    )
    for index in tf.range(2**num_left // chunk):
        left = _states(index * chunk, chunk, num_left)
        probability = tf.exp(left_log_marginal(rbm, left) - log_z)
        weighted = probability[:, None] * left
        right = tf.sigmoid(rbm.right_bias + tf.matmul(left, rbm.coupling))
        total = Moments(
            total.left + tf.reduce_sum(weighted, axis=0),
            total.right + tf.linalg.matvec(right, probability, transpose_a=True),
            total.product + tf.matmul(weighted, right, transpose_a=True),
        )
    return total


def moments(rbm: RBM) -> Moments:
    """Exact moments: the gradient of log Z with respect to a, b and W.

    Raises ValueError when both halves exceed MAX_ENUMERATED_UNITS units.
    """
    log_z = log_partition(rbm)
    rbm = _float64(rbm)
    left, right = rbm.coupling.shape
    if left <= right:
        return _moments_by_left(rbm, log_z)
    swapped = _moments_by_left(_transposed(rbm), log_z)
    return Moments(swapped.right, swapped.left, tf.transpose(swapped.product))


def samples(rbm: RBM, key: tf.Tensor, num_samples: int) -> Chains:
    """Independent exact samples of p(z), left [N, L] and right [N, R], in the RBM's dtype.

    The smaller half is drawn from its enumerated marginal, the other given it. They are what makes
    reverse AIS an upper bound of log Z on average, with nothing to believe.

    Raises ValueError when both halves exceed MAX_ENUMERATED_UNITS units, and at fewer than one
    sample.
    """
    num_samples = checks.whole("num_samples", num_samples)
    log_z = log_partition(rbm)
    dtype, (left, right) = rbm.coupling.dtype, rbm.coupling.shape
    first = _float64(rbm if left <= right else _transposed(rbm))
    num_units = first.left_bias.shape[0]
    chunk = 2 ** min(num_units, _CHUNK_BITS)
    cumulative = tf.cumsum(
        tf.concat(
            [
                tf.exp(left_log_marginal(first, _states(start, chunk, num_units)) - log_z)
                for start in range(0, 2**num_units, chunk)
            ],
            axis=0,
        )
    )
    keys = counter_random.split(key, 2)
    level = counter_random.uniform(keys[0], [num_samples], tf.float64) * cumulative[-1]
    rows = tf.searchsorted(cumulative, level, side="right")
    half = _bits(rows, num_units)
    logits = first.right_bias + tf.matmul(half, first.coupling)
    halves = tf.cast(half, dtype), tf.cast(counter_random.bernoulli_logits(keys[1], logits), dtype)
    return Chains(*(halves if left <= right else halves[::-1]))
