"""RBMs of many rows against enumeration of each row's own."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit

from samplers import counter_random, row_rbms
from samplers.rbm import Halves, RBMParameters
from tests.helpers import statistical
from tests.reference.rbm import all_states, random_rbm

# Three rows of 3 x 2 units: no two dimensions are alike.
REFERENCES = [random_rbm(3, 2, seed=seed, coupling_scale=1.3) for seed in (61, 62, 63)]
RBMS = zip(*(reference.parameters for reference in REFERENCES), strict=True)
RBMS = RBMParameters(*(tf.constant(np.stack(columns), tf.float32) for columns in RBMS))
NUM_CHAINS = 20_000


def counts_of(states):
    """Place of binary states [..., D] in counting order, the first unit slowest."""
    return np.int64(states @ 2 ** np.arange(states.shape[-1])[::-1])


def hits_of(states):
    """Which of the 2^D states each of [C, D] is, [C, 2^D]."""
    return counts_of(states)[:, None] == np.arange(2 ** states.shape[1])


def test_energy():
    """Of states and of means in between: each row by its own parameters."""
    means = np.random.default_rng(1).random((3, 4, 5))
    chains = Halves(*(tf.constant(half, tf.float32) for half in np.split(means, [3], axis=2)))
    expected = [reference.energy(row) for reference, row in zip(REFERENCES, means, strict=True)]
    assert np.allclose(row_rbms.energy(RBMS, chains), expected, atol=1e-5)


def left_to_left(reference):
    """Transition matrix [2^L, 2^L] of a sweep of the right half and then the left."""
    joint = np.exp(-reference.energy(reference.states())).reshape(2**3, -1)
    to_right = joint / joint.sum(axis=1, keepdims=True)
    to_left = joint / joint.sum(axis=0, keepdims=True)
    return to_right @ to_left.T


@pytest.mark.parametrize("num_sweeps", [1, 2])
def test_sweeps(num_sweeps, seed=1):
    """From one start in each row, 20,000 chains: every left state within 5 errors of 0.0035."""
    starts = np.array([[1, 0, 1], [0, 0, 1], [1, 1, 0]])
    left = tf.constant(np.repeat(starts[:, None], NUM_CHAINS, axis=1), tf.float32)
    run = tf.function(row_rbms.sweeps, jit_compile=True, autograph=False)
    ends = run(RBMS, left, counter_random.key(seed), num_sweeps).numpy()
    for row, reference in enumerate(REFERENCES):
        before, expected = (
            np.linalg.matrix_power(left_to_left(reference), n)[counts_of(starts[row])]
            for n in (num_sweeps - 1, num_sweeps)
        )
        statistical.assert_fraction(hits_of(ends[row]), expected)
        assert np.max(np.abs(expected - before)) > 0.02  # a sweep less would be seen


@pytest.mark.parametrize("num_temperatures", [1, 2])
def test_weights_are_unbiased(num_temperatures, seed=2):
    """Mean of w / Z is 1 in each row, of few temperatures: standard errors of at most 0.02.

    E[w 1(z)] / Z = p(z) for the likelier states of each row.
    """
    found = row_rbms.anneal(RBMS, counter_random.key(seed), NUM_CHAINS, num_temperatures)
    assert found.log_weights.dtype == tf.float64
    log_z = np.array([reference.log_partition() for reference in REFERENCES])
    ratios = np.exp(found.log_weights.numpy() - log_z[:, None])
    statistical.assert_mean(ratios.T, np.ones(3), largest_error=0.02)
    assert ratios.std() > 0.1
    states, biased = np.concatenate(found.chains, axis=2), 0.0
    for row, reference in enumerate(REFERENCES):
        hits, expected = hits_of(states[row]), reference.probabilities()
        likely = expected > 0.01  # hit often enough for an error to be known
        weighted = (ratios[row][:, None] * hits)[:, likely]
        statistical.assert_mean(weighted, expected[likely], largest_error=0.02)
        biased = max(biased, np.max(np.abs(hits.mean(axis=0) - expected)))
    assert biased > 0.02  # without the weights it would not be so


def test_many_temperatures_sample(seed=4):
    """With 500 the states alone are samples, and each weight nearly Z."""
    found = row_rbms.anneal(RBMS, counter_random.key(seed), NUM_CHAINS, 500)
    states = np.concatenate(found.chains, axis=2)
    for row, reference in enumerate(REFERENCES):
        expected = reference.probabilities()
        likely = expected > 1e-3
        statistical.assert_fraction(hits_of(states[row])[:, likely], expected[likely])
        errors = found.log_weights.numpy()[row] - reference.log_partition()
        assert np.std(errors) < 0.25 and abs(np.mean(errors)) < 0.03


def test_mean_field():
    """Seven iterations against loops in float64, from each chain of each row."""
    starts = all_states(3)[[0, 3, 6, 7]]
    left = tf.constant(np.tile(starts, (3, 1, 1)), tf.float32)
    found = row_rbms.mean_field(RBMS, left, 7)
    for row, reference in enumerate(REFERENCES):
        for chain, start in enumerate(starts):
            mean = start
            for _ in range(7):
                right = expit(reference.right_bias + mean @ reference.coupling)
                mean = expit(reference.left_bias + reference.coupling @ right)
            assert np.allclose(found.left[row, chain], mean, atol=1e-5)
            assert np.allclose(found.right[row, chain], right, atol=1e-5)
