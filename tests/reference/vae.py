"""Whole tiny VAEs by enumeration, and their networks in evaluation mode, in float64.

At evaluation every posterior is a plain Bernoulli of binary latents, so that log p(x) and the ELBO
are finite sums. All values in nats; of one image [X], and of all states z [2^D].
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import logit, logsumexp

from tests.reference.kl import Posterior
from tests.reference.rbm import ReferenceRBM, bernoulli_log_probability


@dataclass(frozen=True)
class ReferenceVAE:
    """An RBM prior and a decoder: binary latents [N, D] -> pixel logits [N, X]."""

    rbm: ReferenceRBM
    decoder: Callable[[np.ndarray], np.ndarray]

    def pixel_log_likelihood(self, image):
        """log p(x|z), summed over pixels."""
        return bernoulli_log_probability(image, self.decoder(self.rbm.states()))

    def log_joint(self, image):
        """log p(x, z)."""
        return self.pixel_log_likelihood(image) + self.rbm.log_probability(self.rbm.states())

    def log_likelihood(self, image):
        """Exact log p(x)."""
        return float(logsumexp(self.log_joint(image)))

    def log_posterior(self, posterior):
        """log q(z|x); later groups see the binary latents."""
        states = self.rbm.states()
        return bernoulli_log_probability(states, posterior.logits(states))

    def log_weights(self, image, posterior):
        """log w = log p(x, z) - log q(z|x)."""
        return self.log_joint(image) - self.log_posterior(posterior)

    def elbo(self, image, posterior):
        """E_q[log w], exact."""
        return float(np.exp(self.log_posterior(posterior)) @ self.log_weights(image, posterior))

    def elbo_variance(self, image, posterior):
        """Var_q[log w]: the variance of a one-sample estimate of the ELBO."""
        deviations = self.log_weights(image, posterior) - self.elbo(image, posterior)
        return float(np.exp(self.log_posterior(posterior)) @ deviations**2)


@dataclass(frozen=True)
class HiddenLayer:
    """Dense layer, batch normalisation by moving averages, tanh.

    kernel [in, out], bias [out] (0 where the layer has none), and per unit [out] the moving mean,
    moving variance, scale (gamma) and offset (beta).
    """

    kernel: np.ndarray
    bias: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    scale: np.ndarray
    offset: np.ndarray
    epsilon: float = 1e-2

    def __call__(self, inputs):
        """Activations [N, out] of inputs [N, in]."""
        dense = inputs @ np.float64(self.kernel) + self.bias
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
