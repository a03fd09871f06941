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
from dvae.networks import Network
from samplers import counter_random
from tests.helpers import tiny_models
from tests.reference.enumeration import BinaryVAE, Gradient
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


def reference_of(model, num_images, kl_weight=KL_WEIGHT):
    networks = [tiny_models.reference_network(n) for n in model.encoder.networks]
    vae, _ = tiny_models.reference_vae_of(model)
    decoder = tiny_models.reference_network(model.decoder.network)
    pixels = images(num_images)
    return BinaryVAE(networks, decoder, vae.rbm, pixels, tiny_models.train_mean(), kl_weight)


@functools.lru_cache
def reference(groups, num_images):
    """Of `make`, whose weights are those of one seed."""
    return reference_of(make(groups, "loo", 1).model, num_images)


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
    prior = [[v] for v in model.prior.fields]
    parts = encoder, _network_variables(model.decoder.network), prior
    return [[v for pieces in part for v in pieces] for part in parts]


def gradient_of(model, estimate):
    """The surrogate's gradient in the order of `Gradient.flat(*PARTS)`, and the estimate.

    estimate: from the prior's parameters. Rows are independent.
    """
    watched = [v for part in variables(model) for v in part]
    values = [v.value for v in watched]
    with frozen_batch_norm(), tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(values)
        found = estimate(model.prior.parameters())
        surrogate = found.surrogate
    pieces = tape.gradient(surrogate, values, unconnected_gradients="zero")
    return tf.concat([tf.reshape(piece, [-1]) for piece in pieces], axis=0), found


def slices(gradient: Gradient) -> dict[str, slice]:
    """Where each part lies in the flat gradient."""
    ends = np.cumsum([gradient.flat(part).size for part in PARTS])
    starts = [0, *ends[:-1]]
    return {p: slice(a, b) for p, a, b in zip(PARTS, starts, ends, strict=True)}


@functools.lru_cache
def _sampler(baseline, groups, k, num_images, copies, repeats):
    made = make(groups, baseline, k)
    pixels = tf.constant(np.tile(images(num_images), (copies, 1)))
    weight = tf.constant(KL_WEIGHT)

    @functools.partial(tf.function, jit_compile=True, autograph=False)
    def run(key):
        def one(index):
            own = counter_random.fold_in(key, index)
            flat, found = gradient_of(
                made.model, lambda params: made.estimate(pixels, params, own, weight)
            )
            return flat, found.bound

        types = tf.float32, tf.float32
        return tf.map_fn(one, tf.range(repeats), fn_output_signature=types)

    return run


def sampled(baseline, groups, k, key, num_images=2, copies=50, repeats=400):
    """Gradients [repeats, P] and bounds [repeats], each a mean over `copies` of the images."""
    run = _sampler(baseline, groups, k, num_images, copies, repeats)
    return [np.float64(value) for value in run(key)]


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
    return _over_all(
        made, groups, "dvae.posteriors.BernoulliPosterior.sample", states[tuples], weights
    )


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
    return _over_all(made, groups, "dvae.estimators.disarm._logistic", np.float32(noise), weights)


def _over_all(made, groups, place, values, weights):
    """All values [N, ..., 4] of what the function at `place` returns, one group after the other."""
    pixels, key, weight = tf.constant(images(1)), counter_random.key(0), tf.constant(KL_WEIGHT)

    @functools.partial(tf.function, jit_compile=True, autograph=False)
    def run(values):
        def one(value):
            given = iter(tf.split(value, groups, axis=-1))
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(place, lambda *_arguments: next(given))
                flat, found = gradient_of(
                    made.model, lambda params: made.estimate(pixels, params, key, weight)
                )
            return flat, found.bound

        return tf.map_fn(one, values, fn_output_signature=(tf.float32, tf.float32))

    gradients, bounds = (np.float64(v) for v in run(tf.constant(values)))
    mean = weights @ gradients
    variance = weights @ (gradients - mean) ** 2
    encoder = slices(exact_gradient(groups, 1, 1))["encoder"]
    return OverAll(mean, float(weights @ bounds), float(variance[encoder].sum()))
