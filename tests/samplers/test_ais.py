"""Annealed importance sampling where it is exact: the mean weight, at few temperatures.

E[w] = Z holds for any number of temperatures, so a mean over many chains with three to five of
them tells whether each weight is right; with many temperatures even wrong weights look right.
"""

import math

import numpy as np
import pytest
import tensorflow as tf

from samplers import ais, counter_random, energy_model
from samplers.diagnostics import markov_lower_bound
from tests.helpers import statistical
from tests.helpers.compiled_samplers import both_of, exact_chains, z_scores
from tests.reference.rbm import random_rbm

REFERENCE = random_rbm(5, 7, seed=51, bias_scale=1.5, coupling_scale=1.2)
LOG_Z = REFERENCE.log_partition()
NUM_CHAINS, NUM_TEMPERATURES = 16_384, 4
BASES = {
    "uniform": np.zeros(12),
    "arbitrary": np.concatenate([np.linspace(-1.1, 0.7, 5), np.linspace(0.9, -0.6, 7)]),
}


def base_of(name):
    return tf.constant(BASES[name], tf.float32)


def forward(name, seed):
    temperatures = ais.linear_temperatures(NUM_TEMPERATURES)
    key = counter_random.key(seed)
    return ais.run(*both_of(REFERENCE), base_of(name), key, temperatures, NUM_CHAINS)


def reverse(name, seed):
    temperatures = ais.linear_temperatures(NUM_TEMPERATURES)
    start = exact_chains(REFERENCE, seed, NUM_CHAINS)
    key = counter_random.key(seed)
    return ais.run_reverse(*both_of(REFERENCE), base_of(name), start, key, temperatures)


def log_mean_of_groups(log_ratios, size=4):
    """log of the mean ratio in each of many small groups."""
    return np.log(np.mean(np.exp(np.reshape(log_ratios, [-1, size])), axis=1))


@pytest.mark.parametrize("name", BASES)
def test_forward_is_unbiased(name, seed=1):
    """Mean of w / Z is 1; standard error about 0.009, so Z wrong by 5 % is noticed."""
    statistical.assert_mean(np.exp(forward(name, seed).log_weights - LOG_Z), 1.0)


@pytest.mark.parametrize("name", BASES)
def test_reverse_from_exact_samples_is_unbiased(name, seed=1):
    """Mean of Z / w is 1; standard error about 0.007: an error of 4 % is noticed."""
    statistical.assert_mean(np.exp(LOG_Z - reverse(name, seed).log_weights), 1.0)


def test_weighted_states_are_of_the_rbm(seed=1):
    """E[w f(z_L)] = Z E[f(z_L)]: means of the left units; standard error about 0.005."""
    result = forward("uniform", seed)
    weights = np.exp(result.log_weights - LOG_Z)[:, None]
    statistical.assert_mean(weights * result.state, REFERENCE.means()[:5])


def test_forward_is_low_and_reverse_is_high(seed=1):
    """By Jensen, on average over 4096 groups of 4 chains; both are some 0.1 nat off, error 0.01."""
    low = log_mean_of_groups(forward("uniform", seed).log_weights - LOG_Z)
    high = -log_mean_of_groups(LOG_Z - reverse("uniform", seed).log_weights)
    assert z_scores(low, 0.0) < -5
    assert z_scores(high, 0.0) > 5


def test_markov_bound_covers(seed=1):
    """512 repetitions with 32 chains each: the bound is below log Z in at least 95 %.

    8 groups of 4, log(20) / 8 = 0.37 nats taken off the least. How sharp it is, is shown by
    enumeration in tests/test_diagnostics.py.
    """
    log_weights = tf.reshape(forward("uniform", seed).log_weights, [-1, 32])
    bounds = tf.function(lambda rows: tf.map_fn(lambda w: markov_lower_bound(w, 8), rows))
    assert np.mean(bounds(log_weights) <= LOG_Z) >= 0.95


def test_estimate(seed=1):
    """Within five stated errors (0.05) of the exact value, where the numbers of chains and of
    temperatures differ: a mean over the wrong one is off by log(997 / 16) = 4.1 nats."""
    estimate = ais.log_partition_estimate(
        *both_of(REFERENCE), base_of("uniform"), counter_random.key(seed), 997, 16
    )
    assert estimate.stderr < 0.1
    assert abs(estimate.value - LOG_Z) < 5 * estimate.stderr


def test_values_do_not_retrace():
    """Parameters and bases are arguments: other values run the same program."""
    forward("uniform", seed=1)
    before = ais._run.experimental_get_tracing_count()
    forward("arbitrary", seed=2)
    assert ais._run.experimental_get_tracing_count() == before


def test_bases():
    base = base_of("arbitrary")
    expected = np.sum(np.log1p(np.exp(BASES["arbitrary"])))
    assert np.isclose(energy_model.base_log_partition(base), expected, atol=1e-5)
    left = np.array([[1, 0, 1], [1, 0, 0], [1, 0, 0], [1, 0, 1]], np.float32)
    right = np.array([[1, 0], [1, 1], [0, 0], [1, 1]], np.float32)
    fitted = energy_model.fitted_base(tf.constant(np.concatenate([left, right], axis=1)))
    # Units that never flip are kept at a mean of 0.02 or 0.98.
    limit = math.log(49.0)
    np.testing.assert_allclose(fitted, [limit, -limit, 0.0, math.log(3.0), 0.0], atol=1e-5)


def test_linear_temperatures():
    temperatures = ais.linear_temperatures(5).numpy()
    np.testing.assert_allclose(temperatures, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0], atol=1e-7)
    assert temperatures[0] == 0.0 and temperatures[-1] == 1.0
