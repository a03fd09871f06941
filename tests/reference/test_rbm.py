"""The enumerated RBMs, smoothings and relaxed priors against routes other than their own.

Loops in pure Python, scipy's adaptive quadrature and finite differences; no sampling noise, so
each threshold is the accuracy of the cruder of the two routes.
"""

import itertools
import math

import numpy as np
import pytest
from scipy import integrate, optimize, stats

from tests.reference.implicit import implicit_derivative, spike_implicit_derivative
from tests.reference.prior import (
    default_strength,
    gaussian_integral_log_prior,
    mean_field_log_prior,
    mean_field_maximum,
    mean_field_means,
    mean_field_value,
    overlap_log_prior,
    precision_matrix,
)
from tests.reference.rbm import all_states, numerical_gradient, random_rbm
from tests.reference.shifted_gaussian import (
    shifted_implicit_derivatives,
    shifted_mixture_cdf,
    shifted_mixture_log_density,
)
from tests.reference.smoothing import (
    Exponential,
    Gaussian,
    Power,
    SpikeExponential,
    UniformExponential,
)

SMOOTHINGS = [
    Exponential(3.0),
    Exponential(12.0),
    Power(3.0),
    Power(3.0, offset=1e-2),
    UniformExponential(16.0),
    Gaussian(25.0),
]
PUBLISHED_POWER = Power(30.0, offset=1e-7)


def integral(function, smoothing, limits=None):
    """Adaptive quadrature over the support, with break points where the densities bend."""
    low, high = limits or ((-3, 4) if isinstance(smoothing, Gaussian) else (0, 1))
    points = [0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999]
    return integrate.quad(function, low, high, points=points, limit=400, epsabs=1e-11)[0]


class TestRBM:
    rbm = random_rbm(3, 5, seed=1)

    def loop(self):
        """(z_L, z_R, exp(-E)) of all states by loops over single units."""
        rbm = self.rbm
        for left in itertools.product((0, 1), repeat=3):
            for right in itertools.product((0, 1), repeat=5):
                exponent = sum(rbm.left_bias[i] for i in range(3) if left[i])
                exponent += sum(rbm.right_bias[j] for j in range(5) if right[j])
                for i, j in itertools.product(range(3), range(5)):
                    exponent += left[i] * rbm.coupling[i, j] * right[j]
                yield left, right, math.exp(exponent)

    def test_generator_is_asymmetric_and_exact_in_single_precision(self):
        for parameter in self.rbm.parameters:
            assert np.min(parameter) < 0 < np.max(parameter)
            assert np.array_equal(parameter, np.float32(parameter))

    def test_partition_states_and_moments_against_loops(self):
        weights = list(self.loop())
        total = sum(weight for *_, weight in weights)
        assert np.isclose(self.rbm.log_partition(), math.log(total), atol=1e-12)
        assert [(*left, *right) for left, right, _ in weights] == [*map(tuple, all_states(8))]
        assert np.allclose(self.rbm.probabilities(), [w / total for *_, w in weights], atol=1e-14)
        for i, j in itertools.product(range(3), range(5)):
            moment = sum(w for left, right, w in weights if left[i] and right[j]) / total
            assert np.isclose(self.rbm.left_right_moment()[i, j], moment, atol=1e-12)

    def test_one_half_summed_out_analytically(self):
        rbm = self.rbm
        left, right = all_states(3), all_states(5)
        softplus = np.logaddexp(0, rbm.right_bias + left @ rbm.coupling).sum(axis=1)
        assert np.allclose(rbm.left_log_weights(), left @ rbm.left_bias + softplus, atol=1e-12)
        softplus = np.logaddexp(0, rbm.left_bias + right @ rbm.coupling.T).sum(axis=1)
        assert np.allclose(rbm.right_log_weights(), right @ rbm.right_bias + softplus, atol=1e-12)

    def test_gradient_of_log_partition_by_differences(self):
        numerical = numerical_gradient(
            lambda arrays: type(self.rbm)(*arrays).log_partition(), self.rbm.parameters
        )
        for exact, difference in zip(self.rbm.log_partition_gradient(), numerical, strict=True):
            assert np.allclose(exact, difference, atol=1e-9)

    def test_sweep_draws_left_first_and_keeps_the_distribution(self):
        for inverse_temperature in (1.0, 0.4):
            matrix = self.rbm.sweep_matrix(inverse_temperature)
            probabilities = self.rbm.scaled(inverse_temperature).probabilities()
            assert np.allclose(probabilities @ matrix, probabilities, atol=1e-13)
        # From z_R = (1, 0, 1, 1, 0): mean of the new z_L, then of z_R given it.
        right = np.array([1.0, 0, 1, 1, 0])
        mean_left = 1 / (1 + np.exp(-(self.rbm.left_bias + self.rbm.coupling @ right)))
        row = self.rbm.sweep_matrix()[int("000" + "10110", 2)]
        assert np.allclose((row @ self.rbm.states())[:3], mean_left, atol=1e-12)

    def test_samples_have_the_enumerated_means(self):
        """5 standard errors of 20000 samples: a shift of 0.018 in a mean would be noticed."""
        samples = self.rbm.sample(np.random.default_rng(3), 20000)
        means = self.rbm.means()
        error = np.sqrt(means * (1 - means) / 20000)
        assert np.all(np.abs(samples.mean(axis=0) - means) < 5 * error)


@pytest.mark.parametrize("smoothing", SMOOTHINGS, ids=str)
class TestSmoothing:
    def test_density_is_the_derivative_of_the_cdf(self, smoothing):
        for z in (0, 1):
            lower = smoothing.cdf(np.float64(0.2), z)
            mass = integral(lambda value, z=z: smoothing.density(value, z), smoothing, (0.2, 0.7))
            assert np.isclose(smoothing.cdf(np.float64(0.7), z) - lower, mass, atol=1e-9)

    def test_density_integrates_to_one(self, smoothing):
        offset = getattr(smoothing, "offset", 0.0)
        exponent = 1 / smoothing.sharpness
        mass = (1 + offset) ** exponent - offset**exponent if offset else 1.0
        for z in (0, 1):
            total = integral(lambda value, z=z: smoothing.density(value, z), smoothing)
            assert np.isclose(total, mass, atol=1e-6)

    def test_mirror(self, smoothing):
        value = np.linspace(0.05, 0.95, 7)
        assert np.allclose(smoothing.density(value, 1), smoothing.density(1 - value, 0))

    def test_inverse_cdf(self, smoothing):
        rho = np.linspace(0.02, 0.98, 13)
        for z in (0, 1):
            zeta = smoothing.inverse_cdf(rho, z)
            offset = getattr(smoothing, "offset", 0.0)
            if offset:  # the sample stays that of the density without offset
                zeta = zeta - offset if z == 0 else zeta + offset
            assert np.allclose(smoothing.cdf(zeta, z), rho, atol=1e-12)

    def test_implicit_derivative_against_the_formula(self, smoothing):
        for zeta, q in [(0.03, 0.2), (0.4, 0.7), (0.97, 0.6), (0.8, 0.05)]:
            formula = smoothing.implicit_slope(np.float64(zeta), np.float64(q))
            assert np.isclose(implicit_derivative(smoothing, zeta, q), formula, rtol=1e-7)

    def test_nodes_against_adaptive_quadrature(self, smoothing):
        if getattr(smoothing, "offset", 0.0):  # nodes follow the sampler, which has none
            smoothing = Power(smoothing.sharpness)
        q = 0.3
        zeta, complement, z, weight = smoothing.nodes(80)
        assert np.allclose(zeta + complement, 1, atol=1e-12)
        mean = np.sum(weight * np.where(z, q, 1 - q) * np.sin(3 * zeta))
        expected = integral(
            lambda value: smoothing.mixture_density(value, q) * math.sin(3 * value), smoothing
        )
        assert np.isclose(mean, expected, atol=1e-7)


class TestSpecialCases:
    def test_power_with_the_published_constant_loses_most_of_its_mass(self):
        rho = np.linspace(0, 1, 100001)[1:-1]
        share = np.mean(PUBLISHED_POWER.inverse_cdf(rho, 0) < 1e-7)
        assert np.isclose(share, 0.584, atol=1e-3)  # β = 30
        mass = PUBLISHED_POWER.cdf(np.float64(1), 0) - PUBLISHED_POWER.cdf(np.float64(0), 0)
        assert np.isclose(mass, 1 - 0.584, atol=1e-3)
        formula = PUBLISHED_POWER.implicit_slope(np.float64(1e-9), np.float64(0.3))
        assert np.isclose(implicit_derivative(PUBLISHED_POWER, 1e-9, 0.3), formula, rtol=1e-6)

    def test_exponential_keeps_the_complement(self):
        zeta, complement = Exponential(12.0).inverse_cdf_pair(np.float64(1), np.float64(1e-20))
        slope = np.expm1(12.0) / 12  # of 1 - ζ in 1 - ρ at the end point
        assert np.isclose(zeta, 1, atol=1e-15)
        assert np.isclose(complement, 1e-20 * slope, rtol=1e-12, atol=0)

    def test_spike_and_exponential(self):
        smoothing, q = SpikeExponential(4.0), 0.35
        total = integrate.quad(lambda value: smoothing.density(np.float64(value), 1), 0, 1)[0]
        assert np.isclose(total, 1, atol=1e-10)
        rho = np.array([0.1, 0.649, 0.66, 0.8, 0.99])
        zeta = smoothing.mixture_inverse_cdf(rho, q)
        assert np.array_equal(zeta > 0, rho > 1 - q)
        for value, percentile in zip(zeta[2:], rho[2:], strict=True):
            mass = integrate.quad(lambda v: smoothing.density(np.float64(v), 1), 0, value)[0]
            assert np.isclose(1 - q + q * mass, percentile, atol=1e-10)
            slope = smoothing.implicit_slope(value, np.float64(q))
            assert np.isclose(spike_implicit_derivative(4.0, percentile, q), slope, rtol=1e-8)
        assert spike_implicit_derivative(4.0, 0.1, q) == 0

    @pytest.mark.parametrize("zeta", [-0.3, 0.05, 0.6, 1.2])
    def test_shifted_mixture(self, zeta):
        q, delta, scale = 0.3, 0.11, 0.25
        components = stats.norm(delta, scale), stats.norm(1 + delta, scale)
        zero, one = (component.pdf(zeta) for component in components)
        density = (1 - q) * zero + q * one
        log_density = shifted_mixture_log_density(zeta, q, delta, scale)
        assert np.isclose(np.exp(log_density), density, rtol=1e-12)
        cdf_zero, cdf_one = (component.cdf(zeta) for component in components)
        cdf = shifted_mixture_cdf(zeta, q, delta, scale)
        assert np.isclose(cdf, q * cdf_one + (1 - q) * cdf_zero, rtol=1e-12)
        deviations = (1 - q) * zero * (zeta - delta) + q * one * (zeta - 1 - delta)
        expected = ((cdf_zero - cdf_one) / density, 1.0, deviations / (scale * density))
        obtained = shifted_implicit_derivatives(zeta, q, delta, scale)
        assert np.allclose(obtained, expected, rtol=1e-7)
        # With δ left out of the two deviations it is another function.
        wrong = ((1 - q) * zero * zeta + q * one * (zeta - 1)) / (scale * density)
        assert abs(wrong - obtained[2]) > 0.3


class TestRelaxedPrior:
    rbm = random_rbm(1, 1, seed=2)

    @pytest.mark.parametrize("smoothing", [Exponential(3.0), Gaussian(25.0)], ids=str)
    def test_density_integrates_to_one(self, smoothing):
        low, high = (0, 1) if isinstance(smoothing, Exponential) else (-1.5, 2.5)
        axis, weights = np.polynomial.legendre.leggauss(120)
        axis, weights = low + (high - low) * (axis + 1) / 2, weights * (high - low) / 2
        points = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
        density = np.exp(overlap_log_prior(self.rbm, smoothing, points)).reshape(120, 120)
        assert np.isclose(weights @ density @ weights, 1, atol=1e-9)

    def test_single_state_terms(self):
        rbm, smoothing = random_rbm(2, 3, seed=4), Exponential(5.0)
        zeta = np.random.default_rng(1).random((3, 5))
        total = np.zeros(3)
        for z, probability in zip(rbm.states(), rbm.probabilities(), strict=True):
            total += probability * np.prod(smoothing.density(zeta, z), axis=1)
        assert np.allclose(overlap_log_prior(rbm, smoothing, zeta), np.log(total), atol=1e-12)

    @pytest.mark.parametrize("smoothing", [*SMOOTHINGS, PUBLISHED_POWER], ids=str)
    def test_mean_field_is_a_lower_bound_and_is_maximised(self, smoothing):
        rbm = random_rbm(2, 3, seed=4)
        zeta = np.random.default_rng(1).uniform(0.2, 0.8, (7, 5))
        exact = overlap_log_prior(rbm, smoothing, zeta)
        best = mean_field_maximum(rbm, smoothing, zeta)
        five = mean_field_log_prior(rbm, smoothing, zeta, iterations=5)
        assert np.all(five <= best + 1e-9) and np.all(best <= exact + 1e-12)
        assert np.max(exact - best) > 1e-6

        def negative(logits):
            means = 1 / (1 + np.exp(-logits[None]))
            return -mean_field_value(rbm, smoothing, zeta[:1], means)[0]

        found = min(
            optimize.minimize(negative, start).fun
            for start in np.random.default_rng(2).normal(size=(2, 5))
        )
        assert np.isclose(-found, best[0], atol=1e-5)

    def test_mean_field_is_exact_without_coupling(self):
        rbm = type(self.rbm)(*random_rbm(2, 3, seed=4, coupling_scale=0.0).parameters)
        zeta = np.random.default_rng(1).random((4, 5))
        smoothing = Exponential(5.0)
        exact = overlap_log_prior(rbm, smoothing, zeta)
        assert np.allclose(mean_field_log_prior(rbm, smoothing, zeta, 1), exact, atol=1e-12)
        assert mean_field_means(rbm, smoothing, zeta).shape == (4, 5)

    def test_gaussian_integral_against_the_closed_form(self):
        rbm = random_rbm(2, 3, seed=4)
        strength = default_strength(rbm, 5.0)
        matrix = precision_matrix(rbm, strength)
        zeta = np.random.default_rng(1).normal(0.5, 0.6, (7, 5))
        inner = np.eye(3) - rbm.coupling.T @ rbm.coupling / strength**2
        field = zeta @ matrix
        closed = (
            -rbm.log_partition()
            - 2.5 * np.log(2 * np.pi / strength)
            + 0.5 * np.linalg.slogdet(inner)[1]
            - 0.5 * np.sum(field * zeta, axis=1)
            + np.logaddexp(0, field + rbm.bias - strength / 2).sum(axis=1)
        )
        assert np.allclose(gaussian_integral_log_prior(rbm, zeta, strength), closed, atol=1e-11)
        covariance = np.linalg.inv(matrix)
        total = sum(
            probability * stats.multivariate_normal(z, covariance).pdf(zeta)
            for z, probability in zip(rbm.states(), rbm.probabilities(), strict=True)
        )
        assert np.allclose(np.log(total), closed, atol=1e-9)
