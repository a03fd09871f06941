"""What measures the differences from the published method: its own programs."""

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import deviations, variants
from dvae.posteriors import PosteriorParams, ShiftedGaussianPosterior
from samplers import ais, counter_random
from samplers.energy_model import uniform_base
from tests.helpers import statistical
from tests.helpers.compiled_samplers import rbm_of
from tests.reference.rbm import random_rbm

REFERENCE = random_rbm(5, 7, seed=51, bias_scale=1.5, coupling_scale=1.2)


@pytest.mark.parametrize("name", ["uniform", "arbitrary"])
def test_weights_of_both_halves_are_unbiased(name, seed=1):
    """Mean of w / Z is 1 at four temperatures; a Z wrong by 15 % is noticed."""
    model, params, key = deviations.UnsummedRBM(5, 7), rbm_of(REFERENCE), statistical.key(seed)
    base = uniform_base(model)
    if name == "arbitrary":
        base = tf.concat([tf.linspace(-1.1, 0.7, 5), tf.linspace(0.9, -0.6, 7)], axis=0)
    result = ais.run(model, params, base, key, ais.linear_temperatures(4), 16_384)
    assert result.state.right.shape == (16_384, 7)
    ratios = np.exp(result.log_weights - REFERENCE.log_partition())
    statistical.assert_mean(ratios, 1.0, largest_error=0.03)


def test_published_scale_gradient_leaves_the_shift_out(monkeypatch):
    """dζ/ds = [(1-q) r0 ζ + q r1 (ζ-1)] / (s density), and all else as before."""
    params = PosteriorParams(
        tf.constant([[0.3, -1.2]]), tf.constant([[0.2, -0.15]]), tf.constant([[0.1, 0.3]])
    )

    def sample_and_gradients():
        with tf.GradientTape() as tape:
            tape.watch(params)
            posterior = ShiftedGaussianPosterior(1, 2)
            relaxed = posterior.sample(params, counter_random.key(3))
        gradients = tape.gradient(relaxed, list(params))
        return relaxed.numpy(), [gradient.numpy() for gradient in gradients]

    relaxed, ours = sample_and_gradients()
    monkeypatch.setattr(
        ShiftedGaussianPosterior, "sample", ShiftedGaussianPosterior.sample
    )  # so that it comes back
    variants.published_scale_gradient()
    same, published = sample_and_gradients()
    np.testing.assert_array_equal(same, relaxed)
    np.testing.assert_array_equal(published[0], ours[0])
    np.testing.assert_array_equal(published[1], ours[1])
    shift, scale = params.shift.numpy(), params.scale.numpy()
    q = 1.0 / (1.0 + np.exp(-params.logits.numpy()))
    zero = (1.0 - q) * np.exp(-0.5 * ((relaxed - shift) / scale) ** 2)
    one = q * np.exp(-0.5 * ((relaxed - 1.0 - shift) / scale) ** 2)
    expected = (zero * relaxed + one * (relaxed - 1.0)) / (scale * (zero + one))
    np.testing.assert_allclose(published[2], expected, rtol=1e-5)
    assert np.abs(published[2] - ours[2]).min() > 0.1


def test_gradient_of_log_det_is_compared_with_a_solve():
    coupling = np.random.default_rng(1).normal(size=[20, 20]).astype(np.float32)
    found = deviations.log_det_gradient(tf.constant(coupling))
    assert 0.0 < found["products"] < 1e-5 and 0.0 < found["solve"] < 1e-5


def test_bound_of_the_largest_singular_value():
    coupling = np.diag([1.0, 2.0, 7.0]).astype(np.float32)
    found = deviations.largest_value_bound(tf.constant(coupling))
    assert found["exact"] == pytest.approx(7.0) and found["lambda_exact"] == pytest.approx(12.0)
    assert 7.0 - 1e-5 <= found["bound"] < 7.1
    assert found["lambda"] == pytest.approx(found["bound"] + 5.0)
