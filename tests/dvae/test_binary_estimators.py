"""The unbiased estimators of binary models against sums over all states in float64.

Batch norm couples the rows of a batch, so that it is frozen here: each estimator is unbiased given
its statistics. Here of two samples or one pair, counted with the probabilities of all; what more of
them give is in test_estimator_formulas.py.
"""

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit

from configs.errors import UserError
from configs.experiment import build_config
from configs.registry import Structure
from dvae.estimators import disarm, enumeration, score_function
from samplers import counter_random
from tests.helpers import binary_models, statistical
from tests.helpers.binary_models import KL_WEIGHT, PARTS, STRUCTURES
from tests.helpers.tiny_training import config_of, make_program


def assert_close(bound, gradient, expected, rtol, atol):
    """A bound and the gradient of all parts."""
    assert np.isclose(bound, expected.value, rtol=1e-5, atol=1e-5)
    assert np.max(np.abs(expected.flat(*PARTS))) > 0.1
    np.testing.assert_allclose(gradient, expected.flat(*PARTS), rtol, atol)


@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("groups", STRUCTURES)
def test_exact(groups, k):
    """Value and gradient of the ELBO, L_2 and L_5 of two images, to float32 rounding."""
    made = binary_models.make(groups, "exact", k)
    pixels = tf.constant(binary_models.images(2))

    @tf.function(autograph=False)
    def graph():
        return binary_models.gradient_of(
            made.model, lambda params: made.estimate(pixels, params, None, tf.constant(KL_WEIGHT))
        )

    flat, found = graph()
    expected = binary_models.exact_gradient(groups, 2, k)
    assert_close(found.bound, flat, expected, rtol=1e-4, atol=2e-5)
    elbo = binary_models.exact_gradient(groups, 2, 1).value
    assert np.isclose(found.log_likelihood - KL_WEIGHT * found.kl, elbo, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "groups, baseline",
    [
        pytest.param(groups, baseline, marks=[pytest.mark.slow] * (groups != 2))
        for groups in STRUCTURES
        for baseline in ("loo", "vimco", "rodeo")
    ],
)
def test_mean_over_all_samples(groups, baseline):
    """Every pair of states counted with its probability: no error but rounding.

    Leave-one-out and RODEO take two samples for K = 1 too.
    """
    made = binary_models.make(groups, baseline, 2 if baseline == "vimco" else 1)
    found = binary_models.over_all_samples(made, groups, 2)
    expected = binary_models.exact_gradient(groups, 1, 2 if baseline == "vimco" else 1)
    assert_close(found.bound, found.mean, expected, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("groups", [2, 4])
def test_mean_over_all_noise(groups):
    """DisARM: the noise in every interval in which no bit of any chain changes; rounding alone."""
    found = binary_models.over_all_noise(binary_models.make(groups, "disarm", 1), groups)
    expected = binary_models.exact_gradient(groups, 1, 1)
    assert_close(found.bound, found.mean, expected, rtol=1e-4, atol=1e-5)


def test_groups_of_disarm_draw_apart(monkeypatch):
    """Noise of its own for each image, pair, group and unit; both halves are logistic.

    4000 numbers: the standard error of the fraction above 1 is 0.007.
    """
    drawn, logistic = [], disarm._logistic

    def kept(key, shape):
        drawn.append(logistic(key, shape))
        return drawn[-1]

    monkeypatch.setattr(disarm, "_logistic", kept)
    made = binary_models.make(2, "disarm", 5)
    pixels = tf.constant(np.tile(binary_models.images(1), (200, 1)))
    params = made.model.prior.parameters()
    made.estimate(pixels, params, statistical.key(1), tf.constant(KL_WEIGHT))
    values = np.stack(drawn)
    assert values.shape == (2, 200, 1, 5, 2)
    assert len(np.unique(values)) > 3990  # of 4000 numbers of 24 bits
    statistical.assert_fraction(np.ravel(values > 1), expit(-1.0))
    statistical.assert_fraction(np.ravel(values < -1), expit(-1.0))


@pytest.fixture(scope="module")
def loo_variance():
    """Of the encoder's gradient of two samples, one group, exact."""
    return binary_models.over_all_samples(binary_models.make(1, "loo", 2), 1, 2).encoder_variance


def test_variance(loo_variance, monkeypatch):
    """Of two evaluations of f, exact: leave-one-out has a third of REINFORCE's, DisARM less."""
    pairs = binary_models.over_all_noise(binary_models.make(1, "disarm", 1), 1)
    monkeypatch.setattr(score_function, "mean_of_others", tf.zeros_like)
    plain = binary_models.over_all_samples(binary_models.make(1, "loo", 2), 1, 2)
    assert pairs.encoder_variance < loo_variance < plain.encoder_variance / 3


def test_coefficients_lower_the_variance(loo_variance):
    """From zero, where RODEO is leave-one-out, 100 steps along its own surrogate: less than half.

    Nothing else is trained; the variance is exact.
    """
    made = binary_models.make(1, "rodeo", 2)
    coefficients = made.estimator.coefficients
    coefficients.assign(tf.zeros([2, 1]))
    found = binary_models.over_all_samples(made, 1, 2).encoder_variance
    assert np.isclose(found, loo_variance, rtol=1e-3)
    pixels = tf.constant(np.tile(binary_models.images(1), (100, 1)))

    @tf.function(autograph=False)
    def slope(key):
        with binary_models.frozen_batch_norm(), tf.GradientTape() as tape:
            params = made.model.prior.parameters()
            surrogate = made.estimate(pixels, params, key, tf.constant(KL_WEIGHT)).surrogate
        return tape.gradient(surrogate, coefficients.value)

    for step in range(100):
        coefficients.assign(coefficients + 0.5 * slope(counter_random.key(step)))
    assert np.all(coefficients.numpy() > 0.5)
    assert binary_models.over_all_samples(made, 1, 2).encoder_variance < 0.5 * found


def test_vimco_asks_for_two_samples():
    with pytest.raises(UserError, match="k=1 must be at least 2 for vimco"):
        build_config(baseline="vimco", struct="1-layer-nonlin")


class TestTooManyStates:
    @pytest.mark.parametrize("k, most", [(1, 10), (2, 8), (5, 4)])
    def test_limits(self, k, most):
        """The message names the largest structure that fits, which does."""
        enumeration.check_size(most, k)
        with pytest.raises(UserError, match=f"up to {most} latents in all groups for k={k}, not"):
            enumeration.check_size(most + 1, k)

    def test_structures_of_the_papers(self):
        """Refused when the model is built, before anything is computed."""
        structure = Structure(2, 200, 0, 5)
        with pytest.raises(UserError, match="not 400; choose another baseline"):
            make_program(config_of(baseline="exact", structure=structure))
