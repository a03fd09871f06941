"""What enters a training step's gradient and its metrics, and which bad term is blamed."""

import math

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit

from dvae import train_step
from dvae.train_state import BAD_TERMS
from tests.helpers import statistical, tiny_models
from tests.helpers.tiny_training import (
    STRUCTURES,
    config_of,
    dataset,
    eager,
    make_program,
    nan_like,
    poisoned,
    poisoned_everywhere,
    same,
    snapshot,
    split_gradient,
    use_numpy_random,
    watch_gradients,
)


@pytest.fixture(autouse=True)
def fast_eager(monkeypatch):
    use_numpy_random(monkeypatch)
    with eager():
        yield


class TestTerms:
    def bad(self, program):
        """Runs one step and returns the one term that is blamed; nothing else may move."""
        before = snapshot(program)
        program.run(np.array([[1, 5, 8]]), 1)
        assert same(before, snapshot(program))
        terms = program.state.skipped_terms
        assert terms.sum() == 1 == program.state.skipped
        return BAD_TERMS[int(np.argmax(terms))]

    def test_the_first_bad_term_is_named(self, monkeypatch):
        """Each of the four; a bad KL makes bad gradients too, yet only the KL is blamed.

        A gradient of 1e25 is finite, but its square, which Adam takes, is not.
        """
        config = config_of(baseline="dvaepp_exp", structure=STRUCTURES["1-layer-lin"])
        assert self.bad(make_program(config, poisoned_everywhere())) == "reconstruction"
        program = make_program(config)
        objective = program.estimator.objective
        ratio = type(objective.log_ratio).__call__
        with monkeypatch.context() as patch:
            patch.setattr(
                type(objective.log_ratio), "__call__", lambda *args: nan_like(ratio(*args))
            )
            assert self.bad(program) == "posterior or prior"
        for rate in (math.nan, 1e25):
            program = make_program(config)
            program._decay_rates = [rate] * len(program.trained)
            assert self.bad(program) == "gradient"
        program = make_program(config)
        surrogate = train_step.log_partition_surrogate
        monkeypatch.setattr(
            train_step, "log_partition_surrogate", lambda *args: nan_like(surrogate(*args))
        )
        assert self.bad(program) == "log Z"

    def test_gradient_of_the_prior(self, monkeypatch):
        """kl_weight (E_chains - E_q) of z_L, z_R and z_L z_R', plus weight decay on W, by loops.

        A population of unequal weights, 3 images, kl_weight 1/3.
        """
        config = config_of(
            baseline="dvaepp_exp", structure=STRUCTURES["1-layer-lin"], resample_threshold=1e-6
        )
        program = make_program(config, step=1)
        seen = watch_gradients(monkeypatch)
        rbm = [p.numpy() for p in program.parameters()]
        images = np.float32(tiny_models.images())[[1, 5, 8]]
        network = program.model.encoder.networks[0]
        logits = tiny_models.reference_network(network)(images - dataset().train_mean)
        program.run(np.array([[1, 5, 8]]), 1)
        state = program.state.sampler
        weights = np.float64(program.sampler.weights(state))
        assert np.isclose(weights.sum(), 1, atol=1e-6) and weights.max() > 2 * weights.min()
        expected = [np.zeros(3), np.zeros(3), np.zeros((3, 3))]
        chains = [np.float64(half) for half in program.sampler.chains(state)]
        q = expit(logits)
        rows = [(weight, chains[0][c], chains[1][c]) for c, weight in enumerate(weights)]
        rows += [(-1 / 3, row[:3], row[3:]) for row in q]
        for weight, left, right in rows:
            expected[0] += weight * left / 3
            expected[1] += weight * right / 3
            expected[2] += weight * np.outer(left, right) / 3
        expected[2] += 1e-4 * rbm[2]
        found = split_gradient(seen[0], program)
        for name, value in zip(("left_bias", "right_bias", "coupling"), expected, strict=True):
            assert np.allclose(found[name], value, atol=1e-5), name

    @pytest.mark.parametrize(
        ("baseline", "k", "bound", "kl"),
        [
            ("dvaes_exp", 1, "train/neg_elbo", "obj/kl"),
            ("dvaes_exp", 5, "train/neg_iw_loss", "obj/kl"),
            ("dvae_spike_exp", 1, "train/neg_elbo", None),
            ("dvaess_pwl", 1, None, None),
        ],
    )
    def test_log_partition_completes_the_metrics(self, baseline, k, bound, kl):
        """Steps 1 (KL weight 1/3), 2 (skipped) and 3 (1) of 10, log Z from 6 to 9 nats: 6 and 8.

        The bound has the mean of weight times log Z, the KL that of log Z, the rest none of it.
        """
        struct = STRUCTURES["1-layer-lin" if baseline == "dvaess_pwl" else "2-layer-nonlin"]
        config = config_of(baseline=baseline, k=k, structure=struct)
        program = make_program(config, poisoned(), step=1)
        for row in ([1, 5, 8], [1, 10, 8], [2, 4, 6]):
            program.run(np.array([row]), 1)
        assert program.state.skipped == 1
        summed = program.state
        without = program.take_metrics()
        program.state = summed
        completed = program.take_metrics((6.0, 9.0))
        added = {name: completed[name] - without[name] for name in without}
        expected = {bound: (6.0 / 3 + 8.0) / 2, kl: 7.0}
        for name, value in added.items():
            assert math.isclose(value, expected.get(name, 0.0), abs_tol=1e-4), name
        assert {bound, kl or "obj/kl_gradient_surrogate"} - {None} <= set(added)

    def test_a_window_without_a_step_has_no_means(self):
        program = make_program(config_of(), poisoned_everywhere())
        program.run(np.array([[1, 5, 8]]), 1)
        assert program.take_metrics((6.0, 9.0)) == {}

    def test_batches(self):
        """Binary images as they are; grey ones drawn anew with their values as probabilities.

        4000 draws of each of 7 pixels: standard error 0.008.
        """
        program = make_program(config_of())
        images = tf.constant(tiny_models.images())
        indices = tf.constant([5, 1, 5])
        found = program.batch(images, indices, statistical.key(2))
        assert np.array_equal(found.images, np.float32(tiny_models.images()[[5, 1, 5]]))
        levels = np.uint8([[0, 1, 4, 8, 12, 15, 16]])
        program._binarize, program._grey = True, lambda levels: levels / 16
        drawn = program.batch(tf.constant(levels), tf.zeros([4000], tf.int32), statistical.key(3))
        drawn = drawn.images.numpy()
        assert set(np.unique(drawn)) == {0.0, 1.0}
        assert np.all(drawn[:, 0] == 0) and np.all(drawn[:, -1] == 1)
        statistical.assert_fraction(drawn[:, 1:-1], levels[0, 1:-1] / 16)
