"""KL terms and their gradients against enumeration and quadrature in float64.

A posterior of two to four groups is built by hand (logits c_l + tanh(earlier ζ) A_l), so that the
mean gradient over 200,000 samples can be held against an exact one, parameter by parameter: by
the encoder's constants c and weights A and by the prior's a, b and W. Each test states the
largest standard error; it would notice a fault of five of them in any single number.
"""

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import entr, expit

from dvae import log_ratio, posteriors
from dvae import smoothing as ours
from dvae.posteriors import PosteriorParams, Sample
from dvae.priors import Prior
from dvae.relaxed_priors import GaussianIntegralPrior, MeanFieldPrior, gram_powers
from dvae.rollout import sample_of
from samplers import counter_random
from samplers.rbm import RBM, RBMParameters
from tests.helpers import statistical
from tests.reference import smoothing as reference
from tests.reference.kl import (
    joint_kl,
    kl_gradient,
    latent_grid,
    marginal_kl,
    marginal_log_ratio,
    pathwise_gradient,
    table_posterior,
)
from tests.reference.prior import (
    gaussian_integral_log_prior,
    mean_field_log_prior,
    mean_field_means,
    mean_field_value,
)
from tests.reference.rbm import (
    ReferenceRBM,
    factorial_kl,
    factorial_kl_gradient,
    numerical_gradient,
    random_rbm,
)
from tests.reference.shifted_gaussian import shifted_marginal_kl

NUM_BLOCKS, ROWS = 50, 4000

TWO_GROUPS = (
    [np.array([0.7, -1.1]), np.array([-0.4, 0.9, 0.3])],
    [np.array([[1.2, -0.8, 0.5], [0.5, 1.4, -1.0]])],
)
FOUR_GROUPS = (
    [np.array([c]) for c in (0.7, -0.9, -0.4, 0.5)],
    [np.array(a)[:, None] for a in ([1.2], [-0.8, 1.5], [0.9, 1.1, -1.3])],
)
TWO_UNITS = ([np.array([0.7]), np.array([-0.4])], [np.array([[1.2]])])


def flat(arrays):
    return np.concatenate([np.ravel(array) for array in arrays])


def encode(posterior, constants, weights, key, extra=()):
    """A Sample of ROWS rows; extra: (v_l, t_l) of each group of a shifted Gaussian."""
    relaxed, groups = [], []
    for index, constant in enumerate(constants):
        logits = tf.tile(constant[None], [ROWS, 1])
        if index > 0:
            logits += tf.matmul(tf.tanh(tf.concat(relaxed, axis=1)), weights[index - 1])
        params = PosteriorParams(logits)
        if extra:
            raw_shift, raw_scale = extra[index]
            shift = 0.5 * (tf.sigmoid(tf.tile(raw_shift[None], [ROWS, 1])) - 0.5)
            params = PosteriorParams(logits, shift, tf.abs(0.2 * raw_scale)[None] + 0.05)
        groups.append(params)
        relaxed.append(posterior.sample(params, counter_random.fold_in(key, index)))
    return sample_of(posterior, tf.concat(relaxed, axis=1), posteriors.concat(groups))


def block_means(term, posterior, tables, rbm, seed, extra=()):
    """Means of a KL term and of its gradient over each of NUM_BLOCKS blocks of samples.

    Returns [NUM_BLOCKS] and [NUM_BLOCKS, number of parameters], in the order of `kl_gradient`.
    """
    num_groups = len(tables[0])
    arrays = [*tables[0], *tables[1], *rbm.parameters, *(array for pair in extra for array in pair)]
    start = tuple(tf.constant(array, tf.float32) for array in arrays)

    @tf.function(autograph=False)
    def block(key):
        with tf.GradientTape() as tape:
            tape.watch(start)
            split = 2 * num_groups - 1
            tail = start[split + 3 :]
            pairs = [tail[i : i + 2] for i in range(0, len(tail), 2)]
            constants, weights = start[:num_groups], start[num_groups:split]
            sample = encode(posterior, constants, weights, key, pairs)
            value = tf.reduce_mean(term(RBMParameters(*start[split : split + 3]), sample))
        found = tape.gradient(value, start)
        return value, tf.concat([tf.reshape(g, [-1]) for g in found], axis=0)

    keys = counter_random.split(statistical.key(seed), NUM_BLOCKS)
    values, found = zip(*(block(keys[index]) for index in range(NUM_BLOCKS)), strict=True)
    return np.float64(values), np.float64(found)


def with_log_partition(values, found, rbm, trailing=0):
    """Adds log Z and its exact gradient to the means of a term that leaves it out."""
    gradient = flat(rbm.log_partition_gradient())
    before = found.shape[1] - len(gradient) - trailing
    full = np.concatenate([np.zeros(before), gradient, np.zeros(trailing)])
    return values + rbm.log_partition(), found + full


class TestFactorial:
    """One group (DVAE and DVAE++): closed form, so that there is no sampling error."""

    rbm = random_rbm(3, 5, seed=5)
    logits = np.float64(np.float32(np.linspace(-2, 1.5, 8)))

    def test_value_and_gradient(self):
        """Within 1e-5 nats of the sum over all states, for each of 7 equal rows."""
        tensors = [tf.constant(p, tf.float32) for p in (self.logits, *self.rbm.parameters)]
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            rows = tf.tile(tensors[0][None], [7, 1])
            values = log_ratio.Factorial()(
                Prior(RBM(3, 5)),
                RBMParameters(*tensors[1:]),
                Sample(rows, PosteriorParams(rows)),
            )
            mean = tf.reduce_mean(values)
        assert values.shape == [7]
        expected = factorial_kl(self.rbm, self.logits)
        assert np.allclose(values + self.rbm.log_partition(), expected, atol=1e-5)
        found = flat(tape.gradient(mean, tensors))
        found[8:] += flat(self.rbm.log_partition_gradient())
        assert np.allclose(found, flat(factorial_kl_gradient(self.rbm, self.logits)), atol=1e-5)

    def test_negative_entropy(self):
        """Against scipy, up to logits where q is 0 or 1 in float32."""
        logits = np.float32([[-104, -30, -3, 0, 1], [2, 16, 40, 104, 0.5], [0, 0, 0, 0, 0]])
        q = expit(np.float64(logits))
        expected = -np.sum(entr(q) + entr(expit(-np.float64(logits))), axis=1)
        assert np.allclose(log_ratio.negative_entropy(tf.constant(logits)), expected, atol=1e-6)


class TestSmoothed:
    """DVAE++ with two groups, 2x3 units: unbiased for KL(q(z,ζ|x) || p(z) r(ζ|z))."""

    rbm = random_rbm(2, 3, seed=6)

    @pytest.mark.parametrize(
        ("smoothing", "exact", "count"),
        [
            (ours.Exponential(6.0), reference.Exponential(6.0), 40),
            (ours.Power(30.0), reference.Power(30.0), 40),
        ],
        ids=["exp", "power"],
    )
    def test_value_and_gradient(self, smoothing, exact, count):
        """Standard errors below 0.004 nats and 0.005; q in place of ν is off by 0.06 and 0.1."""
        posterior = posteriors.MixturePosterior(smoothing)

        def term(rbm, sample):
            return log_ratio.Smoothed(smoothing)(None, rbm, sample)

        values, found = block_means(term, posterior, TWO_GROUPS, self.rbm, seed=1)
        values, found = with_log_partition(values, found, self.rbm)
        value = joint_kl(self.rbm, table_posterior(*TWO_GROUPS), exact, count)
        statistical.assert_mean(values, value, largest_error=0.004, rounding=1e-4)
        gradient = kl_gradient(
            lambda rbm, table: joint_kl(rbm, table, exact, count), self.rbm, *TWO_GROUPS
        )
        statistical.assert_mean(found, flat(gradient), largest_error=0.005, rounding=1e-4)


class TestSpike:
    """DVAE eq. 11 and 12: only the gradient is that of KL(q(z,ζ|x) || p(z) r(ζ|z))."""

    exact = reference.SpikeExponential(4.0)

    @pytest.mark.parametrize(
        ("tables", "half", "count"),
        [(TWO_GROUPS, (2, 3), 40), (FOUR_GROUPS, (2, 2), 14)],
        ids=["two groups", "four groups"],
    )
    def test_gradient(self, tables, half, count):
        """Standard errors below 0.004; unbiased as no q exceeds the clip of 0.999."""
        rbm = random_rbm(*half, seed=6)
        posterior = posteriors.SpikeExponentialPosterior(4.0)

        def term(rbm, sample):
            return log_ratio.SpikeGradient(units_per_group=len(tables[0][-1]))(None, rbm, sample)

        values, found = block_means(term, posterior, tables, rbm, seed=2)
        _, found = with_log_partition(values, found, rbm)
        gradient = kl_gradient(
            lambda rbm, table: joint_kl(rbm, table, self.exact, count), rbm, *tables
        )
        statistical.assert_mean(found, flat(gradient), largest_error=0.004, rounding=1e-4)

    def test_clips(self):
        """q above 0.999 and logits beyond 88 give no encoder gradient, 0.9975 does; all is finite.

        The clip of the logits shows in the value alone: 95 counts as 88.
        """
        reference = random_rbm(2, 3, seed=6)
        rbm = RBMParameters(*(tf.constant(p, tf.float32) for p in reference.parameters))
        logits = tf.constant([[8.0, 0.5, -95.0, 95.0, 6.0]])
        with tf.GradientTape() as tape:
            tape.watch(logits)
            sample = Sample(tf.constant([[0.7, 0.0, 0.0, 0.9, 0.2]]), PosteriorParams(logits))
            value = log_ratio.SpikeGradient(3)(None, rbm, sample)
        found = tape.gradient(value, logits).numpy()[0]
        assert np.all(np.isfinite(found)) and np.all(found[[0, 2, 3]] == 0)
        assert np.all(found[[1, 4]] != 0)
        at_88 = sample.params._replace(logits=tf.clip_by_value(logits, -88.0, 88.0))
        assert value == log_ratio.SpikeGradient(3)(None, rbm, sample._replace(params=at_88))


class TestRelaxed:
    """DVAE#: E[log q(ζ|x) - log p(ζ)], D = 2, one unit in each of two groups."""

    rbm = random_rbm(1, 1, seed=2)

    def exact_gradient(self, exact, count):
        """The mean of the estimator's gradient: mean-field solutions held at those of each ζ."""
        grid = latent_grid(exact, 2, count)
        means = mean_field_means(self.rbm, exact, grid.zeta, 5, grid.complement)

        def log_prior(rbm):
            return lambda zeta, other: mean_field_value(rbm, exact, zeta, means, other)

        def path(zeta, complement, logits):
            return marginal_log_ratio(log_prior(self.rbm), exact, zeta, complement, logits)

        probability = grid.probability(table_posterior(*TWO_UNITS).logits(grid.zeta))

        def prior_part(arrays):
            values = log_prior(ReferenceRBM(*arrays))(grid.zeta, grid.complement)
            return -float(probability @ values)

        encoder = pathwise_gradient(path, exact, *TWO_UNITS, num_units=2, count=count)
        return flat([*encoder, *numerical_gradient(prior_part, self.rbm.parameters)])

    @pytest.mark.parametrize(
        ("smoothing", "exact"),
        [
            (ours.Exponential(6.0), reference.Exponential(6.0)),
            (ours.Power(30.0), reference.Power(30.0, 1e-7)),
            (ours.UniformExponential(8.0), reference.UniformExponential(8.0)),
            (ours.Gaussian(10.0), reference.Gaussian(10.0)),
        ],
        ids=["exp", "power", "unexp", "gauss"],
    )
    def test_overlapping(self, smoothing, exact):
        """Standard errors below 0.002 nats and 0.004."""
        posterior = posteriors.MixturePosterior(smoothing)
        prior = MeanFieldPrior(smoothing)

        def term(rbm, sample):
            return log_ratio.Relaxed(prior)(None, rbm, sample)

        values, found = block_means(term, posterior, TWO_UNITS, self.rbm, seed=3)
        values, found = with_log_partition(values, found, self.rbm)

        def log_prior(zeta, complement):
            return mean_field_log_prior(self.rbm, exact, zeta, 5, complement)

        value = marginal_kl(log_prior, table_posterior(*TWO_UNITS), exact, 60)
        statistical.assert_mean(values, value, largest_error=0.002, rounding=1e-4)
        expected = self.exact_gradient(exact, 60)
        statistical.assert_mean(found, expected, largest_error=0.004, rounding=1e-4)

    def test_gaussian_integral(self):
        """Standard errors below 0.004 nats and 0.015; also by v and t of the shifted mixture."""
        extra = ([np.array([0.6]), np.array([1.0])], [np.array([-0.9]), np.array([0.7])])
        posterior = posteriors.ShiftedGaussianPosterior(2, 1)
        prior = GaussianIntegralPrior(5.0)
        coupling = tf.constant(self.rbm.coupling, tf.float32)
        strength = float(prior.precision(gram_powers(coupling)))

        def term(rbm, sample):
            return log_ratio.Relaxed(prior)(None, rbm, sample)

        values, found = block_means(term, posterior, TWO_UNITS, self.rbm, seed=4, extra=extra)
        values, found = with_log_partition(values, found, self.rbm, trailing=4)

        def exact(arrays):
            rbm, (v_1, t_1, v_2, t_2) = ReferenceRBM(*arrays[3:6]), arrays[6:]
            scales = np.concatenate([v_1, v_2]), np.concatenate([t_1, t_2])

            def log_prior(zeta):
                return gaussian_integral_log_prior(rbm, zeta, strength)

            table = table_posterior(arrays[:2], [arrays[2]])
            return shifted_marginal_kl(log_prior, table, *scales, 40)

        arrays = [*TWO_UNITS[0], *TWO_UNITS[1], *self.rbm.parameters, *extra[0], *extra[1]]
        statistical.assert_mean(values, exact(arrays), largest_error=0.004, rounding=1e-4)
        gradient = flat(numerical_gradient(exact, arrays))
        statistical.assert_mean(found, gradient, largest_error=0.015, rounding=1e-4)
