"""Tiny training programs: in the middle of their run, with random weights, run eagerly if asked."""

import contextlib
import dataclasses

import numpy as np
import tensorflow as tf

from configs.experiment import ExperimentConfig
from configs.registry import Structure
from data.dataset import Dataset
from dvae import adam
from dvae.adam import flatten, unflatten
from dvae.train_state import STEP
from dvae.train_step import TrainProgram
from samplers import counter_random
from tests.helpers import statistical, tiny_models

STRUCTURES = {
    "1-layer-lin": Structure(1, 6, 0, 5),
    "1-layer-nonlin": Structure(1, 6, 1, 5),
    "2-layer-nonlin": Structure(2, 3, 1, 5),
    "4-layer-nonlin": Structure(4, 2, 1, 5),
}
NUM_STEPS = 10


def dataset():
    images = tiny_models.images()
    return Dataset("tiny", images, 1.0, False, images, images, (1, 7), "", "")


def config_of(**fields):
    base = ExperimentConfig(
        input_size=tiny_models.NUM_PIXELS,
        num_chains=13,
        num_sweeps=1,
        train_batchsize=3,
        num_train_iter=NUM_STEPS,
        beta=5.0,
        structure=STRUCTURES["2-layer-nonlin"],
    )
    return dataclasses.replace(base, **fields)


def make_program(config, data=None, step=5):
    """A program with random weights, in the middle of its run (so that kl_weight is 1)."""
    program = TrainProgram(config, data or dataset())
    tiny_models.randomize(variables_of(program), scale=0.5)
    take_variables(program)
    set_step(program, step)
    return program


def variables_of(program):
    """All that training leaves in model and estimator."""
    return tiny_models.all_variables(program.model, program.estimator)


def take_variables(program):
    """Makes the program's state of the weights and averages that the networks were given."""
    weights, averages = flatten(program.trained), flatten(program.model.non_trainable_variables)
    program.state = program.state._replace(weights=weights, averages=averages)


def set_step(program, step):
    """Lets the program stand at some step."""
    counts = tf.tensor_scatter_nd_update(program.state.counts, [[STEP]], [step])
    program.state = program.state._replace(counts=counts)


@contextlib.contextmanager
def eager():
    """Runs compiled functions as plain Python."""
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)


def use_numpy_random(monkeypatch):
    """Random bits by NumPy: eager Threefry would take most of the time of a step."""

    rng = np.random.default_rng(statistical.seed(1))

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


def decay_of(program):
    """What weight decay adds to the gradient of each trained variable."""
    return unflatten(program._decay(program.state.weights), program.trained)


def watch_gradients(monkeypatch):
    """A list that receives each flat gradient that reaches the optimizer."""
    seen = []
    update = adam.update

    def spy(weights, state, gradient, rate):
        seen.append(gradient.numpy())
        return update(weights, state, gradient, rate)

    monkeypatch.setattr(adam, "update", spy)
    return seen


class WithNaN(Dataset):
    """The tiny data set in float32, whose last image is not a number."""

    @property
    def train_mean(self):
        return tiny_models.train_mean()


def poisoned():
    images = np.float32(tiny_models.images())
    images[-1] = np.nan
    return WithNaN(
        "tiny", images, 1.0, False, tiny_models.images(), tiny_models.images(), (1, 7), "", ""
    )


def snapshot(program):
    """Copies of weights, batch-norm averages and optimizer slots."""
    state = program.state
    return [leaf.numpy() for leaf in (state.weights, state.averages, *state.adam)]


def same(first, second):
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def nan_like(values):
    return values * np.float32("nan")


def poisoned_everywhere():
    """The data set whose every image is not a number."""
    bad = poisoned()
    return dataclasses.replace(bad, train=nan_like(bad.train))


def split_gradient(flat, program):
    """The pieces of a flat gradient by the name of their variable (the prior's are unique)."""
    variables = program.trained
    sizes = np.cumsum([int(np.prod(v.shape)) for v in variables])[:-1]
    pieces = np.split(flat, sizes)
    return {v.name: p.reshape(v.shape) for v, p in zip(variables, pieces, strict=True)}
