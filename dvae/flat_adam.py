"""One optimizer update for all weights of a model, as one vector."""

import keras
import numpy as np
import tensorflow as tf

from configs.paper import ADAM
from samplers import hardware


class FlatAdam(tf.Module):
    """Keras' Adam on all weights as one vector.

    One fused update instead of one for each of dozens of small variables: the compiled step is
    several times smaller, and compiles that much faster. While steps are taken the vector is what
    counts: `gather` fills it from the variables, `scatter` gives them its values back.
    """

    def __init__(self, variables: list[keras.Variable], learning_rate: float) -> None:
        super().__init__()
        self._variables = variables
        num_weights = sum(int(np.prod(v.shape)) for v in variables)
        self._flat = keras.Variable(tf.zeros([num_weights]), name="flat_weights", dtype="float32")
        self.adam = keras.optimizers.Adam(learning_rate=learning_rate, **ADAM)
        self.adam.build([self._flat])

    def gather(self) -> None:
        """Takes the weights from the variables."""
        self._flat.assign(flatten(self._variables))

    def flat(self) -> tf.Tensor:
        """The present weights, [P]."""
        return tf.convert_to_tensor(self._flat)

    def weights(self, one: float | tf.Tensor = 1.0) -> list[tf.Tensor]:
        """The present weights, in the shapes of the variables.

        one: a factor of one that XLA does not know to be one. Of mere slices it makes a kernel
        each, of products one for all of a shape.
        """
        flat = self.flat()
        return unflatten(flat * one if tf.is_tensor(one) else flat, self._variables)

    def scatter(self) -> None:
        """Gives the weights back to the variables."""
        for variable, weight in zip(self._variables, self.weights(), strict=True):
            variable.assign(weight)

    def apply(self, gradient: tf.Tensor, rate: tf.Tensor, ok: tf.Tensor) -> None:
        """One update with a flat gradient [P]; where not `ok`, weights and slots stay."""
        iterations, learning_rate, *moments = self.adam.variables
        changed = [iterations, *moments, self._flat]
        if not hardware.on_gpu():  # it is set anew at each step: not worth a kernel
            changed.append(learning_rate)
        before = [tf.convert_to_tensor(v) for v in changed]
        self.adam.learning_rate.assign(rate)
        self.adam.apply([gradient], [self._flat])
        for variable, old in zip(changed, before, strict=True):
            variable.assign(tf.where(ok, tf.convert_to_tensor(variable), old))


def flatten(tensors: list) -> tf.Tensor:
    """All elements of a list of tensors or variables as one vector."""
    return tf.concat([tf.reshape(tf.convert_to_tensor(t), [-1]) for t in tensors], axis=0)


def unflatten(flat: tf.Tensor, like: list) -> list[tf.Tensor]:
    """The inverse of `flatten`, in the shapes of `like`."""
    pieces = tf.split(flat, [int(np.prod(t.shape)) for t in like])
    return [tf.reshape(piece, t.shape) for piece, t in zip(pieces, like, strict=True)]
