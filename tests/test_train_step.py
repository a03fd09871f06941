"""The training step: every combination takes steps; compiled = eager; bad batches are skipped."""

import dataclasses
import functools
import math

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit

from configs.paper import BASELINES, ExperimentConfig, Structure
from data.dataset import Dataset
from dvae import train_step
from dvae.model import DVAE
from dvae.train_step import BAD_TERMS, TrainProgram
from samplers import counter_random
from tests import chance, tiny

STRUCTURES = {
    "1-layer-lin": Structure(1, 6, 0, 5),
    "1-layer-nonlin": Structure(1, 6, 1, 5),
    "2-layer-nonlin": Structure(2, 3, 1, 5),
    "4-layer-nonlin": Structure(4, 2, 1, 5),
}
NUM_STEPS = 10


def dataset():
    images = tiny.images()
    return Dataset("tiny", images, 1.0, False, images, images, (1, 7), "", "")


def config_of(**fields):
    base = ExperimentConfig(
        input_size=tiny.NUM_PIXELS,
        num_chains=13,
        num_sweeps=1,
        train_batchsize=3,
        num_train_iter=NUM_STEPS,
        sharpness=5.0,
        structure=STRUCTURES["2-layer-nonlin"],
    )
    return dataclasses.replace(base, **fields)


def make_program(config, data=None, step=5):
    """A program with random weights, in the middle of its run (so that kl_weight is 1)."""
    program = TrainProgram(config, data or dataset())
    tiny.randomize(program.model, scale=0.5)
    program.state.step.assign(step)
    return program


@functools.lru_cache(maxsize=1)
def built(baseline, struct):
    """One model for each baseline and structure: to build one takes longer than a step."""
    return DVAE(config_of(baseline=baseline, structure=STRUCTURES[struct]), dataset().train_mean)


@pytest.fixture
def fast_random(monkeypatch):
    """Random bits by NumPy: eager Threefry would take most of the time of a step."""

    rng = np.random.default_rng(chance.seed(1))

    def words(_key, counter_0, counter_1, rounds=13):
        del rounds
        shape = tf.broadcast_static_shape(counter_0.shape, counter_1.shape)
        bits = rng.integers(2**32, size=(2, *shape), dtype=np.uint32)
        return tf.constant(bits[0]), tf.constant(bits[1])

    def bits(_key, exponents, stream=0, first_part=0):
        del stream, first_part
        odds = 1.0 + np.exp2(exponents.numpy())
        return tf.constant(np.float32(rng.random(exponents.shape) * odds < 1.0))

    monkeypatch.setattr(counter_random, "threefry_2x32", words)
    monkeypatch.setattr(counter_random, "bernoulli_exponents", bits)


@pytest.fixture
def eager():
    """Runs compiled functions as plain Python."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def watch_gradients(program, monkeypatch):
    """A list that receives each flat gradient that reaches the optimizer."""
    seen = []
    apply = program.optimizer.apply

    def spy(gradient, rate, ok):
        seen.append(gradient.numpy())
        apply(gradient, rate, ok)

    monkeypatch.setattr(program.optimizer, "apply", spy)
    return seen


@pytest.mark.usefixtures("fast_random", "eager")
@pytest.mark.parametrize("population_annealing", [True, False], ids=["pa", "pcd"])
@pytest.mark.parametrize("k", [1, 5], ids=["k1", "k5"])
@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize("struct", STRUCTURES)
def test_every_combination_takes_a_step(struct, baseline, k, population_annealing, monkeypatch):
    """Finite terms, and no variable without a gradient other than weight decay's."""

    def model(config, _train_mean):
        found = built(baseline, struct)
        found.config = config
        return found

    monkeypatch.setattr(train_step, "DVAE", model)
    program = make_program(
        config_of(
            baseline=baseline,
            structure=STRUCTURES[struct],
            k=k,
            population_annealing=population_annealing,
        )
    )
    variables = program.model.trainable_variables
    seen = watch_gradients(program, monkeypatch)
    penalties = program.model.weight_decay_gradients()
    before = [v.numpy() for v in variables]
    program.run(np.array([[1, 5, 8]]), 1)
    assert int(program.state.skipped) == 0 and int(program.state.step) == 6
    metrics = program.take_metrics()
    assert len(metrics) >= 4 and all(math.isfinite(value) for value in metrics.values())
    assert len(seen) == 1
    gradients = np.split(seen[0], np.cumsum([old.size for old in before])[:-1])
    for variable, gradient, penalty, old in zip(
        variables, gradients, penalties, before, strict=True
    ):
        of_loss = gradient.reshape(old.shape) - penalty
        assert np.all(np.isfinite(of_loss)), variable.path
        assert np.max(np.abs(of_loss)) > 1e-6, variable.path
        assert np.any(variable.numpy() != old), variable.path


class WithNaN(Dataset):
    """The tiny data set in float32, whose last image is not a number."""

    @property
    def train_mean(self):
        return tiny.train_mean()


def poisoned():
    images = np.float32(tiny.images())
    images[-1] = np.nan
    return WithNaN("tiny", images, 1.0, False, tiny.images(), tiny.images(), (1, 7), "", "")


def snapshot(program):
    """Copies of weights, batch-norm averages and optimizer slots."""
    variables = [*program.model.variables, *program.optimizer.adam.variables]
    return [v.numpy() for v in variables]


def same(first, second):
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.fixture(scope="module")
def config():
    return config_of(baseline="dvaes_power", k=5, sharpness=20.0, resample_threshold=0.6)


@pytest.fixture(scope="module")
def compiled(config):
    """A compiled program and its log: metrics and weights after 3 good steps."""
    program = make_program(config, poisoned(), step=3)
    program.run(np.array([[1, 5, 8], [2, 0, 9], [3, 4, 6], [7, 1, 0]]), 3)
    return program, program.take_metrics(), snapshot(program)


class TestCompiled:
    def test_equals_eager(self, compiled, config, eager):
        """Three steps in one compiled call = three calls in plain Python, to rounding.

        Metrics of a call are the means over its steps.
        """
        _, metrics, weights = compiled
        plain = make_program(config, poisoned(), step=3)
        taken = []
        for row in ([1, 5, 8], [2, 0, 9], [3, 4, 6]):
            plain.run(np.array([row]), 1)
            taken.append(plain.take_metrics())
        assert int(plain.state.skipped) == 0 and int(plain.state.step) == 6
        for found, expected in zip(weights, snapshot(plain), strict=True):
            assert np.allclose(found, expected, rtol=1e-4, atol=1e-5)
        for name, value in metrics.items():
            mean = sum(step[name] for step in taken) / 3
            assert math.isclose(value, mean, rel_tol=1e-4, abs_tol=1e-4), name

    def test_a_bad_batch_is_skipped(self, compiled):
        """NaN pixels: weights, averages and slots stay bit for bit; the reconstruction is named.

        Good steps go on afterwards, in the same program: one trace for any number of steps.
        """
        program, *_ = compiled
        step, before = int(program.state.step), snapshot(program)
        program.take_metrics()
        chains = program.sampler_state().gradient.chains.left.numpy()
        bad = np.array([[1, 10, 8], [10, 10, 10], [3, 4, 6], [7, 1, 0]])
        program.run(bad, 2)
        assert same(before, snapshot(program))
        assert int(program.state.skipped) == int(program.state.skipped_in_a_row) == 2
        assert program.state.skipped_terms.numpy().tolist() == [2, 0, 0, 0]
        assert all(value == 0 for value in program.take_metrics().values())
        # Steps are counted and the chains move on all the same.
        assert int(program.state.step) == step + 2
        assert not np.array_equal(chains, program.sampler_state().gradient.chains.left)
        program.run(np.array(bad[[2, 3, 0, 1]]), 1)
        assert int(program.state.skipped) == 2 and int(program.state.skipped_in_a_row) == 0
        assert not same(before, snapshot(program))
        metrics = program.take_metrics()
        assert all(math.isfinite(value) for value in metrics.values())
        assert metrics["obj/recon_loss"] > 0
        assert program._compiled.experimental_get_tracing_count() == 1


def nan_like(values):
    return values * np.float32("nan")


@pytest.mark.usefixtures("fast_random", "eager")
class TestEager:
    def bad(self, program):
        """Runs one step and returns the one term that is blamed; nothing else may move."""
        before = snapshot(program)
        program.run(np.array([[1, 5, 8]]), 1)
        assert same(before, snapshot(program))
        terms = program.state.skipped_terms.numpy()
        assert terms.sum() == 1 == int(program.state.skipped)
        return BAD_TERMS[int(np.argmax(terms))]

    def test_the_first_bad_term_is_named(self, monkeypatch):
        """Each of the four; a bad KL makes bad gradients too, yet only the KL is blamed."""
        config = config_of(baseline="dvaepp_exp", structure=STRUCTURES["1-layer-lin"])
        assert self.bad(make_program(config, poisoned_everywhere())) == "reconstruction"
        program = make_program(config)
        parts = program.model.parts
        program.model.parts = parts._replace(kl=lambda *args: nan_like(parts.kl(*args)))
        assert self.bad(program) == "posterior or prior"
        program = make_program(config)
        decay = program.model.weight_decay_gradients
        monkeypatch.setattr(
            program.model, "weight_decay_gradients", lambda: [nan_like(g) for g in decay()]
        )
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
        seen = watch_gradients(program, monkeypatch)
        rbm = [p.numpy() for p in program.model.prior.rbm()]
        images = np.float32(tiny.images())[[1, 5, 8]]
        network = program.model.encoder.networks[0]
        logits = tiny.reference_network(network)(images - dataset().train_mean)
        program.run(np.array([[1, 5, 8]]), 1)
        state = program.sampler_state()
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

    def test_log_partition_completes_the_metrics(self):
        """log Z goes into the bound with kl_weight (1/3 at step 1 of 10) and into the KL."""
        for baseline, has_value in (("dvaes_exp", True), ("dvae_spike_exp", False)):
            program = make_program(config_of(baseline=baseline), step=1)
            bound, _, kl, *_ = program._metric_names()
            means = {bound: 90.0, "obj/recon_loss": 80.0, kl: 20.0}
            found = program.add_log_partition(means, 6.0)
            assert math.isclose(found[bound], 92.0, rel_tol=1e-6)
            assert math.isclose(found[kl], 26.0 if has_value else 20.0)
            assert found["obj/recon_loss"] == 80.0

    def test_batches(self):
        """Binary images as they are; grey ones drawn anew with their values as probabilities.

        4000 draws of each of 7 pixels: standard error 0.008.
        """
        program = make_program(config_of())
        images = tf.constant(tiny.images())
        indices = tf.constant([5, 1, 5])
        found = program.batch(images, indices, chance.key(2))
        assert np.array_equal(found, np.float32(tiny.images()[[5, 1, 5]]))
        levels = np.uint8([[0, 1, 4, 8, 12, 15, 16]])
        program._binarize, program._grey_unit = True, 1 / 16
        drawn = program.batch(tf.constant(levels), tf.zeros([4000], tf.int32), chance.key(3))
        drawn = drawn.numpy()
        assert set(np.unique(drawn)) == {0.0, 1.0}
        assert np.all(drawn[:, 0] == 0) and np.all(drawn[:, -1] == 1)
        chance.assert_fraction(drawn[:, 1:-1], levels[0, 1:-1] / 16)


def poisoned_everywhere():
    """The data set whose every image is not a number."""
    bad = poisoned()
    return dataclasses.replace(bad, train=nan_like(bad.train))


def split_gradient(flat, program):
    """The pieces of a flat gradient by the name of their variable (the prior's are unique)."""
    variables = program.model.trainable_variables
    sizes = np.cumsum([int(np.prod(v.shape)) for v in variables])[:-1]
    pieces = np.split(flat, sizes)
    return {v.name: p.reshape(v.shape) for v, p in zip(variables, pieces, strict=True)}
