"""The decoder: from latents to the parameters of the likelihood p(x | ζ)."""

import keras
import numpy as np
import tensorflow as tf

from configs.registry import Structure
from dvae.likelihood import Likelihood
from dvae.networks import Network, layer_seed


class Decoder(keras.layers.Layer):
    """Outputs net(ζ) + c, with c the likelihood's offset for the training mean, not trained."""

    def __init__(
        self, structure: Structure, train_mean: np.ndarray, likelihood: Likelihood, seed: int
    ) -> None:
        super().__init__(dtype="float32")
        hidden = [structure.hidden_units] * structure.num_hidden_layers
        self.network = Network(
            [structure.num_latents], hidden, len(train_mean), layer_seed(seed, 2)
        )
        self.offset = likelihood.offset(train_mean)

    def outputs(self, latents: tf.Tensor, training: bool) -> tf.Tensor:
        """What the likelihood takes (logits), [N, X], from latents [N, D], relaxed or binary."""
        return self.network.finish(self.network.product(0, latents), training) + self.offset

    def decayed_variables(self) -> list[keras.Variable]:
        """What weight decay applies to."""
        return self.network.decayed_variables()
