"""Averages of importance weights: against plain formulas, enumeration and known distributions."""

import itertools
import math

import numpy as np
import pytest
import tensorflow as tf

from samplers import diagnostics

WEIGHTS = np.array([0.2, 1.7, 3.1, 0.05, 0.9, 2.3, 1.1])


@pytest.mark.parametrize("offset", [0.0, 900.0, -900.0])
def test_log_mean_exp_and_ess_are_the_plain_formulas(offset):
    """Also where the weights themselves would overflow or underflow."""
    mean, shifted = math.log(WEIGHTS.mean()) + offset, tf.constant(np.log(WEIGHTS) + offset)
    assert np.isclose(diagnostics.log_mean_exp(shifted), mean, atol=1e-12)
    ess = WEIGHTS.sum() ** 2 / np.sum(WEIGHTS**2)
    assert np.isclose(diagnostics.effective_sample_size(shifted), ess, atol=1e-10)


def test_ess_at_its_ends():
    assert np.isclose(diagnostics.effective_sample_size(tf.fill([7], -3.0)), 7.0)
    one = tf.constant([-1e30, 5.0, -1e30])
    assert np.isclose(diagnostics.effective_sample_size(one), 1.0)


def test_log_mean_estimate_is_the_delta_method():
    """stderr = sd(w) / (sqrt(C) mean(w)) with the unbiased sample variance."""
    estimate = diagnostics.log_mean_estimate(tf.constant(np.log(WEIGHTS), tf.float32))
    stderr = np.std(WEIGHTS, ddof=1) / np.sqrt(len(WEIGHTS)) / np.mean(WEIGHTS)
    assert np.isclose(estimate.value, math.log(np.mean(WEIGHTS)), atol=1e-6)
    assert np.isclose(estimate.stderr, stderr, atol=1e-6)


def test_standard_error_is_calibrated(seed=1):
    """Deviations from the known mean, in units of the stated error, have unit variance.

    Reference: lognormal weights, log E[w] = s^2 / 2. 4000 repetitions: the standard error of the
    variance is 2.2 %; the skewness of the weights adds about 3 % at C = 200. A stated error that
    is 9 % wrong is noticed.
    """
    spread, size, repetitions = 0.5, 200, 4000
    log_weights = spread * np.random.default_rng(seed).standard_normal((repetitions, size))
    types = diagnostics.LogMeanEstimate(*[tf.float64] * 3)
    estimates = tf.function(
        lambda rows: tf.map_fn(diagnostics.log_mean_estimate, rows, fn_output_signature=types)
    )(tf.constant(log_weights))
    deviations = (estimates.value.numpy() - spread**2 / 2) / estimates.stderr.numpy()
    assert abs(np.mean(deviations**2) - 1.03) < 5 * math.sqrt(2 / repetitions) + 0.03


def chance_above(values, probabilities, truth, num_weights, *options):
    """P(markov_lower_bound > truth) by enumerating every outcome of all weights."""
    total = 0.0
    for outcome in itertools.product(range(len(values)), repeat=num_weights):
        with np.errstate(divide="ignore"):
            log_weights = tf.constant(np.log([values[index] for index in outcome]))
        bound = float(diagnostics.markov_lower_bound(log_weights, *options))
        total += math.prod(probabilities[index] for index in outcome) * (bound > truth)
    return total


@pytest.mark.parametrize("alpha", [0.05, 0.3])
def test_markov_bound_by_enumeration(alpha):
    """Its chance to be above is at most alpha, and as large as Markov's inequality allows.

    Every outcome of 5 weights (2 groups of 2, one left over) with rare large values. Then those
    for which the inequality is an equality: c E[w] with chance 1/c, else 0. A little above the
    critical c the bound fails with a chance just below alpha; below it, never. So a bound that is
    1 % higher (a wrong alpha, number of groups or sign) would fail more often.
    """
    values, probabilities = [0.1, 2.0, 40.0], [0.8, 0.15, 0.05]
    truth = math.log(np.dot(values, probabilities))
    assert chance_above(values, probabilities, truth, 5, 2, alpha) <= alpha
    for factor in (1.01, 0.99):
        height = alpha ** (-1 / 3) * factor
        chance = chance_above([0.0, height], [1 - 1 / height, 1 / height], 0.0, 3, 3, alpha)
        expected = alpha / factor**3 if factor > 1 else 0.0
        assert np.isclose(chance, expected, atol=1e-12) and chance <= alpha


def test_markov_bound_needs_a_weight_per_group():
    with pytest.raises(ValueError, match="cannot form"):
        diagnostics.markov_lower_bound(tf.zeros([4]), num_groups=5)
