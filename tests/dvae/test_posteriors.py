"""Smoothings, and relaxed posteriors at their ends.

Samples of posteriors, their densities and the gradients of both elsewhere are held against the
reference one by one in test_reference_step.py; that of smoothings is tested in tests/reference.
"""

import math

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit

from dvae import posteriors
from dvae import smoothing as ours
from dvae.posteriors import PosteriorParams
from tests.helpers import statistical
from tests.reference import smoothing as reference

OFFSET = 1e-7
PAIRS = [
    (ours.Exponential(3.0), reference.Exponential(3.0)),
    (ours.Exponential(12.0), reference.Exponential(12.0)),
    (ours.Power(3.0), reference.Power(3.0, OFFSET)),
    (ours.Power(30.0), reference.Power(30.0, OFFSET)),
    (ours.UniformExponential(16.0), reference.UniformExponential(16.0)),
    (ours.Gaussian(25.0), reference.Gaussian(25.0)),
]
every_smoothing = pytest.mark.parametrize(
    ("smoothing", "exact"), PAIRS, ids=[str(pair[1]) for pair in PAIRS]
)
NUM_SAMPLES = 200_000
ZEROS = tf.zeros([NUM_SAMPLES])
LOGITS = np.linspace(-3.3, 2.9, 35, dtype=np.float32).reshape(5, 7)


def points(exact):
    """Values of ζ over the support in float32, dense near its ends."""
    if isinstance(exact, reference.Gaussian):
        return np.linspace(-1.0, 2.0, 61, dtype=np.float32)
    small = np.logspace(-9, -0.31, 40, dtype=np.float32)
    return np.concatenate([[np.float32(0)], small, 1 - small, [np.float32(1)]])


class TestSmoothing:
    @every_smoothing
    def test_formulas(self, smoothing, exact):
        """Densities, distribution functions and field of both components; error of float32."""
        zeta = points(exact)
        both = np.float64(zeta), np.float64(1 - zeta)
        (log_0, log_1), (cdf_0, cdf_1) = exact.log_densities(*both), exact.cdfs(*both)
        for found, expected in (
            (smoothing.log_density_at_0(zeta), log_0),
            (smoothing.log_density_at_1(zeta), log_1),
            (smoothing.cdf_at_0(zeta), cdf_0),
            (smoothing.cdf_at_1(zeta), cdf_1),
            (smoothing.log_ratio(zeta), log_1 - log_0),
        ):
            assert np.allclose(found, expected, rtol=2e-6, atol=1e-5)

    @every_smoothing
    @pytest.mark.parametrize("bit", [0.0, 1.0])
    def test_sampler(self, smoothing, exact, bit):
        """Fractions below fixed values against the exact CDF, without the offset.

        Standard error of a fraction at most 0.0011: a fault of 0.006 in the CDF would show.
        """
        if isinstance(exact, reference.Power):
            exact = reference.Power(exact.sharpness)
        percentiles = np.linspace(0.02, 0.98, 49)
        thresholds = exact.inverse_cdf(percentiles, bit)
        # Those that float32 resolves: power draws underflow, and close to 1 they are rounded to it.
        fine = (np.abs(thresholds) > 1e-30) & (np.abs(1 - thresholds) > 1e-5)
        assert fine.sum() >= 8
        drawn = np.float64(smoothing.sample(ZEROS + bit, statistical.key(1)))
        statistical.assert_fraction(drawn[:, None] <= thresholds[fine], percentiles[fine])

    def test_power_at_its_ends(self):
        """Published constant: density and CDF at ζ = 0 are those at 1e-7, and finite."""
        zero, smoothing = tf.zeros([1]), ours.Power(30.0)
        log_density = (1 / 30 - 1) * math.log(1e-7) + math.log(1 / 30)
        assert np.isclose(smoothing.log_density_at_0(zero), log_density, rtol=1e-6)
        assert np.isclose(smoothing.cdf_at_0(zero), 1e-7 ** (1 / 30), rtol=1e-6)
        assert np.all(np.isfinite(smoothing.log_ratio(tf.constant([0.0, 1.0]))))
        drawn = smoothing.sample(ZEROS, statistical.key(3)).numpy()
        # method: 58 % of the draws at β = 30 fall below the constant.
        statistical.assert_fraction(drawn < 1e-7, np.array(1e-7 ** (1 / 30)))


def sample_gradient(posterior, row, key):
    """Five samples at a row of logits, and the gradient of their weighted sum by each logit."""
    logits = tf.constant(np.tile(np.float32(row), (5, 1)))
    with tf.GradientTape() as tape:
        tape.watch(logits)
        relaxed = posterior.sample(PosteriorParams(logits), key)
        weighted = tf.reduce_sum(relaxed * np.float32(np.arange(35).reshape(5, 7) % 6 - 2.5))
    return relaxed.numpy(), tape.gradient(weighted, logits).numpy()


class TestMixture:
    @every_smoothing
    def test_log_density(self, smoothing, exact):
        """Also where one component has no weight or the other no density; error of float32."""
        zeta = np.float32([0.0, 1e-3, 0.2, 0.5, 0.9, 0.999, 1.0])
        posterior = posteriors.MixturePosterior(smoothing)
        found = posterior.log_density(tf.constant(zeta), PosteriorParams(tf.constant(LOGITS)))
        complement = np.float64(np.float32(1) - zeta)
        expected = exact.mixture_log_density(
            np.float64(zeta), expit(np.float64(LOGITS)), complement
        )
        assert np.allclose(found, expected, rtol=2e-6, atol=2e-5)
        both = exact.log_densities(np.float64(zeta), complement)
        for logit in (-90.0, 90.0):
            alone = both[int(logit > 0)]
            # At 90 nats the other component shows only where it is denser by e^90.
            dominant = alone > np.max(both, 0) - 80
            found = posterior.log_density(tf.constant(zeta), PosteriorParams(tf.fill([7], logit)))
            assert np.all(np.isfinite(found))
            assert np.allclose(found.numpy()[dominant], alone[dominant], rtol=2e-6, atol=3e-5)

    @every_smoothing
    def test_saturated_logits_have_finite_gradients(self, smoothing, exact):
        """Where q is 0 or 1 in float32 the gradient is zero, not NaN."""
        posterior = posteriors.MixturePosterior(smoothing)
        row = [-104.0, -60.0, -20.0, 0.0, 20.0, 60.0, 104.0]
        _, found = sample_gradient(posterior, row, statistical.key(3))
        assert np.all(np.isfinite(found))
        assert np.all(np.abs(found[:, [0, 1, -2, -1]]) < 1e-6)


class TestSpikeExponential:
    def test_clipped_at_the_ends(self):
        """q is clipped to [1e-7, 1 - 1e-7]: finite values, no gradient beyond the clip.

        A logit of 17 is beyond it, one of 12 (1 - q = 6e-6) is not. There is no density.
        """
        posterior = posteriors.SpikeExponentialPosterior(4.0)
        row = [-104.0, -17.0, 0.0, 12.0, 17.0, 40.0, 104.0]
        relaxed, found = sample_gradient(posterior, row, statistical.key(6))
        assert np.all(np.isfinite(relaxed)) and np.all(np.isfinite(found))
        assert np.all(found[:, [0, 1, 4, 5, 6]] == 0)
        assert np.array_equal(found[:, 2:4] != 0, relaxed[:, 2:4] > 0)
        assert np.any(relaxed[:, 3] > 0)
        assert posterior.log_density(relaxed, PosteriorParams(tf.zeros([5, 7]))) is None


class TestShiftedGaussian:
    def test_log_density(self):
        """Also at a q whose 1 - q is clipped to 1e-4, far out in the other component."""
        posterior = posteriors.ShiftedGaussianPosterior(1, 7)
        assert np.allclose(posterior.split(tf.zeros([5, 14]), 0).scale, 0.25)  # at the start
        logits = LOGITS.copy()
        logits[0], logits[1] = 12.0, -12.0
        shift = np.float32(0.25 * np.sin(np.arange(35)).reshape(5, 7))
        scale = np.float32([[0.06, 0.1, 0.25, 0.25, 0.3, 0.5, 0.9]])
        zeta = np.float32(np.linspace(-0.7, 1.8, 35).reshape(5, 7))
        found = posterior.log_density(zeta, PosteriorParams(logits, shift, scale))
        q, away = expit(np.float64(logits)), np.float64(zeta) - np.float64(shift)
        exact = reference.Gaussian(np.float64(scale) ** -2)
        zero, one = exact.log_densities(away)
        expected = np.logaddexp(np.log(q) + one, np.log1p(-np.minimum(q, 1 - 1e-4)) + zero)
        # 1e-4 as the difference of 1 and q in float32 is off by up to 3e-4 of itself.
        assert np.allclose(found, expected, rtol=1e-5, atol=3e-4)
        assert np.max(np.abs(expected - exact.mixture_log_density(away, q))) > 1
