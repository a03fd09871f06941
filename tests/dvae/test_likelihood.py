"""Likelihoods against float64, near and far from zero, for sizes of every divisor."""

import numpy as np
import pytest
import tensorflow as tf

from configs.registry import LIKELIHOODS, resolve
from dvae import likelihood
from tests.helpers import statistical
from tests.reference.rbm import bernoulli_log_probability


@pytest.mark.parametrize("size", [1, 7, 30, 64, 97, 200, 784])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 30.0])
def test_against_numpy(size, scale):
    rng = np.random.default_rng(size)
    logits = np.float32(scale * rng.standard_normal((5, 3, size)))
    bits = np.float32(rng.integers(0, 2, (5, 1, size)))
    found = likelihood.log_bernoulli(tf.constant(bits), tf.constant(logits)).numpy()
    assert found.shape == (5, 3)
    expected = bernoulli_log_probability(bits, np.float64(logits))
    np.testing.assert_allclose(found, expected, rtol=3e-6, atol=2e-7 * size)


@pytest.mark.parametrize("value", [0.0, 88.0, 1e4, 3e38])
def test_extremes_do_not_overflow(value):
    """Saturated logits: 0 where the bit agrees, -784 * logit where not; -log 2 each at zero."""
    logits = tf.fill([784], value)
    agree = float(likelihood.log_bernoulli(tf.ones([784]), logits))
    differ = float(likelihood.log_bernoulli(tf.zeros([784]), logits))
    if value == 0.0:
        assert agree == differ == pytest.approx(-784 * np.log(2.0), rel=1e-6)
    else:
        assert agree == pytest.approx(0.0, abs=1e-30)
        wanted = -np.inf if value > 1e38 else pytest.approx(-784 * value, rel=1e-6)
        assert differ == wanted


def test_groups_are_products_that_fit():
    """The largest product, of factors 2, is far from overflow; MNIST's rows fill vectors."""
    assert [likelihood._num_factors(n) for n in (784, 200, 97)] == [14, 5, 1]
    for n in range(1, 1000):
        factors = likelihood._num_factors(n)
        assert 2.0**factors < 1e30 and n % factors == 0


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_training_and_evaluation_agree(name):
    """`log_prob` and `log_prob_value` are the log probability of what `sample` draws around `mean`.

    20,000 draws of 7 pixels: standard error 0.0035 of each pixel's mean.
    """
    found = resolve(LIKELIHOODS[name])()
    outputs = np.float32(np.random.default_rng(4).normal(0, 4, (33, 7)))
    images = np.float32(np.random.default_rng(5).random((33, 7)) < 0.4)
    expected = bernoulli_log_probability(images, np.float64(outputs))
    for method in (found.log_prob, found.log_prob_value):
        values = method(tf.constant(images), tf.constant(outputs))
        assert values.shape == [33]
        np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-5)
    means = found.mean(tf.constant(outputs)).numpy()
    drawn = found.sample(tf.tile(tf.constant(outputs[:1]), [20_000, 1]), statistical.key(1))
    statistical.assert_fraction(drawn.numpy(), means[0])
    np.testing.assert_allclose(found.mean(found.offset(means[0])), means[0], rtol=1e-5)
