"""Relaxed bits that stand for bits: values and gradients at given ρ or z, and their laws."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit

from configs.experiment import build_config
from configs.registry import BASELINES, STRUCTURES, Structure, resolve
from dvae import relaxed_bernoulli as ours
from dvae.posteriors import PosteriorParams
from dvae.priors import Prior
from dvae.rollout import sample_of
from samplers import counter_random
from tests.helpers import statistical
from tests.helpers.added_parts import IndependentBits
from tests.reference import straight as exact

LOGITS = np.repeat(np.linspace(-4.5, 4.5, 13), 41).reshape(13, 41)
# The ends lie beyond the clip of the Concrete relaxation.
RHO = np.tile(np.concatenate([[1e-7, 1e-6], np.linspace(0.003, 0.997, 37), [1 - 1e-6, 1]]), (13, 1))
MOVE = 1e-5
HARD = (ours.StraightThrough, ours.ReinMax)


@pytest.fixture
def sample_and_slope(monkeypatch):
    """Samples at given uniform numbers or bits, and their derivatives by the logit of each."""

    def run(posterior, given, logits=LOGITS):
        for name in ("uniform", "bernoulli_logits"):
            values = tf.constant(np.broadcast_to(given, logits.shape), tf.float32)
            monkeypatch.setattr(counter_random, name, lambda *_, drawn=values: drawn)
        logits = tf.constant(logits, tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(logits)
            relaxed = posterior.sample(PosteriorParams(logits), statistical.key(1))
        return relaxed.numpy(), tape.gradient(relaxed, logits).numpy()

    return run


@pytest.mark.parametrize("sharpness", [1.0, 4.0, 10.0])
@pytest.mark.parametrize(
    "kind, formula",
    [(ours.Concrete, exact.concrete), (ours.PiecewiseLinear, exact.piecewise_linear)],
)
def test_relaxed_at_given_uniform_numbers(kind, formula, sharpness, sample_and_slope):
    """Against the formula in float64 and its finite differences; kinks of the line left out."""
    rho = np.float64(np.float32(RHO))
    found, slope = sample_and_slope(kind(sharpness), RHO)
    expected = formula(LOGITS, rho, sharpness)
    assert np.allclose(found, expected, atol=2e-6)
    assert np.min(expected) < 0.01 and np.max(expected) > 0.99
    moved = [formula(LOGITS + by, rho, sharpness) for by in (MOVE, -MOVE)]
    smooth = np.isin(moved[0], (0, 1)) == np.isin(moved[1], (0, 1))
    assert smooth.mean() > 0.99
    differences = (moved[0] - moved[1]) / (2 * MOVE)
    assert np.allclose(slope[smooth], differences[smooth], rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("bit", [0.0, 1.0])
def test_hard_at_given_bits(bit, sample_and_slope):
    """Values are the bits themselves; slopes are those that the papers give."""
    q = expit(LOGITS)
    middle = (q + bit) / 2
    slopes = q * (1 - q), 2 * middle * (1 - middle) - q * (1 - q) / 2
    for kind, expected in zip(HARD, slopes, strict=True):
        found, slope = sample_and_slope(kind(1.0), bit)
        assert np.all(found == bit)
        assert np.allclose(slope, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", HARD)
def test_order_of_accuracy(kind, sample_and_slope):
    """Mean gradient of one bit, by both its values: f(1) - f(0) times dq/dℓ for a quadratic f.

    Straight-through is right for a linear f alone, ReinMax wrong for a cubic one.
    """
    logits = np.linspace(-3.0, 3.0, 7)
    q = expit(logits)
    drawn = [(c, *sample_and_slope(kind(1.0), bit, logits)) for bit, c in ((0.0, 1 - q), (1.0, q))]
    error = []
    for power in (1, 2, 3):  # f(z) = (z + 1/2)^power
        mean = sum(c * power * (z + 0.5) ** (power - 1) * slope for c, z, slope in drawn)
        error.append(np.max(np.abs(mean - q * (1 - q) * (1.5**power - 0.5**power))))
    assert error[0] < 1e-6 and error[2] > 0.01
    assert error[1] < 1e-6 if kind is ours.ReinMax else error[1] > 0.01


@pytest.mark.parametrize("kind", [ours.Concrete, ours.PiecewiseLinear, *HARD])
def test_fraction_above_one_half(kind):
    """q, standard error 0.001; 200,000 samples of each of five logits."""
    logits = np.array([-3.0, -1.1, 0.0, 0.4, 2.5])
    params = PosteriorParams(tf.constant(np.tile(logits, (200_000, 1)), tf.float32))
    found = kind(5.0).sample(params, statistical.key(2))
    statistical.assert_fraction(found.numpy() > 0.5, expit(logits))
    assert np.all(np.isin(found, (0.0, 1.0))) == (kind in HARD)


@pytest.mark.parametrize("baseline", exact.ALL)
def test_kl_term_of_any_prior(baseline):
    """Σ ζ log q + (1-ζ) log(1-q) - cζ for independent bits with biases c; logits up to 60."""
    prior = Prior(IndependentBits(6))
    prior.fields.bias.assign(np.linspace(-2.0, 1.5, 6))
    entry = BASELINES[baseline]
    build = resolve(entry.method)
    method = build(Structure(2, 3, 1, 5), 4.0, prior.energy_model, **entry.options)
    logits = np.random.default_rng(3).normal(0, 3, (11, 6))
    logits[0] = [60, -60, 60, -60, 0, 1]
    zeta = np.random.default_rng(4).uniform(0, 1, (11, 6))
    zeta[1], zeta[2] = 0, 1
    latents, params = tf.constant(zeta, tf.float32), tf.constant(logits, tf.float32)
    sample = sample_of(method.posterior, latents, PosteriorParams(params))
    log_q = zeta * -np.logaddexp(0, -logits) + (1 - zeta) * -np.logaddexp(0, logits)
    expected = log_q.sum(axis=1) - zeta @ np.float64(prior.fields.bias)
    found = method.log_ratio(prior, prior.parameters(), sample)
    assert np.allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_sharpness_and_weighting():
    """By data set, for every structure; all train the importance-weighted bound."""
    expected = {"gumbolt": (7, 7), "pwl": (4, 3), "concrete": (10, 10), "st": (1, 1)}
    for baseline, values in expected.items():
        for struct in STRUCTURES:
            for dataset, value in zip(("binarized_mnist", "omniglot"), values, strict=True):
                config = build_config(baseline=baseline, dataset=dataset, struct=struct)
                assert config.beta == value
    assert all(BASELINES[baseline].importance_weighted for baseline in exact.ALL)
