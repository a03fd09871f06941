"""Objectives of tiny binary VAEs and their gradients as sums over all states, in float64.

A gradient is a sum over states, or over all K-tuples of them, of the derivatives with respect to
log q(z | x) and log w(z) of each state, times those of the two with respect to the weights by
finite differences: neither a score function nor automatic differentiation.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tests.reference import vae
from tests.reference.rbm import ReferenceRBM, bernoulli_log_probability, numerical_gradient
from tests.reference.vae import MAX_TUPLES, Network


def network_arrays(network: Network) -> list[np.ndarray]:
    """Of each hidden layer kernel, scale and offset; the last kernel and bias."""
    arrays = [
        array for layer in network.hidden for array in (layer.kernel, layer.scale, layer.offset)
    ]
    return [*arrays, network.kernel, network.bias]


def _with_arrays(network: Network, arrays: Iterator[np.ndarray]) -> Network:
    hidden = tuple(
        replace(layer, kernel=next(arrays), scale=next(arrays), offset=next(arrays))
        for layer in network.hidden
    )
    return Network(hidden, next(arrays), next(arrays))


@dataclass(frozen=True)
class Gradient:
    """The objective in nats without log Z, and its gradient by part, as lists of arrays.

    encoder and decoder: of `network_arrays`, one network after the other. prior: a, b and W.
    """

    value: float
    encoder: list[np.ndarray]
    decoder: list[np.ndarray]
    prior: list[np.ndarray]

    def flat(self, *parts: str) -> np.ndarray:
        """The parts' gradients as one vector."""
        return np.concatenate([np.ravel(array) for part in parts for array in getattr(self, part)])


class BinaryVAE:
    """Encoder networks, decoder network and RBM, for images [B, X] and a weight of the KL term."""

    def __init__(
        self,
        encoder: Sequence[Network],
        decoder: Network,
        rbm: ReferenceRBM,
        images: np.ndarray,
        train_mean: np.ndarray,
        kl_weight: float,
    ) -> None:
        self._networks = [*encoder, decoder]
        self._rbm, self._images, self._train_mean = rbm, images, np.float64(train_mean)
        self._kl_weight = kl_weight
        arrays = [array for network in self._networks for array in network_arrays(network)]
        arrays += rbm.parameters
        self._terms = self._state_terms(arrays)
        self._slopes = numerical_gradient(self._state_terms, arrays)

    def _state_terms(self, arrays: list[np.ndarray]) -> np.ndarray:
        """log q(z | x) and log w(z) of all images and states, [2, B, S]."""
        remaining = iter(arrays)
        *encoder, decoder = (_with_arrays(network, remaining) for network in self._networks)
        rbm = ReferenceRBM(*remaining)
        states = rbm.states()
        pixels = vae.network_decoder(decoder, self._train_mean)(states)
        log_q, log_w = [], []
        for image in self._images:
            posterior = vae.network_posterior(encoder, image, self._train_mean)
            own = bernoulli_log_probability(states, posterior.logits(states))
            log_q.append(own)
            likelihood = bernoulli_log_probability(image, pixels)
            log_w.append(likelihood - self._kl_weight * (own + rbm.energy(states)))
        return np.array([log_q, log_w])

    @property
    def log_q(self) -> np.ndarray:
        """[B, S], in the order of `all_states`."""
        return self._terms[0]

    def logits(self, image: int) -> np.ndarray:
        """Logits of q for all states, [S, D]: those of a group depend on the groups before it."""
        posterior = vae.network_posterior(
            self._networks[:-1], self._images[image], self._train_mean
        )
        return posterior.logits(self._rbm.states())

    def gradient(self, num_samples: int) -> Gradient:
        """Of the ELBO (K = 1) or of L_K, averaged over the images."""
        found = [_objective(q, w, num_samples) for q, w in zip(*self._terms, strict=True)]
        value = np.mean([image[0] for image in found])
        by_state = np.array([[image[part] for image in found] for part in (1, 2)])
        by_state /= len(self._images)
        arrays = [np.tensordot(slope, by_state, axes=3) for slope in self._slopes]
        num_prior, num_decoder = 3, len(network_arrays(self._networks[-1]))
        first = len(arrays) - num_prior - num_decoder
        parts = arrays[:first], arrays[first:-num_prior], arrays[-num_prior:]
        return Gradient(float(value), *parts)


def _objective(
    log_q: np.ndarray, log_w: np.ndarray, num_samples: int
) -> tuple[float, np.ndarray, np.ndarray]:
    """E[log mean_K w] of one image, and its derivatives by each log q(z) and log w(z), [S].

    As the K samples are alike, K times the derivatives by the first one.
    """
    if len(log_q) ** num_samples > MAX_TUPLES:
        raise ValueError("too many tuples to enumerate")
    log_probability, total = log_q, log_w
    for _ in range(num_samples - 1):
        log_probability = np.add.outer(log_probability, log_q)
        total = np.logaddexp.outer(total, log_w)
    probability = np.exp(log_probability).reshape(len(log_q), -1)
    total = total.reshape(len(log_q), -1)
    terms = probability * (total - np.log(num_samples))
    shares = probability * np.exp(log_w[:, None] - total)
    return terms.sum(), num_samples * terms.sum(axis=1), num_samples * shares.sum(axis=1)
