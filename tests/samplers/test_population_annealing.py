"""Population annealing along fixed paths of parameters, where it is exactly unbiased.

For a path that does not depend on the population, E[exp(tracked log Z)] = Z for any size of the
population and however it is resampled, and E[exp(log Z) sum_c W_c f(z_c)] = Z E_p[f]. Thousands
of small populations hold both to a few percent. Then 1000 steps, bridges and families.
"""

import numpy as np
import pytest
import tensorflow as tf

from samplers import counter_random, population_annealing
from samplers.population_annealing import PopulationState
from samplers.rbm import RBM
from tests.helpers import statistical
from tests.helpers.compiled_samplers import params_of, path_of, population_program
from tests.reference import counter_random as reference_random
from tests.reference.chains import systematic
from tests.reference.rbm import random_rbm

REFERENCE = random_rbm(5, 7, seed=51, coupling_scale=1.2)
LOG_Z = REFERENCE.log_partition()
MODEL = RBM(5, 7)
SHARES = [0.1, 0.2, 0.35, 0.45, 0.6, 0.7, 0.9, 1.0]
NUM_POPULATIONS, NUM_CHAINS = 2000, 24
RESAMPLING = {"always": 1.0, "never": 0.0, "by ESS": 0.6}


def anneal(resampling, seed):
    """Populations of 24 led from zero to REFERENCE in eight steps with one sweep each."""
    path = path_of([REFERENCE.scaled(share) for share in SHARES])
    program, threshold = population_program(NUM_POPULATIONS, NUM_CHAINS, 1), RESAMPLING[resampling]
    args = tf.constant(len(SHARES)), counter_random.key(seed), tf.constant(threshold)
    return program(path, *args)


@pytest.mark.parametrize("resampling", RESAMPLING)
def test_log_partition_is_unbiased(resampling, seed=1):
    """Mean of exp(log Z - exact) over 2000 populations is 1, and resampling happens as asked.

    Standard error 0.01 to 0.02: a Z wrong by 10 % is noticed. Forgetting the weights when
    resampling is skipped makes it wrong by a factor. Means and products of the weighted
    populations, weighted by the same, are unbiased too: errors of 0.08 are noticed.
    """
    outcome = anneal(resampling, seed)
    ratios = np.exp(outcome.log_partition - LOG_Z)
    statistical.assert_mean(ratios, 1.0)
    members = REFERENCE.features(np.float64(np.concatenate(outcome.chains, axis=2)))
    weights = np.asarray(tf.nn.softmax(outcome.log_weights))
    means = np.einsum("pc,pcf->pf", weights, members)
    statistical.assert_mean(ratios[:, None] * means, REFERENCE.moments())
    # Unnormalised weights are kept at mean one: equal ones after resampling.
    log_weights = outcome.log_weights.numpy()
    np.testing.assert_allclose(np.mean(np.exp(log_weights), axis=1), 1.0, atol=1e-4)
    assert np.all(log_weights == 0.0) == (resampling == "always")
    # Every ancestor is alive when never resampled.
    changed = np.mean(np.any(outcome.family.numpy() != np.arange(NUM_CHAINS), axis=1))
    assert changed == 0.0 if resampling == "never" else changed > 0.5


TRACKER = {"resample_threshold": 0.7, "bridge_ess": 0.5}
NUM_STEPS, NUM_TRACKERS, TRACKER_SIZE = 1000, 8, 200


def track(path, seed):
    """Independent separate populations, with the settings of the training's tracker."""
    program = population_program(NUM_TRACKERS, TRACKER_SIZE, 2, **TRACKER)
    padded = path_of(path + path[-1:] * (NUM_STEPS - len(path)))
    return program(padded, tf.constant(len(path)), counter_random.key(seed), tf.constant(0.0))


def mean_and_error(log_values):
    """log of the mean of Z over independent populations, and its standard error."""
    ratios = np.exp(log_values - np.max(log_values))
    error = np.std(ratios, ddof=1) / np.sqrt(len(ratios)) / np.mean(ratios)
    return np.log(np.mean(ratios)) + np.max(log_values), error


@pytest.mark.slow
def test_log_partition_after_1000_steps(seed=1):
    """Eight separate populations, there and back and there: a drift of 0.15 nats is noticed.

    Error about 0.02 nats, from their spread; 8 of them for so small a sample.
    """
    shares = np.interp(np.linspace(0, 3, NUM_STEPS), range(4), (0.0, 1.0, 0.2, 1.0))
    found = track([REFERENCE.scaled(share) for share in shares], seed)
    tracked, error = mean_and_error(found.log_partition.numpy())
    assert abs(LOG_Z - 12 * np.log(2)) > 1  # far from the start
    assert abs(tracked - LOG_Z) < 8 * error and error < 0.1


def test_huge_step_is_bridged(seed=1):
    """From zero to strong couplings at once: several reweightings, and log Z still right.

    Eight populations of 200: error about 0.1 nats; one reweighting alone would have an ESS of a few
    members and an error of nats.
    """
    target = random_rbm(5, 7, seed=37, coupling_scale=3.0)
    outcome = track([target], seed)
    assert np.all(outcome.bridges.numpy() >= 2)
    tracked, error = mean_and_error(outcome.log_partition.numpy())
    assert abs(tracked - target.log_partition()) < 8 * error and error < 0.2
    small = track([REFERENCE.scaled(0.05)], seed)
    assert np.all(small.bridges.numpy() == 1)


def test_unfinished_bridges_say_where_they_stand(monkeypatch):
    """Out of bridges, a step ends at parameters in between and reports those."""
    monkeypatch.setattr(population_annealing, "_MAX_BRIDGES", 2)
    state = population_annealing.init(MODEL, counter_random.key(1), 101)
    target = params_of(REFERENCE.scaled(64.0))
    args = MODEL, target, state, counter_random.key(2), 1
    state, info = population_annealing.step(*args, bridge_ess=0.5)
    share = state.params.coupling.numpy() / target.coupling.numpy()
    assert info.bridges == 2 and 0.0 < share[0, 0] < 0.5 and info.ess > 0.4 * 101
    np.testing.assert_allclose(share, share[0, 0], rtol=1e-5)


@pytest.mark.parametrize("rare, bridges", [(True, 1), (False, 2)])
def test_bridges_are_judged_by_the_weights_so_far(rare, bridges):
    """A change that is large for half of the members asks for a bridge, unless these weigh nothing.

    The conditional ESS of Zhou, Johansen and Aston 2016: plain weights would not tell them apart.
    """
    left = np.float32([[1, 0], [0, 0]] * 6)
    model = RBM(2, 2)
    state = population_annealing.init(model, counter_random.key(1), 12)
    weights = np.float32(np.where(left[:, 0] == 1, -20.0 if rare else 0.0, 0.0))
    chains = state.chains._replace(left=tf.constant(left))
    state = state._replace(chains=chains, log_weights=tf.constant(weights))
    target = state.params._replace(left_bias=tf.constant([-3.0, 0.0]))
    key, never = counter_random.key(2), tf.constant(0.0)
    new, info = population_annealing.step(model, target, state, key, 1, never, bridge_ess=0.7)
    assert min(int(info.bridges), 2) == bridges
    np.testing.assert_array_equal(new.params.left_bias, target.left_bias)


def test_families():
    labels = np.array([0, 1, 1, 5, 5, 5, 5], np.int32)  # in order, as resampling leaves them
    assert population_annealing.count_families(tf.constant(labels)) == 3
    state = population_annealing.init(RBM(3, 5), counter_random.key(1), 7)
    state = state._replace(family=tf.constant(labels))
    kept = population_annealing.relabel(state, tf.constant(False))
    np.testing.assert_array_equal(kept.family, labels)
    np.testing.assert_array_equal(population_annealing.relabel(state).family, np.arange(7))


def test_step_info(seed=1):
    """ESS of a step against NumPy, and families of four; the population starts exact at zero."""
    state = population_annealing.init(MODEL, counter_random.key(seed), 29)
    assert np.isclose(state.log_partition, 12 * np.log(2.0), atol=1e-12)
    states = np.concatenate([*map(np.asarray, state.chains)], axis=1)
    weights = np.exp(-REFERENCE.energy(states))
    new, info = population_annealing.step(
        MODEL, params_of(REFERENCE), state, counter_random.key(2), 1
    )
    assert np.isclose(info.ess, weights.sum() ** 2 / np.sum(weights**2), rtol=1e-4)
    expected = 12 * np.log(2.0) + np.log(np.mean(weights))
    assert np.isclose(new.log_partition, expected, atol=1e-5)
    assert info.resampled == 1.0 and info.bridges == 1.0
    for step in range(4):
        family = new.family.numpy()
        assert np.all(np.diff(family) >= 0)  # what `count_families` counts by
        assert info.surviving_families == len(np.unique(family)) < 29
        target, key = params_of(REFERENCE.scaled(0.2 * step)), counter_random.key(step)
        new, info = population_annealing.step(MODEL, target, new, key, 1)


def test_systematic_ancestors():
    """Those of the reference: each member has floor or ceil of C w offspring."""
    weights = np.float32([0.31, 0.02, 0.25, 0.17, 0.05, 0.2])
    for seed in range(20):
        key, offset = counter_random.key(seed), reference_random.uniform((seed, 0), [])
        drawn = population_annealing.systematic_ancestors(tf.constant(weights), key)
        np.testing.assert_array_equal(drawn, systematic(np.float64(weights), float(offset)))
        assert np.all(np.abs(np.bincount(drawn, minlength=6) - 6 * weights) < 1)


def test_normalized_weights():
    state = PopulationState(*[None] * 5)._replace(log_weights=tf.constant([0.0, np.log(3.0)]))
    np.testing.assert_allclose(population_annealing.normalized_weights(state), [0.25, 0.75])
