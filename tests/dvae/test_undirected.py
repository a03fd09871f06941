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
from tests.helpers import undirected_models as models
from tests.helpers.undirected_models import float_images, make, reference_of
from tests.reference import undirected as reference

LEFT, RIGHT = models.NUM_LEFT, models.NUM_RIGHT


def spin_parameters(encoder, images):
    """Fields and couplings of the images' spins, in evaluation, by NumPy."""
    outputs = tiny_models.reference_network(encoder.network)(images - tiny_models.train_mean())
    left, right, raw = np.split(outputs, [LEFT, LEFT + RIGHT], axis=1)
    gamma, beta, mean, variance = (np.float64(v.numpy()) for v in encoder.norm.variables)
    normalized = gamma * (raw - mean) / np.sqrt(variance + 1e-2) + beta
    coupling = 1.5 / math.sqrt(LEFT) * normalized.reshape(-1, LEFT, RIGHT)
    return list(zip(left, right, coupling, strict=True))


@pytest.mark.parametrize("structure", [models.LINEAR, models.DEEP], ids=["linear", "deep"])
def test_posteriors_are_of_spins(structure):
    """log q of every state of every image, from Ising spins enumerated."""
    encoder = make(structure=structure).model.encoder
    rbm = encoder.condition(Batch(float_images()))
    for row, spins in enumerate(spin_parameters(encoder, tiny_models.images())):
        ours = reference_of(rbm, row)
        found = ours.log_probability(ours.states())
        assert np.allclose(found, reference.spin_log_probabilities(*spins), atol=1e-4)
        assert np.ptp(found) > 1


def test_statistics_of_couplings_move_slowly():
    """Batch norm of 1901.03440: a hundredth of the batch's mean and variance at each step."""
    encoder = make(structure=models.DEEP).model.encoder
    _, _, mean, variance = (np.float64(v.numpy()) for v in encoder.norm.variables)
    product = encoder.network.product(0, float_images() - tiny_models.train_mean())
    raw = np.float64(encoder.network.finish(product, True).numpy())[:, LEFT + RIGHT :]
    encoder.posteriors(float_images(), True)
    norm = encoder.norm
    assert np.allclose(norm.moving_mean, 0.99 * mean + 0.01 * raw.mean(axis=0), atol=1e-5)
    assert np.allclose(norm.moving_variance, 0.99 * variance + 0.01 * raw.var(axis=0), atol=1e-5)
    assert np.abs(raw.mean(axis=0) - mean).max() > 0.1


def test_temperatures_of_a_posterior():
    assert make().model.encoder.num_temperatures == 500


class TestEvaluation:
    """Its likelihood is that of test_evaluation.py."""

    def test_samples(self):
        """At 300 temperatures log q is nearly the log probability of the state; logits are given
        the other half."""
        encoder = make(structure=models.DEEP, scale=0.15).model.encoder
        spins = spin_parameters(encoder, tiny_models.images())
        log_q = np.array([reference.spin_log_probabilities(*fields) for fields in spins])
        encoder.num_temperatures = 300
        condition = encoder.condition(Batch(float_images()))
        found = encoder.sample_binary(condition, 50, statistical.key(3))
        states = found.latents.numpy().reshape(11, 50, 5)
        places = np.int64(states @ 2 ** np.arange(5)[::-1])
        expected = np.take_along_axis(log_q, places, axis=1)
        errors = found.log_q.numpy().reshape(11, 50) - expected
        assert np.abs(errors.mean()) < 0.02 and errors.std() < 0.1 and expected.std() > 0.5
        logits = found.params.logits.numpy().reshape(11, 50, 5)
        for row in range(11):
            rbm = reference_of(condition, row)
            fields = rbm.bias + states[row] @ rbm.matrix()
            assert np.allclose(logits[row], fields, atol=1e-4)

    def test_images_of_a_call(self):
        """So few that a pass has a hundred samples of each, or all there are."""
        evaluator = Evaluator(make().model)
        evaluator.model.encoder.num_temperatures = 1
        assert evaluator.images_per_call(1000, 4000) == 8
        assert evaluator.images_per_call(1000, 20) == 12
        assert Evaluator(tiny_models.make_model()).images_per_call(1000, 4000) == 1000


def test_one_group_only():
    """The command line says so before any data are read."""
    for struct in ("2-layer-nonlin", "4-layer-nonlin"):
        with pytest.raises(UserError, match="one latent group only: choose struct=1-layer-lin"):
            build_config(baseline="dvaess_pwl", struct=struct)
    config = build_config(baseline="dvaess_pwl", struct="1-layer-lin", dataset="omniglot")
    assert config.beta == 3.0 and config.structure.num_groups == 1
    assert build_config(baseline="dvaess_concrete", struct="1-layer-nonlin").beta == 10.0


def modes(bias, starts):
    """Of two images: all units alike, coupled into two modes; and units on their own, one mode."""
    coupling = np.stack([np.full((4, 3), 4.0), np.zeros((4, 3))])
    left = np.stack([np.full(4, bias - 6.0), np.linspace(-1, 1, 4)])
    right = np.stack([np.full(3, bias - 8.0), np.linspace(-1, 1, 3)])
    rbm = RBMParameters(*(tf.constant(p, tf.float32) for p in (left, right, coupling)))
    return undirected.modes_from(rbm, tf.constant(starts, tf.float32)).tolist()


class TestModes:
    def test_hits(self):
        """A mode needs six samples that end in it."""
        for count, expected in ((5, 1), (6, 2), (12, 2)):
            starts = np.zeros((2, 20, 4))
            starts[:, :count] = 1.0
            assert modes(0.0, starts) == [expected, 1]

    def test_a_field_leaves_one(self):
        assert modes(9.0, np.random.default_rng(1).random((2, 40, 4)) < 0.5) == [1, 1]

    @pytest.mark.parametrize("strength, expected", [(0.955, 1), (0.965, 2)])
    def test_slow_means(self, strength, expected):
        """Mean field that creeps to one half from both sides, to 0.0044 or 0.0091 from it after 40
        iterations: rounded to 0.01 that is one mode, or two."""
        ends = np.array([1.0, -1.0])
        for _ in range(40):
            ends = np.tanh(strength * np.tanh(strength * ends))
        assert len(set(np.round((1 + ends) / 2 / 0.01))) == expected
        bias = tf.constant([[-2.0 * strength]])
        rbm = RBMParameters(bias, bias, tf.constant([[[4.0 * strength]]]))
        starts = tf.constant([[[1.0]] * 10 + [[0.0]] * 10])
        assert undirected.modes_from(rbm, starts).tolist() == [expected]

    def test_of_images(self):
        """Samples by AIS: a model whose posteriors have two modes, one image at a time or all."""
        encoder, images = make(structure=models.LINEAR).model.encoder, float_images().numpy()
        for variable in (encoder.network.first[0].kernel, encoder.network.bias, encoder.norm.gamma):
            variable.assign(tf.zeros_like(variable))
        for beta, expected in ((1.5, 2), (0.0, 1)):
            encoder.norm.beta.assign(tf.fill(encoder.norm.beta.shape, beta))
            assert encoder.count_modes(images, 200, statistical.key(10)).tolist() == [expected] * 11
