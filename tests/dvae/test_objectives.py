"""Objectives: their reductions against loops, and their place between the ELBO and log p(x)."""

import itertools
import math

import numpy as np
import pytest
import tensorflow as tf

from dvae import posteriors
from dvae.encoder import Batch
from dvae.log_ratio import Relaxed
from dvae.networks import weight_decay
from dvae.objective import Terms, elbo, importance_weighted_bound
from dvae.posteriors import PosteriorParams
from dvae.relaxed_priors import MeanFieldPrior
from dvae.rollout import sample_of
from dvae.smoothing import Exponential
from samplers.rbm import RBMParameters
from tests.helpers import statistical, tiny_models
from tests.helpers.tiny_training import config_of, decay_of, make_program
from tests.reference import smoothing as reference
from tests.reference.kl import importance_weighted_objective, table_posterior
from tests.reference.prior import mean_field_log_prior, overlap_log_prior
from tests.reference.rbm import random_rbm

NUM_IMAGES, K = 3, 5


class TestReductions:
    def terms(self):
        rng = np.random.default_rng(1)
        return np.float32(rng.normal(-90, 4, (NUM_IMAGES, K))), np.float32(
            rng.normal(20, 4, (NUM_IMAGES, K))
        )

    def test_elbo(self):
        """Mean over 3 images of the mean over 5 samples; the weight is on the KL alone."""
        log_likelihood, kl_term = self.terms()
        total = 0.0
        for image in range(NUM_IMAGES):
            for sample in range(K):
                value = float(log_likelihood[image, sample]) - 0.3 * float(kl_term[image, sample])
                total += value / K / NUM_IMAGES
        found = elbo(Terms(log_likelihood, kl_term).log_weights(np.float32(0.3)))
        assert math.isclose(float(found), total, rel_tol=1e-6)

    def test_importance_weighted_bound(self):
        """Mean over 3 images of log((1/5) Σ w): neither a sum nor a mean over all 15."""
        log_likelihood, kl_term = self.terms()
        total = 0.0
        for image in range(NUM_IMAGES):
            exponents = [
                float(log_likelihood[image, sample]) - 0.3 * float(kl_term[image, sample])
                for sample in range(K)
            ]
            mean = sum(math.exp(value + 100) for value in exponents) / K
            total += (math.log(mean) - 100) / NUM_IMAGES
        log_w = Terms(log_likelihood, kl_term).log_weights(np.float32(0.3))
        assert math.isclose(float(importance_weighted_bound(log_w)), total, rel_tol=1e-6)
        one = log_w[:, :1]
        assert np.isclose(importance_weighted_bound(one), elbo(one), rtol=1e-6)

    def test_gradient_is_the_plain_one(self):
        """Normalised weights divided by the number of images (Burda et al. 2016, eq. 13)."""
        log_likelihood, kl_term = (tf.constant(v) for v in self.terms())
        with tf.GradientTape() as tape:
            tape.watch([log_likelihood, kl_term])
            value = importance_weighted_bound(Terms(log_likelihood, kl_term).log_weights(0.3))
        by_likelihood, by_kl = tape.gradient(value, [log_likelihood, kl_term])
        exponents = np.float64(log_likelihood) - 0.3 * np.float64(kl_term)
        weights = np.exp(exponents - exponents.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        assert np.allclose(by_likelihood, weights / NUM_IMAGES, atol=1e-6)
        assert np.allclose(by_kl, -0.3 * weights / NUM_IMAGES, atol=1e-6)


class TestModel:
    @pytest.mark.parametrize("baseline", ["dvaes_exp", "dvaepp_exp"])
    @pytest.mark.parametrize("k", [1, K])
    def test_objective(self, baseline, k):
        """Row b*K + k is sample k of image b; DVAE# alone weights K > 1 samples."""
        made = tiny_models.make(baseline=baseline, k=k, beta=6.0)
        model, objective = made.model, made.estimator.objective
        images = tf.constant(tiny_models.images(count=NUM_IMAGES), tf.float32)
        rbm = model.prior.parameters()
        sample = model.sample(Batch(images), k, statistical.key(1), training=True)
        terms = objective.terms(model, Batch(images), rbm, sample)
        rows = objective.log_ratio(model.prior, rbm, sample).numpy()
        repeated = tf.repeat(images, k, axis=0)
        outputs = model.decoder.outputs(sample.latents, training=True)
        pixels = model.likelihood.log_prob(repeated, outputs).numpy()
        log_w = np.zeros((NUM_IMAGES, k))
        for image in range(NUM_IMAGES):
            for draw in range(k):
                row = image * k + draw
                assert np.isclose(terms.log_ratio[image, draw], rows[row], rtol=1e-6)
                assert np.isclose(terms.log_likelihood[image, draw], pixels[row], rtol=1e-6)
                log_w[image, draw] = float(pixels[row]) - 0.4 * float(rows[row])
        assert np.ptp(log_w) > 1
        if baseline == "dvaes_exp" and k > 1:
            expected = np.mean(np.log(np.mean(np.exp(log_w), axis=1)))
        else:
            expected = np.mean(log_w)
        estimate = made.estimate(images, rbm, statistical.key(1), tf.constant(0.4))
        for found in (estimate.bound, estimate.surrogate):
            assert math.isclose(float(found), expected, rel_tol=1e-5, abs_tol=1e-5)
        assert math.isclose(float(estimate.log_likelihood), np.mean(pixels), rel_tol=1e-5)
        assert math.isclose(float(estimate.kl), np.mean(rows), rel_tol=1e-5, abs_tol=1e-5)

    def test_weight_decay(self):
        """1e-4 ½ w² summed over kernels, batch-norm scales and W, and over nothing else."""
        model = tiny_models.make_model(baseline="dvaes_gi", k=1)
        parts = {"encoder": model.encoder, "decoder": model.decoder, "total": model}
        found = {n: float(weight_decay(part.decayed_variables())) for n, part in parts.items()}
        totals = {"encoder": 0.0, "decoder": 0.0, "prior": 0.0}
        counted = {"encoder": model.encoder, "decoder": model.decoder, "prior": model.prior}
        for name, module in counted.items():
            for variable in module.trainable_variables:
                if variable.name in ("kernel", "gamma", "coupling"):
                    for weight in variable.numpy().ravel():
                        totals[name] += 1e-4 * 0.5 * float(weight) ** 2
        assert math.isclose(found["encoder"], totals["encoder"], rel_tol=1e-5)
        assert math.isclose(found["decoder"], totals["decoder"], rel_tol=1e-5)
        assert math.isclose(found["total"], sum(totals.values()), rel_tol=1e-5)
        assert totals["prior"] > 1e-4
        program = make_program(config_of(baseline="dvaes_gi"))
        found = decay_of(program)
        for variable, gradient in zip(program.trained, found, strict=True):
            decayed = variable.name in ("kernel", "gamma", "coupling")
            expected = 1e-4 * variable.numpy() if decayed else 0.0
            assert np.allclose(gradient, expected, rtol=1e-6)


class TestBound:
    """DVAE# with two relaxed units and one image, K samples out of 200,000."""

    constants = np.array([0.7, -0.4])
    rbm = random_rbm(1, 1, seed=2)
    exact = reference.Exponential(6.0)

    @staticmethod
    def log_likelihood(zeta):
        """A stand-in for the decoder: log p(x|ζ), [N]."""
        return -0.3 + 1.5 * zeta[:, 0] - 2 * zeta[:, 1] ** 2

    @pytest.fixture(scope="class")
    def terms(self):
        """log p(x|ζ) and log q - log p of 50 blocks of 4000 samples, [50, 4000] each."""
        smoothing = Exponential(6.0)
        posterior, prior = posteriors.MixturePosterior(smoothing), MeanFieldPrior(smoothing)
        rbm = RBMParameters(*(tf.constant(p, tf.float32) for p in self.rbm.parameters))
        params = PosteriorParams(tf.constant(np.tile(self.constants, (4000, 1)), tf.float32))

        @tf.function(autograph=False)
        def block(key):
            sample = sample_of(posterior, posterior.sample(params, key), params)
            ratio = Relaxed(prior)(None, rbm, sample)
            return self.log_likelihood(sample.latents), ratio

        found = [block(statistical.key(100 + index)) for index in range(50)]
        likelihood, ratio = (np.stack(column) for column in zip(*found, strict=True))
        return likelihood, ratio + np.float32(self.rbm.log_partition())

    @staticmethod
    def bounds(terms, num_samples, kl_weight=1.0):
        """The bound's mean over the draws of K samples of each block, [50]."""
        return np.array(
            [
                importance_weighted_bound(
                    Terms(*pair).log_weights(np.float32(kl_weight)).reshape(-1, num_samples)
                )
                for pair in zip(*terms, strict=True)
            ]
        )

    @pytest.mark.parametrize(("num_samples", "kl_weight"), [(1, 1.0), (2, 1.0), (2, 0.4)])
    def test_quadrature(self, terms, num_samples, kl_weight):
        """Standard error below 0.003 nats."""

        def log_prior(zeta, complement):
            return mean_field_log_prior(self.rbm, self.exact, zeta, 5, complement)

        expected = importance_weighted_objective(
            self.log_likelihood,
            log_prior,
            table_posterior([self.constants]),
            self.exact,
            num_samples,
            kl_weight,
        )
        found = self.bounds(terms, num_samples, kl_weight)
        statistical.assert_mean(found, np.array(expected), largest_error=0.003, rounding=1e-4)

    def test_monotone_and_below_the_evidence(self, terms):
        """ELBO < L_2 < L_5 < L_20 < log p(x), each step more than five paired standard errors."""
        bounds = [self.bounds(terms, k) for k in (1, 2, 5, 20)]
        for lower, higher in itertools.pairwise(bounds):
            step = higher - lower
            assert step.mean() > 5 * step.std() / math.sqrt(len(step))
        axis, weights = np.polynomial.legendre.leggauss(60)
        points = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2) / 2 + 0.5
        log_prior = overlap_log_prior(self.rbm, self.exact, points)
        density = np.exp(self.log_likelihood(points) + log_prior).reshape(60, 60)
        evidence = math.log(weights @ density @ weights / 4)
        assert bounds[-1].mean() < evidence
