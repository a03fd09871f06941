"""Parallel tempering and Bennett's acceptance ratio, against enumeration.

log Z by both of them of several models is in test_energy_models.py and test_log_partition.py.
"""

import numpy as np
import pytest
import tensorflow as tf
from scipy.optimize import brentq
from scipy.special import expit

from samplers import counter_random, tempering
from samplers.bridge_sampling import bennett_acceptance_ratio
from samplers.tempering import TemperingState
from tests.helpers import statistical
from tests.helpers.compiled_samplers import both_of
from tests.reference.rbm import ReferenceRBM, random_rbm

REFERENCE = random_rbm(5, 7, seed=51, bias_scale=1.5, coupling_scale=1.2)
BASE = np.concatenate([np.linspace(-1.1, 0.7, 5), np.linspace(0.9, -0.6, 7)])


def two_modes() -> ReferenceRBM:
    """All units off or all on, the second 1.5 nats likelier, with a barrier of 12 nats between.

    Chains of plain sweeps stay in the mode where they started.
    """
    coupling = 1.5 + 0.2 * np.random.default_rng(5).standard_normal((5, 7))
    left, right = -0.5 * coupling.sum(axis=1), -0.5 * coupling.sum(axis=0)
    rounded = (np.float64(np.float32(p)) for p in (left + 0.3, right, coupling))
    return ReferenceRBM(*rounded)


def arbitrary_path():
    model, params = both_of(REFERENCE)
    return model.path(params, tf.constant(BASE, tf.float32))


def estimate(reference, seed, num_ladders=64):
    """Of five temperatures and 200 rounds."""
    args = *both_of(reference), tf.zeros([12]), counter_random.key(seed)
    return tempering.log_partition_estimate(*args, num_ladders, 5, 200)


def test_log_partition_with_two_modes(seed=1):
    """Within 5 stated errors of about 0.03 nats; missing the larger mode would cost 1.7 nats.

    States do travel: thousands arrive at the RBM from the base.
    """
    reference = two_modes()
    result = estimate(reference, seed)
    assert result.stderr < 0.1
    assert abs(result.value - reference.log_partition()) < 5 * result.stderr
    assert result.arrivals > 1000
    assert np.all(result.acceptance.numpy() > 0.1) and np.all(result.acceptance.numpy() < 1.0)


def test_stated_error_is_the_spread(seed=1):
    """16 runs: mean square deviation in units of the stated error is 1 within 5 errors (0.35 each).

    Forgetting the correlation of rounds would make it about 3 and more.
    """
    exact = two_modes().log_partition()
    results = [estimate(two_modes(), 100 * seed + index) for index in range(16)]
    deviations = [float((result.value - exact) / result.stderr) for result in results]
    assert 0.2 < np.mean(np.square(deviations)) < 1 + 5 * np.sqrt(2 / 16)


@pytest.mark.parametrize("parity", [0, 1])
def test_step_leaves_every_temperature_invariant(parity, seed=1):
    """Means of left units at each temperature, and products of neighbours, after one round from
    exact samples of 8000 ladders: standard error 0.006. Swaps that ignore the weights move means
    by up to 0.1."""
    temperatures = [0.0, 0.4, 1.0]
    rng, rungs = np.random.default_rng(seed), [REFERENCE.between(BASE, t) for t in temperatures]
    samples = [rung.sample(rng, 8000)[:, :5] for rung in rungs]
    left = tf.constant(np.stack(samples, axis=1).reshape(-1, 5), tf.float32)
    state = TemperingState(left, tf.zeros([8000, 3], tf.int32), tf.constant(parity))
    args = state, counter_random.key(seed), tf.constant(temperatures)
    new, info = tempering.step(arbitrary_path(), *args)
    assert int(new.round) == parity + 1
    left = new.state.numpy().reshape(8000, 3, 5)
    means = np.stack([rung.means()[:5] for rung in rungs])
    statistical.assert_mean(left, means)
    statistical.assert_mean(left[:, 1:] * left[:, :-1], means[1:] * means[:-1])
    assert 0.2 < np.mean(info.forward - info.backward < 0)


def test_differences_against_enumeration():
    """log f_{t+1} - log f_t of given states, with all right states summed in float64."""
    temperatures = [0.0, 0.4, 1.0]
    left = np.random.default_rng(1).integers(0, 2, (11, 3, 5))
    rungs = tf.tile(tf.constant([temperatures]), [11, 1])
    states = tf.constant(left.reshape(-1, 5), tf.float32)
    forward, backward = tempering._differences(arbitrary_path(), states, rungs)
    logs = np.stack([REFERENCE.between(BASE, t).left_log_weights() for t in temperatures])
    index = left @ 2 ** np.arange(5)[::-1]
    for pair in range(2):
        change = logs[pair + 1] - logs[pair]
        np.testing.assert_allclose(forward[:, pair], change[index[:, pair]], atol=1e-5)
        np.testing.assert_allclose(backward[:, pair], change[index[:, pair + 1]], atol=1e-5)


def test_swaps_and_arrivals():
    """Values change places exactly where `swap` is true, and the labels of the base with them."""
    values = tf.constant(np.arange(24).reshape(2, 4, 3))
    swap = tf.constant([[True, False, True], [False, True, False]])
    swapped = tempering._swapped(values, swap).numpy()[:, :, 0] // 3
    np.testing.assert_array_equal(swapped, [[1, 0, 3, 2], [4, 6, 5, 7]])
    flat = tempering._swapped(values[:, :, 0], swap).numpy() // 3
    np.testing.assert_array_equal(flat, swapped)


def test_bennett_solves_its_equation():
    """Against a root finder, for well and for hardly overlapping samples, with either sign."""
    rng = np.random.default_rng(2)
    centre = np.array([0.0, -3.0, 40.0])
    forward = centre - 1.0 + 1.5 * rng.standard_normal((7, 5, 3))
    backward = centre + np.array([1.0, 9.0, 0.3]) + 1.5 * rng.standard_normal((7, 5, 3))
    ratio, influence = bennett_acceptance_ratio(tf.constant(forward), tf.constant(backward))

    def equation(c, weights, pair):
        up = expit(forward[:, :, pair] - c) - expit(c - backward[:, :, pair])
        return np.mean(up @ weights)

    for pair in range(3):
        roots = [
            brentq(equation, -50, 90, args=(np.ones(5) + h * np.eye(5)[0], pair), xtol=1e-13)
            for h in (0.0, 1e-4, -1e-4)
        ]
        assert np.isclose(ratio[pair], roots[0], atol=1e-8)
        # What a ladder counts for, times the number of ladders, is its influence.
        assert np.isclose(influence[0, pair], 5 * (roots[1] - roots[2]) / 2e-4, rtol=1e-4)
    np.testing.assert_allclose(np.mean(influence, axis=0), 0.0, atol=1e-6)


def test_one_ladder_has_no_error():
    with pytest.raises(ValueError, match="two ladders"):
        estimate(REFERENCE, seed=1, num_ladders=1)
