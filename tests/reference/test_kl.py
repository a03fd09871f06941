"""The enumerated KL terms against the papers' own formulas: for Monte Carlo see tests/dvae.

What the formulas of DVAE, DVAE++ and DVAE# claim to estimate without bias is shown here to have
that mean and that mean gradient, and where a published constant makes a bias, its size is held.
"""

import numpy as np
import pytest
from scipy.special import expit

from tests.reference import kl, prior
from tests.reference.rbm import (
    ReferenceRBM,
    factorial_kl,
    factorial_kl_gradient,
    numerical_gradient,
    random_rbm,
)
from tests.reference.shifted_gaussian import shifted_marginal_kl
from tests.reference.smoothing import Exponential, Gaussian, Power, SpikeExponential

CONSTANTS = [np.array([0.7, -1.1]), np.array([-0.4, 0.9, 0.3])]
WEIGHTS = [np.array([[1.2, -0.8, 0.5], [0.5, 1.4, -1.0]])]
LATERAL = ([np.array([0.7]), np.array([-0.4])], [np.array([[1.2]])])
TWO_UNITS = random_rbm(1, 1, seed=2)


def flat(gradients):
    return np.concatenate([np.ravel(gradient) for gradient in gradients])


def overlap(rbm, smoothing):
    return lambda zeta, complement: prior.overlap_log_prior(rbm, smoothing, zeta, complement)


class TestFactorial:
    rbm = random_rbm(3, 5, seed=5)
    logits = np.linspace(-2, 1.5, 8)

    def test_closed_form(self):
        value = kl.smoothed_kl_value(self.rbm, self.logits[None], np.zeros((1, 3)))[0]
        one_group = kl.joint_kl(self.rbm, kl.table_posterior([self.logits]), Exponential(5.0))
        assert np.allclose(value, [factorial_kl(self.rbm, self.logits), one_group], atol=1e-12)
        alone = ReferenceRBM(self.rbm.left_bias, self.rbm.right_bias, np.zeros((3, 5)))
        assert value > 0 and np.isclose(factorial_kl(alone, alone.bias), 0, atol=1e-12)

    def test_gradient(self):
        def value(arrays):
            return factorial_kl(ReferenceRBM(*arrays[1:]), arrays[0])

        numerical = numerical_gradient(value, [self.logits, *self.rbm.parameters])
        exact = factorial_kl_gradient(self.rbm, self.logits)
        assert np.allclose(flat(exact), flat(numerical), atol=1e-9)


class TestHierarchical:
    """Two groups; the second depends on the first through ζ (DVAE++ and DVAE)."""

    rbm = random_rbm(2, 3, seed=6)
    posterior = kl.table_posterior(CONSTANTS, WEIGHTS)

    @staticmethod
    def mean_of_formula(rbm, posterior, smoothing, nu=1.0, **options):
        """Of DVAE++, with ν in the coupling term (or q: nu = 0)."""
        sizes = posterior.group_sizes
        grid = kl.latent_grid(smoothing, sum(sizes[:-1]), **options)
        logits = posterior.logits(grid.zeta)
        assert np.isclose(grid.probability(logits).sum(), 1, atol=1e-12)
        odds = nu * rbm.halves(smoothing.log_odds(grid.zeta, grid.complement))[0]
        return grid.probability(logits) @ kl.smoothed_kl_value(rbm, logits, odds)

    @pytest.mark.parametrize("smoothing", [Exponential(6.0), Power(3.0), Power(30.0)], ids=str)
    def test_the_formula_with_nu_is_unbiased(self, smoothing):
        exact = kl.joint_kl(self.rbm, self.posterior, smoothing)
        found = self.mean_of_formula(self.rbm, self.posterior, smoothing)
        assert np.isclose(found, exact, atol=1e-8)

    def test_the_published_constant_of_power_hardly_matters_here(self):
        exact = kl.joint_kl(self.rbm, self.posterior, Power(30.0))
        found = self.mean_of_formula(self.rbm, self.posterior, Power(30.0, offset=1e-7))
        assert 1e-9 < abs(found - exact) < 1e-5

    def test_q_in_place_of_nu_is_biased(self):
        exact = kl.joint_kl(self.rbm, self.posterior, Exponential(6.0))
        found = self.mean_of_formula(self.rbm, self.posterior, Exponential(6.0), nu=0.0)
        assert abs(found - exact) > 0.01

    def test_four_groups_in_two_halves(self):
        rbm, constants = random_rbm(2, 2, seed=8), [np.array([c]) for c in (0.5, -0.8, 0.3, 1.1)]
        weights = [np.linspace(-1.5, 1.2, n)[:, None] for n in (1, 2, 3)]
        args = rbm, kl.table_posterior(constants, weights), Exponential(4.0)
        found = self.mean_of_formula(*args, count=24)
        assert np.isclose(found, kl.joint_kl(*args, count=24), atol=1e-4)


class TestGradients:
    """Two groups of one unit each: differences of the quadrature against the estimators."""

    @staticmethod
    def assert_unbiased(value, kl_of, smoothing, tolerance, **options):
        exact = flat(kl.kl_gradient(kl_of, TWO_UNITS, *LATERAL))
        mean = flat(kl.pathwise_gradient(value, smoothing, *LATERAL, **options))
        assert np.allclose(mean, exact[:3], atol=tolerance)

    @pytest.mark.parametrize("smoothing", [Exponential(6.0), Power(3.0), Power(30.0)], ids=str)
    def test_smoothed(self, smoothing):
        def value(zeta, complement, logits):
            odds = smoothing.log_odds(zeta[:, :1], complement[:, :1])
            return kl.smoothed_kl_value(TWO_UNITS, logits, odds)

        def joint(rbm, posterior):
            return kl.joint_kl(rbm, posterior, smoothing)

        self.assert_unbiased(value, joint, smoothing, 1e-6, count=80)

    @pytest.mark.parametrize("smoothing", [Power(3.0), Power(30.0, 1e-7), Gaussian(25.0)], ids=str)
    def test_marginal(self, smoothing):
        def value(*args):
            return kl.marginal_log_ratio(overlap(TWO_UNITS, smoothing), smoothing, *args)

        def marginal(rbm, posterior):
            return kl.marginal_kl(overlap(rbm, smoothing), posterior, smoothing, 50)

        # The constant 1e-7 of the published power smoothing makes a bias of about 3e-6.
        self.assert_unbiased(value, marginal, smoothing, 1e-5, num_units=2, count=50)

    @pytest.mark.parametrize("largest_q, bias", [(0.999, 0.0), (0.6, 0.02)])
    def test_spike_and_exponential(self, largest_q, bias):
        """DVAE eq. 11-12: exact while no q exceeds the clip of q̂, biased when one does."""
        smoothing, rbm = SpikeExponential(4.0), TWO_UNITS
        grid = kl.latent_grid(smoothing, 1, count=80)
        logits = kl.table_posterior(*LATERAL).logits(grid.zeta)
        spins = np.column_stack([grid.z[:, 0], expit(logits[:, 1])])
        field = np.column_stack([spins[:, 1:] @ rbm.coupling.T, spins[:, :1] @ rbm.coupling])
        clipped = np.minimum(largest_q, expit(logits))
        field[:, 0] *= (1 - spins[:, 0]) / (1 - clipped[:, 0])
        coefficient = logits - rbm.bias - field

        def value(_zeta, _complement, moved):
            return np.sum(coefficient * np.minimum(largest_q, expit(moved)), axis=1)

        exact = flat(kl.kl_gradient(lambda *args: kl.joint_kl(*args, smoothing), rbm, *LATERAL))
        mean = flat(kl.pathwise_gradient(value, smoothing, *LATERAL, count=80))
        difference = np.max(np.abs(mean - exact[:3]))
        assert difference > bias if bias else difference < 1e-8
        probability = grid.probability(logits)
        moments = [*(probability @ expit(logits)), probability @ (spins[:, 0] * spins[:, 1])]
        assert np.allclose(flat(rbm.log_partition_gradient()) - moments, exact[3:], atol=1e-9)


class TestMarginal:
    posterior = kl.table_posterior(*LATERAL)

    @pytest.mark.parametrize("smoothing", [Exponential(6.0), Power(30.0), Gaussian(25.0)], ids=str)
    def test_order_of_the_kl_terms(self, smoothing):
        """0 <= KL of the ζ alone <= KL of z and ζ, and mean field raises the former."""

        def mean_field(zeta, complement):
            return prior.mean_field_log_prior(TWO_UNITS, smoothing, zeta, 5, complement)

        args = self.posterior, smoothing
        exact = kl.marginal_kl(overlap(TWO_UNITS, smoothing), *args)
        assert 0 < exact < kl.joint_kl(TWO_UNITS, *args)
        assert exact < kl.marginal_kl(mean_field, *args) < exact + 0.01

    def test_importance_weighted_objective(self):
        """Two samples are between one and p(x) of the relaxed model."""
        smoothing = Exponential(6.0)
        log_prior = overlap(TWO_UNITS, smoothing)

        def log_likelihood(zeta):
            return -0.3 + 1.5 * zeta[:, 0] - 2 * zeta[:, 1] ** 2

        axis, weights = np.polynomial.legendre.leggauss(60)
        points = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2) / 2 + 0.5
        density = np.exp(log_likelihood(points) + log_prior(points, 1 - points))
        evidence = np.log(weights @ density.reshape(60, 60) @ weights / 4)
        args = (log_likelihood, log_prior, self.posterior, smoothing)
        elbo, two = (kl.importance_weighted_objective(*args, k) for k in (1, 2))
        assert elbo + 1e-3 < two < evidence - 1e-3


def test_gaussian_integral_is_converged_and_hardly_touched_by_the_clip():
    def kl_of(posterior, **options):
        shifts, scales = np.array([0.6, -0.9]), np.array([1.0, 0.7])
        return shifted_marginal_kl(log_prior, posterior, shifts, scales, **options)

    def log_prior(zeta):
        return prior.gaussian_integral_log_prior(TWO_UNITS, zeta, 7.0)

    coarse, fine = (kl_of(kl.table_posterior(*LATERAL), count=n) for n in (40, 80))
    assert np.isclose(coarse, fine, atol=1e-8) and fine > 0
    saturated = kl.table_posterior([np.array([14.0]), np.array([-0.4])], LATERAL[1])
    assert 0 < kl_of(saturated) - kl_of(saturated, max_q=1.0) < 1e-2
