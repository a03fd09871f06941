"""Persistent chains: that sweeps leave p(z) as it is, and what the chains' gradient estimates."""

import numpy as np
import pytest
import tensorflow as tf

from dvae.priors import log_partition_surrogate
from samplers import counter_random, pcd
from samplers.rbm import RBM, RBMParameters
from tests.helpers import statistical
from tests.helpers.compiled_samplers import (
    chains_of,
    exact_chains,
    exact_features,
    features,
    rbm_of,
    sweeps_program,
)
from tests.reference.rbm import random_rbm

# Couplings of a size at which the two halves decide each other.
REFERENCE = random_rbm(3, 5, seed=23, coupling_scale=2.5)
NUM_CHAINS = 20_000
MODEL = RBM(3, 5)


def sweeps(chains, seed, num_sweeps, inverse_temperature=1.0):
    temperatures = tf.fill([NUM_CHAINS, 1], inverse_temperature)
    key = counter_random.key(seed)
    return sweeps_program()(rbm_of(REFERENCE), chains, key, tf.constant(num_sweeps), temperatures)


@pytest.mark.parametrize("num_sweeps", [1, 3])
def test_exact_samples_stay_exact(num_sweeps, seed=1):
    """Means and E[z_L z_R'] after sweeps from exact samples, against enumeration.

    Standard error at most 0.0035. Right units drawn from the left ones before the sweep keep every
    mean and change the products, by up to 0.1 here.
    """
    chains = sweeps(exact_chains(REFERENCE, seed, NUM_CHAINS), seed, num_sweeps)
    statistical.assert_mean(features(chains), exact_features(REFERENCE))


@pytest.mark.parametrize("inverse_temperature", [1.0, 0.375])
def test_sweep_from_one_state(inverse_temperature, seed=1):
    """One sweep of 20,000 chains from one state, against that row of the transition matrix.

    Every one of the 256 probabilities is held to 5 standard errors (at most 0.0035).
    """
    row = 2**8 - 2
    states = np.tile(REFERENCE.states()[row], (NUM_CHAINS, 1))
    chains = sweeps(chains_of(REFERENCE, states), seed, 1, inverse_temperature)
    reached = np.concatenate([*map(np.asarray, chains)], axis=1) @ 2 ** np.arange(8)[::-1]
    counts = np.bincount(reached.astype(int), minlength=256)
    expected = NUM_CHAINS * REFERENCE.sweep_matrix(inverse_temperature)[row]
    # Rare states are Poisson: their error is that of the square root, a quarter in variance.
    deviation = 2 * (np.sqrt(counts + 0.375) - np.sqrt(expected + 0.375))
    assert np.max(np.abs(deviation)) < 5


def test_step_persists_and_reports_energy():
    """`step` sweeps the chains of its state; the energy is that of the chains it returns."""
    rbm, key = rbm_of(REFERENCE), counter_random.key(3)
    state = pcd.init(MODEL, counter_random.key(1), 11)
    assert state.chains.left.shape == (11, 3) and state.chains.right.shape == (11, 5)
    new, info = pcd.step(MODEL, rbm, state, key, 2)
    expected = MODEL.sweeps(rbm, state.chains, key, 2)
    np.testing.assert_array_equal(new.chains.left, expected.left)
    np.testing.assert_array_equal(new.chains.right, expected.right)
    states = np.concatenate([*map(np.asarray, new.chains)], axis=1)
    assert np.isclose(info.mean_energy, np.mean(REFERENCE.energy(states)), atol=1e-5)


def test_init_is_fair(seed=1):
    """Uniform bits, independent of each other: E = 1/2, E[z_L z_R'] = 1/4; standard error 0.0035"""
    chains = pcd.init(MODEL, counter_random.key(seed), NUM_CHAINS).chains
    statistical.assert_mean(features(chains), np.array([0.5] * 8 + [0.25] * 15))


def surrogate_gradient(chains, weights):
    rbm = rbm_of(REFERENCE)
    with tf.GradientTape() as tape:
        tape.watch(rbm)
        value = log_partition_surrogate(MODEL, RBMParameters(*rbm), chains, weights)
    return np.concatenate([np.ravel(part) for part in tape.gradient(value, list(rbm))])


def test_weighted_gradient_is_that_of_log_z():
    """Every state with its probability as weight: the enumerated gradient, to rounding."""
    chains = chains_of(REFERENCE, REFERENCE.states())
    weights = tf.constant(REFERENCE.probabilities(), tf.float32)
    gradient = surrogate_gradient(chains, weights)
    np.testing.assert_allclose(gradient, exact_features(REFERENCE), atol=2e-6)


def test_sampled_gradient_is_that_of_log_z(seed=1):
    """50 sets of 400 exact samples: the mean gradient within 5 standard errors (0.0035 each)."""
    chains = exact_chains(REFERENCE, seed, NUM_CHAINS)
    parts = [
        surrogate_gradient(type(chains)(left, right), None)
        for left, right in zip(tf.split(chains.left, 50), tf.split(chains.right, 50), strict=True)
    ]
    statistical.assert_mean(np.stack(parts), exact_features(REFERENCE))
