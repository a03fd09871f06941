"""Adam (Kingma and Ba 2015) as a pure function, on all weights of a model as one vector.

One fused update instead of one for each of dozens of small variables: the compiled step is several
times smaller, and compiles that much faster.
"""

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from configs.paper import ADAM


class AdamState(NamedTuple):
    """count: int64 scalar, updates so far. first, second: [P], the moments of the gradient."""

    count: tf.Tensor
    first: tf.Tensor
    second: tf.Tensor


def init(weights: tf.Tensor) -> AdamState:
    """The state before the first update of weights [P]."""
    return AdamState(tf.zeros([], tf.int64), tf.zeros_like(weights), tf.zeros_like(weights))


def update(
    weights: tf.Tensor, state: AdamState, gradient: tf.Tensor, rate: tf.Tensor
) -> tuple[tf.Tensor, AdamState]:
    """One update of weights [P] with their gradient [P] at a learning rate, a scalar.

    The paper's algorithm in the order at the end of its section 2, with epsilon beside the square
    root of the uncorrected moment: what TensorFlow's Adam computes, and Keras' to the last bit.
    """
    count = tf.cast(state.count + 1, tf.float32)
    beta_1, beta_2 = tf.constant(ADAM["beta_1"]), tf.constant(ADAM["beta_2"])
    step_size = rate * tf.sqrt(1.0 - tf.pow(beta_2, count)) / (1.0 - tf.pow(beta_1, count))
    first = state.first + (gradient - state.first) * (1.0 - ADAM["beta_1"])
    second = state.second + (tf.square(gradient) - state.second) * (1.0 - ADAM["beta_2"])
    weights -= first * step_size / (tf.sqrt(second) + ADAM["epsilon"])
    return weights, AdamState(state.count + 1, first, second)


def mean_square(state: AdamState) -> tf.Tensor:
    """The mean square of the gradient's elements [P], corrected for its start at 0.

    Over about 1 / (1 - beta_2) updates, weighted to the last. NaN before the first.
    """
    count = tf.cast(state.count, tf.float32)
    return state.second / (1.0 - tf.pow(tf.constant(ADAM["beta_2"]), count))


def flatten(tensors: list) -> tf.Tensor:
    """All elements of a list of tensors or variables of one type as one vector."""
    parts = [tf.reshape(tf.convert_to_tensor(t), [-1]) for t in tensors]
    return tf.concat(parts, axis=0) if parts else tf.zeros([0])


def unflatten(flat: tf.Tensor, like: list[tf.Tensor | keras.Variable]) -> list[tf.Tensor]:
    """The inverse of `flatten`, in the shapes of `like`."""
    pieces = tf.split(flat, [int(np.prod(t.shape)) for t in like]) if like else []
    return [tf.reshape(piece, t.shape) for piece, t in zip(pieces, like, strict=True)]
