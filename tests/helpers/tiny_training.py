"""Tiny training programs: in the middle of their run, with random weights, run eagerly if asked."""

import contextlib

import numpy as np
import tensorflow as tf

from configs.experiment import ExperimentConfig
from configs.registry import Structure
from data.dataset import Dataset
from dvae import adam
from dvae.adam import flatten
from dvae.train_state import STEP
from dvae.train_step import TrainProgram
from tests.helpers import tiny_models

STRUCTURES = {"1-layer-lin": Structure(1, 6, 0, 5), "1-layer-nonlin": Structure(1, 6, 1, 5)}
STRUCTURES |= {"2-layer-nonlin": Structure(2, 3, 1, 5), "4-layer-nonlin": Structure(4, 2, 1, 5)}
NUM_STEPS = 10


def dataset():
    images = tiny_models.images()
    return Dataset("tiny", images, 1.0, False, images, images, (1, 7), "", "")


def config_of(**fields):
    values = dict(input_size=tiny_models.NUM_PIXELS, num_chains=13, num_sweeps=1, beta=5.0)
    values |= dict(train_batchsize=3, num_train_iter=NUM_STEPS)
    return ExperimentConfig(**(values | dict(structure=STRUCTURES["2-layer-nonlin"]) | fields))


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


def watch_gradients(monkeypatch, program):
    """A list that receives each flat gradient at the optimizer, without weight decay's part."""
    seen = []
    update = adam.update

    def spy(weights, state, gradient, rate):
        seen.append((gradient - program._decay(weights)).numpy())
        return update(weights, state, gradient, rate)

    monkeypatch.setattr(adam, "update", spy)
    return seen


class WithNaN(Dataset):
    """The tiny data set in float32, with images that are not numbers."""

    @property
    def train_mean(self):
        return tiny_models.train_mean()


def poisoned(bad=-1):
    """The data set whose last image (or others) is not a number."""
    images = np.float32(tiny_models.images())
    images[bad] = np.nan
    return WithNaN(**(vars(dataset()) | {"train": images}))


def snapshot(program):
    """Copies of weights, batch-norm averages and optimizer slots."""
    state = program.state
    return [leaf.numpy() for leaf in (state.weights, state.averages, *state.adam)]


def same(first, second):
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
