"""What measures the differences from the published method: its own programs."""

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import deviations
from samplers import ais
from samplers.energy_model import uniform_base
from tests.helpers import statistical
from tests.helpers.compiled_samplers import params_of
from tests.reference.rbm import random_rbm

REFERENCE = random_rbm(5, 7, seed=51, bias_scale=1.5, coupling_scale=1.2)


@pytest.mark.parametrize("name", ["uniform", "arbitrary"])
def test_weights_of_both_halves_are_unbiased(name, seed=1):
    """Mean of w / Z is 1 at four temperatures; a Z wrong by 15 % is noticed."""
    model, params, key = deviations.UnsummedRBM(5, 7), params_of(REFERENCE), statistical.key(seed)
    base = uniform_base(model)
    if name == "arbitrary":
        base = tf.concat([tf.linspace(-1.1, 0.7, 5), tf.linspace(0.9, -0.6, 7)], axis=0)
    result = ais.run(model, params, base, key, ais.linear_temperatures(4), 16_384)
    assert result.state.right.shape == (16_384, 7)
    ratios = np.exp(result.log_weights - REFERENCE.log_partition())
    statistical.assert_mean(ratios, 1.0, largest_error=0.03)


def test_bound_of_the_largest_singular_value():
    coupling = np.diag([1.0, 2.0, 7.0]).astype(np.float32)
    found = deviations.largest_value_bound(tf.constant(coupling))
    assert found["exact"] == pytest.approx(7.0) and found["lambda_exact"] == pytest.approx(12.0)
    assert 7.0 - 1e-5 <= found["bound"] < 7.1
    assert found["lambda"] == pytest.approx(found["bound"] + 5.0)
