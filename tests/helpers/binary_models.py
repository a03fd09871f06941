"""Enumerable binary models whose rows are independent, and the exact gradient of their weights."""

import contextlib
import functools
import itertools
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit

from configs.registry import Structure
from dvae import adam
from dvae.estimators import disarm
from dvae.networks import Network
from dvae.posteriors import BernoulliPosterior
from samplers import counter_random
from tests.helpers import tiny_models
from tests.reference.enumeration import BinaryVAE
from tests.reference.rbm import all_states

# Four latents in one, two and four groups.
STRUCTURES = {
    groups: Structure(groups, 4 // groups, num_hidden_layers=1, hidden_units=3)
    for groups in (1, 2, 4)
}
KL_WEIGHT = 0.7
PARTS = ("encoder", "decoder", "prior")


@contextlib.contextmanager
def frozen_batch_norm():
    """Batch norm by its moving averages in training too: rows do not know of each other."""
    finish = Network.finish
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Network, "finish", lambda self, first, _training: finish(self, first, False))
        yield


@contextlib.contextmanager
def given_draws(made, values):
    """The posterior's samples, or DisARM's noise, are values [..., 4], group after group."""
    draws = iter(tf.split(values, len(made.model.encoder.networks), axis=-1))
    place = BernoulliPosterior, "sample"
    if isinstance(made.estimator, disarm.Disarm):
        place = disarm, "_logistic"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(*place, lambda *_arguments: next(draws))
        yield


def images(count):
    return np.float32(tiny_models.images()[:count])


def make(groups, baseline, k):
    """The same random weights for every baseline; the posterior leaves no state out."""
    made = tiny_models.make(STRUCTURES[groups], baseline=baseline, k=k)
    for part in (made.model.encoder, made.model.prior, made.model.decoder):
        tiny_models.randomize(part.variables, scale=0.7)
    if baseline == "rodeo":  # coefficients of its own for each group
        coefficients = np.linspace(0.4, 1.1, 2 * groups).reshape(2, groups)
        made.estimator.coefficients.assign(coefficients)
    return made


@functools.lru_cache
def reference(groups, num_images):
    """Of `make`, whose weights are those of one seed."""
    model = make(groups, "loo", 1).model
    networks = [tiny_models.reference_network(n) for n in model.encoder.networks]
    decoder = tiny_models.reference_network(model.decoder.network)
    rbm = tiny_models.reference_rbm(model)
    mean = tiny_models.train_mean()
    return BinaryVAE(networks, decoder, rbm, images(num_images), mean, KL_WEIGHT)


@functools.lru_cache
def exact_gradient(groups, num_images, num_samples):
    return reference(groups, num_images).gradient(num_samples)


def _network_variables(network):
    """In the order of `network_arrays`; the kernel of the first layer is in parts."""
    kernels = [[layer.kernel for layer in network.first], *([d.kernel] for d in network.rest)]
    norms = [[norm.gamma, norm.beta] for norm in network.norms]
    pairs = itertools.zip_longest(kernels, norms, fillvalue=[network.bias])
    return [v for pair in pairs for pieces in pair for v in pieces]


def gradient_of(model, estimate):
    """The surrogate's gradient in the order of `Gradient.flat(*PARTS)`, and the estimate.

    estimate: from the prior's parameters. Rows are independent.
    """
    networks = [*model.encoder.networks, model.decoder.network]
    variables = [v for network in networks for v in _network_variables(network)]
    values = [v.value for v in (*variables, *model.prior.fields)]
    with frozen_batch_norm(), tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(values)
        found = estimate(model.prior.parameters())
        surrogate = found.surrogate
    pieces = tape.gradient(surrogate, values, unconnected_gradients="zero")
    return adam.flatten(pieces), found


class OverAll(NamedTuple):
    """Of an estimator: mean of gradient [P] and bound, and the encoder's summed variance."""

    mean: np.ndarray
    bound: float
    encoder_variance: float


def over_all_samples(made, groups, num_samples):
    """Of one image, exact: the posterior draws every K-tuple of states in turn."""
    states = np.float32(all_states(4))
    tuples = np.array(list(itertools.product(range(len(states)), repeat=num_samples)))
    weights = np.exp(reference(groups, 1).log_q[0][tuples].sum(axis=1))
    return _over_all(made, groups, states[tuples], weights)


def over_all_noise(made, groups):
    """Of one image and K = 1, exact: DisARM's noise takes a value in every interval that matters.

    Whatever the earlier groups are, bits only change where the noise passes ±ℓ.
    """
    points, masses = [], []
    for unit in reference(groups, 1).logits(0).T:
        ends = np.unique(np.concatenate([unit, -unit]).round(9))
        points.append(np.concatenate([[ends[0] - 1], (ends[1:] + ends[:-1]) / 2, [ends[-1] + 1]]))
        masses.append(np.diff(expit(ends), prepend=0.0, append=1.0))
    noise = np.array(list(itertools.product(*points)))[:, None, None, None]
    weights = np.prod(np.array(list(itertools.product(*masses))), axis=1)
    return _over_all(made, groups, np.float32(noise), weights)


def _over_all(made, groups, values, weights):
    """All values [N, ..., 4] of what an estimate draws, with their probabilities [N]."""
    pixels, key, weight = tf.constant(images(1)), counter_random.key(0), tf.constant(KL_WEIGHT)

    def one(value):
        with given_draws(made, value):
            flat, found = gradient_of(
                made.model,
                lambda params: made.estimate(pixels, params, key, weight),
            )
        return flat, found.bound

    @functools.partial(tf.function, jit_compile=True, autograph=False)
    def run(values):
        return tf.map_fn(one, values, fn_output_signature=(tf.float32, tf.float32))

    gradients, bounds = (np.float64(v) for v in run(tf.constant(values)))
    mean = weights @ gradients
    encoder = exact_gradient(groups, 1, 1).flat("encoder").size  # the first of PARTS
    variance = (weights @ (gradients - mean) ** 2)[:encoder]
    return OverAll(mean, float(weights @ bounds), float(variance.sum()))
