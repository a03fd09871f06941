"""Learning rate and KL warm-up as functions of the training step, inside the graph."""

import tensorflow as tf

from configs.paper import KL_WARMUP_FRACTION, LEARNING_RATE_STAGES


def learning_rate(step: tf.Tensor, num_train_iter: int, base_lr: float) -> tf.Tensor:
    """The staged learning rate of the papers at an integer scalar step, as float32."""
    fraction = tf.cast(step, tf.float32) / float(num_train_iter)
    value = tf.constant(base_lr / LEARNING_RATE_STAGES[-1][1], tf.float32)
    for until, divisor in reversed(LEARNING_RATE_STAGES[:-1]):
        value = tf.where(fraction < until, tf.constant(base_lr / divisor, tf.float32), value)
    return value


def kl_weight(step: tf.Tensor, num_train_iter: int) -> tf.Tensor:
    """Rises linearly from 0 to 1 over the first 30 % of the run; float32 scalar."""
    fraction = tf.cast(step, tf.float32) / float(num_train_iter)
    return tf.minimum(fraction / KL_WARMUP_FRACTION, 1.0)
