"""Tiny models with random weights, and the float64 reference of the same weights."""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from configs.experiment import ExperimentConfig
from configs.registry import Structure
from dvae.build import build
from dvae.encoder import Batch
from dvae.estimators.base import Estimator, Inputs
from dvae.evaluation import Evaluator
from dvae.model import DVAE
from dvae.networks import Network
from dvae.objective import RECONSTRUCTION
from tests.reference import vae
from tests.reference.rbm import ReferenceRBM

NUM_PIXELS = 7
NUM_IMAGES = 11
TWO_GROUPS = Structure(num_groups=2, units_per_group=3, num_hidden_layers=1, hidden_units=5)


def images(seed=1, count=NUM_IMAGES):
    """Random images, uint8 [count, NUM_PIXELS] of 0/1."""
    return np.uint8(np.random.default_rng(seed).random((count, NUM_PIXELS)) < 0.4)


def train_mean():
    """A training mean with one pixel that is never lit."""
    mean = np.random.default_rng(2).uniform(0.1, 0.9, NUM_PIXELS)
    mean[3] = 0.0
    return np.float32(mean)


def all_variables(model, estimator):
    """What training leaves in either."""
    return [*estimator.trainable_variables, *model.variables]


class Estimate(NamedTuple):
    """A step's scalars, signs as in the objective; bound: None where the step does not know it."""

    surrogate: tf.Tensor
    bound: tf.Tensor | None
    log_likelihood: tf.Tensor
    kl: tf.Tensor
    state: Any


class Made(NamedTuple):
    """What a configuration is built into."""

    model: DVAE
    estimator: Estimator

    def estimate(self, images, params, key, kl_weight, state=()) -> Estimate:
        """One step of the estimator."""
        inputs = Inputs(Batch(images), params, key, kl_weight)
        surrogate, metrics, state = self.estimator.step(self.model, inputs, state)
        objective = self.estimator.objective
        assert list(metrics) == list(self.estimator.shares)
        bound = metrics.get(objective.bound_name)
        bound = None if bound is None else -bound
        kl = metrics[objective.log_ratio.name]
        return Estimate(surrogate, bound, -metrics[RECONSTRUCTION], kl, state)


def make(structure=TWO_GROUPS, scale=1.0, seed=3, **fields) -> Made:
    """A model and its estimator, every variable random, batch-norm averages included."""
    config = ExperimentConfig(structure=structure, input_size=NUM_PIXELS, **fields)
    made = Made(*build(config, train_mean()))
    randomize(all_variables(*made), scale, seed)
    return made


def make_model(*args, **fields) -> DVAE:
    """The model of `make`."""
    return make(*args, **fields).model


def randomize(variables, scale=1.0, seed=3):
    """Random values for every variable; variances and batch-norm scales are positive."""
    rng = np.random.default_rng(seed)
    for variable in variables:
        if variable.name in ("moving_variance", "gamma"):
            variable.assign(rng.uniform(0.4, 1.7, variable.shape))
        else:
            variable.assign(scale * rng.standard_normal(variable.shape))


def kernels(network: Network):
    """The kernel of each layer; those of the input's parts are one."""
    first = np.concatenate([layer.kernel.numpy() for layer in network.first])
    return [first, *(layer.kernel.numpy() for layer in network.rest)]


def reference_network(network: Network):
    """The same network in float64 and evaluation mode; its input parts are concatenated."""
    *inner, last = kernels(network)
    hidden = tuple(
        vae.HiddenLayer(
            kernel,
            *(norm.moving_mean.numpy(), norm.moving_variance.numpy()),
            *(norm.gamma.numpy(), norm.beta.numpy()),
        )
        for kernel, norm in zip(inner, network.norms, strict=True)
    )
    return vae.Network(hidden, last, network.bias.numpy())


def reference_rbm(model: DVAE):
    return ReferenceRBM(*(np.float64(p.numpy()) for p in model.prior.parameters()))


def reference_images(model: DVAE, pixels, mean=None, kl_weight=1.0):
    """Images [B, X] of a model, in float64; mean: of training, for other models.

    Undirected posteriors, which are no networks of groups, are left out.
    """
    mean = np.float64(train_mean() if mean is None else mean)
    encoder = [reference_network(network) for network in getattr(model.encoder, "networks", ())]
    decoder = reference_network(model.decoder.network)
    return vae.images_of(
        encoder, decoder, reference_rbm(model), mean, np.float64(pixels), kl_weight
    )


def graph_evaluator(model: DVAE) -> Evaluator:
    """An evaluator without XLA, whose compilation would take most of the time of small tests."""
    evaluator = Evaluator(model)
    evaluator._compiled = tf.function(evaluator._batch, autograph=False)
    return evaluator
