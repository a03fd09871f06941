"""The prior's parameters, and its samplers' populations."""

import numpy as np
import pytest
import tensorflow as tf

from configs.experiment import ExperimentConfig
from configs.registry import Structure
from dvae import prior_chains, priors
from samplers import counter_random
from samplers.rbm import RBM, RBMParameters, halves


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
