"""Tiny models with random weights, and the float64 reference of the same weights."""

import dataclasses

import numpy as np

from configs.paper import ExperimentConfig, Structure
from dvae.model import DVAE
from dvae.networks import Network
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


def make_model(structure=TWO_GROUPS, scale=1.0, seed=3, **fields):
    """A model whose every variable is random, batch-norm averages far from 0 and 1 included."""
    config = dataclasses.replace(
        ExperimentConfig(), structure=structure, input_size=NUM_PIXELS, **fields
    )
    model = DVAE(config, train_mean())
    randomize(model, scale, seed)
    return model


def randomize(model, scale=1.0, seed=3):
    """Random values for every variable; variances and batch-norm scales are positive."""
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        if variable.name in ("moving_variance", "gamma"):
            variable.assign(rng.uniform(0.4, 1.7, variable.shape))
        else:
            variable.assign(scale * rng.standard_normal(variable.shape))


def reference_network(network: Network):
    """The same network in float64 and evaluation mode; its input parts are concatenated."""
    kernels = [np.concatenate([layer.kernel.numpy() for layer in network.first])]
    kernels += [layer.kernel.numpy() for layer in network.rest]
    hidden = tuple(
        vae.HiddenLayer(
            kernel=kernel,
            bias=np.zeros(kernel.shape[1]),
            mean=norm.moving_mean.numpy(),
            variance=norm.moving_variance.numpy(),
            scale=norm.gamma.numpy(),
            offset=norm.beta.numpy(),
        )
        for kernel, norm in zip(kernels, network.norms, strict=False)
    )
    return vae.Network(hidden, kernels[-1], network.bias.numpy())


def reference_vae_of(model: DVAE, mean=None):
    """(vae, posterior of an image) of a model, in float64; mean: of training, for other models."""
    mean = np.float64(train_mean() if mean is None else mean)
    networks = [reference_network(network) for network in model.encoder.networks]

    def posterior(image):
        return vae.network_posterior(networks, image, mean)

    return reference_generator_of(model, mean), posterior


def reference_generator_of(model: DVAE, mean=None):
    """Prior and decoder of a model, in float64."""
    mean = np.float64(train_mean() if mean is None else mean)
    rbm = ReferenceRBM(*(np.float64(p.numpy()) for p in model.prior.parameters()))
    return vae.ReferenceVAE(
        rbm, vae.network_decoder(reference_network(model.decoder.network), mean)
    )
