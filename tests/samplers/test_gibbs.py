"""Block Gibbs sweeps: the distribution they reach, and that only speed depends on how they run.

The distribution is enumerated here in NumPy, apart from everything else.
"""

import functools
import itertools

import numpy as np
import pytest
import tensorflow as tf

from samplers import counter_random, gibbs
from samplers.rbm import RBM, Halves, RBMParameters, left_log_marginal, model_of, transposed
from tests.helpers.statistical import SIGMAS

LEFT, RIGHT = 3, 5
# Strong and asymmetric: signs of both kinds in biases and couplings, no two halves alike.
PARAMETERS = (
    np.array([0.9, -1.3, 0.4]),
    np.array([-0.8, 1.1, -0.3, 0.6, -1.2]),
    np.array(
        [
            [2.1, -1.7, 0.4, -0.9, 1.5],
            [-0.6, 1.9, -2.2, 1.3, 0.8],
            [1.2, 0.5, -1.4, -2.0, 0.7],
        ]
    ),
)


MODEL = RBM(LEFT, RIGHT)


def rbm_of(parameters, dtype=tf.float32):
    return RBMParameters(*(tf.constant(parameter, dtype) for parameter in parameters))


def enumerated():
    """Every state, [256, 3] and [256, 5], and its -E."""
    states = np.array(list(itertools.product([0.0, 1.0], repeat=LEFT + RIGHT)))
    left, right = states[:, :LEFT], states[:, LEFT:]
    a, b, coupling = PARAMETERS
    negative_energy = [x @ a + y @ b + x @ coupling @ y for x, y in zip(left, right, strict=True)]
    return left, right, np.array(negative_energy)


def exact_moments(inverse_temperature):
    """E[z_L], E[z_R], E[z_L z_R'], flattened, by summing over all 256 states."""
    left, right, negative_energy = enumerated()
    weight = np.exp(inverse_temperature * negative_energy)
    weight /= weight.sum()
    products = np.einsum("s,si,sj->ij", weight, left, right)
    return np.concatenate([weight @ left, weight @ right, products.ravel()])


def assert_moments(chains, inverse_temperature, rows=slice(None)):
    """Means over independent chains within 5 of their standard errors (at most 0.0036)."""
    left, right = (np.asarray(half, np.float64)[rows] for half in chains)
    products = np.einsum("ci,cj->cij", left, right).reshape(len(left), -1)
    features = np.concatenate([left, right, products], axis=1)
    error = np.std(features, axis=0, ddof=1) / np.sqrt(len(features))
    score = (np.mean(features, axis=0) - exact_moments(inverse_temperature)) / error
    assert np.max(np.abs(score)) < SIGMAS, np.round(score, 1)


def sweeps(params, chains, key, num_sweeps, inverse_temperature=1.0, concurrent=None):
    blocks = model_of(params).blocks(params)
    options = {"inverse_temperature": inverse_temperature, "concurrent": concurrent}
    return Halves(*gibbs.sweeps(blocks, chains, key, num_sweeps, **options))


@functools.cache
def program(concurrent=True):
    return tf.function(
        functools.partial(sweeps, concurrent=concurrent), jit_compile=True, autograph=False
    )


@pytest.mark.parametrize("num_chains, dtype", [(20_000, tf.float32), (20_001, tf.float64)])
def test_stationary_moments(num_chains, dtype, seed=1):
    """40 sweeps from uniform bits. Right units drawn from old left ones spoil E[z_L z_R']."""
    keys = counter_random.split(counter_random.key(seed), 2)
    start = MODEL.start(num_chains, keys[0], dtype)
    chains = program()(rbm_of(PARAMETERS, dtype), start, keys[1], tf.constant(40))
    assert chains.left.dtype == chains.right.dtype == dtype
    assert_moments(chains, 1.0)


def test_temperature_per_chain(seed=1):
    """Chains at 0.3 and at 1.7 in one call, each of its own distribution."""
    keys = counter_random.split(counter_random.key(seed), 2)
    start = MODEL.start(40_000, keys[0])
    # Alternating, so that temperatures cannot be mixed up with halves of the chains.
    temperatures = tf.tile(tf.constant([[0.3], [1.7]]), [20_000, 1])
    rbm = rbm_of(PARAMETERS)
    chains = program()(rbm, start, keys[1], tf.constant(60), temperatures)
    assert_moments(chains, 0.3, slice(0, None, 2))
    assert_moments(chains, 1.7, slice(1, None, 2))


def random_problem(num_chains, num_left, num_right, dtype=tf.float32):
    generator = np.random.default_rng(num_chains)
    shapes = [num_left], [num_right], [num_left, num_right]
    rbm = rbm_of([generator.normal(size=shape) for shape in shapes], dtype)
    key = counter_random.key(num_chains)
    return rbm, model_of(rbm).start(num_chains, key, dtype), key


def assert_same(first, second):
    for left, right in zip(first, second, strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("num_chains, dtype", [(14, tf.float32), (13, tf.float64)])
def test_how_it_runs_changes_nothing(num_chains, dtype):
    """Eager and compiled, halves apart or together, one temperature or one for each chain."""
    num_left, num_right = 7, 5
    rbm, start, key = random_problem(num_chains, num_left, num_right, dtype)
    eager = sweeps(rbm, start, key, 3)
    assert eager.left.shape == (num_chains, num_left)
    assert eager.right.shape == (num_chains, num_right)
    assert_same(eager, sweeps(rbm, start, key, 3, concurrent=False))
    ones = tf.ones([num_chains, 1])
    if num_chains % 2 == 0:
        assert_same(eager, program(False)(rbm, start, key, tf.constant(3)))
    assert_same(eager, program()(rbm, start, key, tf.constant(3), ones))
    assert_same(eager, RBM(num_left, num_right).sweeps(rbm, start, key, 3))
    assert_same(sweeps(rbm, start, key, 1), sweeps(rbm, start, key, tf.constant(1)))
    assert_same(start, sweeps(rbm, start, key, 0))


def test_graph_mode():
    rbm, start, key = random_problem(6, 3, 2)
    assert_same(
        tf.function(sweeps, autograph=False)(rbm, start, key, 2), sweeps(rbm, start, key, 2)
    )


def test_one_chain():
    rbm, start, key = random_problem(1, 3, 2)
    chains = sweeps(rbm, start, key, 1)
    assert chains.left.shape == (1, 3) and chains.right.shape == (1, 2)


def test_a_sweep_forgets_the_left_half_and_only_it():
    rbm, start, key = random_problem(50, 7, 5)
    other = Halves(1 - start.left, start.right)
    assert_same(sweeps(rbm, start, key, 1), sweeps(rbm, other, key, 1))
    other = Halves(start.left, 1 - start.right)
    assert np.any(sweeps(rbm, start, key, 1).left != sweeps(rbm, other, key, 1).left)


def test_keys_sweeps_and_halves_draw_different_numbers():
    """At zero every draw shows its bit: no two of sweeps, halves, keys or chain halves agree."""
    rbm = RBMParameters(tf.zeros([40]), tf.zeros([40]), tf.zeros([40, 40]))
    start = RBM(40, 40).start(20, counter_random.key(0))
    results = [
        half
        for seed in range(2)
        for num_sweeps in range(3)
        for half in sweeps(rbm, start, counter_random.key(seed), num_sweeps)
    ]
    results = np.concatenate([np.asarray(half) for half in results]).reshape(-1, 10, 40)
    different = {half.tobytes() for half in results}
    assert len(different) == len(results) - 4  # no sweep at all: the start, twice


def test_new_parameters_do_not_trace_again():
    traces = []

    @tf.function(jit_compile=True, autograph=False)
    def traced(rbm, chains, key):
        traces.append(1)
        return sweeps(rbm, chains, key, 2)

    rbm, chains, key = random_problem(6, 3, 2)
    for step in range(3):
        chains = traced(rbm, chains, counter_random.fold_in(key, step))
        rbm = RBMParameters(*(parameter + 0.1 for parameter in rbm))
    assert len(traces) == 1


def test_energy_and_marginals_against_enumeration():
    """Energy of all 256 states; log of the sum over one half, at every state of the other."""
    left, right, negative_energy = enumerated()
    rbm = rbm_of(PARAMETERS, tf.float64)
    chains = Halves(tf.constant(left), tf.constant(right))
    np.testing.assert_allclose(MODEL.energy(rbm, chains), -negative_energy, atol=1e-12)
    table = negative_energy.reshape(2**LEFT, 2**RIGHT)
    expected = np.log(np.exp(table).sum(axis=1))
    actual = left_log_marginal(rbm, tf.constant(left[:: 2**RIGHT]))
    np.testing.assert_allclose(actual, expected, rtol=1e-12)
    expected = np.log(np.exp(table).sum(axis=0))
    actual = left_log_marginal(transposed(rbm), tf.constant(right[: 2**RIGHT]))
    np.testing.assert_allclose(actual, expected, rtol=1e-12)


def test_uniform_chains_are_fair(seed=1):
    """Each unit, and each pair of them, over 20,000 chains."""
    chains = MODEL.start(20_000, counter_random.key(seed))
    signs = 2.0 * np.concatenate(chains, axis=1) - 1.0
    second = np.concatenate([np.mean(signs, 0), (signs.T @ signs / 20_000 - np.eye(8)).ravel()])
    assert np.max(np.abs(second)) < SIGMAS / np.sqrt(20_000)
