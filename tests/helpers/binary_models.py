"""Enumerable binary models whose rows are independent, and the exact gradient of their weights."""

import contextlib
import functools

import numpy as np
import pytest
import tensorflow as tf

from configs.paper import Structure
from dvae.networks import Network
from samplers import counter_random
from tests.helpers import tiny_models
from tests.reference.enumeration import BinaryVAE, Gradient

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


def images(count):
    return np.float32(tiny_models.images()[:count])


def make_model(groups, baseline, k):
    """The same random weights for every baseline; the posterior leaves no state out."""
    model = tiny_models.make_model(STRUCTURES[groups], baseline=baseline, k=k)
    for part in (model.encoder, model.prior, model.decoder):
        tiny_models.randomize(part, scale=0.7)
    return model


def reference_of(model, num_images, kl_weight=KL_WEIGHT):
    networks = [tiny_models.reference_network(n) for n in model.encoder.networks]
    vae, _ = tiny_models.reference_vae_of(model)
    decoder = tiny_models.reference_network(model.decoder.network)
    pixels = images(num_images)
    return BinaryVAE(networks, decoder, vae.rbm, pixels, tiny_models.train_mean(), kl_weight)


@functools.lru_cache
def reference(groups, num_images):
    """Of `make_model`, whose weights are those of one seed."""
    return reference_of(make_model(groups, "loo", 1), num_images)


@functools.lru_cache
def exact_gradient(groups, num_images, num_samples):
    return reference(groups, num_images).gradient(num_samples)


def _network_variables(network):
    """Variables in the order of `network_arrays`; a list of several is one kernel in parts."""
    kernels = [[layer.kernel for layer in network.first], *([d.kernel] for d in network.rest)]
    found = []
    for kernel, norm in zip(kernels, network.norms, strict=False):
        found += [kernel, [norm.gamma], [norm.beta]]
    return [*found, kernels[-1], [network.bias]]


def variables(model):
    """The variables of each part, in the order of `Gradient`."""
    encoder = [v for network in model.encoder.networks for v in _network_variables(network)]
    prior = [[v] for v in (model.prior.left_bias, model.prior.right_bias, model.prior.coupling)]
    parts = encoder, _network_variables(model.decoder.network), prior
    return [[v for pieces in part for v in pieces] for part in parts]


def gradient_of(model, estimate):
    """The surrogate's gradient in the order of `Gradient.flat(*PARTS)`, and the estimate.

    estimate: from the prior's parameters.
    """
    watched = [v for part in variables(model) for v in part]
    values = [v.value for v in watched]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(values)
        found = estimate(model.prior.parameters())
    pieces = tape.gradient(found.surrogate, values, unconnected_gradients="zero")
    return tf.concat([tf.reshape(piece, [-1]) for piece in pieces], axis=0), found


def flat_sizes(gradient: Gradient) -> dict[str, slice]:
    """Where each part lies in the flat gradient."""
    ends = np.cumsum([gradient.flat(part).size for part in PARTS])
    starts = [0, *ends[:-1]]
    return {p: slice(a, b) for p, a, b in zip(PARTS, starts, ends, strict=True)}


def sampled(model, num_images, copies, repeats, key):
    """Gradients [repeats, P] and bounds [repeats], each a mean over `copies` of the images."""
    pixels = tf.constant(np.tile(images(num_images), (copies, 1)))

    @functools.partial(tf.function, jit_compile=True, autograph=False)
    def run(key):
        def one(index):
            own = counter_random.fold_in(key, index)
            flat, found = gradient_of(
                model, lambda params: model.estimate(pixels, params, own, tf.constant(KL_WEIGHT))
            )
            return flat, found.bound

        types = tf.float32, tf.float32
        return tf.map_fn(one, tf.range(repeats), fn_output_signature=types)

    return [np.float64(value) for value in run(key)]


def over_all_samples(model, groups, num_samples):
    """Of one image: the estimator's mean gradient and bound over all K-tuples of states, exact.

    Also the mean squared distance from the mean, by part, as the posterior draws every tuple in
    turn.
    """
    log_q = reference(groups, 1).log_q[0]
    states = reference(groups, 1)._rbm.states()
    tuples = np.stack(np.meshgrid(*[range(len(states))] * num_samples, indexing="ij"), axis=-1)
    tuples = tuples.reshape(-1, num_samples)
    weights = np.exp(log_q[tuples].sum(axis=1))
    units = STRUCTURES[groups].units_per_group
    pixels = tf.constant(images(1))

    @functools.partial(tf.function, jit_compile=True, autograph=False)
    def run(latents):
        def one(rows):
            given = iter(tf.split(rows, groups, axis=1))
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(model.parts.posterior, "sample", lambda _params, _key: next(given))
                flat, found = gradient_of(
                    model,
                    lambda params: model.estimate(
                        pixels, params, counter_random.key(0), tf.constant(KL_WEIGHT)
                    ),
                )
            return flat, found.bound

        return tf.map_fn(one, latents, fn_output_signature=(tf.float32, tf.float32))

    assert units * groups == states.shape[1]
    gradients, bounds = run(tf.constant(np.float32(states[tuples])))
    mean = weights @ np.float64(gradients)
    variance = weights @ (np.float64(gradients) - mean) ** 2
    return mean, float(weights @ np.float64(bounds)), variance
