"""Training objectives: log weights [B, K] of K samples per image, reduced once, here."""

import tensorflow as tf
import tensorflow_probability as tfp


def elbo(log_likelihood: tf.Tensor, kl: tf.Tensor, kl_weight: tf.Tensor) -> tf.Tensor:
    """Evidence lower bound averaged over images and samples, a scalar in nats.

    Args:
      log_likelihood: [B, K] log p(x | ζ).
      kl: [B, K] KL terms.
      kl_weight: scalar factor of the KL term (warm-up); 1 gives a lower bound of log p(x).
    """
    return tf.reduce_mean(log_likelihood - kl_weight * kl)


def importance_weighted_bound(
    log_likelihood: tf.Tensor, kl: tf.Tensor, kl_weight: tf.Tensor
) -> tf.Tensor:
    """K-sample bound of Burda et al. 2016 (L_K) averaged over images, a scalar in nats.

    log w = log p(x | ζ) + kl_weight (log p(ζ) - log q(ζ | x)); per image log mean_K w. Between the
    ELBO and log p(x) in expectation, rising with K. Arguments as in `elbo`, where `kl` is the
    one-sample log ratio.
    """
    return tf.reduce_mean(tfp.math.reduce_logmeanexp(log_likelihood - kl_weight * kl, axis=1))
