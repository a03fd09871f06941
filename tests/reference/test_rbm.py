"""The enumerated RBMs, smoothings and relaxed priors against routes other than their own.

Loops in pure Python, scipy's adaptive quadrature and finite differences; no sampling noise, so
each threshold is the accuracy of the cruder of the two routes.
"""

import itertools
import math

import numpy as np
import pytest
from scipy import integrate, stats
from scipy.special import expit

from tests.reference import prior, relaxation
from tests.reference.kl import joint_kl, kl_gradient, table_posterior
from tests.reference.rbm import (
    ReferenceRBM,
    all_states,
    factorial_kl,
    factorial_kl_gradient,
    numerical_gradient,
    random_rbm,
)
from tests.reference.smoothing import (
    Exponential,
    Gaussian,
    Power,
    SpikeExponential,
    UniformExponential,
)

SMOOTHINGS = [
    *(Exponential(3.0), Exponential(12.0), Power(3.0), Power(3.0, offset=1e-2)),
    *(UniformExponential(16.0), Gaussian(25.0)),
]
PUBLISHED_POWER = Power(30.0, offset=1e-7)


def integral(function, smoothing, limits=None):
    """Adaptive quadrature over the support, with break points where the densities bend."""
    low, high = limits or ((-3, 4) if isinstance(smoothing, Gaussian) else (0, 1))
    points = [0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999]
    return integrate.quad(function, low, high, points=points, limit=400, epsabs=1e-11)[0]


def density(smoothing, zeta, z):
    return np.exp(smoothing.log_densities(np.float64(zeta))[z])


class TestRBM:
    rbm = random_rbm(3, 5, seed=1)

    def test_states_and_probabilities_against_loops(self):
        rbm, states, weights = self.rbm, [], []
        for left in itertools.product((0, 1), repeat=3):
            for right in itertools.product((0, 1), repeat=5):
                exponent = sum(rbm.left_bias[i] for i in range(3) if left[i])
                exponent += sum(rbm.right_bias[j] for j in range(5) if right[j])
                for i, j in itertools.product(range(3), range(5)):
                    exponent += left[i] * rbm.coupling[i, j] * right[j]
                states.append((*left, *right))
                weights.append(math.exp(exponent))
        assert states == [*map(tuple, all_states(8))]
        assert np.isclose(rbm.log_partition(), math.log(sum(weights)), atol=1e-12)
        assert np.allclose(rbm.probabilities(), np.array(weights) / sum(weights), atol=1e-14)
        sums = np.reshape(weights, (8, 32)).sum(axis=1)
        assert np.allclose(rbm.left_log_weights(), np.log(sums), atol=1e-12)

    def test_generator_is_asymmetric_and_exact_in_single_precision(self):
        for parameter in self.rbm.parameters:
            assert np.min(parameter) < 0 < np.max(parameter)
            assert np.array_equal(parameter, np.float32(parameter))

    def test_gradient_of_log_partition_by_differences(self):
        numerical = numerical_gradient(
            lambda arrays: self.rbm.replaced(arrays).log_partition(), self.rbm.parameters
        )
        flat = np.concatenate([np.ravel(array) for array in numerical])
        assert np.allclose(self.rbm.moments(), flat, atol=1e-9)

    def test_sweep_draws_left_first_and_keeps_the_distribution(self):
        for inverse_temperature in (1.0, 0.4):
            matrix = self.rbm.sweep_matrix(inverse_temperature)
            probabilities = self.rbm.scaled(inverse_temperature).probabilities()
            assert np.allclose(probabilities @ matrix, probabilities, atol=1e-13)
        # From z_R = (1, 0, 1, 1, 0): mean of the new z_L, then of z_R given it.
        mean_left = expit(self.rbm.left_bias + self.rbm.coupling @ [1.0, 0, 1, 1, 0])
        row = self.rbm.sweep_matrix()[int("000" + "10110", 2)]
        assert np.allclose((row @ self.rbm.states())[:3], mean_left, atol=1e-12)


class TestFactorialKL:
    """Of independent units: what the KL of one group is, with its gradient."""

    rbm, logits = random_rbm(3, 5, seed=5), np.linspace(-2, 1.5, 8)

    def test_value(self):
        value = factorial_kl(self.rbm, self.logits)
        one_group = joint_kl(self.rbm, table_posterior([self.logits]), Exponential(5.0))
        assert np.isclose(value, one_group, atol=1e-12)
        alone = ReferenceRBM(self.rbm.left_bias, self.rbm.right_bias, np.zeros((3, 5)))
        assert value > 0 and np.isclose(factorial_kl(alone, alone.bias), 0, atol=1e-12)

    def test_gradient(self):
        def value(rbm, posterior):
            return factorial_kl(rbm, posterior.logits(np.zeros((1, 8)))[0])

        exact = np.concatenate(factorial_kl_gradient(self.rbm, self.logits))
        assert np.allclose(exact, kl_gradient(value, self.rbm, [self.logits]), atol=1e-9)


@pytest.mark.parametrize("smoothing", SMOOTHINGS, ids=str)
class TestSmoothing:
    def test_density_and_cdf(self, smoothing):
        """Densities are slopes of the CDFs, integrate to one, and are each other's mirror image."""
        offset, exponent = getattr(smoothing, "offset", 0.0), 1 / smoothing.sharpness
        mass = (1 + offset) ** exponent - offset**exponent if offset else 1.0
        ends = [smoothing.cdfs(np.float64(end)) for end in (0.2, 0.7)]
        for z in (0, 1):
            part = integral(lambda v, z=z: density(smoothing, v, z), smoothing, (0.2, 0.7))
            assert np.isclose(ends[1][z] - ends[0][z], part, atol=1e-9)
            total = integral(lambda v, z=z: density(smoothing, v, z), smoothing)
            assert np.isclose(total, mass, atol=1e-6)
        value = np.linspace(0.05, 0.95, 7)
        assert np.allclose(density(smoothing, value, 1), density(smoothing, 1 - value, 0))

    def test_inverse_cdf(self, smoothing):
        rho, offset = np.linspace(0.02, 0.98, 13), getattr(smoothing, "offset", 0.0)
        for z, shift in ((0, -offset), (1, offset)):  # the sample is that without offset
            zeta = smoothing.inverse_cdf(rho, z) + shift
            assert np.allclose(smoothing.cdfs(zeta)[z], rho, atol=1e-12)


@pytest.mark.parametrize("smoothing", [Exponential(3.0), Power(3.0), Gaussian(25.0)], ids=str)
def test_nodes_against_adaptive_quadrature(smoothing):
    zeta, z, weight = smoothing.nodes(80)
    mean = np.sum(weight * np.where(z, 0.3, 0.7) * np.sin(3 * zeta))
    expected = integral(
        lambda v: np.exp(smoothing.mixture_log_density(v, 0.3)) * math.sin(3 * v), smoothing
    )
    assert np.isclose(mean, expected, atol=1e-7)


class TestSpecialCases:
    def test_power_with_the_published_constant_loses_most_of_its_mass(self):
        share = np.mean(PUBLISHED_POWER.inverse_cdf(np.linspace(0, 1, 100001)[1:-1], 0) < 1e-7)
        mass = np.diff(PUBLISHED_POWER.cdf_zero(np.array([0.0, 1.0])))[0]
        assert np.allclose([share, 1 - mass], 0.584, atol=1e-3)  # β = 30

    def test_exponential_keeps_the_complement(self):
        zeta, complement = Exponential(12.0).inverse_cdf_pair(np.float64(1), np.float64(1e-20))
        slope = np.expm1(12.0) / 12  # of 1 - ζ in 1 - ρ at the end point
        assert np.isclose(zeta, 1, atol=1e-15)
        assert np.isclose(complement, 1e-20 * slope, rtol=1e-12, atol=0)

    def test_spike_and_exponential(self):
        zeta, z, weight = SpikeExponential(4.0).nodes(60)
        mean = np.sum(weight * np.where(z, 0.35, 0.65) * np.cos(3 * zeta))
        part = integrate.quad(lambda v: 4 * np.exp(4 * v) / np.expm1(4) * math.cos(3 * v), 0, 1)
        assert np.isclose(mean, 0.65 + 0.35 * part[0], atol=1e-10)

    @pytest.mark.parametrize("zeta", [-0.41, -0.06, 0.49, 1.09])
    def test_mixture_of_gaussians(self, zeta):
        zero, one, exact = stats.norm(0, 0.25), stats.norm(1, 0.25), Gaussian(16.0)
        density = np.exp(exact.mixture_log_density(zeta, 0.3))
        assert np.isclose(density, 0.7 * zero.pdf(zeta) + 0.3 * one.pdf(zeta), rtol=1e-12)
        cdf = 0.7 * zero.cdf(zeta) + 0.3 * one.cdf(zeta)
        assert np.isclose(exact.mixture_cdf(zeta, 0.3), cdf, rtol=1e-12)


class TestRelaxedPrior:
    rbm = random_rbm(2, 3, seed=4)

    @pytest.mark.parametrize("smoothing", [Exponential(5.0), Gaussian(25.0)], ids=str)
    def test_overlap_is_the_sum_over_single_states(self, smoothing):
        zeta = np.random.default_rng(1).random((3, 5))
        zero, one = (density(smoothing, zeta, z) for z in (0, 1))
        pairs = zip(self.rbm.states(), self.rbm.probabilities(), strict=True)
        total = sum(p * np.prod(np.where(z, one, zero), axis=1) for z, p in pairs)
        found = prior.overlap_log_prior(self.rbm, smoothing, zeta)
        assert np.allclose(found, np.log(total), atol=1e-12)

    @pytest.mark.parametrize("smoothing", [*SMOOTHINGS, PUBLISHED_POWER], ids=str)
    def test_mean_field_is_a_lower_bound_that_its_iterations_raise(self, smoothing):
        """Its slope by the means is zero where they come to rest; there it is no exact value."""
        zeta = np.random.default_rng(1).uniform(0.2, 0.8, (7, 5))
        args = self.rbm, smoothing, zeta
        exact = prior.overlap_log_prior(*args)
        classes, fields = self.rbm.classes, smoothing.log_odds(zeta)
        five, means = (prior.mean_field_means(self.rbm, classes, fields, n) for n in (5, 1000))
        five, at_rest = (prior.mean_field_value(*args, m) for m in (five, means))
        assert np.all(five <= at_rest + 1e-9) and np.all(at_rest <= exact + 1e-12)
        assert np.max(exact - at_rest) > 1e-6

        def value(logits):
            return prior.mean_field_value(*args, expit(logits[0])).sum()

        [slope] = numerical_gradient(value, [np.log(means) - np.log1p(-means)])
        assert np.allclose(slope, 0, atol=1e-8)
        moved = prior.mean_field_value(*args, np.clip(means + 0.05, 0, 1))
        assert np.all(moved < at_rest)

    def test_mean_field_is_exact_without_coupling(self):
        rbm, zeta = random_rbm(2, 3, 4, coupling_scale=0.0), np.full((4, 5), 0.3)
        exact = prior.overlap_log_prior(rbm, Exponential(5.0), zeta)
        found = prior.mean_field_log_prior(rbm, rbm.classes, Exponential(5.0), zeta, 1)
        assert np.allclose(found, exact, atol=1e-12)

    def test_gaussian_integral_against_the_closed_form(self):
        """That of `relaxation`, whose λ is what is asked for where that is large."""
        rbm, strength = self.rbm, 15.0
        zeta = np.random.default_rng(1).normal(0.5, 0.6, (7, 5))
        rows = relaxation.RBM(*(p[None, None] for p in rbm.parameters[:2]), rbm.coupling[None])
        closed = relaxation.gaussian_integral_log_prior(rows, zeta[None], strength)[0]
        closed -= rbm.log_partition()
        found = prior.gaussian_integral_log_prior(rbm, zeta, strength)
        assert np.allclose(found, closed, atol=1e-11)
        pairs = zip(rbm.states(), rbm.probabilities(), strict=True)
        covariance = np.linalg.inv(prior.precision_matrix(rbm, strength))
        total = sum(p * stats.multivariate_normal(z, covariance).pdf(zeta) for z, p in pairs)
        assert np.allclose(np.log(total), closed, atol=1e-9)
