"""Networks and encoder in evaluation, their start and batch norm, in float64; sizes are primes.

Training mode, the averages it moves, decoder and weight decay are those of test_reference_step.py.
"""

import itertools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import log_expit

from configs.paper import BATCH_NORM
from configs.registry import Structure
from dvae.decoder import Decoder
from dvae.encoder import Batch, DenseEncoder
from dvae.likelihood import Bernoulli
from dvae.networks import BatchNorm, Network, layer_seed, weight_decay
from dvae.posteriors import MixturePosterior
from dvae.smoothing import Exponential
from samplers import hardware
from tests.helpers import statistical, tiny_models

PARTS, ROWS = [3, 2, 5], 17


@pytest.fixture(params=[[], [7, 11]], ids=["linear", "deep"])
def network(request):
    network = Network(PARTS, request.param, 13, seed=1)
    tiny_models.randomize(network.variables, scale=0.6)
    return network


class TestNetwork:
    def test_evaluation_mode(self, network):
        """Parts added up = a dense layer on their concatenation, with the moving averages."""
        rng = np.random.default_rng(2)
        parts = [np.float32(rng.standard_normal((ROWS, size))) for size in PARTS]
        before = [v.numpy() for v in network.variables]
        expected = tiny_models.reference_network(network)(np.concatenate(parts, axis=1))
        total = tf.add_n([network.product(i, tf.constant(part)) for i, part in enumerate(parts)])
        assert np.allclose(network.finish(total, False), expected, atol=1e-5)
        for variable, old in zip(network.variables, before, strict=True):
            assert np.array_equal(variable, old)

    def test_batch_norm_in_one_pass(self):
        """As a GPU has it: outputs, averages and gradients of Keras's, its mean far from before."""
        values = tf.constant(np.random.default_rng(2).normal(5.0, 0.5, [100, 8]), tf.float32)
        results = []
        for kind in (BatchNorm, keras.layers.BatchNormalization):
            norm = kind(**BATCH_NORM)
            norm.build((None, 8))
            norm.gamma.assign(tf.linspace(0.5, 2.0, 8))
            with tf.GradientTape() as tape, hardware.use("gpu"):
                tape.watch(values)
                outputs = norm(values, training=True)
                loss = tf.reduce_sum(outputs**3)
            gradients = tape.gradient(loss, [values, norm.gamma.value, norm.beta.value])
            results.append([outputs, norm.moving_mean, norm.moving_variance, *gradients])
        for found, expected in zip(*results, strict=True):
            np.testing.assert_allclose(np.asarray(found), np.asarray(expected), 1e-3, 1e-3)

    def test_initial_weights(self):
        """Normal of sqrt(2.6 / fan_in), cut at two of it (spread 0.8796 of it); biases zero.

        60,000 weights: standard error of the spread 0.3 %.
        """
        network = Network([150, 50], [300, 70], 110, seed=statistical.seed(5))
        for kernel, fan_in in zip(tiny_models.kernels(network), (200, 300, 70), strict=True):
            scaled = np.ravel(kernel) / math.sqrt(2.6 / fan_in)
            assert 1.99 < np.abs(scaled).max() <= 2.0 + 1e-6
            assert abs(scaled.std() / 0.879626 - 1) < 5 * 0.6 / math.sqrt(scaled.size)
            assert abs(scaled.mean()) < 5 * 0.88 / math.sqrt(scaled.size)
        assert np.all(network.bias.numpy() == 0)
        for norm in network.norms:
            assert np.all(norm.gamma.numpy() == 1) and np.all(norm.beta.numpy() == 0)

    def test_seeds(self):
        """The same seed gives the same weights; layers and seeds differ from each other."""
        first, second, third = (Network([5, 5], [5, 5], 5, seed=s) for s in (1, 1, 2))
        kernels = [layer.kernel.numpy() for n in (first, third) for layer in (*n.first, *n.rest)]
        for one, other in itertools.combinations(kernels, 2):
            assert not np.array_equal(one, other)
        for ours, other in zip(first.variables, second.variables, strict=True):
            assert np.array_equal(ours.numpy(), other.numpy())
        assert len({layer_seed(seed, 1, part) for seed in range(5) for part in range(5)}) == 25

    def test_weight_decay(self, network):
        """½ Σ w² by a loop over every kernel and every batch-norm scale."""
        decayed = [v for v in network.variables if v.name in ("kernel", "gamma")]
        total = sum(0.5e-4 * float(w) ** 2 for v in decayed for w in v.numpy().ravel())
        assert math.isclose(float(weight_decay(network.decayed_variables())), total, rel_tol=1e-5)


STRUCTURE = Structure(num_groups=3, units_per_group=2, num_hidden_layers=1, hidden_units=5)
NUM_SAMPLES = 3


def make_encoder(seed=1):
    posterior = MixturePosterior(Exponential(6.0))
    return DenseEncoder(STRUCTURE, tiny_models.train_mean(), posterior, seed)


class TestEncoder:
    @pytest.mark.parametrize("relaxed", [True, False], ids=["relaxed", "binary"])
    def test_logits_in_evaluation_mode(self, relaxed):
        """Row b*K + k: the networks on [x_b - mean, latents of earlier groups of that row]."""
        encoder = make_encoder()
        tiny_models.randomize(encoder.variables)
        batch = Batch(tf.constant(tiny_models.images(), tf.float32))
        if relaxed:
            sample = encoder.sample(batch, NUM_SAMPLES, statistical.key(1), training=False)
        else:
            condition = encoder.condition(batch)
            sample = encoder.sample_binary(condition, NUM_SAMPLES, statistical.key(2))
        z = np.float64(sample.latents)
        centred = np.float64(tiny_models.images()) - np.float64(tiny_models.train_mean())
        rows = np.repeat(centred, NUM_SAMPLES, axis=0)
        logits = np.concatenate(
            [
                tiny_models.reference_network(network)(np.hstack([rows, z[:, : 2 * group]]))
                for group, network in enumerate(encoder.networks)
            ],
            axis=1,
        )
        assert np.allclose(sample.params.logits, logits, atol=2e-5)
        if relaxed:  # samples of one image are drawn apart, and images too
            assert len(np.unique(z[:, 0])) > 30
        else:
            assert set(np.unique(z)) == {0.0, 1.0}
            log_q = log_expit((2 * z - 1) * logits).sum(axis=1)
            assert np.allclose(sample.log_q, log_q, atol=2e-5)

    def test_groups_start_from_weights_of_their_own(self):
        """The networks of the groups, of the decoder and of another seed, whatever their scale.

        30 weights of each: correlations have a standard error of 0.18.
        """
        decoder = Decoder(STRUCTURE, tiny_models.train_mean(), Bernoulli(), seed=1)
        networks = [*make_encoder().networks, decoder.network, *make_encoder(seed=2).networks]
        values = [np.ravel(network.first[0].kernel.numpy())[:30] for network in networks]
        assert np.max(np.abs(np.corrcoef(values) - np.eye(7))) < 0.9
