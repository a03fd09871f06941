"""The prior's parameters, its samplers' populations, and relaxed priors by sums over all states."""

import math

import numpy as np
import pytest
import tensorflow as tf

from configs.experiment import ExperimentConfig
from configs.registry import Structure
from dvae import prior_chains, priors, relaxed_priors
from dvae import smoothing as ours
from samplers import counter_random
from samplers.rbm import RBM, RBMParameters, halves
from tests.reference import prior as reference
from tests.reference import smoothing
from tests.reference.rbm import ReferenceRBM, numerical_gradient, random_rbm

PAIRS = [
    (ours.Exponential(6.0), smoothing.Exponential(6.0)),
    (ours.Power(30.0), smoothing.Power(30.0, 1e-7)),
    (ours.UniformExponential(16.0), smoothing.UniformExponential(16.0)),
    (ours.Gaussian(10.0), smoothing.Gaussian(10.0)),
]
EXACT_RBM = random_rbm(3, 5, seed=1)
ZETA = np.float32(np.random.default_rng(2).uniform(0.02, 0.98, (11, 8)))


def as_tensors(rbm):
    return RBMParameters(*(tf.constant(p, tf.float32) for p in rbm.parameters))


def sampler_config(**fields):
    return ExperimentConfig(sampler="pa", num_chains=8, num_sweeps=1, **fields)


def test_families_are_counted_anew_every_hundred_steps():
    """Members of one family become founders at a step that 100 divides, and at no other."""
    chains = prior_chains.PopulationAnnealing(sampler_config(), RBM(3, 2))
    state = chains.init(counter_random.key(1))
    assert state.chains.left.shape == (8, 3)
    one_family = state._replace(family=tf.zeros_like(state.family))
    for step, families in ((99, 1), (100, 8), (101, 1), (150, 1), (300, 8)):
        # The parameters stay, so that every member has one descendant.
        _, metrics = chains.step(state.params, one_family, counter_random.key(2), tf.constant(step))
        assert float(metrics["sampler/surviving_families"]) == families


class TestTrackedLogPartition:
    """Which population log Z is read off, and how a separate one follows a large step."""

    @staticmethod
    def step(kind, strength):
        """The sampler's state and metrics after a step from zero to biases of `strength`."""
        config = sampler_config(log_z_population=kind, log_z_chains=12)
        sampler = prior_chains.PriorChains(config, RBM(3, 2))
        state = sampler.init(counter_random.key(1))
        rbm = RBMParameters(tf.fill([3], strength), tf.zeros([2]), tf.zeros([3, 2]))
        state, metrics = sampler.step(rbm, state, counter_random.key(2), tf.constant(7))
        assert tuple(metrics) == sampler.metric_names
        return sampler, state, metrics

    @pytest.mark.parametrize("strength, bridged", [(0.05, False), (4.0, True)])
    def test_separate(self, strength, bridged):
        """A population of its own size, with bridges where it would lose half of itself."""
        sampler, state, metrics = self.step("separate", strength)
        assert state.tracker.chains.left.shape == (12, 3)
        assert (float(metrics["log_z/population_bridges"]) > 1) == bridged
        if bridged:  # by weights that carry over while 7 in 10 are effective
            assert float(metrics["log_z/population_ess"]) >= 0.35 * 12
        else:
            assert np.ptp(state.tracker.log_weights.numpy()) > 0
        assert float(sampler.log_partition(state)) == float(state.tracker.log_partition)
        moved = sampler.with_log_partition(state, tf.constant(3.5, tf.float64))
        assert float(sampler.log_partition(moved)) == 3.5

    def test_shared_and_none(self):
        """The chains of the gradient have one, which no other population disturbs."""
        sampler, state, _ = self.step("shared", 0.05)
        assert state.tracker == ()
        assert float(sampler.log_partition(state)) == float(state.gradient.log_partition)
        sampler, state, _ = self.step("none", 0.05)
        assert sampler.log_partition(state) is None


class TestParameters:
    def test_start_and_halves(self):
        """All zero; with an odd number of latents the right half is the larger."""
        rbm = priors.Prior(priors.restricted(Structure(1, 7, 0))).parameters()
        assert [tuple(p.shape) for p in rbm] == [(3,), (4,), (3, 4)]
        assert all(np.all(p.numpy() == 0) for p in rbm)
        left, right = halves(rbm, tf.constant(np.arange(14.0, dtype=np.float32).reshape(2, 7)))
        assert left.numpy().tolist() == [[0, 1, 2], [7, 8, 9]]
        assert right.numpy().tolist() == [[3, 4, 5, 6], [10, 11, 12, 13]]

    @pytest.mark.parametrize("weighted", [False, True])
    @pytest.mark.parametrize(("dtype", "rounding"), [(tf.float32, 1e-5), (tf.float64, 1e-14)])
    def test_gradient_of_the_mean_energy(self, dtype, rounding, weighted):
        """By moments as by differentiating the mean of -E over 1000 chains, but for rounding.

        It is the (weighted) mean of z_L, z_R and z_L z_R'; the states are constants.
        """
        rng, model = np.random.default_rng(4), RBM(101, 97)
        params = RBMParameters(
            *(tf.constant(rng.normal(size=shape), dtype) for shape in ([101], [97], [101, 97]))
        )
        bits = rng.integers(0, 2, [1000, 198]).astype(np.float64)
        shares = rng.dirichlet(np.ones(1000)) if weighted else np.full(1000, 1e-3)
        chains = model.state(tf.constant(bits, dtype))
        with tf.GradientTape(persistent=True) as tape:
            tape.watch([*params, *chains])
            given = tf.constant(shares, dtype) if weighted else None
            surrogate = priors.log_partition_surrogate(model, params, chains, given)
            mean = -tf.reduce_sum(tf.constant(shares, dtype) * model.energy(params, chains))
        np.testing.assert_allclose(surrogate, mean, rtol=0.0, atol=100 * rounding)
        assert tape.gradient(surrogate, list(chains)) == [None, None]
        left, right = bits[:, :101], bits[:, 101:]
        expected = shares @ left, shares @ right, (shares[:, None] * left).T @ right
        for value in (surrogate, mean):
            for found, exact in zip(tape.gradient(value, list(params)), expected, strict=True):
                np.testing.assert_allclose(found, exact, rtol=0.0, atol=rounding)


class TestMeanField:
    """Values and gradients at given latents are those of test_reference_step.py."""

    def value(self, smooth, rbm=EXACT_RBM):
        prior = relaxed_priors.MeanFieldPrior(smooth)
        return prior.unnormalized_log_density(as_tensors(rbm), tf.constant(ZETA)).numpy()

    def test_the_value_tells_iterations_apart(self):
        """Five iterations from one half, the right half first: neither four, nor the left first."""
        smooth, exact = PAIRS[3]
        strong = random_rbm(3, 5, seed=4, coupling_scale=4.0)
        args = strong, exact, np.float64(ZETA)
        found = self.value(smooth, strong) - strong.log_partition()
        five, four = (reference.mean_field_log_prior(*args, n) for n in (5, 4))
        swapped = ReferenceRBM(strong.right_bias, strong.left_bias, strong.coupling.T)
        turned = np.float64(np.concatenate([ZETA[:, 3:], ZETA[:, :3]], axis=1))
        left_first = reference.mean_field_log_prior(swapped, exact, turned, 5)
        assert np.allclose(found, five, rtol=1e-5, atol=5e-4)
        assert np.max(np.abs(four - five)) > 5e-3
        assert np.max(np.abs(left_first - five)) > 5e-3

    @pytest.mark.parametrize(("smooth", "exact"), PAIRS, ids=[str(pair[1]) for pair in PAIRS])
    def test_lower_bound(self, smooth, exact):
        """At most the exact log p(ζ), by a gap that shows; equal to it without coupling."""
        args = exact, np.float64(ZETA), np.float64(np.float32(1) - ZETA)
        log_p = EXACT_RBM.log_partition() + reference.overlap_log_prior(EXACT_RBM, *args)
        gap = log_p - self.value(smooth)
        assert np.all(gap > -2e-4) and gap.max() > 1e-3
        free = ReferenceRBM(EXACT_RBM.left_bias, EXACT_RBM.right_bias, np.zeros((3, 5)))
        exact_value = free.log_partition() + reference.overlap_log_prior(free, *args)
        assert np.allclose(self.value(smooth, free), exact_value, rtol=1e-5, atol=2e-4)

    def test_entropy_of_means(self):
        """Zero at 0 and 1, log 2 at one half, summed over the last axis only."""
        means = tf.constant([[0.0, 1.0, 0.5], [0.5, 0.5, 0.25]])
        quarter = -0.25 * math.log(0.25) - 0.75 * math.log(0.75)
        expected = [math.log(2), 2 * math.log(2) + quarter]
        assert np.allclose(relaxed_priors.entropy_of_means(means), expected, atol=1e-6)


def gram_powers(matrix):
    return relaxed_priors.gram_powers(tf.constant(matrix, tf.float32))


class TestGaussianIntegral:
    zeta = np.float32(np.random.default_rng(5).normal(0.5, 0.7, (11, 8)))

    @pytest.mark.parametrize("sharpness", [5.0, 30.0])
    @pytest.mark.parametrize("coupling_scale", [0.0, 0.3, 1.5, 6.0])
    def test_exact(self, sharpness, coupling_scale):
        """The closed form is the sum over all states, for weak and strong couplings."""
        rbm = random_rbm(3, 5, seed=6, coupling_scale=coupling_scale)
        prior = relaxed_priors.GaussianIntegralPrior(sharpness)
        strength = float(prior.precision(gram_powers(rbm.coupling)))
        found = prior.unnormalized_log_density(as_tensors(rbm), tf.constant(self.zeta))
        expected = reference.gaussian_integral_log_prior(rbm, np.float64(self.zeta), strength)
        assert np.allclose(found, rbm.log_partition() + expected, rtol=2e-5, atol=5e-4)
        norm = np.linalg.norm(rbm.coupling, 2)
        assert max(norm + 5, sharpness) <= strength * (1 + 1e-6)
        assert strength <= max(1.02 * norm + 5, sharpness) * (1 + 1e-6)
        assert np.linalg.eigvalsh(reference.precision_matrix(rbm, strength))[0] > 4.999

    def test_gradient(self):
        """Finite differences with λ held, in a, b, W and ζ."""
        prior = relaxed_priors.GaussianIntegralPrior(5.0)
        strength = float(prior.precision(gram_powers(EXACT_RBM.coupling)))

        def value(arrays):
            rbm = ReferenceRBM(*arrays[:3])
            log_prior = reference.gaussian_integral_log_prior(rbm, arrays[3], strength)
            return float(np.sum(log_prior + rbm.log_partition()))

        expected = numerical_gradient(value, [*EXACT_RBM.parameters, np.float64(self.zeta)])
        tensors = [*as_tensors(EXACT_RBM), tf.constant(self.zeta)]
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            rbm, zeta = RBMParameters(*tensors[:3]), tensors[3]
            total = tf.reduce_sum(prior.unnormalized_log_density(rbm, zeta))
        for found, exact in zip(tape.gradient(total, tensors), expected, strict=True):
            assert np.allclose(found, exact, rtol=2e-4, atol=2e-3)


def coupling_of_norm(shape, norm, rank=None):
    """A dense matrix with the given largest singular value."""
    matrix = np.random.default_rng(7).standard_normal(shape)
    if rank == 1:
        matrix = np.outer(matrix[:, 0], matrix[0])
    elif rank == "equal":
        matrix = np.linalg.qr(matrix)[0]
    return np.float32(matrix * norm / np.linalg.norm(matrix, 2))


class TestSpectrum:
    @pytest.mark.parametrize("norm", [1e-6, 0.3, 17.0, 300.0])
    @pytest.mark.parametrize("rank", [1, None, "equal"])
    def test_largest_singular_value(self, norm, rank):
        """Between σ_max and n^(1/2^8) σ_max; "equal" singular values are the worst case."""
        for shape in ((3, 5), (53, 53)):
            powers = gram_powers(coupling_of_norm(shape, norm, rank))
            ratio = float(relaxed_priors.largest_singular_value(powers)) / norm
            assert 1 - 1e-5 < ratio < min(shape) ** (1 / 256) + 1e-5
        zero = relaxed_priors.largest_singular_value(gram_powers(np.zeros([3, 5])))
        assert 0 <= float(zero) < 1e-20

    @pytest.mark.parametrize("norm", [0.0, 0.3, 17.0, 300.0])
    @pytest.mark.parametrize("shape", [(3, 5), (5, 3), (53, 53)])
    def test_log_det(self, norm, shape):
        """Value and gradient from singular values s: Σ log(1 - s²/λ²), U diag(-2s/(λ²-s²)) V'."""
        matrix = coupling_of_norm(shape, norm)
        coupling, powers = tf.constant(matrix), gram_powers(matrix)
        scale = relaxed_priors.largest_singular_value(powers) + 5.0
        with tf.GradientTape() as tape:
            tape.watch(coupling)
            value = 3.0 * relaxed_priors.log_det_identity_minus_gram(coupling, scale, powers)
        found = tape.gradient(value, coupling).numpy()
        left, singular, right = np.linalg.svd(np.float64(matrix), full_matrices=False)
        square = float(scale) ** 2
        expected = 3 * np.sum(np.log1p(-(singular**2) / square))
        assert np.isclose(value, expected, rtol=2e-5, atol=3e-5)
        slope = (left * (-6 * singular / (square - singular**2))) @ right
        assert np.allclose(found, slope, rtol=1e-3, atol=1e-3 * np.abs(slope).max())
