"""An undirected posterior and one training step along it, in float64 and without TensorFlow.

Networks have no hidden layers; batch norm of the couplings takes the statistics of the batch.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit, softmax

from tests.reference.rbm import ReferenceRBM, all_states, bernoulli_log_probability
from tests.reference.straight import concrete, piecewise_linear


def spin_log_probabilities(left, right, coupling):
    """log q of all bits [2^D] whose spins s = 2z - 1 have fields [L], [R] and couplings [L, R]."""
    spins = 2.0 * all_states(len(left) + len(right)) - 1.0
    exponents = -ReferenceRBM(left, right, coupling).energy(spins)
    return exponents - np.logaddexp.reduce(exponents)


@dataclass(frozen=True)
class Step:
    """What a step takes: B images [B, X], K chains each, and the uniform numbers of its draws.

    left: binary left halves [B, K, L]. rho_right, rho_left: [B, K, R] and [B, K, L].
    """

    images: np.ndarray
    train_mean: np.ndarray
    left: np.ndarray
    rho_right: np.ndarray
    rho_left: np.ndarray
    relaxation: str
    sharpness: float
    kl_weight: float

    def posterior(self, encoder):
        """Biases [B, L], [B, R] and couplings [B, L, R] from kernel, bias, scale and offset."""
        kernel, bias, scale, offset = encoder
        num_left, num_right = self.rho_left.shape[2], self.rho_right.shape[2]
        outputs = (self.images - self.train_mean) @ kernel + bias
        left, right, raw = np.split(outputs, [num_left, num_left + num_right], axis=1)
        normalized = (raw - raw.mean(axis=0)) / np.sqrt(raw.var(axis=0) + 1e-2)
        spins = 1.5 * (scale * normalized + offset) / np.sqrt(num_left)
        spins = spins.reshape(-1, num_left, num_right)
        return 2.0 * (left - spins.sum(axis=2)), 2.0 * (right - spins.sum(axis=1)), 4.0 * spins

    def samples(self, encoder):
        """Relaxed left and right halves, and the probabilities of the left one."""
        relax = piecewise_linear if self.relaxation == "pwl" else concrete
        left_bias, right_bias, coupling = self.posterior(encoder)
        logits = right_bias[:, None] + self.left @ coupling
        right = relax(logits, self.rho_right, self.sharpness)
        logits = left_bias[:, None] + right @ np.swapaxes(coupling, 1, 2)
        return relax(logits, self.rho_left, self.sharpness), right, expit(logits)

    def log_weights(self, samples, posterior, decoder, prior):
        """log p(x|ζ) + κ (-E_prior + E_posterior), [B, K]; both energies half averaged."""
        left, right, left_means = samples
        kernel, bias = decoder
        offset = logit(np.clip(self.train_mean, 0.001, 0.999))
        outputs = np.concatenate([left, right], axis=2) @ kernel + bias + offset
        log_likelihood = bernoulli_log_probability(self.images[:, None], outputs)
        means = np.concatenate([left_means, right], axis=2)
        rows = zip(*posterior, means, strict=True)
        own = np.array([ReferenceRBM(*row[:3]).energy(row[3]) for row in rows])
        return log_likelihood - self.kl_weight * (ReferenceRBM(*prior).energy(means) - own)

    def surrogates(self, encoder, decoder, prior):
        """(generative, inference) functions, whose gradients are the step's, at these weights."""
        samples, posterior = self.samples(encoder), self.posterior(encoder)
        weights = softmax(self.log_weights(samples, posterior, decoder, prior), axis=1)
        own = self.kl_weight * weights**2 + (1.0 - self.kl_weight) * weights

        def generative(values):
            log_w = self.log_weights(samples, posterior, values[:2], values[2:])
            return float(np.mean(np.sum(weights * log_w, axis=1)))

        def inference(values):
            log_w = self.log_weights(self.samples(values), posterior, decoder, prior)
            return float(np.mean(np.sum(own * log_w, axis=1)))

        return generative, inference
