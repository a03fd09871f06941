"""The unbiased estimators of binary models against sums over all states in float64.

Batch norm couples the rows of a batch, so that it is frozen here: each estimator is unbiased given
its statistics. Statistical tests: standard errors are at most 0.01, for components of the gradient
of up to 0.6, and for the bound, from 400 means over 100 images. On 100 other seeds of each of the
33 cases there were two false alarms (5.0 and 6.9 standard errors) in 600,000 comparisons, both
among the components of heavy tails, and none in the cases that the quick tests run.
"""

import itertools

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
from tests.helpers.tiny_training import STRUCTURES as TINY
from tests.helpers.tiny_training import (
    config_of,
    eager,
    make_program,
    use_numpy_random,
    variables_of,
)

GROUPS = tuple(STRUCTURES)
SAMPLED = ("loo", "vimco", "disarm", "rodeo")


def least_k(baseline):
    return 2 if baseline == "vimco" else 1


def samples_of_objective(baseline, k):
    """How many samples the bound is of: the others average their ELBO."""
    return k if baseline == "vimco" else 1


@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("groups", GROUPS)
def test_exact(groups, k):
    """Value and gradient of the ELBO, L_2 and L_5 of two images, to float32 rounding."""
    made = binary_models.make(groups, "exact", k)
    expected = binary_models.exact_gradient(groups, 2, k)
    pixels = tf.constant(binary_models.images(2))

    @tf.function(autograph=False)
    def graph():
        return binary_models.gradient_of(
            made.model, lambda params: made.estimate(pixels, params, None, tf.constant(KL_WEIGHT))
        )

    flat, found = graph()
    assert np.isclose(found.bound, expected.value, rtol=1e-6, atol=1e-5)
    wanted = expected.flat(*PARTS)
    assert np.max(np.abs(wanted)) > 0.1
    np.testing.assert_allclose(flat, wanted, rtol=1e-4, atol=2e-5)
    sum_of_terms = found.log_likelihood - KL_WEIGHT * found.kl
    elbo = binary_models.exact_gradient(groups, 2, 1).value
    assert np.isclose(sum_of_terms, elbo, rtol=1e-5, atol=1e-5)


def check_mean_over_all_samples(groups, baseline):
    """Every pair of states counted with its probability: no error but rounding."""
    made = binary_models.make(groups, baseline, 2)
    expected = binary_models.exact_gradient(groups, 1, samples_of_objective(baseline, 2))
    found = binary_models.over_all_samples(made, groups, 2)
    assert np.isclose(found.bound, expected.value, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.mean, expected.flat(*PARTS), rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("groups, baseline", [(2, "loo"), (2, "vimco"), (2, "rodeo")])
def test_mean_over_all_samples(groups, baseline):
    check_mean_over_all_samples(groups, baseline)


@pytest.mark.slow
@pytest.mark.parametrize("baseline", ["loo", "vimco", "rodeo"])
@pytest.mark.parametrize("groups", GROUPS)
def test_mean_over_all_samples_of_each(groups, baseline):
    check_mean_over_all_samples(groups, baseline)


@pytest.mark.parametrize("groups", [2, 4])
def test_mean_over_all_noise(groups):
    """DisARM: the noise in every interval in which no bit of any chain changes; rounding alone."""
    made = binary_models.make(groups, "disarm", 1)
    expected = binary_models.exact_gradient(groups, 1, 1)
    found = binary_models.over_all_noise(made, groups)
    assert np.isclose(found.bound, expected.value, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.mean, expected.flat(*PARTS), rtol=1e-4, atol=1e-5)


def check_unbiased(groups, baseline, k, seed):
    """Encoder, decoder and prior, and the bound that is logged: within 5 standard errors."""
    expected = binary_models.exact_gradient(groups, 2, samples_of_objective(baseline, k))
    gradients, bounds = binary_models.sampled(baseline, groups, k, statistical.key(seed))
    wanted = expected.flat(*PARTS)
    statistical.assert_mean(gradients, wanted, largest_error=0.01)
    statistical.assert_mean(bounds[:, None], np.array([expected.value]), largest_error=0.01)


@pytest.mark.parametrize("groups, k", [(1, 2)])
def test_disarm_is_unbiased(groups, k, seed=1):
    check_unbiased(groups, "disarm", k, seed)


@pytest.mark.slow
@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("baseline", SAMPLED)
@pytest.mark.parametrize("groups", GROUPS)
def test_unbiased(groups, baseline, k, seed=1):
    """VIMCO has no K = 1: it is left out."""
    if k >= least_k(baseline):
        check_unbiased(groups, baseline, k, seed)


def test_groups_of_disarm_draw_apart(monkeypatch):
    """Noise of its own for each image, pair, group and unit; both halves are logistic.

    4000 numbers: the standard error of the fraction above 1 is 0.007.
    """
    drawn = []
    logistic = disarm._logistic

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
    made = binary_models.make(1, "loo", 2)
    return binary_models.over_all_samples(made, 1, 2).encoder_variance


def test_variance(loo_variance):
    """Of two evaluations of f, exact: leave-one-out has a third of REINFORCE's, DisARM less."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(score_function, "mean_of_others", tf.zeros_like)
        made = binary_models.make(1, "loo", 2)
        plain = binary_models.over_all_samples(made, 1, 2).encoder_variance
    pairs = binary_models.over_all_noise(binary_models.make(1, "disarm", 1), 1)
    assert loo_variance < plain / 3
    assert pairs.encoder_variance < loo_variance


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


CASES = [
    (baseline, struct, k)
    for baseline, struct, k in itertools.product(
        (*SAMPLED, "exact"), ("1-layer-nonlin", "2-layer-nonlin"), (1, 2, 5)
    )
    if k in ((1, 2) if baseline == "exact" else (least_k(baseline), 5))
]


@pytest.mark.parametrize("baseline, struct, k", CASES)
def test_takes_a_step(baseline, struct, k, monkeypatch):
    """Batch norm in training; every variable moves, those of the estimator too."""
    use_numpy_random(monkeypatch)
    with eager():
        program = make_program(config_of(baseline=baseline, k=k, structure=TINY[struct]))
        before = [v.numpy() for v in variables_of(program)]
        # Two samples that agree in all bits of a group say nothing of it: not one step, but three.
        program.run(np.array([[1, 5, 8], [2, 0, 9], [3, 4, 7]]), 3)
    assert program.state.skipped == 0 and program.state.step == 8
    assert all(np.isfinite(value) for value in program.take_metrics().values())
    for variable, old in zip(variables_of(program), before, strict=True):
        assert np.any(variable.numpy() != old), variable.path
    weighted = baseline in ("vimco", "exact") and k > 1
    assert program.metrics.names[0] == ("train/neg_iw_loss" if weighted else "train/neg_elbo")


@pytest.mark.slow
@pytest.mark.parametrize("baseline", (*SAMPLED, "exact"))
def test_compiled_step(baseline):
    """As in plain Python: one compiled program of static shapes."""
    k, updated = 2, []
    for plain in (False, True):
        tf.config.run_functions_eagerly(plain)
        try:
            program = make_program(config_of(baseline=baseline, k=k))
            program.run(np.array([[1, 5, 8]]), 1)
        finally:
            tf.config.run_functions_eagerly(False)
        updated.append([v.numpy() for v in variables_of(program)])
    for compiled, expected in zip(*updated, strict=True):
        np.testing.assert_allclose(compiled, expected, rtol=1e-4, atol=1e-5)


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
