"""The objective: terms of each image and sample, log weights, and one reduction at the end.

log w = log p(x | ζ) - κ (log q(ζ | x) - log p(ζ)), without log Z, whose weight in log w is -κ; for
training, evaluation and enumeration alike. κ = kl_weight, the warm-up; bounds of log p(x) at 1.
"""

from typing import NamedTuple

import tensorflow as tf

from dvae.encoder import Batch
from dvae.log_ratio import LogRatio
from dvae.metrics import Share
from dvae.model import DVAE
from dvae.posteriors import Sample
from samplers.diagnostics import log_mean_exp
from samplers.energy_model import Parameters

RECONSTRUCTION = "obj/recon_loss"


class Terms(NamedTuple):
    """log_likelihood: log p(x | ζ). log_ratio: KL term without log Z. Both [B, K] in nats."""

    log_likelihood: tf.Tensor
    log_ratio: tf.Tensor

    def log_weights(self, kl_weight: float | tf.Tensor) -> tf.Tensor:
        """log w of each sample, [B, K] in nats, without log Z."""
        return self.log_likelihood - kl_weight * self.log_ratio


class Objective:
    """ELBO or importance-weighted bound, and the log ratio that it is made of."""

    def __init__(self, log_ratio: LogRatio, importance_weighted: bool) -> None:
        self.log_ratio = log_ratio
        self.importance_weighted = importance_weighted
        self.bound_name = "train/neg_iw_loss" if importance_weighted else "train/neg_elbo"

    def terms(self, model: DVAE, batch: Batch, params: Parameters, sample: Sample) -> Terms:
        """Of latents [B*K, D] of a batch of B images, in training."""
        log_likelihood = model.log_likelihood(batch, sample.latents, training=True)
        log_ratio = self.log_ratio(model.prior, params, sample)
        return Terms(log_likelihood, tf.reshape(log_ratio, log_likelihood.shape))

    def value(self, log_weights: tf.Tensor) -> tf.Tensor:
        """The bound from log weights [B, K]: a scalar, averaged over images, in nats."""
        return (importance_weighted_bound if self.importance_weighted else elbo)(log_weights)

    @property
    def term_shares(self) -> dict[str, Share]:
        """Names of `term_metrics`, each with its share of log Z."""
        ratio = self.log_ratio
        return {RECONSTRUCTION: Share(), ratio.name: Share(constant=ratio.log_partition)}

    def term_metrics(self, terms: Terms) -> dict[str, tf.Tensor]:
        """Means of the terms, without log Z."""
        both = tf.stack([-terms.log_likelihood, terms.log_ratio])  # one sum for both
        names = RECONSTRUCTION, self.log_ratio.name
        means = tf.reduce_mean(both, axis=list(range(1, both.shape.rank)))
        return dict(zip(names, tf.unstack(means), strict=True))


def elbo(log_weights: tf.Tensor) -> tf.Tensor:
    """Evidence lower bound averaged over images and samples [B, K], a scalar in nats."""
    return tf.reduce_mean(log_weights)


def importance_weighted_bound(log_weights: tf.Tensor) -> tf.Tensor:
    """K-sample bound of Burda et al. 2016 (L_K) averaged over images, a scalar in nats.

    Per image log mean_K w, of log w [B, K] made of one-sample log ratios. Between the ELBO and
    log p(x) in expectation, rising with K.
    """
    return tf.reduce_mean(log_mean_exp(log_weights, axis=1))
