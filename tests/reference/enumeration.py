"""Objectives of tiny binary VAEs and their gradients as sums over all states, in float64.

A gradient is a sum over states, or over all K-tuples of them, of the derivatives with respect to
log q(z | x) and log w(z) of each state, times those of the two with respect to the weights by
finite differences: neither a score function nor automatic differentiation.
"""

from dataclasses import dataclass, replace

import numpy as np

from tests.reference.rbm import ReferenceRBM, numerical_gradient
from tests.reference.vae import Network, images_of

MAX_TUPLES = 2**24


def network_arrays(network):
    """Of each hidden layer kernel, scale and offset; the last kernel and bias."""
    layers = [(layer.kernel, layer.scale, layer.offset) for layer in network.hidden]
    return [*(array for layer in layers for array in layer), network.kernel, network.bias]


def _with_arrays(network, arrays):
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

    def flat(self, *parts):
        """The parts' gradients as one vector."""
        return np.concatenate([np.ravel(array) for part in parts for array in getattr(self, part)])


class BinaryVAE:
    """Encoder networks, decoder network and RBM, for images [B, X] and a weight of the KL term."""

    def __init__(self, encoder, decoder, rbm, images, train_mean, kl_weight):
        self._networks, self._pixels = [*encoder, decoder], images
        self._options = np.float64(train_mean), kl_weight
        arrays = [array for network in self._networks for array in network_arrays(network)]
        arrays += rbm.parameters
        self._images, self._terms = self._images_of(arrays), self._state_terms(arrays)
        self._slopes = numerical_gradient(self._state_terms, arrays)

    def _images_of(self, arrays):
        remaining = iter(arrays)
        *encoder, decoder = (_with_arrays(network, remaining) for network in self._networks)
        rbm = ReferenceRBM(*remaining)
        mean, kl_weight = self._options
        return images_of(encoder, decoder, rbm, mean, self._pixels, kl_weight)

    def _state_terms(self, arrays):
        """log q(z | x) and log w(z) of all images and states, [2, B, S]."""
        images = self._images_of(arrays)
        states = images[0].rbm.states()
        pairs = [(image.log_q(states), image.value(states)) for image in images]
        return np.swapaxes(pairs, 0, 1)

    @property
    def log_q(self):
        """[B, S], in the order of `all_states`."""
        return self._terms[0]

    def logits(self, image):
        """Logits of q for all states, [S, D]: those of a group depend on the groups before it."""
        return self._images[image].posterior.logits(self._images[image].rbm.states())

    def gradient(self, num_samples):
        """Of the ELBO (K = 1) or of L_K, averaged over the images."""
        found = [objective(q, w, num_samples) for q, w in zip(*self._terms, strict=True)]
        values, *slopes = zip(*found, strict=True)
        by_state = np.array(slopes) / len(self._images)
        arrays = [np.tensordot(slope, by_state, axes=3) for slope in self._slopes]
        first = len(arrays) - 3 - len(network_arrays(self._networks[-1]))
        return Gradient(float(np.mean(values)), arrays[:first], arrays[first:-3], arrays[-3:])


def objective(log_q, log_w, num_samples):
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
