"""Ratios of partition functions from samples of both sides (Bennett 1976; Meng and Wong 1996)."""

import tensorflow as tf

from samplers import checks

_TOLERANCE = 1e-10
_MAX_ITERATIONS = 1000


def bennett_acceptance_ratio(forward: tf.Tensor, backward: tf.Tensor) -> tuple:
    """log Z_{t+1} / Z_t of neighbours from samples of both, and each ladder's pull on it.

    Solves mean_t sigma(d - c) = mean_{t+1} sigma(c - d) for c, d = log f_{t+1} - log f_t, by the
    self-consistent iteration c += log(mean_t sigma(d - c) / mean_{t+1} sigma(c - d)) of Bennett
    1976 and Meng and Wong 1996, halved because whole steps oscillate where samples hardly overlap.

    Args:
      forward: [M, N, P] differences d at samples of the lower temperature of P pairs.
      backward: [M, N, P] at samples of the upper one.

    Returns:
      (ratio [P], influence [N, P]), float64: the solution with all ladders pooled, and the
      derivative with which each ladder's own data moves it; the influences of a pair average to
      zero, and their spread is N times the squared standard error.

    Raises:
      ValueError: there are no differences, or not the same number of both.
    """
    checks.float_type(forward.dtype)
    checks.tensor("forward", forward, [None, None, None], forward.dtype)
    checks.tensor("backward", backward, forward.shape, forward.dtype)
    return _solve(forward, backward)


@tf.function(autograph=False)
def _solve(forward: tf.Tensor, backward: tf.Tensor) -> tuple:
    forward, backward = tf.cast(forward, tf.float64), tf.cast(backward, tf.float64)
    log_count = tf.math.log(tf.cast(tf.reduce_prod(tf.shape(forward)[:2]), tf.float64))

    def log_mean(values: tf.Tensor) -> tf.Tensor:
        return tf.reduce_logsumexp(values, axis=[0, 1]) - log_count

    def improve(index: tf.Tensor, ratio: tf.Tensor, _: tf.Tensor) -> tuple:
        up = log_mean(tf.math.log_sigmoid(forward - ratio))
        down = log_mean(tf.math.log_sigmoid(ratio - backward))
        return index + 1, ratio + 0.5 * (up - down), tf.reduce_max(tf.abs(up - down))

    start = 0.5 * (tf.reduce_mean(forward, axis=[0, 1]) + tf.reduce_mean(backward, axis=[0, 1]))
    _, ratio, _ = tf.while_loop(
        lambda index, _, change: (index < _MAX_ITERATIONS) & (change > _TOLERANCE),
        improve,
        (tf.constant(0), start, tf.constant(1.0, tf.float64)),
    )
    up, down = tf.sigmoid(forward - ratio), tf.sigmoid(ratio - backward)
    slope = tf.reduce_mean(up * (1.0 - up) + down * (1.0 - down), axis=[0, 1])
    return ratio, tf.reduce_mean(up - down, axis=0) / slope
