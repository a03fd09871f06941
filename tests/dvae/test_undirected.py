"""Undirected posteriors against enumeration: log q, evaluation, modes."""

import math

import numpy as np
import pytest
import tensorflow as tf

from configs.errors import UserError
from configs.experiment import build_config
from dvae import undirected
from dvae.encoder import Batch
from dvae.evaluation import Evaluator
from samplers.rbm import RBMParameters
from tests.helpers import statistical, tiny_models
from tests.helpers.undirected_models import (
    DEEP,
    LINEAR,
    NUM_LEFT,
    NUM_RIGHT,
    float_images,
    make_model,
    reference_of,
)
from tests.reference import undirected as reference


def spin_parameters(encoder, images):
    """Fields and couplings of the images' spins, in evaluation, by NumPy."""
    outputs = tiny_models.reference_network(encoder.network)(images - tiny_models.train_mean())
    left, right, raw = np.split(outputs, [NUM_LEFT, NUM_LEFT + NUM_RIGHT], axis=1)
    gamma, beta, mean, variance = (np.float64(v.numpy()) for v in encoder.norm.variables)
    normalized = gamma * (raw - mean) / np.sqrt(variance + 1e-2) + beta
    coupling = 1.5 / math.sqrt(NUM_LEFT) * normalized.reshape(-1, NUM_LEFT, NUM_RIGHT)
    return list(zip(left, right, coupling, strict=True))


@pytest.mark.parametrize("structure", [LINEAR, DEEP], ids=["linear", "deep"])
def test_posteriors_are_of_spins(structure):
    """log q of every state of every image, from Ising spins enumerated."""
    model = make_model(structure=structure)
    images = tiny_models.images()
    rbm = model.encoder.condition(Batch(float_images()))
    for row, spins in enumerate(spin_parameters(model.encoder, images)):
        ours = reference_of(rbm, row)
        found = ours.log_probability(ours.states())
        assert np.allclose(found, reference.spin_log_probabilities(*spins), atol=1e-4)
        assert np.ptp(found) > 1


def test_statistics_of_couplings_move_slowly():
    """Batch norm of 1901.03440: a hundredth of the batch's mean and variance at each step."""
    model = make_model(structure=DEEP)
    encoder, network = model.encoder, model.encoder.network
    _, _, mean, variance = (np.float64(v.numpy()) for v in encoder.norm.variables)
    product = network.product(0, float_images() - tiny_models.train_mean())
    raw = np.float64(network.finish(product, True).numpy())[:, NUM_LEFT + NUM_RIGHT :]
    encoder.posteriors(float_images(), True)
    moved = encoder.norm.moving_mean.numpy(), encoder.norm.moving_variance.numpy()
    assert np.allclose(moved[0], 0.99 * mean + 0.01 * raw.mean(axis=0), atol=1e-5)
    assert np.allclose(moved[1], 0.99 * variance + 0.01 * raw.var(axis=0), atol=1e-5)
    assert np.abs(raw.mean(axis=0) - mean).max() > 0.1


def test_temperatures_of_a_posterior():
    assert make_model().encoder.num_temperatures == 500


class TestEvaluation:
    """Test likelihood against log p(x) enumerated, at temperatures so few that weights matter."""

    @pytest.fixture(scope="class")
    def exact(self):
        """(evaluator, images, log Z, NLL [11], log q of all states [11, 32], log p(x, z))."""
        model = make_model(structure=DEEP, scale=0.15)
        vae = tiny_models.reference_generator_of(model)
        images = tiny_models.images()
        log_q = [
            reference.spin_log_probabilities(*spins)
            for spins in spin_parameters(model.encoder, images)
        ]
        log_joint = np.array([vae.log_joint(image) for image in images])
        nll = -np.logaddexp.reduce(log_joint, axis=1)
        return Evaluator(model), images, vae.rbm.log_partition(), nll, np.array(log_q), log_joint

    def evaluator(self, exact, num_temperatures):
        exact[0].model.encoder.num_temperatures = num_temperatures
        evaluator = Evaluator(exact[0].model)
        evaluator._compiled = tf.function(evaluator._batch, autograph=False)
        return evaluator

    @pytest.mark.parametrize("num_temperatures", [1, 3])
    def test_likelihood_is_unbiased(self, exact, num_temperatures):
        """Each of 11 images within 5 of its own errors, below 0.02 nats, of 20,000 samples."""
        _, images, log_z, nll, *_ = exact
        evaluator = self.evaluator(exact, num_temperatures)
        found = evaluator.per_image(images, 20_000, 11, statistical.key(1))
        assert found.variance.max() < 0.02**2
        assert np.all(np.abs(found.nll + log_z - nll) < 5 * np.sqrt(found.variance))

    def test_batches_change_no_number(self, exact, monkeypatch):
        """Images by 4, the last batch short, and samples by 3: the same as all at once."""
        evaluator, images = self.evaluator(exact, 1), exact[1]
        whole = evaluator.per_image(images, 5, 11, statistical.key(4))
        monkeypatch.setattr("dvae.evaluation._ROWS_PER_PASS_CPU", 12)
        monkeypatch.setattr(type(evaluator), "images_per_call", lambda *_: 4)
        cut = evaluator.per_image(images, 5, 4, statistical.key(4))
        for ours, theirs in zip(cut, whole, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)

    def test_bounds(self, exact):
        """The ELBO is a bound that tightens with temperatures, up to that of exact samples."""
        _, images, log_z, nll, log_q, log_joint = exact
        neg_elbo = -np.sum(np.exp(log_q) * (log_joint - log_q), axis=1).mean()
        found = []
        for num_temperatures in (1, 4, 100):
            evaluator = self.evaluator(exact, num_temperatures)
            value = evaluator.per_image(images, 4000, 11, statistical.key(2)).neg_elbo
            found.append(value.mean() + log_z)
        assert found[0] > found[1] + 0.02 > found[2] + 0.02 > nll.mean()
        assert abs(found[2] - neg_elbo) < 0.02

    def test_samples(self, exact):
        """At 300 temperatures log q is nearly the log probability of the state; logits are given
        the other half."""
        model, images, log_q = exact[0].model, float_images(), exact[4]
        model.encoder.num_temperatures = 300
        condition = model.encoder.condition(Batch(images))
        found = model.encoder.sample_binary(condition, 50, statistical.key(3))
        states = found.latents.numpy().reshape(11, 50, 5)
        places = np.int64(states @ 2 ** np.arange(5)[::-1])
        expected = np.take_along_axis(log_q, places, axis=1)
        errors = found.log_q.numpy().reshape(11, 50) - expected
        assert np.abs(errors.mean()) < 0.02 and errors.std() < 0.1 and expected.std() > 0.5
        logits = found.params.logits.numpy().reshape(11, 50, 5)
        for row in range(11):
            rbm = reference_of(condition, row)
            left = rbm.left_bias + states[row][:, 2:] @ rbm.coupling.T
            right = rbm.right_bias + states[row][:, :2] @ rbm.coupling
            assert np.allclose(logits[row], np.concatenate([left, right], axis=1), atol=1e-4)

    def test_images_of_a_call(self, exact):
        """So few that a pass has a hundred samples of each, or all there are."""
        evaluator = self.evaluator(exact, 1)
        assert evaluator.images_per_call(1000, 4000) == 8
        assert evaluator.images_per_call(1000, 20) == 12
        directed = Evaluator(tiny_models.make_model())
        assert directed.images_per_call(1000, 4000) == 1000


def test_one_group_only():
    """The command line says so before any data are read."""
    for struct in ("2-layer-nonlin", "4-layer-nonlin"):
        with pytest.raises(UserError, match="one latent group only: choose struct=1-layer-lin"):
            build_config(baseline="dvaess_pwl", struct=struct)
    config = build_config(baseline="dvaess_pwl", struct="1-layer-lin", dataset="omniglot")
    assert config.beta == 3.0 and config.structure.num_groups == 1
    assert build_config(baseline="dvaess_concrete", struct="1-layer-nonlin").beta == 10.0


class TestModes:
    def bimodal(self, bias):
        """Two rows: all units alike, coupled into two modes; and units on their own, one mode."""
        coupling = np.stack([np.full((4, 3), 4.0), np.zeros((4, 3))])
        left = np.stack([np.full(4, bias - 6.0), np.linspace(-1, 1, 4)])
        right = np.stack([np.full(3, bias - 8.0), np.linspace(-1, 1, 3)])
        return RBMParameters(*(tf.constant(p, tf.float32) for p in (left, right, coupling)))

    def test_two_modes(self):
        starts = np.zeros((2, 20, 4), np.float32)
        starts[:, :12] = 1.0
        found = undirected.modes_from(self.bimodal(0.0), tf.constant(starts))
        assert found.tolist() == [2, 1]

    def test_hits(self):
        """A mode needs six samples that end in it."""
        for count, expected in ((5, 1), (6, 2)):
            starts = np.zeros((2, 20, 4), np.float32)
            starts[:, :count] = 1.0
            found = undirected.modes_from(self.bimodal(0.0), tf.constant(starts))
            assert found.tolist() == [expected, 1]

    def test_a_field_leaves_one(self):
        starts = np.float32(np.random.default_rng(1).random((2, 40, 4)) < 0.5)
        found = undirected.modes_from(self.bimodal(9.0), tf.constant(starts))
        assert found.tolist() == [1, 1]

    @pytest.mark.parametrize("strength, expected", [(0.955, 1), (0.965, 2)])
    def test_slow_means(self, strength, expected):
        """Mean field that creeps to one half from both sides, to 0.0044 or 0.0091 from it after 40
        iterations: rounded to 0.01 that is one mode, or two."""
        spins, ends = np.array([1.0, -1.0]), None
        for _ in range(40):
            ends = spins = np.tanh(strength * np.tanh(strength * spins))
        rounded = set(np.round((1 + ends) / 2 / 0.01))
        assert len(rounded) == expected
        coupling = np.full((1, 1, 1), 4.0 * strength)
        bias = np.full((1, 1), -2.0 * strength)
        rbm = RBMParameters(*(tf.constant(p, tf.float32) for p in (bias, bias, coupling)))
        starts = tf.constant([[[1.0]] * 10 + [[0.0]] * 10])
        assert undirected.modes_from(rbm, starts).tolist() == [expected]

    def test_of_images(self):
        """Samples by AIS: a model whose posteriors have two modes, one image at a time or all."""
        model = make_model(structure=LINEAR)
        encoder = model.encoder
        for variable in (encoder.network.first[0].kernel, encoder.network.bias, encoder.norm.gamma):
            variable.assign(tf.zeros_like(variable))
        encoder.norm.beta.assign(tf.fill(encoder.norm.beta.shape, 1.5))
        images = float_images().numpy()
        assert encoder.count_modes(images, 200, statistical.key(10)).tolist() == [2] * 11
        encoder.norm.beta.assign(tf.zeros_like(encoder.norm.beta))
        assert encoder.count_modes(images, 200, statistical.key(10)).tolist() == [1] * 11
