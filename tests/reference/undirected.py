"""An undirected posterior and one training step along it, in float64 and without TensorFlow.

Networks have no hidden layers; batch norm of the couplings takes the statistics of the batch.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import expit, logit, softmax

from tests.reference.rbm import ReferenceRBM, all_states, bernoulli_log_probability


def spin_log_probabilities(left, right, coupling) -> np.ndarray:
    """log q of all bits [2^D] whose spins s = 2z - 1 have fields [L], [R] and couplings [L, R]."""
    spins = 2.0 * all_states(len(left) + len(right)) - 1.0
    first, second = spins[:, : len(left)], spins[:, len(left) :]
    exponents = first @ left + second @ right + np.einsum("ni,ij,nj->n", first, coupling, second)
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

    def posterior(self, encoder: list[np.ndarray]) -> tuple[np.ndarray, ...]:
        """Biases [B, L], [B, R] and couplings [B, L, R] from kernel, bias, scale and offset."""
        kernel, bias, scale, offset = encoder
        num_left, num_right = self.rho_left.shape[2], self.rho_right.shape[2]
        outputs = (self.images - self.train_mean) @ kernel + bias
        raw = outputs[:, num_left + num_right :]
        normalized = (raw - raw.mean(axis=0)) / np.sqrt(raw.var(axis=0) + 1e-2)
        spins = 1.5 * (scale * normalized + offset) / np.sqrt(num_left)
        spins = spins.reshape(-1, num_left, num_right)
        left = 2.0 * (outputs[:, :num_left] - spins.sum(axis=2))
        right = 2.0 * (outputs[:, num_left : num_left + num_right] - spins.sum(axis=1))
        return left, right, 4.0 * spins

    def relaxed(self, logits: np.ndarray, rho: np.ndarray) -> np.ndarray:
        """The piecewise-linear or the Concrete relaxation."""
        if self.relaxation == "pwl":
            q = expit(logits)
            slope = 0.25 * self.sharpness / (q * (1.0 - q) + 1e-2)
            return np.clip(0.5 + slope * (rho - (1.0 - q)), 0.0, 1.0)
        return expit(self.sharpness * (logits + logit(np.clip(rho, 1e-5, 1.0 - 1e-5))))

    def samples(self, encoder: list[np.ndarray]) -> tuple[np.ndarray, ...]:
        """Relaxed left and right halves, and the probabilities of the left one."""
        left_bias, right_bias, coupling = self.posterior(encoder)
        logits = right_bias[:, None] + np.einsum("bki,bij->bkj", self.left, coupling)
        right = self.relaxed(logits, self.rho_right)
        logits = left_bias[:, None] + np.einsum("bkj,bij->bki", right, coupling)
        return self.relaxed(logits, self.rho_left), right, expit(logits)

    def log_weights(self, samples, posterior, decoder, prior) -> np.ndarray:
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

    def surrogates(self, encoder, decoder, prior) -> tuple:
        """(generative, inference) functions, whose gradients are the step's, at these weights."""
        samples, posterior = self.samples(encoder), self.posterior(encoder)
        weights = softmax(self.log_weights(samples, posterior, decoder, prior), axis=1)
        own = self.kl_weight * weights**2 + (1.0 - self.kl_weight) * weights

        def generative(values: list[np.ndarray]) -> float:
            log_w = self.log_weights(samples, posterior, values[:2], values[2:])
            return float(np.mean(np.sum(weights * log_w, axis=1)))

        def inference(values: list[np.ndarray]) -> float:
            log_w = self.log_weights(self.samples(values), posterior, decoder, prior)
            return float(np.mean(np.sum(own * log_w, axis=1)))

        return generative, inference

    def with_left(self, left: np.ndarray) -> "Step":
        """The same step from other chains."""
        return replace(self, left=left)
