"""The enumerated tiny VAE and its networks against loops and against Jensen's inequality."""

import itertools
import math

import numpy as np
import pytest

from tests.reference.kl import table_posterior
from tests.reference.rbm import all_states, random_rbm
from tests.reference.vae import (
    HiddenLayer,
    Network,
    ReferenceVAE,
    decoder_means,
    mean_bounds,
    network_decoder,
    network_posterior,
    random_network,
)

NUM_PIXELS = 7


@pytest.fixture(scope="module")
def tiny():
    """(vae, images [11, 7], train_mean, encoder networks): two groups of two units."""
    rng = np.random.default_rng(4)
    images = (rng.random((11, NUM_PIXELS)) < 0.4).astype(np.uint8)
    train_mean = np.append(0.0, rng.random(NUM_PIXELS - 1))  # one pixel is never lit
    decoder = network_decoder(random_network([4, 5, NUM_PIXELS], seed=5, scale=2.0), train_mean)
    networks = [random_network([NUM_PIXELS + n, 3, 2], seed=6 + n, scale=2.0) for n in (0, 2)]
    return ReferenceVAE(random_rbm(2, 2, seed=9), decoder), images, train_mean, networks


@pytest.fixture(scope="module")
def posteriors(tiny):
    _, images, train_mean, networks = tiny
    return [network_posterior(networks, image, train_mean) for image in images]


def test_log_likelihood_against_loops(tiny):
    vae, images, *_ = tiny
    rbm, total = vae.rbm, {image: 0.0 for image in range(3)}
    for z in itertools.product((0.0, 1.0), repeat=4):
        log_prior = rbm.log_probability(np.array(z))
        means = decoder_means(vae.decoder, np.array([z]))[0]
        for image in total:
            pixels = [m if x else 1 - m for m, x in zip(means, images[image], strict=True)]
            total[image] += math.exp(log_prior) * math.prod(pixels)
    for image, probability in total.items():
        expected = math.log(probability)
        assert np.isclose(vae.log_likelihood(images[image]), expected, atol=1e-12)


def test_images_sum_to_one(tiny):
    vae, *_ = tiny
    total = sum(math.exp(vae.log_likelihood(image)) for image in all_states(NUM_PIXELS))
    assert np.isclose(total, 1, atol=1e-12)


def test_posterior_sums_to_one_and_is_hierarchical(tiny, posteriors):
    vae, images, *_ = tiny
    probability = np.exp(vae.log_posterior(posteriors[0]))
    assert np.isclose(probability.sum(), 1, atol=1e-12)
    later = posteriors[0].logits(vae.rbm.states())[:, 2:]
    assert np.ptp(later, axis=0).min() > 0.05  # the second group does see the first
    assert np.isclose(
        vae.elbo(images[0], posteriors[0]),
        np.sum(probability * (vae.log_joint(images[0]) - np.log(probability))),
        atol=1e-12,
    )


def test_bounds_are_ordered_and_tight_where_they_should_be(tiny, posteriors):
    vae, images, *_ = tiny
    image, posterior = images[1], posteriors[1]
    elbo = vae.elbo(image, posterior)
    bounds = [vae.importance_weighted_bound(image, posterior, k) for k in (1, 2, 3, 4)]
    assert np.isclose(bounds[0], elbo, atol=1e-12)
    assert np.all(np.diff(bounds) > 1e-3) and bounds[-1] < vae.log_likelihood(image) - 1e-3
    # log p(x) - ELBO is the KL from q(z|x) to the true posterior, 0 for that posterior itself.
    true = vae.log_joint(image) - vae.log_likelihood(image)
    log_q = vae.log_posterior(posterior)
    gap = np.sum(np.exp(log_q) * (log_q - true))
    assert np.isclose(vae.log_likelihood(image) - elbo, gap, atol=1e-12)


def test_exact_posterior_gives_the_exact_likelihood(tiny):
    vae, images, *_ = tiny
    probability = np.exp(vae.log_joint(images[2]))

    def unit(index):
        def logits(previous):
            """Log odds of one unit given the units before it, from the joint distribution."""
            states = vae.rbm.states()
            match = np.all(states[None, :, :index] == previous[:, None, :], axis=2)
            one = match * probability * states[:, index]
            zero = match * probability * (1 - states[:, index])
            return np.log(one.sum(axis=1) / zero.sum(axis=1))[:, None]

        return logits

    posterior = type(table_posterior([np.zeros(1)]))(tuple(unit(index) for index in range(4)))
    exact = vae.log_likelihood(images[2])
    assert np.isclose(vae.elbo(images[2], posterior), exact, atol=1e-10)
    assert np.isclose(vae.elbo_variance(images[2], posterior), 0, atol=1e-10)


def test_two_sample_bound_by_loops_and_by_monte_carlo(tiny, posteriors):
    """Monte Carlo: 5 standard errors of 20000 repeats, about 0.05 nats."""
    vae, images, *_ = tiny
    image, posterior = images[3], posteriors[3]
    q = np.exp(vae.log_posterior(posterior))
    w = np.exp(vae.log_weights(image, posterior))
    pairs = itertools.product(range(16), repeat=2)
    expected = sum(q[i] * q[j] * math.log((w[i] + w[j]) / 2) for i, j in pairs)
    exact = vae.importance_weighted_bound(image, posterior, 2)
    assert np.isclose(exact, expected, atol=1e-12)
    mean, error = vae.importance_weighted_monte_carlo(image, posterior, 2, 20000, seed=1)
    assert abs(mean - exact) < 5 * error and error < 0.01
    with pytest.raises(ValueError, match="too many"):
        vae.importance_weighted_bound(image, posterior, 7)


def test_factorial_table_posterior(tiny):
    vae, images, *_ = tiny
    logits = np.array([0.4, -0.7, 1.1, -0.2])
    posterior = table_posterior([logits])
    q = 1 / (1 + np.exp(-logits))
    states = vae.rbm.states()
    expected = np.prod(np.where(states, q, 1 - q), axis=1)
    assert np.allclose(np.exp(vae.log_posterior(posterior)), expected, atol=1e-14)
    assert vae.elbo(images[0], posterior) < vae.log_likelihood(images[0])


def test_mean_bounds_divide_by_the_count(tiny, posteriors):
    vae, images, *_ = tiny
    nll, neg_elbo = mean_bounds(vae, images, posteriors)
    assert np.isclose(nll, -sum(vae.log_likelihood(image) for image in images) / 11, atol=1e-12)
    assert nll < neg_elbo


def test_network_against_loops():
    network = random_network([3, 5, 2], seed=3)
    layer, inputs = network.hidden[0], np.array([0.3, -1.2, 0.8])
    hidden = []
    for unit in range(5):
        value = layer.bias[unit] + sum(inputs[i] * layer.kernel[i, unit] for i in range(3))
        value = (value - layer.mean[unit]) / math.sqrt(layer.variance[unit] + 0.01)
        hidden.append(math.tanh(value * layer.scale[unit] + layer.offset[unit]))
    for unit in range(2):
        value = network.bias[unit] + sum(hidden[i] * network.kernel[i, unit] for i in range(5))
        assert np.isclose(network(inputs[None])[0, unit], value, atol=1e-12)


def test_network_inputs_and_constants():
    mean = np.array([0.0, 0.25, 1.0])
    identity = Network((), np.eye(3), np.zeros(3))
    decoder = network_decoder(identity, mean)
    assert np.allclose(decoder_means(decoder, np.zeros((1, 3)))[0], [0.001, 0.25, 0.999])
    image = np.array([1, 0, 1], dtype=np.uint8)
    seen = network_posterior([identity, Network((), np.eye(6), np.zeros(6))], image, mean)
    latents = np.arange(6.0).reshape(2, 3)
    assert np.allclose(seen.logits(latents)[1], [1, -0.25, 0, 1, -0.25, 0, 3, 4, 5])
    ones = np.ones(1)
    layer = HiddenLayer(np.eye(1), 0 * ones, 0 * ones, 0 * ones, ones, 0 * ones, epsilon=4.0)
    assert np.isclose(layer(np.array([[0.6]]))[0, 0], math.tanh(0.3))
