"""Long tempered chains and the statistics of a population, against enumeration."""

import numpy as np
import pytest

from samplers import counter_random, mixing
from samplers.rbm import model_of
from tests.helpers import statistical
from tests.helpers.compiled_samplers import params_of
from tests.reference.rbm import random_rbm

REFERENCE = random_rbm(5, 7, seed=51, bias_scale=1.5, coupling_scale=1.2)


@pytest.mark.slow
def test_tempered_states_have_the_exact_means(monkeypatch, seed=1):
    """Means of 64 independent ladders, each to within 5 standard errors of at most 0.02."""
    settings = {"LADDERS": 64, "RUNGS": 8, "BURN_IN": 40, "RECORDINGS": 12, "SPACING": 5}
    for name, value in settings.items():
        monkeypatch.setattr(mixing, name, value)
    recorded = mixing.tempered_states(params_of(REFERENCE), statistical.key(seed)).numpy()
    assert recorded.shape == (12, 64, 5)
    statistical.assert_mean(recorded.mean(axis=0), REFERENCE.means()[:5], largest_error=0.03)


def test_subspaces_hold_the_energy():
    """The energy is a combination of units and modes."""
    params = params_of(REFERENCE)
    left = np.float32(np.random.default_rng(1).random((40, 5)) < 0.5)
    chains = mixing.chains_from(params, left, counter_random.key(2))
    found = mixing._subspaces(params, chains)
    scales = np.linalg.svd(params.coupling.numpy(), compute_uv=False)
    weights = np.concatenate([params.left_bias, params.right_bias, scales])
    expected = model_of(params).energy(params, chains).numpy()
    np.testing.assert_allclose(-found["units and modes"] @ weights, expected, rtol=1e-4, atol=1e-4)
