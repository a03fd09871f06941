"""Score-function estimators of binary models: unbiased gradients through samples z ~ q(z | x).

∇E_q[f] = E_q[f ∇log q + ∇f]: what f is compared with, its baseline, takes variance away and adds
no bias as long as it does not depend on the sample whose score it multiplies. Every estimator here
is unbiased given the statistics of batch norm, which couple the rows of a batch.
"""

from typing import Any

import tensorflow as tf

from dvae.estimators.base import Estimator, Inputs, Step
from dvae.model import DVAE
from samplers.diagnostics import log_mean_exp


def mean_of_others(values: tf.Tensor) -> tf.Tensor:
    """For each sample the mean over the others: [B, K, ...] from [B, K, ...], K >= 2."""
    total = tf.reduce_sum(values, axis=1, keepdims=True)
    return (total - values) / (values.shape[1] - 1.0)


class LeaveOneOut(Estimator):
    """REINFORCE of the ELBO, each sample compared with the mean of the others.

    Kool, van Hoof and Welling 2019, "Buy 4 REINFORCE samples, get a baseline for free!". K samples
    an image, two at K = 1: more only lower the variance. f = log p(x | z) - κ (log q(z | x) + E(z))
    with κ = kl_weight; log q inside f has no gradient, since its score has zero mean.
    """

    def step(self, model: DVAE, inputs: Inputs, state: Any) -> Step:  # noqa: D102
        batch, params, key, kl_weight = inputs
        sample = model.sample(batch, max(self.num_samples, 2), key, training=True)
        terms = self.objective.terms(model, batch, params, sample)
        value = terms.log_weights(kl_weight)
        log_q = tf.reshape(sample.log_q, value.shape)
        signal = tf.stop_gradient(value - mean_of_others(value))
        bound = tf.reduce_mean(value)
        # kl_weight log q takes the score out of `bound`.
        surrogate = bound + tf.reduce_mean((signal + kl_weight) * log_q)
        return Step(surrogate, self.metrics(terms, bound, kl_weight), state)


class Vimco(Estimator):
    """The importance-weighted bound L_K of K >= 2 samples, Mnih and Rezende 2016 (1602.06725).

    Score of sample k: L_K less what it is with log w_k replaced by the mean of the others' log w
    (their geometric mean, section 2). log w = log p(x | z) - κ (log q(z | x) + E(z)), κ =
    kl_weight; the other term, Σ_k w~_k ∇log w_k with normalised w~, keeps the gradient of log q,
    whose mean is not zero there.
    """

    def step(self, model: DVAE, inputs: Inputs, state: Any) -> Step:  # noqa: D102
        batch, params, key, kl_weight = inputs
        sample = model.sample(batch, self.num_samples, key, training=True)
        terms = self.objective.terms(model, batch, params, sample)
        log_weights = terms.log_weights(kl_weight)
        log_q = tf.reshape(sample.log_q, log_weights.shape)
        bounds = log_mean_exp(log_weights, axis=-1)
        signal = tf.stop_gradient(bounds[:, None] - bounds_without_each(log_weights))
        bound = tf.reduce_mean(bounds)
        surrogate = bound + tf.reduce_mean(tf.reduce_sum(signal * log_q, axis=1))
        return Step(surrogate, self.metrics(terms, bound, kl_weight), state)


def bounds_without_each(log_weights: tf.Tensor) -> tf.Tensor:
    """log mean_K w with log w_k replaced by the mean of the others' log w: [B, K] from [B, K]."""
    num_samples = log_weights.shape[1]
    own = tf.cast(tf.eye(num_samples), tf.bool)
    replaced = tf.where(own, mean_of_others(log_weights)[:, :, None], log_weights[:, None, :])
    return log_mean_exp(replaced, axis=-1)
