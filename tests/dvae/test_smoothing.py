"""Smoothings against the float64 reference, and each against its own density by quadrature."""

import math

import numpy as np
import pytest
import tensorflow as tf

from dvae import smoothing as ours
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
IDS = [str(pair[1]) for pair in PAIRS]
NUM_SAMPLES = 200_000

every_smoothing = pytest.mark.parametrize(("smoothing", "exact"), PAIRS, ids=IDS)


def points(exact):
    """Values of ζ over the support in float32, dense near its ends."""
    if isinstance(exact, reference.Gaussian):
        return np.linspace(-1.0, 2.0, 61, dtype=np.float32)
    small = np.logspace(-9, -0.31, 40, dtype=np.float32)
    return np.concatenate([[np.float32(0)], small, 1 - small, [np.float32(1)]])


def panels(exact):
    """End points of quadrature panels, narrow where densities are steep."""
    if isinstance(exact, reference.Gaussian):
        return np.linspace(-1.4, 2.4, 39)
    small = np.concatenate([[0.0], np.logspace(-9, -2, 29), np.linspace(0.02, 0.5, 25)])
    return np.concatenate([small, 1 - small[-2::-1]])


@every_smoothing
def test_formulas(smoothing, exact):
    """Densities, distribution functions and field of both components; error of float32."""
    zeta = points(exact)
    wide = np.float64(zeta)
    log_0, log_1 = exact.log_densities(wide, np.float64(1 - zeta))
    cdf_0, cdf_1 = exact.cdfs(wide, np.float64(1 - zeta))
    for found, expected in (
        (smoothing.log_density_at_0(zeta), log_0),
        (smoothing.log_density_at_1(zeta), log_1),
        (smoothing.cdf_at_0(zeta), cdf_0),
        (smoothing.cdf_at_1(zeta), cdf_1),
        (smoothing.log_ratio(zeta), log_1 - log_0),
    ):
        assert np.allclose(found, expected, rtol=2e-6, atol=1e-5)


@every_smoothing
def test_density_is_the_slope_of_the_cdf_and_integrates_to_one(smoothing, exact):
    """Gauss-Legendre quadrature of each panel against the difference of the CDF.

    Power alone does not integrate to 1: evaluated at ζ + 1e-7 it lacks (1e-7)^(1/β). Of z = 0
    only, as float32 cannot resolve 1 - ζ; the other component is its mirror image.
    """
    nodes, weights = np.polynomial.legendre.leggauss(8)
    edges = panels(exact)
    low, width = edges[:-1, None], np.diff(edges)[:, None]
    zeta = low + 0.5 * width * (nodes + 1)
    lacking = OFFSET ** (1 / exact.sharpness) if isinstance(exact, reference.Power) else 0.0
    density = np.exp(np.float64(smoothing.log_density_at_0(tf.constant(zeta, tf.float32))))
    mass = 0.5 * width[:, 0] * (density @ weights)
    slope = np.diff(np.float64(smoothing.cdf_at_0(tf.constant(edges, tf.float32))))
    assert np.allclose(mass, slope, rtol=1e-4, atol=2e-6)
    assert math.isclose(mass.sum(), 1 - lacking, abs_tol=1e-5)


@every_smoothing
@pytest.mark.parametrize("bit", [0.0, 1.0])
def test_sampler(smoothing, exact, bit):
    """Fractions below fixed values against the exact CDF, without the offset.

    Standard error of a fraction at most 0.0011: a fault of 0.006 in the CDF would show.
    """
    if isinstance(exact, reference.Power):
        exact = reference.Power(exact.sharpness)
    percentiles = np.linspace(0.02, 0.98, 49)
    thresholds = exact.inverse_cdf(percentiles, bit)
    # Those that float32 resolves: power draws underflow, and close to 1 they are rounded to it.
    fine = (np.abs(thresholds) > 1e-30) & (np.abs(1 - thresholds) > 1e-5)
    thresholds, percentiles = thresholds[fine], percentiles[fine]
    binary = tf.fill([NUM_SAMPLES], tf.constant(bit))
    drawn = np.float64(smoothing.sample(binary, statistical.key(1)))
    assert len(percentiles) >= 8
    statistical.assert_fraction(drawn[:, None] <= thresholds, percentiles)


@every_smoothing
def test_samples_are_mirrored(smoothing, exact):
    """Under one key the draw at z = 1 is one minus that at z = 0; shapes and mixed bits hold."""
    key = statistical.key(2)
    at_0, at_1 = (smoothing.sample(tf.fill([7, 11], bit), key).numpy() for bit in (0.0, 1.0))
    assert np.array_equal(at_1, 1 - at_0)
    bits = np.float32(np.arange(77).reshape(7, 11) % 3 == 0)
    mixed = smoothing.sample(tf.constant(bits), key)
    assert np.array_equal(mixed, np.where(bits, at_1, at_0))
    if not isinstance(exact, reference.Gaussian):
        assert at_0.min() >= 0 and at_0.max() <= 1


def test_power_at_its_ends():
    """Published constant: density and CDF at ζ = 0 are those at 1e-7, and finite."""
    zero = tf.zeros([1])
    smoothing = ours.Power(30.0)
    log_density = (1 / 30 - 1) * math.log(1e-7) + math.log(1 / 30)
    assert np.isclose(smoothing.log_density_at_0(zero), log_density, rtol=1e-6)
    assert np.isclose(smoothing.cdf_at_0(zero), 1e-7 ** (1 / 30), rtol=1e-6)
    assert np.all(np.isfinite(smoothing.log_ratio(tf.constant([0.0, 1.0]))))
    drawn = smoothing.sample(tf.zeros([NUM_SAMPLES]), statistical.key(3)).numpy()
    # method: 58 % of the draws at β = 30 fall below the constant.
    statistical.assert_fraction(drawn < 1e-7, np.array(1e-7 ** (1 / 30)))


def test_share_of_the_uniform():
    """5 % uniform: at β = 60 nearly all draws above 0.5 are of it. Standard error 0.0004."""
    drawn = (
        ours.UniformExponential(60.0).sample(tf.zeros([NUM_SAMPLES]), statistical.key(4)).numpy()
    )
    statistical.assert_fraction(drawn > 0.5, np.array(0.025))
