"""Networks, encoder and decoder against NumPy in float64 with sizes that are distinct primes."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import log_expit

from configs.paper import BATCH_NORM
from configs.registry import Structure
from dvae.decoder import Decoder
from dvae.encoder import Batch, HierarchicalEncoder
from dvae.likelihood import Bernoulli
from dvae.networks import BatchNorm, Network, layer_seed, weight_decay
from dvae.posteriors import MixturePosterior, ShiftedGaussianPosterior
from dvae.smoothing import Exponential
from samplers import hardware
from tests.helpers import statistical, tiny_models

PARTS, HIDDEN, OUTPUT, ROWS = [3, 2, 5], [7, 11], 13, 17


@pytest.fixture
def network():
    network = Network(PARTS, HIDDEN, OUTPUT, seed=1)
    tiny_models.randomize(network.variables, scale=0.6)
    return network


def inputs(seed=2):
    rng = np.random.default_rng(seed)
    return [np.float32(rng.standard_normal((ROWS, size))) for size in PARTS]


def run(network, parts, training):
    total = tf.add_n([network.product(i, tf.constant(part)) for i, part in enumerate(parts)])
    return network.finish(total, training).numpy()


def train_forward(network, parts):
    """Output in training, and (mean, variance) of each hidden layer's batch, in float64."""
    values = np.float64(np.concatenate(parts, axis=1))
    kernels = [np.concatenate([layer.kernel.numpy() for layer in network.first])]
    kernels += [layer.kernel.numpy() for layer in network.rest]
    statistics = []
    for kernel, norm in zip(kernels, network.norms, strict=False):
        values = values @ kernel
        mean, variance = values.mean(axis=0), values.var(axis=0)
        statistics.append((mean, variance))
        values = (values - mean) / np.sqrt(variance + 0.01)
        values = np.tanh(values * norm.gamma.numpy() + norm.beta.numpy())
    return values @ kernels[-1] + network.bias.numpy(), statistics


class TestNetwork:
    def test_evaluation_mode(self, network):
        """Parts added up = a dense layer on their concatenation, with the moving averages."""
        parts = inputs()
        before = [v.numpy() for v in network.variables]
        expected = tiny_models.reference_network(network)(np.concatenate(parts, axis=1))
        assert np.allclose(run(network, parts, training=False), expected, atol=1e-5)
        assert all(
            np.array_equal(v.numpy(), b) for v, b in zip(network.variables, before, strict=True)
        )

    def test_training_mode_and_moving_averages(self, network):
        """Statistics of all rows, ε = 0.01; averages keep 0.8 of themselves."""
        parts = inputs()
        old = [(n.moving_mean.numpy(), n.moving_variance.numpy()) for n in network.norms]
        expected, statistics = train_forward(network, parts)
        assert np.allclose(run(network, parts, training=True), expected, atol=2e-5)
        for norm, (mean, variance), (new_mean, new_variance) in zip(
            network.norms, old, statistics, strict=True
        ):
            assert np.allclose(norm.moving_mean, 0.8 * mean + 0.2 * new_mean, atol=1e-5)
            # The plain variance, not 17/16 of it.
            found = (norm.moving_variance.numpy() - 0.8 * variance) / 0.2
            assert np.allclose(found, new_variance, rtol=1e-3, atol=1e-4)

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

    def test_no_hidden_layers(self):
        """A linear map, biased."""
        network = Network([3, 2], [], 5, seed=4)
        tiny_models.randomize(network.variables)
        parts = inputs()[:2]
        kernel = np.concatenate([layer.kernel.numpy() for layer in network.first])
        expected = np.concatenate(parts, axis=1) @ kernel + network.bias.numpy()
        assert np.allclose(run(network, parts, training=True), expected, atol=1e-5)
        assert len(network.variables) == 3

    def test_initial_weights(self):
        """Normal of sqrt(2.6 / fan_in), cut at two of it (spread 0.8796 of it); biases zero.

        60,000 weights: standard error of the spread 0.3 %.
        """
        network = Network([150, 50], [300, 70], 110, seed=statistical.seed(5))
        kernels = [[layer.kernel.numpy() for layer in network.first]]
        kernels += [[layer.kernel.numpy()] for layer in network.rest]
        for parts, fan_in in zip(kernels, (200, 300, 70), strict=True):
            width = math.sqrt(2.6 / fan_in)
            scaled = np.concatenate([part.ravel() for part in parts]) / width
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
        for index, kernel in enumerate(kernels):
            assert all(not np.array_equal(kernel, other) for other in kernels[:index])
        for ours, other in zip(first.variables, second.variables, strict=True):
            assert np.array_equal(ours.numpy(), other.numpy())
        assert len({layer_seed(seed, 1, part) for seed in range(5) for part in range(5)}) == 25

    def test_decayed_variables(self, network):
        """Every kernel and every batch-norm scale, no bias and no average; ½ Σ w² by a loop."""
        expected = [v for v in network.variables if v.name in ("kernel", "gamma")]
        found = network.decayed_variables()
        assert len(found) == len(expected) == 3 + 2 + 2
        total = sum(0.5e-4 * float(w) ** 2 for v in expected for w in v.numpy().ravel())
        assert math.isclose(float(weight_decay(found)), total, rel_tol=1e-5)


STRUCTURE = Structure(num_groups=3, units_per_group=2, num_hidden_layers=1, hidden_units=5)
NUM_IMAGES, NUM_SAMPLES = 11, 3


class TestEncoder:
    @pytest.fixture
    def encoder(self):
        posterior = MixturePosterior(Exponential(6.0))
        encoder = HierarchicalEncoder(STRUCTURE, tiny_models.train_mean(), posterior, seed=1)
        tiny_models.randomize(encoder.variables)
        return encoder

    def sample(self, encoder, training):
        images = tf.constant(tiny_models.images(), tf.float32)
        return encoder.sample(Batch(images), NUM_SAMPLES, statistical.key(1), training)

    def test_logits_in_evaluation_mode(self, encoder):
        """Row b*K + k: the networks on [x_b - mean, ζ of earlier groups of that row]."""
        sample = self.sample(encoder, training=False)
        relaxed = np.float64(sample.latents)
        centered = np.float64(tiny_models.images()) - np.float64(tiny_models.train_mean())
        for group, network in enumerate(encoder.networks):
            reference = tiny_models.reference_network(network)
            for row in range(NUM_IMAGES * NUM_SAMPLES):
                seen = np.concatenate([centered[row // NUM_SAMPLES], relaxed[row, : 2 * group]])
                found = sample.params.logits[row, 2 * group : 2 * group + 2]
                assert np.allclose(found, reference(seen[None])[0], atol=2e-5)
        # Samples of one image are drawn apart, and images too.
        assert len(np.unique(relaxed[:, 0])) > 30

    def test_batch_norm_over_all_rows_in_training(self, encoder):
        """Statistics over B*K rows, for the first group as for the later ones."""
        networks = encoder.networks
        old = [network.norms[0].moving_mean.numpy() for network in networks]
        sample = self.sample(encoder, training=True)
        relaxed = sample.latents.numpy()
        centered = np.repeat(
            np.float32(tiny_models.images()) - tiny_models.train_mean(), NUM_SAMPLES, axis=0
        )
        for group, network in enumerate(networks):
            parts = [centered, *(relaxed[:, 2 * i : 2 * i + 2] for i in range(group))]
            expected, [(mean, _)] = train_forward(network, parts)
            found = sample.params.logits[:, 2 * group : 2 * group + 2]
            assert np.allclose(found, expected, atol=5e-5)
            moved = 0.8 * old[group] + 0.2 * mean
            assert np.allclose(network.norms[0].moving_mean, moved, atol=1e-5)

    def test_binary_samples(self, encoder):
        """log q(z|x) summed over groups and units, later groups seeing the binary latents."""
        images = tf.constant(tiny_models.images(), tf.float32)
        condition = encoder.condition(Batch(images))
        binary, _, log_q = encoder.sample_binary(condition, NUM_SAMPLES, statistical.key(2))
        z = np.float64(binary)
        assert set(np.unique(z)) == {0.0, 1.0}
        centered = np.float64(tiny_models.images()) - np.float64(tiny_models.train_mean())
        expected = np.zeros(NUM_IMAGES * NUM_SAMPLES)
        for group, network in enumerate(encoder.networks):
            reference = tiny_models.reference_network(network)
            for row in range(len(z)):
                seen = np.concatenate([centered[row // NUM_SAMPLES], z[row, : 2 * group]])
                signs = 2 * z[row, 2 * group : 2 * group + 2] - 1
                expected[row] += np.sum(log_expit(signs * reference(seen[None])[0]))
        assert np.allclose(log_q, expected, atol=2e-5)

    def test_groups_start_from_weights_of_their_own(self):
        """The networks of the groups, of the decoder and of another seed, whatever their scale.

        30 weights of each: correlations have a standard error of 0.18.
        """
        posterior = MixturePosterior(Exponential(6.0))
        encoder = HierarchicalEncoder(STRUCTURE, tiny_models.train_mean(), posterior, seed=1)
        decoder = Decoder(STRUCTURE, tiny_models.train_mean(), Bernoulli(), seed=1)
        networks = [*encoder.networks, decoder.network]
        other = HierarchicalEncoder(STRUCTURE, tiny_models.train_mean(), posterior, seed=2)
        networks += other.networks
        values = [np.ravel(network.first[0].kernel.numpy())[:30] for network in networks]
        assert np.max(np.abs(np.corrcoef(values) - np.eye(7))) < 0.9

    def test_two_outputs_per_unit(self):
        """The shifted Gaussian's networks are twice as wide at their end only."""
        posterior = ShiftedGaussianPosterior(3, 2)
        encoder = HierarchicalEncoder(STRUCTURE, tiny_models.train_mean(), posterior, seed=1)
        sample = self.sample(encoder, training=True)
        assert sample.latents.shape == [33, 6]
        assert sample.params.shift.shape == [33, 6] and sample.params.scale.shape == [1, 6]
        assert [len(n.bias.numpy()) for n in encoder.networks] == [4, 4, 4]
        names = [v.name for v in encoder.trainable_variables]
        assert sum(name.startswith("raw_scale") for name in names) == 3


class TestDecoder:
    def test_logits_and_offset(self):
        """The offset is the logit of the mean clipped to [0.001, 0.999], and not trained."""
        decoder = Decoder(STRUCTURE, tiny_models.train_mean(), Bernoulli(), seed=1)
        tiny_models.randomize(decoder.variables)
        latents = np.float32(np.random.default_rng(3).random((5, 6)))
        mean = np.clip(np.float64(tiny_models.train_mean()), 0.001, 0.999)
        offset = np.log(mean / (1 - mean))
        assert math.isclose(offset[3], -math.log(999), rel_tol=1e-6)
        expected = tiny_models.reference_network(decoder.network)(latents) + offset
        assert np.allclose(decoder.outputs(tf.constant(latents), False), expected, atol=2e-5)
        assert len(decoder.trainable_variables) == 5
