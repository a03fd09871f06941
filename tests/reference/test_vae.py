"""The enumerated tiny VAE against loops and against Jensen's inequality.

Its networks are held against those of the program in tests/dvae.
"""

import itertools
import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy.special import expit

from tests.reference.enumeration import objective
from tests.reference.kl import Posterior
from tests.reference.rbm import random_rbm
from tests.reference.vae import (
    HiddenLayer,
    Network,
    images_of,
    network_decoder,
    network_posterior,
)

NUM_PIXELS = 7


def random_network(sizes, seed, scale=1.0):
    """A network with layer sizes [in, hidden..., out] and moving averages far from 0 and 1."""
    rng = np.random.default_rng(seed)
    kernels = [scale * rng.standard_normal(pair) / np.sqrt(pair[0]) for pair in pairwise(sizes)]

    def layer(kernel):
        size = kernel.shape[1]
        mean, offset = 0.5 * rng.standard_normal((2, size))
        variance, factor = rng.uniform(0.2, 2.0, size), rng.uniform(0.5, 1.5, size)
        return HiddenLayer(kernel, mean, variance, factor, offset)

    hidden = tuple(map(layer, kernels[:-1]))
    return Network(hidden, kernels[-1], 0.3 * rng.standard_normal(sizes[-1]))


@pytest.fixture(scope="module")
def tiny():
    """Eleven images of seven pixels: two groups of two units."""
    rng = np.random.default_rng(4)
    images = np.float64(rng.random((11, NUM_PIXELS)) < 0.4)
    train_mean = np.append(0.0, rng.random(NUM_PIXELS - 1))  # one pixel is never lit
    decoder = random_network([4, 5, NUM_PIXELS], seed=5, scale=2.0)
    networks = [random_network([NUM_PIXELS + n, 3, 2], seed=6 + n, scale=2.0) for n in (0, 2)]
    return images_of(networks, decoder, random_rbm(2, 2, seed=9), train_mean, images)


def test_log_likelihood_against_loops(tiny):
    for image in tiny[:3]:
        total = 0.0
        for z in itertools.product((0.0, 1.0), repeat=4):
            means = expit(image.decoder(np.array([z]))[0])
            pixels = [m if x else 1 - m for m, x in zip(means, image.pixels, strict=True)]
            total += math.exp(image.rbm.log_probability(np.array(z))) * math.prod(pixels)
        assert np.isclose(image.log_likelihood(), math.log(total), atol=1e-12)


def test_bounds_are_ordered_and_tight_where_they_should_be(tiny):
    image = tiny[1]
    (elbo, _), exact = image.elbo(), image.log_likelihood()
    log_q, log_w = image.log_weights()
    bounds = [objective(log_q, log_w, k)[0] for k in (1, 2, 3, 4)]
    assert np.isclose(bounds[0], elbo, atol=1e-12)
    assert np.all(np.diff(bounds) > 1e-3) and bounds[-1] < exact - 1e-3
    q, w = np.exp(log_q), np.exp(log_w)
    assert np.isclose(q.sum(), 1, atol=1e-12)
    logits = image.posterior.logits(image.rbm.states())
    assert np.ptp(logits[:, 2:], axis=0).min() > 0.05  # sees the first
    pairs = itertools.product(range(16), repeat=2)
    two = sum(q[i] * q[j] * math.log((w[i] + w[j]) / 2) for i, j in pairs)
    assert np.isclose(bounds[1], two, atol=1e-12)
    # log p(x) - ELBO is the KL from q(z|x) to the true posterior, 0 for that posterior itself.
    gap = np.sum(q * (log_q - (image.log_joint() - exact)))
    assert np.isclose(exact - elbo, gap, atol=1e-12)
    with pytest.raises(ValueError, match="too many"):
        objective(log_q, log_w, 7)


def test_exact_posterior_gives_the_exact_likelihood(tiny):
    image = tiny[2]
    states, probability = image.rbm.states(), np.exp(image.log_joint())

    def unit(index):
        def logits(previous):
            """Log odds of one unit given the units before it, from the joint distribution."""
            match = np.all(states[None, :, :index] == previous[:, None, :], axis=2) * probability
            return np.log(match @ states[:, [index]] / (match @ (1 - states[:, [index]])))

        return logits

    elbo, variance = replace(image, posterior=Posterior(tuple(map(unit, range(4))))).elbo()
    assert np.isclose(elbo, image.log_likelihood(), atol=1e-10)
    assert np.isclose(variance, 0, atol=1e-10)


def test_network_inputs_and_constants():
    mean, identity = np.array([0.0, 0.25, 1.0]), Network((), np.eye(3), np.zeros(3))
    means = expit(network_decoder(identity, mean)(np.zeros((1, 3))))
    assert np.allclose(means[0], [0.001, 0.25, 0.999])
    image = np.array([1, 0, 1], dtype=np.uint8)
    seen = network_posterior([identity, Network((), np.eye(6), np.zeros(6))], image, mean)
    latents = np.arange(6.0).reshape(2, 3)
    assert np.allclose(seen.logits(latents)[1], [1, -0.25, 0, 1, -0.25, 0, 3, 4, 5])
    none = np.zeros(1)
    layer = HiddenLayer(np.eye(1), none, none, np.ones(1), none, epsilon=4.0)
    assert np.isclose(layer(np.array([[0.6]]))[0, 0], math.tanh(0.3))
