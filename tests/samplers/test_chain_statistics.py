"""Correlation times, distances and the cost of a bias, against what is known exactly."""

import numpy as np
import pytest
from scipy.signal import lfilter

from samplers import chain_statistics
from tests.helpers import statistical
from tests.reference.rbm import ReferenceRBM, random_rbm


def autoregression(rng, coefficient, length, chains):
    """Stationary chains x_t = c x_{t-1} + noise: correlation c^t, [length, chains]."""
    noise = rng.standard_normal((length, chains)) * np.sqrt(1.0 - coefficient**2)
    noise[0] = rng.standard_normal(chains)
    return lfilter([1.0], [1.0, -coefficient], noise, axis=0)


@pytest.mark.parametrize("coefficient", [0.0, 0.9, 0.98])
def test_correlation_time_of_an_autoregression(coefficient, seed=1):
    """(1 + c) / (1 - c), here 1, 19 and 99, within 5 stated errors: 0.5, 3 and 7 %, at most 20 %.

    The estimator's own bias is to the high side: 3 % are allowed for.
    """
    rng = np.random.default_rng(statistical.seed(seed))
    series = 7.0 + 3.0 * autoregression(rng, coefficient, 4096, 128)
    found = chain_statistics.correlation_time(series)
    expected = (1.0 + coefficient) / (1.0 - coefficient)
    assert 0.0 < found.stderr < 0.2 * expected
    assert abs(found.value - expected) < 5 * found.stderr + 0.03 * expected


def test_correlation_time_of_what_stands_still():
    with pytest.raises(ValueError, match="does not vary"):
        chain_statistics.correlation_time(np.ones((64, 32)))


def test_slowest_direction_is_found_among_quick_units(seed=1):
    """Two slow signals that cancel in each unit but one combination: it is found within 2 %."""
    rng = np.random.default_rng(statistical.seed(seed))
    slow = autoregression(rng, 0.99, 1024, 64)
    quick = rng.standard_normal((3, 1024, 64))
    states = np.stack([slow + 2 * quick[0], quick[0], quick[1], np.zeros_like(slow)], axis=-1)
    direction = chain_statistics.slowest_direction(states, 40)
    assert direction[1] / direction[0] == pytest.approx(-2.0, abs=0.04)
    assert abs(direction[2] / direction[0]) < 0.04
    assert direction[3] == 0.0


def test_distance_of_means(seed=1):
    """Twin sets score below 5; a shift of two standard errors in all means scores far above."""
    rng = np.random.default_rng(statistical.seed(seed))
    means = 0.5 + rng.standard_normal((17, 400)) / 50.0
    twin = chain_statistics.moment_distance(means[0], means[1:])
    assert abs(twin.score) < 5.0
    assert twin.floor == pytest.approx(np.sqrt(1.0 + 1.0 / 15.0) / 50.0, rel=0.05)
    shifted = chain_statistics.moment_distance(means[0] + 0.04, means[1:])
    assert shifted.score > 20.0
    assert shifted.value == pytest.approx(np.sqrt(5.0 + 1.0 / 15.0) / 50.0, rel=0.1)


def exact_case():
    """(model, a neighbour, KL of the model from the neighbour in nats)."""
    model = random_rbm(3, 4, seed=5, bias_scale=0.7, coupling_scale=0.7)
    rng = np.random.default_rng(3)
    moved = ReferenceRBM(*(p + 0.08 * rng.standard_normal(p.shape) for p in model.parameters))
    log_ratio = moved.log_probability(model.states()) - model.log_probability(model.states())
    return model, moved, float(moved.probabilities() @ log_ratio)


def draw(rng, rbm, count):
    """Sufficient statistics of exact samples, [count, L + R + L R]."""
    return rbm.features(rbm.sample(rng, count))


def test_cost_is_the_divergence_of_a_biased_population(seed=1):
    """Samples of a neighbouring RBM cost its exact KL, 0.03 nats: within 5 stated errors of 0.004.

    The expansion stops at second order: 5 % of the cost are allowed for.
    """
    rng = np.random.default_rng(statistical.seed(seed))
    model, moved, divergence = exact_case()
    assert 0.02 < divergence < 0.04
    sets = [draw(rng, model, 4000) for _ in range(16)]
    found = chain_statistics.bias_cost(draw(rng, moved, 4000), sets)
    assert found.dimension == 3 + 4 + 12
    assert found.stderr < 0.006
    assert abs(found.value - divergence) < 5 * found.stderr + 0.05 * divergence
    assert found.floor == pytest.approx(19 / (2 * 4000), rel=0.6)


def test_an_unbiased_population_costs_nothing(seed=1):
    """Zero within 5 stated errors, where the floor alone is 0.01 nats; a part costs no more."""
    rng = np.random.default_rng(statistical.seed(seed))
    model, moved, _ = exact_case()
    sets = [draw(rng, model, 1000) for _ in range(16)]
    found = chain_statistics.bias_cost(draw(rng, model, 1000), sets)
    assert abs(found.value) < 5 * found.stderr < 0.04
    biased = draw(rng, moved, 1000)
    whole = chain_statistics.bias_cost(biased, sets)
    part = chain_statistics.bias_cost(biased[:, :7], [rows[:, :7] for rows in sets])
    assert part.dimension == 7 and part.value < whole.value + 5 * whole.stderr


def test_statistics_that_never_vary_are_left_out(seed=1):
    rng = np.random.default_rng(statistical.seed(seed))
    sets = [np.concatenate([rng.random((100, 3)), np.ones((100, 1))], axis=1) for _ in range(5)]
    found = chain_statistics.bias_cost(sets[0] + [0.5, 0.0, 0.0, 0.0], sets[1:])
    assert found.dimension == 3 and found.value > 20 * found.floor
