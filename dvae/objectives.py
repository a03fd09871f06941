"""Training objectives: log weights [B, K] of K samples per image, reduced once, here."""

import tensorflow as tf
import tensorflow_probability as tfp


def log_weights(log_likelihood: tf.Tensor, kl: tf.Tensor, kl_weight: tf.Tensor) -> tf.Tensor:
    """log w = log p(x | ζ) + kl_weight (log p(ζ) - log q(ζ | x)), in nats, in any one shape.

    Args:
      log_likelihood: log p(x | ζ).
      kl: KL terms, one-sample log ratios or not.
      kl_weight: scalar factor of the KL term (warm-up); with 1 the objectives are lower bounds of
        log p(x).
    """
    return log_likelihood - kl_weight * kl


def elbo(log_weights: tf.Tensor) -> tf.Tensor:
    """Evidence lower bound averaged over images and samples [B, K], a scalar in nats."""
    return tf.reduce_mean(log_weights)


def importance_weighted_bound(log_weights: tf.Tensor) -> tf.Tensor:
    """K-sample bound of Burda et al. 2016 (L_K) averaged over images, a scalar in nats.

    Per image log mean_K w, of log w [B, K] made of one-sample log ratios. Between the ELBO and
    log p(x) in expectation, rising with K.
    """
    return tf.reduce_mean(tfp.math.reduce_logmeanexp(log_weights, axis=1))
