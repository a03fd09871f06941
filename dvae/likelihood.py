"""The likelihood p(x | decoder output): one definition for training, evaluation and pictures."""

import abc

import numpy as np
import tensorflow as tf

from configs.paper import MEAN_CLIP
from samplers import counter_random

# A product of so many factors between 1 and 2 is far from float32's largest number.
_MAX_FACTORS = 16
# Numbers that a vector instruction takes at once; more do no harm.
_LANES = 8


class Likelihood(abc.ABC):
    """Independent pixels, each with one number from the decoder, [..., X]."""

    @abc.abstractmethod
    def offset(self, train_mean: np.ndarray) -> tf.Tensor:
        """[X] added to the decoder's output so that at zero it gives the mean of training."""

    @abc.abstractmethod
    def log_prob(self, images: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        """log p(x | output) in nats, [...] summed over pixels; differentiable in the outputs.

        Args:
          images: [..., X], broadcast against the outputs.
          outputs: [..., X].
        """

    def log_prob_value(self, images: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        """`log_prob` where no gradient is wanted, for a quicker way to the same number."""
        return self.log_prob(images, outputs)

    @abc.abstractmethod
    def mean(self, outputs: tf.Tensor) -> tf.Tensor:
        """E[x | output], [..., X] in [0, 1]: what pictures show."""

    @abc.abstractmethod
    def sample(self, outputs: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
        """x ~ p(x | output), [..., X]; key int32 [2]."""


class Bernoulli(Likelihood):
    """Binary pixels with logits."""

    def offset(self, train_mean: np.ndarray) -> tf.Tensor:
        """The logit of the training mean."""
        mean = np.clip(np.asarray(train_mean, np.float64), *MEAN_CLIP)
        return tf.constant(np.log(mean) - np.log1p(-mean), tf.float32)

    def log_prob(self, images: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:  # noqa: D102
        labels = tf.broadcast_to(images, tf.shape(outputs))
        loss = tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=outputs)
        return -tf.reduce_sum(loss, axis=-1)

    def log_prob_value(self, images: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:  # noqa: D102
        return log_bernoulli(images, outputs)

    def mean(self, outputs: tf.Tensor) -> tf.Tensor:  # noqa: D102
        return tf.sigmoid(outputs)

    def sample(self, outputs: tf.Tensor, key: tf.Tensor) -> tf.Tensor:  # noqa: D102
        return counter_random.bernoulli_logits(key, outputs)


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
