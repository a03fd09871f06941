"""Relaxed posteriors: densities, samplers, and gradients of samples by the implicit function.

Gradients are compared one sample at a time with those at a fixed percentile of distribution
functions in float64, so that there is no sampling error in them.
"""

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit, ndtri

from dvae import posteriors
from dvae import smoothing as ours
from dvae.posteriors import PosteriorParams
from tests.helpers import statistical
from tests.reference import shifted_gaussian
from tests.reference import smoothing as reference

PAIRS = [
    (ours.Exponential(12.0), reference.Exponential(12.0)),
    (ours.Power(3.0), reference.Power(3.0, 1e-7)),
    (ours.Power(30.0), reference.Power(30.0, 1e-7)),
    (ours.UniformExponential(16.0), reference.UniformExponential(16.0)),
    (ours.Gaussian(25.0), reference.Gaussian(25.0)),
]
every_smoothing = pytest.mark.parametrize(
    ("smoothing", "exact"), PAIRS, ids=[str(pair[1]) for pair in PAIRS]
)
LOGITS = np.linspace(-3.3, 2.9, 35, dtype=np.float32).reshape(5, 7)
UPSTREAM = np.float32(np.arange(35).reshape(5, 7) % 6 - 2.5)
NUM_SAMPLES = 200_000


def sample_gradient(posterior, params, key):
    """Samples, and the gradient of their sum with weights UPSTREAM, by parameter."""
    params = PosteriorParams(*(None if p is None else tf.constant(p) for p in params))
    given = [p for p in params if p is not None]
    with tf.GradientTape() as tape:
        tape.watch(given)
        relaxed = posterior.sample(params, key)
        weighted = tf.reduce_sum(relaxed * UPSTREAM)
    return relaxed.numpy(), [g.numpy() for g in tape.gradient(weighted, given)]


class TestMixture:
    @every_smoothing
    def test_log_density(self, smoothing, exact):
        """Also where one component has no weight or the other no density; error of float32."""
        zeta = np.float32([0.0, 1e-3, 0.2, 0.5, 0.9, 0.999, 1.0])
        posterior = posteriors.MixturePosterior(smoothing)
        found = posterior.log_density(tf.constant(zeta), PosteriorParams(tf.constant(LOGITS)))
        complement = np.float64(np.float32(1) - zeta)
        q = expit(np.float64(LOGITS))
        expected = exact.mixture_log_density(np.float64(zeta), q, complement)
        assert np.allclose(found, expected, rtol=2e-6, atol=2e-5)
        for logit in (-90.0, 90.0):
            params = PosteriorParams(tf.fill([7], logit))
            alone = exact.log_densities(np.float64(zeta), complement)[int(logit > 0)]
            # At 90 nats the other component shows only where it is denser by e^90.
            dominant = alone > np.max(exact.log_densities(np.float64(zeta), complement), 0) - 80
            found = posterior.log_density(tf.constant(zeta), params).numpy()
            assert np.all(np.isfinite(found))
            assert np.allclose(found[dominant], alone[dominant], rtol=2e-6, atol=3e-5)

    @every_smoothing
    def test_sampler(self, smoothing, exact):
        """Fractions below fixed values, standard error 0.001; q for 1-q would be 0.4 off."""
        zeta = np.array([0.003, 0.05, 0.2, 0.5, 0.8, 0.95, 0.997])
        if isinstance(exact, reference.Power):
            exact = reference.Power(exact.sharpness)
        logits = tf.fill([NUM_SAMPLES], tf.constant(-0.85))
        posterior = posteriors.MixturePosterior(smoothing)
        drawn = posterior.sample(PosteriorParams(logits), statistical.key(1)).numpy()
        statistical.assert_fraction(drawn[:, None] <= zeta, exact.mixture_cdf(zeta, expit(-0.85)))

    @every_smoothing
    def test_implicit_gradient(self, smoothing, exact):
        """Each of 35 samples: dζ/dlogit = q (1-q) dζ/dq, to a part in a thousand."""
        posterior = posteriors.MixturePosterior(smoothing)
        relaxed, [found] = sample_gradient(posterior, PosteriorParams(LOGITS), statistical.key(2))
        q = expit(np.float64(LOGITS))
        expected = UPSTREAM * q * (1 - q) * exact.implicit_derivative(np.float64(relaxed), q)
        # 1 - ζ carries 3e-8 of rounding beside power's offset of 1e-7.
        assert np.allclose(found, expected, rtol=2e-3, atol=1e-6)

    def test_saturated_logits_have_finite_gradients(self):
        """Where q is 0 or 1 in float32 the gradient is zero, not NaN."""
        logits = np.float32(np.tile([-104.0, -60.0, -20.0, 0.0, 20.0, 60.0, 104.0], (5, 1)))
        for smoothing, _ in PAIRS:
            posterior = posteriors.MixturePosterior(smoothing)
            _, [found] = sample_gradient(posterior, PosteriorParams(logits), statistical.key(3))
            assert np.all(np.isfinite(found))
            assert np.all(np.abs(found[:, [0, 1, -2, -1]]) < 1e-6)


class TestSpikeExponential:
    posterior = posteriors.SpikeExponentialPosterior(4.0)
    exact = reference.SpikeExponential(4.0)

    def test_sampler(self):
        """The spike has mass 1 - q and the rest is exponential. Standard error 0.001."""
        logits = tf.fill([NUM_SAMPLES], tf.constant(0.4))
        drawn = self.posterior.sample(PosteriorParams(logits), statistical.key(4)).numpy()
        zeta = np.array([0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97])
        expected = self.exact.mixture_cdf(zeta, expit(0.4))
        statistical.assert_fraction(drawn[:, None] <= zeta, expected)
        assert drawn.min() == 0 and drawn.max() <= 1

    def test_gradient_straight_through(self):
        """At the percentile that ζ stands for; 0 at the spike."""
        params = PosteriorParams(LOGITS)
        relaxed, [found] = sample_gradient(self.posterior, params, statistical.key(5))
        assert 5 < np.sum(relaxed > 0) < 30
        assert np.all(found[relaxed == 0] == 0)
        q, inside = expit(np.float64(LOGITS)), relaxed > 1e-3
        slope = self.exact.implicit_derivative(np.float64(relaxed), q)
        expected = UPSTREAM * q * (1 - q) * slope
        assert np.allclose(found[inside], expected[inside], rtol=2e-3, atol=1e-6)

    def test_clipped_at_the_ends(self):
        """q is clipped to [1e-7, 1 - 1e-7]: finite values, no gradient beyond the clip.

        A logit of 17 is beyond it, one of 12 (1 - q = 6e-6) is not.
        """
        logits = np.float32(np.tile([-104.0, -17.0, 0.0, 12.0, 17.0, 40.0, 104.0], (5, 1)))
        relaxed, [found] = sample_gradient(
            self.posterior, PosteriorParams(logits), statistical.key(6)
        )
        assert np.all(np.isfinite(relaxed)) and np.all(np.isfinite(found))
        assert np.all(found[:, [0, 1, 4, 5, 6]] == 0)
        assert np.array_equal(found[:, 2:4] != 0, relaxed[:, 2:4] > 0)
        assert np.any(relaxed[:, 3] > 0)

    def test_has_no_density(self):
        params = PosteriorParams(tf.zeros([1, 1]))
        assert self.posterior.log_density(tf.zeros([1, 1]), params) is None


class TestShiftedGaussian:
    shift = np.float32(0.25 * np.sin(np.arange(35)).reshape(5, 7))
    scale = np.float32([[0.06, 0.1, 0.25, 0.25, 0.3, 0.5, 0.9]])

    def params(self):
        return PosteriorParams(LOGITS, self.shift, self.scale)

    def test_split(self):
        """δ = 0.5 (σ(v) - 0.5) from the second half; s = |0.2 t| + 0.05 of the right group."""
        posterior = posteriors.ShiftedGaussianPosterior(3, 2)
        assert posterior.outputs_per_unit == 2
        assert np.allclose(posterior.split(tf.zeros([5, 4]), 2).scale, 0.25)
        for group in range(3):
            posterior.raw_scales[group].assign([0.5 + group, -2.0 - group])
        output = np.float32([[0.1, -0.2, 3.0, -1.0], [0.7, 0.3, 0.0, 2.0]])
        params = posterior.split(tf.constant(output), 1)
        assert np.allclose(params.logits, output[:, :2])
        assert np.allclose(params.shift, 0.5 * (expit(output[:, 2:]) - 0.5), atol=1e-7)
        assert np.allclose(params.scale, [[0.35, 0.65]], atol=1e-7)

    def test_log_density(self):
        """Also at a q whose 1 - q is clipped to 1e-4, far out in the other component."""
        posterior = posteriors.ShiftedGaussianPosterior(1, 7)
        logits = LOGITS.copy()
        logits[0], logits[1] = 12.0, -12.0
        zeta = np.float32(np.linspace(-0.7, 1.8, 35).reshape(5, 7))
        params = PosteriorParams(logits, self.shift, self.scale)
        found = posterior.log_density(zeta, params)
        values = (np.float64(v) for v in (self.shift, self.scale))
        args = np.float64(zeta), expit(np.float64(logits)), *values
        expected = shifted_gaussian.shifted_mixture_log_density(*args, max_q=1 - 1e-4)
        # 1e-4 as the difference of 1 and q in float32 is off by up to 3e-4 of itself.
        assert np.allclose(found, expected, rtol=1e-5, atol=3e-4)
        unclipped = shifted_gaussian.shifted_mixture_log_density(*args)
        assert np.max(np.abs(expected - unclipped)) > 1

    def test_sampler(self):
        """Fractions below fixed values for every unit of a row; standard error 0.001."""
        posterior = posteriors.ShiftedGaussianPosterior(1, 7)
        row = PosteriorParams(
            tf.tile(LOGITS[2:3], [NUM_SAMPLES, 1]),
            tf.tile(self.shift[2:3], [NUM_SAMPLES, 1]),
            tf.constant(self.scale),
        )
        drawn = posterior.sample(row, statistical.key(7)).numpy()
        deviations = ndtri([0.1, 0.5, 0.9])[:, None]
        q, shift, scale = (np.float64(v) for v in (expit(LOGITS[2]), self.shift[2], self.scale[0]))
        for component in (0, 1):
            zeta = component + shift + scale * deviations
            expected = shifted_gaussian.shifted_mixture_cdf(zeta, q, shift, scale)
            statistical.assert_fraction(drawn[:, None] <= zeta, expected)

    def test_implicit_gradients(self):
        """Each of 35 samples: dζ by logit, shift and scale; that by scale is summed over rows."""
        posterior = posteriors.ShiftedGaussianPosterior(1, 7)
        relaxed, found = sample_gradient(posterior, self.params(), statistical.key(8))
        args = (np.float64(v) for v in (relaxed, expit(LOGITS), self.shift, self.scale))
        slopes = shifted_gaussian.shifted_implicit_derivatives(*args)
        by_q, by_shift, by_scale = (UPSTREAM * slope for slope in slopes)
        q = expit(np.float64(LOGITS))
        expected = q * (1 - q) * by_q, by_shift, by_scale.sum(axis=0, keepdims=True)
        for ours_, exact in zip(found, expected, strict=True):
            assert np.allclose(ours_, exact, rtol=2e-3, atol=2e-4)


def test_concat():
    """Groups side by side along the units; parameters that a posterior lacks stay None."""
    groups = [PosteriorParams(tf.fill([3, n], float(n))) for n in (2, 5)]
    joined = posteriors.concat(groups)
    assert np.allclose(joined.logits, np.repeat([[2.0, 5.0]], [2, 5], axis=1))
    assert joined.shift is None and joined.scale is None
    shifted = [PosteriorParams(g.logits, g.logits + 1, g.logits[:1] + 2) for g in groups]
    joined = posteriors.concat(shifted)
    assert joined.shift.shape == [3, 7] and joined.scale.shape == [1, 7]
    assert np.allclose(joined.scale[0], [4, 4, 7, 7, 7, 7, 7])
