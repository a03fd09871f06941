"""The discrete VAE: encoder, prior, decoder and likelihood; it knows no method."""

import keras
import tensorflow as tf

from dvae.decoder import Decoder
from dvae.encoder import Batch, Encoder
from dvae.likelihood import Likelihood
from dvae.posteriors import Posterior, Sample
from dvae.priors import Prior


class DVAE(keras.layers.Layer):
    """The parts, and what goes from one to the next; `dvae.build` makes them."""

    def __init__(
        self,
        posterior: Posterior,
        encoder: Encoder,
        prior: Prior,
        likelihood: Likelihood,
        decoder: Decoder,
    ) -> None:
        super().__init__(dtype="float32")
        # The order in which parts are set is that of the variables in checkpoints.
        self.posterior = posterior
        self.encoder = encoder
        self.prior = prior
        self.likelihood = likelihood
        self.decoder = decoder

    def sample(self, batch: Batch, num_samples: int, key: tf.Tensor, training: bool) -> Sample:
        """K relaxed samples of each of B images, B*K rows; key int32 [2]."""
        return self.encoder.sample(batch, num_samples, key, training)

    def log_likelihood(
        self, batch: Batch, latents: tf.Tensor, training: bool, gradient: bool = True
    ) -> tf.Tensor:
        """log p(x | ζ) of B images at latents [B*K, D]: [B, K] in nats.

        gradient: whether one is wanted; if not, there is a quicker way to the same number.
        """
        outputs = self.decoder.outputs(latents, training)
        grouped = tf.reshape(outputs, [batch.images.shape[0], -1, outputs.shape[1]])
        log_prob = self.likelihood.log_prob if gradient else self.likelihood.log_prob_value
        return log_prob(batch.images[:, None, :], grouped)

    def decayed_variables(self) -> list[keras.Variable]:
        """What weight decay applies to."""
        parts = (self.encoder, self.decoder, self.prior)
        return [v for part in parts for v in part.decayed_variables()]
