"""Training undirected posteriors: a step's gradient, and the chains of every training image."""

import math
from itertools import chain

import numpy as np
import pytest
import tensorflow as tf

from dvae.encoder import Batch
from dvae.runs.checkpoints import Progress, RunOptions, Saver
from dvae.runs.directory import RunDirectory
from dvae.train_state import gather_rows, named_leaves, scatter_rows
from dvae.train_step import TrainProgram
from samplers import counter_random
from tests.helpers import statistical, tiny_models
from tests.helpers.tiny_training import (
    STRUCTURES,
    config_of,
    dataset,
    decay_of,
    eager,
    make_program,
    poisoned,
    same,
    snapshot,
    take_variables,
    use_numpy_random,
    watch_gradients,
)
from tests.helpers.undirected_models import (
    BASELINES,
    NUM_LEFT,
    NUM_RIGHT,
    float_images,
    make,
    make_model,
    reference_of,
)
from tests.reference import undirected as reference
from tests.reference.rbm import ReferenceRBM, factorial_kl_gradient, numerical_gradient


def gradients(made, key, states, kl_weight):
    """Of encoder, and of decoder and prior, as lists of arrays in the reference's order."""
    model = made.model
    encoder, decoder, prior = model.encoder, model.decoder.network, model.prior
    groups = [
        [encoder.network.first[0].kernel, encoder.network.bias, *encoder.norm.trainable_variables],
        [decoder.first[0].kernel, decoder.bias, *prior.fields],
    ]
    variables = [[v.value for v in group] for group in groups]
    with tf.GradientTape() as tape:
        params = prior.parameters()
        estimate = made.estimate(float_images(4), params, key, tf.constant(kl_weight), states)
    found = tape.gradient(estimate.surrogate, variables)
    values = [[np.float64(v.numpy()) for v in group] for group in groups]
    return found, values, estimate


class TestGradient:
    """One step against float64 with the same uniform numbers, derivatives by differences."""

    @pytest.mark.parametrize("k", [1, 3])
    @pytest.mark.parametrize("kind", BASELINES)
    def test_step(self, kind, k):
        """Encoder, decoder and prior, each array to 1e-3 of its largest number."""
        made, key = make(kind, k=k), statistical.key(4)
        states = made.estimator.init(made.model, 4, statistical.key(5))
        found, values, estimate = gradients(made, key, states, 0.4)
        keys = counter_random.split(counter_random.split(key, 2)[1], 2)
        rho = [
            counter_random.uniform(key, [4 * k, size]).numpy().reshape(4, k, size)
            for key, size in zip(keys, (NUM_RIGHT, NUM_LEFT), strict=True)
        ]
        step = reference.Step(
            np.float64(tiny_models.images(count=4)),
            np.float64(tiny_models.train_mean()),
            np.float64(estimate.state),
            *map(np.float64, rho),
            kind,
            BASELINES[kind],
            0.4,
        )
        (encoder, generative) = values
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
        mean = step.log_weights(
            step.samples(encoder), step.posterior(encoder), generative[:2], generative[2:]
        ).mean()
        logged = float(estimate.log_likelihood) - 0.4 * float(estimate.kl)
        assert math.isclose(logged, mean, rel_tol=1e-4)

    def test_exact_kl_of_left_biases(self):
        """Nothing coupled: the gradient of the left biases is that of the KL, whatever is drawn."""
        made = make()
        model = made.model
        for variable in (
            *model.encoder.norm.trainable_variables,
            model.decoder.network.first[0].kernel,
            model.prior.fields.coupling,
        ):
            variable.assign(tf.zeros_like(variable))
        states = tf.zeros([4, 1, NUM_LEFT], tf.uint8)
        found, *_ = gradients(made, statistical.key(6), states, 0.7)
        rbm = model.encoder.posteriors(float_images(4), True)
        prior = ReferenceRBM(*(np.float64(p) for p in model.prior.parameters()))
        logits = np.concatenate([rbm.left_bias, rbm.right_bias], axis=1)
        exact = np.mean([factorial_kl_gradient(prior, row)[0] for row in logits], axis=0)
        # The logits are twice the network's outputs.
        assert np.allclose(found[0][1][:NUM_LEFT], -0.7 * 2.0 * exact[:NUM_LEFT], atol=1e-5)
        assert np.max(np.abs(exact[:NUM_LEFT])) > 0.01

    def test_without_chains(self):
        """A call that keeps nothing samples by AIS: the mean of ζ over 0.5 is that of z.

        2,000 samples of each of 4 images: standard errors of 0.011.
        """
        model = make_model(k=2000)
        batch = Batch(float_images(4))
        sample = model.encoder.sample(batch, 2000, statistical.key(7), training=True)
        rbm = model.encoder.posteriors(float_images(4), True)
        hits = sample.latents.numpy().reshape(4, 2000, 5) > 0.5
        for row in range(4):
            # The right half is drawn from binary left halves, hence exact but for AIS.
            expected = reference_of(rbm, row).means()[NUM_LEFT:]
            statistical.assert_fraction(hits[row, :, NUM_LEFT:], expected)


class TestChains:
    def test_follow(self):
        """40,000 chains of each of 4 images, 10 sweeps: the distribution of their left halves.

        Standard errors below 0.0025, in the batch's own statistics; a sweep less makes a
        difference of 0.02, as couplings are strong.
        """
        model = make_model(scale=0.6)
        model.encoder.norm.beta.assign(tf.fill(model.encoder.norm.beta.shape, 0.8))
        model.encoder.network.bias.assign(tf.zeros_like(model.encoder.network.bias))
        kernel = model.encoder.network.first[0].kernel
        kernel.assign(0.3 * kernel)
        starts = np.array([[1, 1], [0, 1], [1, 0], [1, 1]])
        left = tf.constant(np.repeat(starts[:, None], 40_000, axis=1), tf.float32)
        _, after = model.encoder.follow(Batch(float_images(4)), left, statistical.key(9))
        rbm = model.encoder.posteriors(float_images(4), True)
        for row in range(4):
            exact = reference_of(rbm, row)
            joint = exact.probabilities().reshape(4, -1)
            sweep = (joint / joint.sum(1, keepdims=True)) @ (joint / joint.sum(0)).T
            expected = np.linalg.matrix_power(sweep, 10)[starts[row] @ [2, 1]]
            hits = (np.int64(after[row].numpy() @ [2, 1]))[:, None] == np.arange(4)
            statistical.assert_fraction(hits, expected)

    def test_each_image_has_its_own(self):
        """Posteriors that are sure of a pattern of their image: rows of a batch take it, the
        others keep what they had."""
        with eager():
            program = make_program(sure_config())
            be_sure(program)
            take_variables(program)
            before = program.state.image_states.numpy()
            program.run(np.array([[1, 5, 8], [2, 0, 9]]), 2)
        after = program.state.image_states.numpy()
        patterns = tiny_models.images()[:, :3]
        trained = [0, 1, 2, 5, 8, 9]
        rest = [3, 4, 6, 7, 10]
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

    def test_compiled_equals_eager(self):
        """Chains bit for bit, weights to rounding, over three steps; a bad batch keeps both."""
        config = config_of(baseline="dvaess_concrete", structure=STRUCTURES["1-layer-nonlin"], k=2)
        compiled, plain = (make_program(config, poisoned(), step=3) for _ in range(2))
        batches = np.array([[1, 5, 8], [2, 0, 9], [1, 4, 6]])
        compiled.run(batches, 3)
        with eager():
            for row in batches:
                plain.run(row[None], 1)
        states = compiled.state.image_states.numpy()
        assert np.array_equal(states, plain.state.image_states)
        for found, expected in zip(snapshot(compiled), snapshot(plain), strict=True):
            assert np.allclose(found, expected, rtol=1e-4, atol=1e-5)
        assert compiled.state.skipped == 0
        compiled.run(np.array([[7, 10, 3], [0, 0, 0], [0, 0, 0]]), 1)
        assert compiled.state.skipped == 1
        assert np.array_equal(states, compiled.state.image_states)
        assert "train/neg_iw_loss" not in compiled.metrics.names
        assert compiled.compiled.experimental_get_tracing_count() == 1

    def test_resumes_bit_for_bit(self, tmp_path):
        """Two steps, a checkpoint, and two more by a program that reads it = four steps."""
        config = sure_config(base_lr=0.1)
        batches = np.array([[1, 5, 8], [2, 0, 9], [1, 4, 6], [3, 8, 2]])

        def saver(program):
            directory = RunDirectory(tmp_path)
            return Saver(directory, program, RunOptions(checkpoint_minutes=0.0))

        with eager():
            whole, first, second = (make_program(config, step=0) for _ in range(3))
            whole.run(batches[:2], 2)
            first.run(batches[:2], 2)
            saver(first).save(Progress(step=2))
            assert saver(second).restore().step == 2
            for program in (whole, second):
                program.run(batches[2:], 2)
        assert same(snapshot(whole), snapshot(second))
        states = [program.state.image_states.numpy() for program in (whole, second, first)]
        assert np.array_equal(states[0], states[1])
        assert not np.array_equal(states[0], states[2])

    def test_no_other_method_keeps_states(self):
        """Their checkpoints have no place for any."""
        with eager():
            program = TrainProgram(config_of(baseline="dvaes_power"), dataset())
        assert not [name for name in named_leaves(program.state) if "image_states" in name]


def sure_config(base_lr=1e-9):
    structure = STRUCTURES["1-layer-lin"]
    return config_of(baseline="dvaess_pwl", structure=structure, k=2, base_lr=base_lr)


def be_sure(program):
    """Left units copy the first three pixels, and nothing is coupled."""
    encoder = program.model.encoder
    kernel = np.zeros(encoder.network.first[0].kernel.shape, np.float32)
    kernel[[0, 1, 2], [0, 1, 2]] = 200.0
    mean = tiny_models.images().mean(axis=0)[:3]
    bias = np.zeros(encoder.network.bias.shape, np.float32)
    bias[:3] = 200.0 * (mean - 0.5)
    encoder.network.first[0].kernel.assign(kernel)
    encoder.network.bias.assign(bias)
    for variable in encoder.norm.trainable_variables:
        variable.assign(tf.zeros_like(variable))


@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("struct", ["1-layer-lin", "1-layer-nonlin"])
@pytest.mark.parametrize("kind", BASELINES)
def test_takes_a_step(kind, struct, k, monkeypatch):
    """Finite terms, and every variable has a gradient; no bound is logged."""
    use_numpy_random(monkeypatch)
    with eager():
        program = make_program(
            config_of(baseline=f"dvaess_{kind}", structure=STRUCTURES[struct], k=k)
        )
        seen = watch_gradients(monkeypatch)
        penalties = [np.ravel(p) for p in decay_of(program)]
        program.run(np.array([[1, 5, 8]]), 1)
    assert program.state.skipped == 0
    metrics = program.take_metrics((3.0, 3.0))
    assert not {"train/neg_elbo", "train/neg_iw_loss", "obj/kl"} & set(metrics)
    assert all(math.isfinite(value) for value in metrics.values())
    variables = program.trained
    pieces = np.split(seen[0], np.cumsum([int(np.prod(v.shape)) for v in variables])[:-1])
    for variable, piece, penalty in zip(variables, pieces, penalties, strict=True):
        assert np.max(np.abs(piece - penalty)) > 1e-6, variable.path
