"""--sampler=pt: replicas at several temperatures whose cold ends feed the gradient of log Z."""

import numpy as np
import pytest
import tensorflow as tf

from configs.errors import UserError
from configs.experiment import ExperimentConfig, build_config
from dvae import prior_chains
from dvae.prior_chains import ParallelTempering
from samplers import counter_random, tempering
from samplers.boltzmann import BoltzmannMachine
from samplers.rbm import RBM
from tests.helpers import statistical
from tests.helpers.compiled_samplers import both_of
from tests.reference.graph import ReferenceGraph, complete

# All units off or all on, the second 1.5 nats likelier.
TWO_MODES = ReferenceGraph(np.full(8, -4.0 + 1.5 / 8), complete(8), np.full(28, 8 / 7))
MODEL, PARAMS = both_of(TWO_MODES)


def sampler(model=MODEL, **fields):
    given = {"num_chains": 1200, "num_temperatures": 6, "num_sweeps": 20} | fields
    return ParallelTempering(ExperimentConfig(sampler="pt", **given), model)


def followed(made, params, num_steps, seed=1):
    """States and metrics after each step at fixed parameters."""
    advance = tf.function(made.step, autograph=False)
    state, found = made.init(statistical.key(seed)), []
    for step in range(num_steps):
        key = counter_random.fold_in(statistical.key(seed + 1), step)
        state, metrics = advance(params, state, key, tf.constant(step))
        found.append((state, {name: float(value) for name, value in metrics.items()}))
    return found


@pytest.mark.parametrize(
    "rejections", [[0.1, 0.4, 0.2, 0.3], [0.0, 0.0, 0.9, 0.0], [0.0, 0.0, 0.0, 0.0]], ids=str
)
def test_equal_rejections(rejections):
    """Equal steps of the piecewise linear barrier, the ends as they were."""
    old = np.array([0.0, 0.1, 0.3, 0.6, 1.0])
    found = tempering.equal_rejections(tf.constant(old), tf.constant(rejections, tf.float64))
    barrier = np.append(0.0, np.cumsum(np.maximum(rejections, 1e-3)))
    expected = np.interp(np.linspace(0.0, barrier[-1], 5), barrier, old)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert np.all(np.diff(found) > 0.0)


@pytest.fixture(scope="module")
def run():
    """Twelve steps of 20 rounds at fixed parameters, with a window of four steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prior_chains, "LADDER_WINDOW", 4)
        return followed(sampler(), PARAMS, 12)


def test_the_cold_ends_sample_the_model(run):
    """200 ladders of 6 from fair bits: moments of both modes, standard error 0.04."""
    state, metrics = run[-1]
    assert state.chains[0].shape == (200, 1)
    found = TWO_MODES.features(np.float64(MODEL.units(state.chains)))
    statistical.assert_mean(found, TWO_MODES.moments(), largest_error=0.04)
    assert metrics["sampler/round_trips"] > 0.05


def test_what_a_step_reports():
    """Where nothing couples, hot and cold are alike: all swaps succeed, no barrier is seen.

    Three temperatures take a state from the base to the model in two rounds, every second round.
    """
    model = BoltzmannMachine(5, ((0, 1),))
    params = model.independent(tf.zeros([5]))
    made = sampler(model, num_chains=31, num_temperatures=3, num_sweeps=10)
    state, metrics = followed(made, params, 2)[-1]
    assert state.chains[0].shape[0] == 10
    assert metrics["sampler/swap_rate"] == metrics["sampler/least_swap_rate"] == 1.0
    assert metrics["sampler/barrier"] == pytest.approx(0.0, abs=1e-6)
    assert metrics["sampler/round_trips"] == pytest.approx(0.5, abs=1e-6)
    assert tuple(metrics) == made.metric_names


def test_the_ladder_adapts_after_a_window(run):
    """Half of the way to equal rejections, at the window's end and never else; then it counts anew.

    On a fixed model the rates of neighbours become alike.
    """
    ladders = [state.temperatures.numpy() for state, _ in run]
    start = np.linspace(0.0, 1.0, 6)
    for step in range(12):
        before = ladders[step - 1] if step else start
        assert np.array_equal(ladders[step], np.float32(before)) == (step % 4 != 3)
    assert [float(state.rounds) for state, _ in run] == [20.0, 40.0, 60.0, 0.0] * 3
    state = run[2][0]
    rejected = state.rejections / state.rounds
    assert float(tf.reduce_max(rejected)) <= 1.0 and float(tf.reduce_sum(state.rejections)) > 0.0
    wanted = tempering.equal_rejections(state.temperatures, rejected)
    np.testing.assert_allclose(ladders[3], 0.5 * (start + wanted), atol=0.02)
    spread = [m["sampler/swap_rate"] - m["sampler/least_swap_rate"] for _, m in run]
    assert np.mean(spread[8:]) < 0.6 * np.mean(spread[:4])


def test_of_an_rbm():
    """Its chains are the halves of the cold ends."""
    made = sampler(RBM(3, 2), num_chains=12, num_temperatures=4)
    state = made.init(statistical.key(1))
    assert state.chains.left.shape == (3, 3) and state.chains.right.shape == (3, 2)
    np.testing.assert_array_equal(state.chains.left, state.ladders.state.left[3::4])


def test_settings():
    with pytest.raises(UserError, match="num_chains=15 cannot be divided"):
        build_config(sampler="pt", num_chains=15)
    record = build_config(sampler="pt").to_json()
    assert "num_temperatures" not in record  # as records of before there was one
    assert ExperimentConfig.from_json(record).num_temperatures == 16
    other = build_config(sampler="pt", num_temperatures=5)
    assert ExperimentConfig.from_json(other.to_json()) == other
