"""Whole tiny VAEs by enumeration, and their networks in evaluation mode, in float64.

At evaluation every posterior is a plain Bernoulli of binary latents, so that log p(x) and the ELBO
are finite sums. All values in nats; of one image [X], and of all states z [2^D].
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import logit, logsumexp

from tests.reference.kl import Posterior
from tests.reference.rbm import ReferenceRBM, bernoulli_log_probability, numerical_gradient


@dataclass(frozen=True)
class Image:
    """One image [X] of a VAE: its posterior, the decoder (latents [N, D] -> pixel logits), prior.

    f(z) = log p(x | z) - κ (log q(z | x) + E(z)), at bits and between them; κ is `kl_weight`. What
    sums over all states has κ = 1.
    """

    pixels: np.ndarray
    posterior: Posterior
    decoder: Callable[[np.ndarray], np.ndarray]
    rbm: ReferenceRBM
    kl_weight: float = 1.0

    def pixel_log_likelihood(self, latents):
        """log p(x|z), summed over pixels, [N]."""
        return bernoulli_log_probability(self.pixels, self.decoder(latents))

    def log_q(self, latents):
        """log q(z|x), [N]; later groups see the latents before them."""
        return bernoulli_log_probability(latents, self.posterior.logits(latents))

    def value(self, latents):
        """f, [N]."""
        ratio = self.log_q(latents) + self.rbm.energy(latents)
        return self.pixel_log_likelihood(latents) - self.kl_weight * ratio

    def slopes(self, latents):
        """∇f, [N, D]: of f as a function of real numbers."""
        return np.stack(
            [numerical_gradient(lambda z: self.value(z[0][None])[0], [row])[0] for row in latents]
        )

    def log_joint(self):
        """log p(x, z) of all states, [2^D]."""
        states = self.rbm.states()
        return self.pixel_log_likelihood(states) + self.rbm.log_probability(states)

    def log_likelihood(self):
        """Exact log p(x)."""
        return float(logsumexp(self.log_joint()))

    def log_weights(self):
        """log q(z|x) and log w = log p(x, z) - log q(z|x) of all states, [2^D]."""
        log_q = self.log_q(self.rbm.states())
        return log_q, self.log_joint() - log_q

    def elbo(self):
        """E_q[log w], exact, and the variance of a one-sample estimate of it."""
        log_q, log_w = self.log_weights()
        mean = float(np.exp(log_q) @ log_w)
        return mean, float(np.exp(log_q) @ (log_w - mean) ** 2)


@dataclass(frozen=True)
class HiddenLayer:
    """Dense layer, batch normalisation by moving averages, tanh.

    kernel [in, out], and per unit [out] the moving mean, moving variance, scale (gamma) and offset
    (beta).
    """

    kernel: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    scale: np.ndarray
    offset: np.ndarray
    epsilon: float = 1e-2

    def __call__(self, inputs):
        """Activations [N, out] of inputs [N, in]."""
        dense = inputs @ np.float64(self.kernel)
        normalised = (dense - self.mean) / np.sqrt(np.float64(self.variance) + self.epsilon)
        return np.tanh(normalised * self.scale + self.offset)


@dataclass(frozen=True)
class Network:
    """Hidden layers and a linear last layer, in evaluation mode."""

    hidden: tuple[HiddenLayer, ...]
    kernel: np.ndarray
    bias: np.ndarray

    def __call__(self, inputs):
        """Outputs [N, out] of inputs [N, in]."""
        values = np.asarray(inputs, dtype=np.float64)
        for layer in self.hidden:
            values = layer(values)
        return values @ np.float64(self.kernel) + self.bias


def network_posterior(networks, image, train_mean):
    """Posterior of one image [X]: the network of group l sees [x - mean_x, earlier latents]."""

    def group(network):
        def logits(previous):
            centred = np.tile(np.float64(image) - train_mean, (len(previous), 1))
            return network(np.concatenate([centred, previous], axis=1))

        return logits

    return Posterior(tuple(group(network) for network in networks))


def network_decoder(network, train_mean):
    """Pixel logits net(z) + logit(clip(mean_x, 0.001, 0.999))."""
    constant = logit(np.clip(np.float64(train_mean), 0.001, 0.999))
    return lambda latents: network(latents) + constant


def images_of(encoder, decoder, rbm, train_mean, pixels, kl_weight=1.0):
    """An `Image` of each row of pixels [B, X], from the networks of groups and decoder."""
    decode = network_decoder(decoder, train_mean)
    return [
        Image(row, network_posterior(encoder, row, train_mean), decode, rbm, kl_weight)
        for row in pixels
    ]
