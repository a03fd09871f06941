"""Whole tiny VAEs by enumeration, and their networks in evaluation mode, in float64.

At evaluation every posterior is a plain Bernoulli of binary latents, so that log p(x), the ELBO
and the importance-weighted bounds of few samples are finite sums. All values in nats.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.special import expit, logit, logsumexp

from tests.reference.kl import Posterior
from tests.reference.rbm import ReferenceRBM, bernoulli_log_probability

Decoder = Callable[[np.ndarray], np.ndarray]
MAX_TUPLES = 2**24


@dataclass(frozen=True)
class ReferenceVAE:
    """An RBM prior and a decoder: binary latents [N, D] -> pixel logits [N, X]."""

    rbm: ReferenceRBM
    decoder: Decoder

    def pixel_log_likelihood(self, image: np.ndarray) -> np.ndarray:
        """log p(x|z) of one image [X] for all states z, summed over pixels, [2^D]."""
        return bernoulli_log_probability(image, self.decoder(self.rbm.states()))

    def log_joint(self, image: np.ndarray) -> np.ndarray:
        """log p(x, z) for all states z, [2^D]."""
        return self.pixel_log_likelihood(image) + self.rbm.log_probability(self.rbm.states())

    def log_likelihood(self, image: np.ndarray) -> float:
        """Exact log p(x)."""
        return float(logsumexp(self.log_joint(image)))

    def log_posterior(self, posterior: Posterior) -> np.ndarray:
        """log q(z|x) for all states z, [2^D]; later groups see the binary latents."""
        states = self.rbm.states()
        return bernoulli_log_probability(states, posterior.logits(states))

    def log_weights(self, image: np.ndarray, posterior: Posterior) -> np.ndarray:
        """log w = log p(x, z) - log q(z|x) for all states z, [2^D]."""
        return self.log_joint(image) - self.log_posterior(posterior)

    def elbo(self, image: np.ndarray, posterior: Posterior) -> float:
        """E_q[log w], exact."""
        probability = np.exp(self.log_posterior(posterior))
        return float(probability @ self.log_weights(image, posterior))

    def elbo_variance(self, image: np.ndarray, posterior: Posterior) -> float:
        """Var_q[log w]: the variance of a one-sample estimate of the ELBO."""
        probability = np.exp(self.log_posterior(posterior))
        weights = self.log_weights(image, posterior)
        return float(probability @ (weights - probability @ weights) ** 2)

    def importance_weighted_bound(
        self, image: np.ndarray, posterior: Posterior, num_samples: int
    ) -> float:
        """E[log mean_K w] over all K-tuples of states, exact; between the ELBO and log p(x)."""
        if len(self.rbm.states()) ** num_samples > MAX_TUPLES:
            raise ValueError("too many tuples to enumerate: use the Monte Carlo version")
        log_q = self.log_posterior(posterior)
        log_weights = self.log_weights(image, posterior)
        log_probability, total = np.float64(0.0), np.float64(-np.inf)
        for _ in range(num_samples):
            log_probability = np.add.outer(log_probability, log_q)
            total = np.logaddexp.outer(total, log_weights)
        return float(np.sum(np.exp(log_probability) * (total - np.log(num_samples))))

    def importance_weighted_monte_carlo(
        self,
        image: np.ndarray,
        posterior: Posterior,
        num_samples: int,
        num_repeats: int,
        seed: int,
    ) -> tuple[float, float]:
        """E[log mean_K w] from independent repeats: mean and its standard error."""
        rng = np.random.default_rng(seed)
        probability = np.exp(self.log_posterior(posterior))
        shape = (num_repeats, num_samples)
        rows = rng.choice(len(probability), shape, p=probability / probability.sum())
        log_weights = self.log_weights(image, posterior)[rows]
        bounds = logsumexp(log_weights, axis=1) - np.log(num_samples)
        return float(bounds.mean()), float(bounds.std(ddof=1) / np.sqrt(num_repeats))


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

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
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

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """Outputs [N, out] of inputs [N, in]."""
        values = np.asarray(inputs, dtype=np.float64)
        for layer in self.hidden:
            values = layer(values)
        return values @ np.float64(self.kernel) + self.bias


def random_network(sizes: Sequence[int], seed: int, scale: float = 1.0) -> Network:
    """A network with layer sizes [in, hidden..., out] and moving averages far from 0 and 1."""
    rng = np.random.default_rng(seed)
    kernels = [scale * rng.standard_normal(pair) / np.sqrt(pair[0]) for pair in pairwise(sizes)]
    hidden = tuple(
        HiddenLayer(
            kernel=kernel,
            bias=0.3 * rng.standard_normal(kernel.shape[1]),
            mean=0.5 * rng.standard_normal(kernel.shape[1]),
            variance=rng.uniform(0.2, 2.0, kernel.shape[1]),
            scale=rng.uniform(0.5, 1.5, kernel.shape[1]),
            offset=0.5 * rng.standard_normal(kernel.shape[1]),
        )
        for kernel in kernels[:-1]
    )
    return Network(hidden, kernels[-1], 0.3 * rng.standard_normal(sizes[-1]))


def network_posterior(
    networks: Sequence[Callable[[np.ndarray], np.ndarray]],
    image: np.ndarray,
    train_mean: np.ndarray,
) -> Posterior:
    """Posterior of one image [X]: the network of group l sees [x - mean_x, earlier latents]."""

    def group(network: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
        def logits(previous: np.ndarray) -> np.ndarray:
            centred = np.tile(np.float64(image) - train_mean, (len(previous), 1))
            return network(np.concatenate([centred, previous], axis=1))

        return logits

    return Posterior(tuple(group(network) for network in networks))


def network_decoder(network: Callable[[np.ndarray], np.ndarray], train_mean: np.ndarray) -> Decoder:
    """Pixel logits net(z) + logit(clip(mean_x, 0.001, 0.999))."""
    constant = logit(np.clip(np.float64(train_mean), 0.001, 0.999))
    return lambda latents: network(latents) + constant


def decoder_means(decoder: Decoder, latents: np.ndarray) -> np.ndarray:
    """Pixel probabilities [N, X]."""
    return expit(decoder(latents))


def mean_bounds(
    vae: ReferenceVAE, images: np.ndarray, posteriors: Sequence[Posterior]
) -> tuple[float, float]:
    """(NLL, negative ELBO) of a set of images [N, X], each exact and divided by the count N.

    The K-sample NLL of the evaluation lies between the two in expectation, whatever K.
    """
    nll = [-vae.log_likelihood(image) for image in images]
    neg_elbo = [
        -vae.elbo(image, posterior) for image, posterior in zip(images, posteriors, strict=True)
    ]
    return float(np.mean(nll)), float(np.mean(neg_elbo))
