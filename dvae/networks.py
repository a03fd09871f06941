"""Networks between images and latents: dense, batch norm, tanh; the last layer linear."""

import math

import keras
import numpy as np
import tensorflow as tf

from configs.paper import BATCH_NORM, KERNEL_INIT_GAIN, WEIGHT_DECAY
from samplers import hardware


def layer_seed(seed: int, *path: int) -> int:
    """A seed for one layer's initial weights, from the run's seed and the layer's place."""
    return int(np.random.SeedSequence([seed, *path]).generate_state(1)[0] >> 1)


class BatchNorm(keras.layers.BatchNormalization):
    """Keras's; on a GPU mean and variance in training come from one pass over the values [N, H].

    One kernel instead of two. Both are taken about the moving mean, so that little is lost when the
    square of the mean is subtracted; a CPU has no reason to lose any.
    """

    def call(self, values: tf.Tensor, training: bool = False) -> tf.Tensor:  # noqa: D102
        if not (training and hardware.on_gpu()):
            return super().call(values, training=training)
        old_mean, old_variance = map(tf.convert_to_tensor, (self.moving_mean, self.moving_variance))
        shifted = values - old_mean
        first, second = tf.reduce_mean(shifted, axis=0), tf.reduce_mean(tf.square(shifted), axis=0)
        mean, variance = first + old_mean, second - tf.square(first)
        keep = self.momentum
        self.moving_mean.assign(old_mean * keep + mean * (1.0 - keep))
        self.moving_variance.assign(old_variance * keep + variance * (1.0 - keep))
        return tf.nn.batch_normalization(
            values, mean, variance, self.beta, self.gamma, self.epsilon
        )


class Network(keras.layers.Layer):
    """Hidden layers (dense, batch norm over all rows, tanh), then a linear layer.

    The first layer takes its input in parts (say the image and the latents of earlier groups) and
    adds up the products, which equals a dense layer on their concatenation: a part that K rows
    share is then multiplied once. Hidden dense layers carry no bias of their own, since the batch
    norm that follows would remove it.
    """

    def __init__(
        self, part_sizes: list[int], hidden_sizes: list[int], output_size: int, seed: int
    ) -> None:
        super().__init__(dtype="float32")
        sizes = [*hidden_sizes, output_size]
        self.first = [
            self._dense(size, sizes[0], sum(part_sizes), layer_seed(seed, 0, i))
            for i, size in enumerate(part_sizes)
        ]
        self.norms = [self._norm(size) for size in hidden_sizes]
        self.rest = [
            self._dense(size, sizes[i + 1], size, layer_seed(seed, 1, i))
            for i, size in enumerate(hidden_sizes)
        ]
        self.bias = self.add_weight(shape=(output_size,), initializer="zeros", name="bias")

    @staticmethod
    def _dense(inputs: int, outputs: int, fan_in: int, seed: int) -> keras.layers.Dense:
        # Keras truncates at two standard deviations of the untruncated normal, as published.
        init = keras.initializers.TruncatedNormal(
            stddev=math.sqrt(KERNEL_INIT_GAIN / fan_in), seed=seed
        )
        layer = keras.layers.Dense(
            outputs, use_bias=False, kernel_initializer=init, dtype="float32"
        )
        layer.build((None, inputs))
        return layer

    @staticmethod
    def _norm(size: int) -> BatchNorm:
        layer = BatchNorm(**BATCH_NORM, dtype="float32")
        layer.build((None, size))
        return layer

    def product(self, part: int, values: tf.Tensor) -> tf.Tensor:
        """The contribution [N, H] of one part [N, size] to the first layer."""
        return self.first[part](values)

    def finish(self, first_layer: tf.Tensor, training: bool) -> tf.Tensor:
        """Output [N, output_size] from the sum of the parts' products [N, H].

        In training, batch norm uses the statistics of all N rows and moves its averages.
        """
        hidden = first_layer
        for norm, dense in zip(self.norms, self.rest, strict=True):
            hidden = dense(tf.tanh(norm(hidden, training=training)))
        return hidden + self.bias

    def decayed_variables(self) -> list[keras.Variable]:
        """What weight decay applies to: every kernel and every batch-norm scale."""
        kernels = [layer.kernel for layer in (*self.first, *self.rest)]
        return [*kernels, *(norm.gamma for norm in self.norms)]


def frozen(layer: keras.layers.Layer) -> keras.StatelessScope:
    """A scope in which the layer's variables are what they are now, without gradients.

    What is assigned inside (batch-norm averages) is dropped.
    """
    return keras.StatelessScope([(v, tf.stop_gradient(v.value)) for v in layer.variables])


def weight_decay(variables: list[keras.Variable]) -> tf.Tensor:
    """The penalty of the weights that decay, a scalar in nats: WEIGHT_DECAY |w|^2 / 2."""
    halves = (tf.nn.l2_loss(tf.convert_to_tensor(v)) for v in variables)
    return WEIGHT_DECAY * tf.add_n([tf.zeros([]), *halves])
