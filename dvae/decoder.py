"""The decoder p(x | ζ): independent Bernoulli pixels."""

import keras
import numpy as np
import tensorflow as tf

from configs.paper import MEAN_CLIP, Structure
from dvae.networks import Network, layer_seed


class Decoder(keras.layers.Layer):
    """p(x | ζ) = Bernoulli(σ(net(ζ) + c)) with c the logit of the training mean, not trained."""

    def __init__(self, structure: Structure, train_mean: np.ndarray, seed: int) -> None:
        super().__init__()
        hidden = [structure.hidden_units] * structure.num_hidden_layers
        self.network = Network(
            [structure.num_latents], hidden, len(train_mean), layer_seed(seed, 2)
        )
        mean = np.clip(np.asarray(train_mean, np.float64), *MEAN_CLIP)
        self._offset = tf.constant(np.log(mean) - np.log1p(-mean), tf.float32)

    def logits(self, latents: tf.Tensor, training: bool) -> tf.Tensor:
        """Pixel logits [N, X] from latents [N, D], relaxed or binary."""
        return self.network.finish(self.network.product(0, latents), training) + self._offset

    def log_likelihood(self, images: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        """log p(x | ζ) in nats, summed over pixels: [B*K].

        Args:
          images: [B, X], 0/1.
          logits: [B*K, X]; row b*K + k belongs to image b.
        """
        size = logits.shape[1]
        grouped = tf.reshape(logits, [images.shape[0], -1, size])
        labels = tf.broadcast_to(images[:, None, :], tf.shape(grouped))
        loss = tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=grouped)
        return -tf.reshape(tf.reduce_sum(loss, axis=-1), [-1])

    def decayed_variables(self) -> list[keras.Variable]:
        """What weight decay applies to."""
        return self.network.decayed_variables()
