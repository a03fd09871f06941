"""Log-space averages of importance weights, their error, and effective sample sizes."""

import math
from typing import NamedTuple

import tensorflow as tf

from samplers import checks, hardware


class LogMeanEstimate(NamedTuple):
    """log of a mean of weights, with its error.

    value: scalar, log mean exp(log weights), in nats. Biased low by about stderr^2 / 2 (Jensen).
    stderr: scalar, delta-method standard error of `value`, in nats; NaN of a single weight.
    ess: scalar, effective sample size of the weights, between 1 and their number.
    """

    value: tf.Tensor
    stderr: tf.Tensor
    ess: tf.Tensor


def normalized(log_weights: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Shares of weights [C], which sum to one, and the log of their mean, a scalar in nats."""
    if hardware.on_gpu():  # both of one softmax: the largest share is exp(largest - log sum)
        shares = tf.nn.softmax(log_weights)
        count = tf.cast(tf.size(log_weights), log_weights.dtype)
        return shares, tf.reduce_max(log_weights) - tf.math.log(tf.reduce_max(shares) * count)
    log_mean = log_mean_exp(log_weights)
    return tf.nn.softmax(log_weights - log_mean), log_mean


def effective_sample_size(log_weights: tf.Tensor) -> tf.Tensor:
    """(sum w)^2 / sum w^2 of unnormalised log weights [C]; Kong 1992. Between 1 and C."""
    return 1.0 / tf.reduce_sum(tf.square(tf.nn.softmax(log_weights)))


def log_mean_exp(log_weights: tf.Tensor, axis: int | None = None) -> tf.Tensor:
    """log of the mean of exp(log_weights) over all entries, or over an axis, in nats."""
    total = tf.reduce_logsumexp(log_weights, axis)
    count = tf.cast(tf.size(log_weights) // tf.size(total), log_weights.dtype)
    return total - tf.math.log(count)


def log_mean_estimate(log_weights: tf.Tensor) -> LogMeanEstimate:
    """log mean of independent weights exp(log_weights), [C], with its error.

    The delta method gives var(log mean w) = var(w) / (C mean(w)^2) = (C / ESS - 1) / (C - 1) with
    the unbiased sample variance. It is blind to modes that no chain visited, at most 1 however far
    off the value is (see `least_ess`), and not known of a single weight.
    """
    log_weights = tf.cast(log_weights, tf.float64)
    if log_weights.shape.num_elements() == 0:
        raise ValueError("no weights have no mean")
    count = tf.cast(tf.size(log_weights), tf.float64)
    ess = effective_sample_size(log_weights)
    variance = tf.maximum(count / ess - 1.0, 0.0) / (count - 1.0)
    variance = tf.where(count > 1.0, variance, math.nan)
    return LogMeanEstimate(log_mean_exp(log_weights), tf.sqrt(variance), ess)


def least_ess(count: int) -> float:
    """The effective sample size of so many weights below which their stated error says little.

    count^(2/3), 102 of 1024: the mean of log-normal weights of that effective sample size has
    skewness 1, so that its normal error begins to mislead; with one far below, the largest weight
    decides the mean, and the error with it.
    """
    return count ** (2.0 / 3.0)


def known(value: float) -> float | None:
    """A number as a float, or None where it is not known: not finite."""
    value = float(value)
    return value if math.isfinite(value) else None


def markov_lower_bound(
    log_weights: tf.Tensor, num_groups: int = 32, alpha: float = 0.05
) -> tf.Tensor:
    """A lower confidence bound of log E[w] that needs no belief about the weights' tails.

    The weights are split into M = num_groups independent unbiased averages w_m. By Markov's
    inequality P(w_m >= c E[w]) <= 1/c for each, so P(min_m w_m >= c E[w]) <= c^-M, hence
    log E[w] >= min_m log w_m - log(1/alpha)/M with probability at least 1 - alpha.

    Args:
      log_weights: [C] logs of independent non-negative weights with the same mean; C >= M. The
        trailing C mod M weights are not used.
      num_groups: M.
      alpha: chance that the bound is above log E[w].

    Returns:
      Scalar float64 in nats.
    """
    num_groups = checks.whole("num_groups", num_groups)
    checks.number("alpha", alpha, 1e-12, 1.0)
    size = int(log_weights.shape[0]) // num_groups
    if size < 1:
        raise ValueError(f"{log_weights.shape[0]} weights cannot form {num_groups} groups")
    groups = tf.reshape(tf.cast(log_weights[: size * num_groups], tf.float64), [num_groups, size])
    means = tf.reduce_logsumexp(groups, axis=1) - math.log(size)
    return tf.reduce_min(means) - math.log(1.0 / alpha) / num_groups
