"""log p of independent bits given logits, summed: what evaluation spends its time on."""

import tensorflow as tf

# A product of so many factors between 1 and 2 is far from float32's largest number.
_MAX_FACTORS = 16
# Numbers that a vector instruction takes at once; more do no harm.
_LANES = 8


def _num_factors(size: int) -> int:
    """The divisor of `size` by which `log_bernoulli` groups: the rest should fill vectors."""
    divisors = [n for n in range(1, _MAX_FACTORS + 1) if size % n == 0]
    aligned = [n for n in divisors if size // n % _LANES == 0]
    return max(aligned or divisors)


def log_bernoulli(bits: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Sum over the last axis of log Bernoulli(bits; sigmoid(logits)), in nats.

    -log p = softplus(s) with s = (1 - 2 bit) logit, softplus(s) = max(s, 0) + log(1 + exp(-|s|)).
    The logarithm of a product of up to 16 of the factors 1 + exp(-|s|) replaces as many
    logarithms, which triples the speed on a CPU; exact up to rounding, as each lies in (1, 2].

    Args:
      bits: 0/1 in the dtype of the logits, [..., X]; broadcast against them.
      logits: [..., X].

    Returns:
      [...].
    """
    size = int(logits.shape[-1])
    signed = (1.0 - 2.0 * bits) * logits
    grouped = tf.reshape(signed, [*signed.shape[:-1], _num_factors(size), -1])
    product = tf.reduce_prod(1.0 + tf.exp(-tf.abs(grouped)), axis=-2)
    positive = tf.reduce_sum(tf.maximum(grouped, 0.0), axis=-2)
    return -tf.reduce_sum(positive + tf.math.log(product), axis=-1)
