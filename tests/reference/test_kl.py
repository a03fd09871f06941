"""The enumerated KL terms against Monte Carlo, other quadratures, and the papers' own formulas.

What the formulas of DVAE, DVAE++ and DVAE# claim to estimate without bias is shown here to have
that mean and that mean gradient, and where a published constant makes a bias, its size is held.
"""

import numpy as np
import pytest
from scipy import integrate
from scipy.special import expit

from tests.reference.kl import (
    importance_weighted_objective,
    joint_kl,
    kl_gradient,
    latent_grid,
    marginal_kl,
    marginal_kl_monte_carlo,
    marginal_log_ratio,
    pathwise_gradient,
    smoothed_kl,
    smoothed_kl_value,
    table_posterior,
)
from tests.reference.prior import (
    default_strength,
    gaussian_integral_log_prior,
    mean_field_log_prior,
    overlap_log_prior,
)
from tests.reference.rbm import (
    ReferenceRBM,
    factorial_kl,
    factorial_kl_gradient,
    numerical_gradient,
    random_rbm,
)
from tests.reference.shifted_gaussian import shifted_marginal_kl, shifted_table_posterior
from tests.reference.smoothing import Exponential, Gaussian, Power, SpikeExponential

CONSTANTS = [np.array([0.7, -1.1]), np.array([-0.4, 0.9, 0.3])]
WEIGHTS = [np.array([[1.2, -0.8, 0.5], [0.5, 1.4, -1.0]])]
LATERAL = ([np.array([0.7]), np.array([-0.4])], [np.array([[1.2]])])


def flat(gradients):
    return np.concatenate([np.ravel(gradient) for gradient in gradients])


def overlap(rbm, smoothing):
    return lambda zeta, complement: overlap_log_prior(rbm, smoothing, zeta, complement)


class TestFactorial:
    rbm = random_rbm(3, 5, seed=5)
    logits = np.linspace(-2, 1.5, 8)

    def test_closed_form(self):
        value = smoothed_kl_value(self.rbm, self.logits[None], np.zeros((1, 3)))[0]
        assert np.isclose(value, factorial_kl(self.rbm, self.logits), atol=1e-12)
        one_group = joint_kl(self.rbm, table_posterior([self.logits]), Exponential(5.0))
        assert np.isclose(value, one_group, atol=1e-12) and value > 0

    def test_zero_for_the_prior_itself(self):
        rbm = ReferenceRBM(self.rbm.left_bias, self.rbm.right_bias, np.zeros((3, 5)))
        assert np.isclose(factorial_kl(rbm, rbm.bias), 0, atol=1e-12)

    def test_gradient(self):
        def value(arrays):
            return factorial_kl(ReferenceRBM(*arrays[1:]), arrays[0])

        numerical = numerical_gradient(value, [self.logits, *self.rbm.parameters])
        exact = factorial_kl_gradient(self.rbm, self.logits)
        assert np.allclose(flat(exact), flat(numerical), atol=1e-9)


class TestHierarchical:
    """Two groups; the second depends on the first through ζ (DVAE++ and DVAE)."""

    rbm = random_rbm(2, 3, seed=6)
    posterior = table_posterior(CONSTANTS, WEIGHTS)

    @pytest.mark.parametrize("smoothing", [Exponential(6.0), Power(3.0), Power(30.0)], ids=str)
    def test_the_formula_with_nu_is_unbiased(self, smoothing):
        exact = joint_kl(self.rbm, self.posterior, smoothing)
        assert np.isclose(smoothed_kl(self.rbm, self.posterior, smoothing), exact, atol=1e-8)

    def test_the_published_constant_of_power_hardly_matters_here(self):
        exact = joint_kl(self.rbm, self.posterior, Power(30.0))
        value = smoothed_kl(self.rbm, self.posterior, Power(30.0, offset=1e-7))
        assert 1e-9 < abs(value - exact) < 1e-5

    def test_q_in_place_of_nu_is_biased(self):
        smoothing = Exponential(6.0)
        grid = latent_grid(smoothing, 2)
        logits = self.posterior.logits(grid.zeta)
        wrong = smoothed_kl_value(self.rbm, logits, np.zeros((len(logits), 2)))
        exact = joint_kl(self.rbm, self.posterior, smoothing)
        assert abs(grid.probability(logits) @ wrong - exact) > 0.01

    @pytest.mark.parametrize("smoothing", [Exponential(6.0), SpikeExponential(4.0)], ids=str)
    def test_definition_by_monte_carlo(self, smoothing):
        """5 standard errors of 40000 samples, about 0.02 nats."""
        rng = np.random.default_rng(7)
        first = rng.random((40000, 2)) < expit(CONSTANTS[0])
        zeta = smoothing.inverse_cdf(rng.random(first.shape), first)
        logits = self.posterior.logits(zeta)
        z = np.hstack([first, rng.random((40000, 3)) < expit(logits[:, 2:])]).astype(float)
        log_q = np.where(z, np.log(expit(logits)), np.log(expit(-logits))).sum(axis=1)
        ratio = log_q - self.rbm.log_probability(z)
        error = ratio.std() / 200
        exact = joint_kl(self.rbm, self.posterior, smoothing)
        assert abs(ratio.mean() - exact) < 5 * error

    def test_four_groups_in_two_halves(self):
        rbm, constants = random_rbm(2, 2, seed=8), [np.array([c]) for c in (0.5, -0.8, 0.3, 1.1)]
        weights = [np.linspace(-1.5, 1.2, n)[:, None] for n in (1, 2, 3)]
        posterior, smoothing = table_posterior(constants, weights), Exponential(4.0)
        exact = joint_kl(rbm, posterior, smoothing, count=24)
        assert np.isclose(smoothed_kl(rbm, posterior, smoothing, count=24), exact, atol=1e-4)
        grid = latent_grid(smoothing, 3, count=24)
        assert np.isclose(grid.probability(posterior.logits(grid.zeta)).sum(), 1, atol=1e-12)


class TestGradients:
    """Two groups of one unit each: differences of the quadrature against the estimators."""

    rbm = random_rbm(1, 1, seed=2)

    @pytest.mark.parametrize("smoothing", [Exponential(6.0), Power(3.0), Power(30.0)], ids=str)
    def test_smoothed(self, smoothing):
        def value(zeta, complement, logits):
            odds = smoothing.log_odds(zeta[:, :1], complement[:, :1])
            return smoothed_kl_value(self.rbm, logits, odds)

        exact = kl_gradient(lambda *args: joint_kl(*args, smoothing), self.rbm, *LATERAL)
        mean = pathwise_gradient(value, smoothing, *LATERAL, count=80)
        assert np.allclose(flat(mean), flat(exact)[:3], atol=1e-6)

    @pytest.mark.parametrize("smoothing", [Power(3.0), Power(30.0, 1e-7), Gaussian(25.0)], ids=str)
    def test_marginal(self, smoothing):
        log_prior = overlap(self.rbm, smoothing)

        def value(zeta, complement, logits):
            return marginal_log_ratio(log_prior, smoothing, zeta, complement, logits)

        def kl(rbm, posterior):
            return marginal_kl(overlap(rbm, smoothing), posterior, smoothing, 50)

        exact = kl_gradient(kl, self.rbm, *LATERAL)
        mean = pathwise_gradient(value, smoothing, *LATERAL, num_units=2, count=50)
        # The constant 1e-7 of the published power smoothing makes a bias of about 3e-6.
        assert np.allclose(flat(mean), flat(exact)[:3], atol=1e-5)

    @pytest.mark.parametrize("largest_q, bias", [(0.999, 0.0), (0.6, 0.02)])
    def test_spike_and_exponential(self, largest_q, bias):
        """DVAE eq. 11-12: exact while no q exceeds the clip of q̂, biased when one does."""
        smoothing, rbm = SpikeExponential(4.0), self.rbm
        grid = latent_grid(smoothing, 1, count=80)
        logits = table_posterior(*LATERAL).logits(grid.zeta)
        spins = np.column_stack([grid.z[:, 0], expit(logits[:, 1])])
        field = np.column_stack([spins[:, 1:] @ rbm.coupling.T, spins[:, :1] @ rbm.coupling])
        clipped = np.minimum(largest_q, expit(logits))
        field[:, 0] *= (1 - spins[:, 0]) / (1 - clipped[:, 0])
        coefficient = logits - rbm.bias - field

        def value(_zeta, _complement, moved):
            return np.sum(coefficient * np.minimum(largest_q, expit(moved)), axis=1)

        exact = kl_gradient(lambda *args: joint_kl(*args, smoothing), rbm, *LATERAL)
        mean = pathwise_gradient(value, smoothing, *LATERAL, count=80)
        difference = np.max(np.abs(flat(mean) - flat(exact)[:3]))
        assert difference > bias if bias else difference < 1e-8
        probability = grid.probability(logits)
        moment = probability @ (spins[:, 0] * spins[:, 1])
        q = probability @ expit(logits)
        prior = flat(rbm.log_partition_gradient()) - [*q, moment]
        assert np.allclose(prior, flat(exact)[3:], atol=1e-9)


class TestMarginal:
    rbm = random_rbm(1, 1, seed=2)
    posterior = table_posterior(*LATERAL)

    def test_against_adaptive_quadrature(self):
        smoothing = Exponential(6.0)
        log_prior = overlap(self.rbm, smoothing)

        def integrand(second, first):
            zeta = np.array([[first, second]])
            logits = self.posterior.logits(zeta)
            density = np.prod(smoothing.mixture_density(zeta, expit(logits)))
            ratio = marginal_log_ratio(log_prior, smoothing, zeta, 1 - zeta, logits)
            return density * ratio[0]

        expected = integrate.dblquad(integrand, 0, 1, 0, 1, epsabs=1e-5)[0]
        assert np.isclose(marginal_kl(log_prior, self.posterior, smoothing), expected, atol=1e-6)

    @pytest.mark.parametrize("smoothing", [Exponential(6.0), Power(30.0), Gaussian(25.0)], ids=str)
    def test_order_of_the_kl_terms(self, smoothing):
        """0 <= KL of the ζ alone <= KL of z and ζ, and mean field raises the former."""
        exact = marginal_kl(overlap(self.rbm, smoothing), self.posterior, smoothing)

        def mean_field(zeta, complement):
            return mean_field_log_prior(self.rbm, smoothing, zeta, 5, complement)

        bound = marginal_kl(mean_field, self.posterior, smoothing)
        assert 0 < exact < joint_kl(self.rbm, self.posterior, smoothing)
        assert exact < bound < exact + 0.01

    @pytest.mark.parametrize("half, count", [(1, 60), (2, 11)])
    def test_monte_carlo(self, half, count):
        """5 standard errors of 20000 samples, about 0.03 nats; the grid of 22^4 is 0.006 off."""
        rbm, smoothing = random_rbm(half, half, seed=2), Exponential(4.0)
        posterior = self.posterior
        if half == 2:
            constants = [CONSTANTS[0], CONSTANTS[1][:2]]
            posterior = table_posterior(constants, [WEIGHTS[0][:, :2]])
        args = overlap(rbm, smoothing), posterior, smoothing
        mean, error = marginal_kl_monte_carlo(*args, num_samples=20000, seed=11)
        assert abs(mean - marginal_kl(*args, count)) < 5 * error
        assert error < 0.01

    def test_importance_weighted_objective(self):
        smoothing = Exponential(6.0)
        log_prior = overlap(self.rbm, smoothing)

        def log_likelihood(zeta):
            return -0.3 + 1.5 * zeta[:, 0] - 2 * zeta[:, 1] ** 2

        args = (log_likelihood, log_prior, self.posterior, smoothing)
        one = importance_weighted_objective(*args, 1, kl_weight=0.4)
        grid = latent_grid(smoothing, 2, 20)
        mean = grid.probability(self.posterior.logits(grid.zeta)) @ log_likelihood(grid.zeta)
        kl = marginal_kl(log_prior, self.posterior, smoothing)
        assert np.isclose(one, mean - 0.4 * kl, atol=1e-4)
        # p(x) of the relaxed model bounds both from above when kl_weight = 1.
        axis, weights = np.polynomial.legendre.leggauss(60)
        points = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2) / 2 + 0.5
        density = np.exp(log_likelihood(points) + log_prior(points, 1 - points))
        evidence = np.log(weights @ density.reshape(60, 60) @ weights / 4)
        elbo, two = (importance_weighted_objective(*args, k) for k in (1, 2))
        assert elbo + 1e-3 < two < evidence - 1e-3


class TestGaussianIntegral:
    rbm = random_rbm(1, 1, seed=2)
    tables = (LATERAL[0], [np.array([0.6]), np.array([-0.9])], [np.array([1.0]), np.array([0.7])])

    def log_prior(self, zeta):
        strength = default_strength(self.rbm, 5.0)
        return gaussian_integral_log_prior(self.rbm, zeta, strength)

    def test_by_monte_carlo(self):
        """5 standard errors of 40000 samples, about 0.02 nats."""
        rng = np.random.default_rng(5)
        zeta, log_q = np.zeros((40000, 0)), 0.0
        for index, (logit, shift, scale) in enumerate(zip(*self.tables, strict=True)):
            logits = logit + (np.tanh(zeta) @ LATERAL[1][0] if index else 0.0)
            q, delta = expit(logits), 0.5 * (expit(shift) - 0.5)
            deviation = 0.2 * scale + 0.05
            z = rng.random((40000, 1)) < q
            new = z + delta + deviation * rng.standard_normal((40000, 1))
            normal = np.exp(-0.5 * ((new[:, :, None] - delta - [0, 1]) / deviation[0]) ** 2)
            density = (1 - q) * normal[..., 0] + q * normal[..., 1]
            log_q = log_q + np.log(density / (deviation * np.sqrt(2 * np.pi)))[:, 0]
            zeta = np.hstack([zeta, new])
        ratio = log_q - self.log_prior(zeta)
        exact = shifted_marginal_kl(
            self.log_prior, shifted_table_posterior(*self.tables, LATERAL[1])
        )
        assert abs(ratio.mean() - exact) < 5 * ratio.std() / 200

    def test_converged_and_hardly_touched_by_the_clip(self):
        posterior = shifted_table_posterior(*self.tables, LATERAL[1])
        coarse, fine = (shifted_marginal_kl(self.log_prior, posterior, n) for n in (40, 80))
        assert np.isclose(coarse, fine, atol=1e-8) and fine > 0
        saturated = shifted_table_posterior(
            [np.array([14.0]), np.array([-0.4])], *self.tables[1:], LATERAL[1]
        )
        clipped = shifted_marginal_kl(self.log_prior, saturated)
        unclipped = shifted_marginal_kl(self.log_prior, saturated, max_q=1.0)
        assert 0 < clipped - unclipped < 1e-2
