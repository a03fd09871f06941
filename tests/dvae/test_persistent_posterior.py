"""Training undirected posteriors: a step's gradient, and the chains of every training image."""

import math
from itertools import chain

import numpy as np
import pytest
import tensorflow as tf

from dvae.encoder import Batch
from dvae.runs.checkpoints import Progress, RunOptions, Saver
from dvae.runs.directory import RunDirectory
from dvae.train_state import gather_rows, scatter_rows
from samplers import counter_random
from tests.helpers import statistical, tiny_models
from tests.helpers import tiny_training as tiny
from tests.helpers import undirected_models as models
from tests.helpers.recorded_draws import Draws
from tests.helpers.undirected_models import float_images, make, reference_of
from tests.reference import undirected as reference
from tests.reference.rbm import ReferenceRBM, factorial_kl_gradient, numerical_gradient

LEFT, RIGHT = models.NUM_LEFT, models.NUM_RIGHT


def gradients(made, key, states, kl_weight):
    """Of encoder, and of decoder and prior, as lists of arrays in the reference's order."""
    model = made.model
    encoder, decoder, prior = model.encoder, model.decoder.network, model.prior
    groups = [
        [encoder.network.first[0].kernel, encoder.network.bias, *encoder.norm.trainable_variables],
        [decoder.first[0].kernel, decoder.bias, *prior.fields],
    ]
    with tf.GradientTape() as tape:
        params = prior.parameters()
        estimate = made.estimate(float_images(4), params, key, tf.constant(kl_weight), states)
    found = tape.gradient(estimate.surrogate, [[v.value for v in group] for group in groups])
    values = [[np.float64(v.numpy()) for v in group] for group in groups]
    return found, values, estimate


class TestGradient:
    """One step against float64 with the same uniform numbers, derivatives by differences."""

    @pytest.mark.parametrize("k", [1, 3])
    @pytest.mark.parametrize("kind", models.BASELINES)
    def test_step(self, kind, k):
        """Encoder, decoder and prior, each array to 1e-3 of its largest number."""
        made, key = make(kind, k=k), statistical.key(4)
        states = made.estimator.init(made.model, 4, statistical.key(5))
        found, values, estimate = gradients(made, key, states, 0.4)
        keys = counter_random.split(counter_random.split(key, 2)[1], 2)
        rho = [
            counter_random.uniform(key, [4 * k, size]).numpy().reshape(4, k, size)
            for key, size in zip(keys, (RIGHT, LEFT), strict=True)
        ]
        given = tiny_models.images(count=4), tiny_models.train_mean(), estimate.state, *rho
        step = reference.Step(*map(np.float64, given), kind, models.BASELINES[kind], 0.4)
        encoder, generative = values
        by_theta, by_phi = step.surrogates(encoder, generative[:2], generative[2:])
        # The piecewise-linear relaxation has kinks, which a small step seldom falls on.
        expected = (
            numerical_gradient(by_phi, encoder, step=1e-6),
            numerical_gradient(by_theta, generative, step=1e-6),
        )
        for ours, theirs in zip(chain(*found), chain(*expected), strict=True):
            largest = np.max(np.abs(theirs))
            assert largest > 1e-4
            assert np.allclose(ours, theirs, atol=1e-3 * largest)
        drawn = step.samples(encoder), step.posterior(encoder)
        mean = step.log_weights(*drawn, generative[:2], generative[2:]).mean()
        logged = float(estimate.log_likelihood) - 0.4 * float(estimate.kl)
        assert math.isclose(logged, mean, rel_tol=1e-4)

    def test_exact_kl_of_left_biases(self):
        """Nothing coupled: the gradient of the left biases is that of the KL, whatever is drawn."""
        made = make()
        model = made.model
        kernel = model.decoder.network.first[0].kernel
        set_zero(*model.encoder.norm.trainable_variables, kernel, model.prior.fields.coupling)
        states = tf.zeros([4, 1, LEFT], tf.uint8)
        found, *_ = gradients(made, statistical.key(6), states, 0.7)
        rbm = model.encoder.posteriors(float_images(4), True)
        prior = ReferenceRBM(*(np.float64(p) for p in model.prior.parameters()))
        logits = np.concatenate([rbm.left_bias, rbm.right_bias], axis=1)
        exact = np.mean([factorial_kl_gradient(prior, row)[0] for row in logits], axis=0)
        # The logits are twice the network's outputs.
        assert np.allclose(found[0][1][:LEFT], -0.7 * 2.0 * exact[:LEFT], atol=1e-5)
        assert np.max(np.abs(exact[:LEFT])) > 0.01

    def test_without_chains(self):
        """A call that keeps nothing samples by AIS: the mean of ζ over 0.5 is that of z.

        2,000 samples of each of 4 images: standard errors of 0.011.
        """
        encoder, batch = make(k=2000).model.encoder, Batch(float_images(4))
        sample = encoder.sample(batch, 2000, statistical.key(7), training=True)
        rbm = encoder.posteriors(float_images(4), True)
        hits = sample.latents.numpy().reshape(4, 2000, 5) > 0.5
        for row in range(4):
            # The right half is drawn from binary left halves, hence exact but for AIS.
            expected = reference_of(rbm, row).means()[LEFT:]
            statistical.assert_fraction(hits[row, :, LEFT:], expected)


def set_zero(*variables):
    for variable in variables:
        variable.assign(tf.zeros_like(variable))


def sure_program(**fields):
    """Left units copy the first three pixels and are sure of it; nothing is coupled."""
    structure = tiny.STRUCTURES["1-layer-lin"]
    fields = dict(baseline="dvaess_pwl", structure=structure, k=2, **fields)
    program = tiny.make_program(tiny.config_of(**fields))
    encoder = program.model.encoder
    kernel = np.zeros(encoder.network.first[0].kernel.shape, np.float32)
    kernel[[0, 1, 2], [0, 1, 2]] = 200.0
    bias = np.zeros(encoder.network.bias.shape, np.float32)
    bias[:3] = 200.0 * (tiny_models.images().mean(axis=0)[:3] - 0.5)
    encoder.network.first[0].kernel.assign(kernel)
    encoder.network.bias.assign(bias)
    set_zero(*encoder.norm.trainable_variables)
    tiny.take_variables(program)
    return program


class TestChains:
    def test_follow(self):
        """40,000 chains of each of 4 images, 10 sweeps: the distribution of their left halves.

        Standard errors below 0.0025, in the batch's own statistics; a sweep less makes a
        difference of 0.02, as couplings are strong.
        """
        encoder = make(scale=0.6).model.encoder
        encoder.norm.beta.assign(tf.fill(encoder.norm.beta.shape, 0.8))
        set_zero(encoder.network.bias)
        kernel = encoder.network.first[0].kernel
        kernel.assign(0.3 * kernel)
        starts = np.array([[1, 1], [0, 1], [1, 0], [1, 1]])
        left = tf.constant(np.repeat(starts[:, None], 40_000, axis=1), tf.float32)
        _, after = encoder.follow(Batch(float_images(4)), left, statistical.key(9))
        rbm = encoder.posteriors(float_images(4), True)
        for row in range(4):
            joint = reference_of(rbm, row).probabilities().reshape(4, -1)
            sweep = (joint / joint.sum(1, keepdims=True)) @ (joint / joint.sum(0)).T
            expected = np.linalg.matrix_power(sweep, 10)[starts[row] @ [2, 1]]
            hits = (np.int64(after[row].numpy() @ [2, 1]))[:, None] == np.arange(4)
            statistical.assert_fraction(hits, expected)

    def test_each_image_has_its_own(self, monkeypatch):
        """Posteriors that are sure of a pattern of their image: rows of a batch take it, the
        others keep what they had."""
        Draws(monkeypatch)
        with tiny.eager():
            program = sure_program(base_lr=1e-9)
            before = program.state.image_states.numpy()
            program.run(np.array([[1, 5, 8], [2, 0, 9]]), 2)
        after = program.state.image_states.numpy()
        patterns = tiny_models.images()[:, :3]
        trained, rest = [0, 1, 2, 5, 8, 9], [3, 4, 6, 7, 10]
        assert np.array_equal(after[trained], np.repeat(patterns[trained, None], 2, axis=1))
        assert np.array_equal(after[rest], before[rest])
        assert not np.array_equal(before[trained], after[trained])
        assert 0.2 < before.mean() < 0.8

    def test_starts_from_its_own(self):
        """What a step is given of an image is its row, and goes back there; of any nest."""
        states = {"a": tf.range(11), "b": tf.reshape(tf.range(22), [11, 2])}
        indices = tf.constant([7, 0, 4])
        rows = gather_rows(states, indices)
        assert rows["a"].numpy().tolist() == [7, 0, 4]
        assert rows["b"].numpy().tolist() == [[14, 15], [0, 1], [8, 9]]
        new = scatter_rows(states, indices, tf.nest.map_structure(tf.negative, rows))
        assert new["a"].numpy().tolist() == [0, 1, 2, 3, -4, 5, 6, -7, 8, 9, 10]
        assert new["b"][7].numpy().tolist() == [-14, -15]

    def test_resumes_bit_for_bit(self, tmp_path, monkeypatch):
        """Two steps, a checkpoint, and two more by a program that reads it = four steps."""
        Draws(monkeypatch)
        batches = np.array([[1, 5, 8], [2, 0, 9], [1, 4, 6], [3, 8, 2]])
        structure = tiny.STRUCTURES["1-layer-lin"]
        config = tiny.config_of(baseline="dvaess_pwl", structure=structure, k=2, base_lr=0.1)
        with tiny.eager():
            whole, first, second = (tiny.make_program(config, step=0) for _ in range(3))
            savers = [
                Saver(RunDirectory(tmp_path), program, RunOptions(checkpoint_minutes=0.0))
                for program in (first, second)
            ]
            whole.run(batches[:2], 2)
            first.run(batches[:2], 2)
            savers[0].save(Progress(step=2))
            assert savers[1].restore().step == 2
            for program in (whole, second):
                program.run(batches[2:], 2)
        assert tiny.same(tiny.snapshot(whole), tiny.snapshot(second))
        states = [program.state.image_states.numpy() for program in (whole, second, first)]
        assert np.array_equal(states[0], states[1])
        assert not np.array_equal(states[0], states[2])
