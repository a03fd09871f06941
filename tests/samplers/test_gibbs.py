"""Block Gibbs sweeps: the distribution they reach, and that only speed depends on how they run."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from samplers import counter_random, gibbs
from samplers.rbm import RBM, Halves, left_log_marginal, model_of, transposed
from tests.helpers import statistical
from tests.helpers.compiled_samplers import chains_of, params_of
from tests.reference.rbm import random_rbm

# Couplings of a size at which the two halves decide each other, and signs of both kinds.
REFERENCE = random_rbm(3, 5, seed=23, coupling_scale=2.5)
MODEL = RBM(3, 5)


def sweeps(params, chains, key, num_sweeps, inverse_temperature=1.0, concurrent=None):
    blocks = model_of(params).blocks(params)
    options = {"inverse_temperature": inverse_temperature, "concurrent": concurrent}
    return Halves(*gibbs.sweeps(blocks, chains, key, num_sweeps, **options))


@functools.cache
def program(concurrent=True):
    swept = functools.partial(sweeps, concurrent=concurrent)
    return tf.function(swept, jit_compile=True, autograph=False)


CHAINS = [
    (20_000, tf.float32, [1.0]),
    (20_001, tf.float64, [1.0]),
    (40_000, tf.float32, [0.3, 0.9]),
]


@pytest.mark.parametrize("num_chains, dtype, temperatures", CHAINS)
def test_stationary_moments(num_chains, dtype, temperatures, seed=1):
    """60 sweeps from uniform bits: units and products, standard errors of at most 0.0036.

    Right units drawn from old left ones spoil E[z_L z_R']. Two temperatures in one call alternate,
    so that they cannot be mixed up with halves of the chains.
    """
    keys = counter_random.split(counter_random.key(seed), 2)
    start, at = MODEL.start(num_chains, keys[0], dtype), tf.constant(temperatures, dtype)
    at = tf.tile(at[:, None], [num_chains // 2, 1]) if len(temperatures) > 1 else 1.0
    chains = program()(params_of(REFERENCE, dtype), start, keys[1], tf.constant(60), at)
    assert chains.left.dtype == chains.right.dtype == dtype
    for which, inverse_temperature in enumerate(temperatures):
        rows = np.concatenate(chains, axis=1)[which :: len(temperatures)]
        expected = REFERENCE.scaled(inverse_temperature).moments()
        statistical.assert_mean(REFERENCE.features(rows), expected, largest_error=0.0036)


@pytest.mark.parametrize("inverse_temperature", [1.0, 0.375])
def test_sweep_from_one_state(inverse_temperature, seed=1):
    """One sweep of 40,000 chains from one state, against that row of the transition matrix.

    Every one of the 256 probabilities is held to 5 standard errors (at most 0.0025).
    """
    row = 2**8 - 2
    start = chains_of(REFERENCE, np.tile(REFERENCE.states()[row], (40_000, 1)))
    temperatures = tf.fill([40_000, 1], inverse_temperature)
    args = params_of(REFERENCE), start, counter_random.key(seed), tf.constant(1), temperatures
    reached = np.concatenate([*map(np.asarray, program()(*args))], axis=1) @ 2 ** np.arange(8)[::-1]
    counts = np.bincount(reached.astype(int), minlength=256)
    expected = 40_000 * REFERENCE.sweep_matrix(inverse_temperature)[row]
    # Rare states are Poisson: their error is that of the square root, a quarter in variance.
    deviation = 2 * (np.sqrt(counts + 0.375) - np.sqrt(expected + 0.375))
    assert np.max(np.abs(deviation)) < statistical.SIGMAS


def test_uniform_chains_are_fair(seed=1):
    """Each unit, and each pair of them, over 20,000 chains."""
    chains = MODEL.start(20_000, counter_random.key(seed))
    signs = 2.0 * np.concatenate(chains, axis=1) - 1.0
    second = np.concatenate([np.mean(signs, 0), (signs.T @ signs / 20_000 - np.eye(8)).ravel()])
    assert np.max(np.abs(second)) < statistical.SIGMAS / np.sqrt(20_000)


def random_problem(num_chains, num_left, num_right, dtype=tf.float32):
    rbm = params_of(random_rbm(num_left, num_right, seed=num_chains), dtype)
    key = counter_random.key(num_chains)
    return rbm, model_of(rbm).start(num_chains, key, dtype), key


def assert_same(first, second):
    for left, right in zip(first, second, strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("num_chains, dtype", [(14, tf.float32), (13, tf.float64)])
def test_how_it_runs_changes_nothing(num_chains, dtype):
    """Eager and compiled, halves apart or together, one temperature or one for each chain."""
    args = _, start, _ = random_problem(num_chains, 7, 5, dtype)
    eager = sweeps(*args, 3)
    assert eager.left.shape == (num_chains, 7) and eager.right.shape == (num_chains, 5)
    assert_same(eager, sweeps(*args, 3, concurrent=False))
    if num_chains % 2 == 0:
        assert_same(eager, program(False)(*args, tf.constant(3)))
    assert_same(eager, program()(*args, tf.constant(3), tf.ones([num_chains, 1])))
    assert_same(eager, RBM(7, 5).sweeps(*args, 3))
    assert_same(eager, tf.function(sweeps, autograph=False)(*args, 3))
    assert_same(sweeps(*args, 1), sweeps(*args, tf.constant(1)))
    assert_same(start, sweeps(*args, 0))


def test_one_chain():
    chains = sweeps(*random_problem(1, 3, 2), 1)
    assert chains.left.shape == (1, 3) and chains.right.shape == (1, 2)


def test_energy_and_marginals_against_enumeration():
    """Energy of all 256 states; log of the sum over one half, at every state of the other."""
    states, rbm = REFERENCE.states(), params_of(REFERENCE, tf.float64)
    left, right = chains = chains_of(REFERENCE, states, tf.float64)
    np.testing.assert_allclose(MODEL.energy(rbm, chains), REFERENCE.energy(states), atol=1e-12)
    table = np.exp(-REFERENCE.energy(states)).reshape(2**3, 2**5)
    found = left_log_marginal(rbm, left[:: 2**5])
    np.testing.assert_allclose(found, np.log(table.sum(axis=1)), rtol=1e-12)
    found = left_log_marginal(transposed(rbm), right[: 2**5])
    np.testing.assert_allclose(found, np.log(table.sum(axis=0)), rtol=1e-12)
