"""The discrete VAE: encoder, RBM prior and decoder, and its training loss."""

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from configs.paper import WEIGHT_DECAY, ExperimentConfig
from dvae.baselines import make_parts
from dvae.decoder import Decoder
from dvae.encoder import Encoder, Encoding
from dvae.networks import half_squared_norm
from dvae.objectives import elbo, importance_weighted_bound
from dvae.priors import RBMPrior
from samplers.rbm import RBM


class Forward(NamedTuple):
    """One pass through the model; everything per image and sample, [B, K], in nats.

    log_likelihood: log p(x | ζ). kl: KL term without log Z. encoding: the B*K rows.
    logits: [B*K, X] pixel logits.
    """

    log_likelihood: tf.Tensor
    kl: tf.Tensor
    encoding: Encoding
    logits: tf.Tensor


class DVAE(keras.layers.Layer):
    """A discrete VAE with an RBM prior, built from a configuration and the training mean."""

    def __init__(self, config: ExperimentConfig, train_mean: np.ndarray) -> None:
        super().__init__()
        self.config = config
        self.parts = make_parts(config.baseline, config.structure, config.sharpness)
        self.encoder = Encoder(config.structure, train_mean, self.parts.posterior, config.seed)
        self.prior = RBMPrior(config.structure.num_latents)
        self.decoder = Decoder(config.structure, train_mean, config.seed)

    def forward(self, images: tf.Tensor, rbm: RBM, key: tf.Tensor, training: bool) -> Forward:
        """K = config.k relaxed samples of each image [B, X] (0/1) and their terms."""
        num_samples = self.config.k
        encoding = self.encoder.sample(images, num_samples, key, training)
        logits = self.decoder.logits(encoding.relaxed, training)
        shape = [images.shape[0], num_samples]
        log_likelihood = tf.reshape(self.decoder.log_likelihood(images, logits), shape)
        kl = tf.reshape(self.parts.kl(rbm, encoding), shape)
        return Forward(log_likelihood, kl, encoding, logits)

    def objective(self, forward: Forward, kl_weight: tf.Tensor) -> tf.Tensor:
        """The bound that training raises, averaged over images, without -kl_weight log Z."""
        weighted = self.parts.importance_weighted and self.config.k > 1
        bound = importance_weighted_bound if weighted else elbo
        return bound(forward.log_likelihood, forward.kl, kl_weight)

    def weight_decay(self) -> dict[str, tf.Tensor]:
        """Penalties in nats: encoder, decoder, and total (with the prior's coupling)."""
        encoder = WEIGHT_DECAY * half_squared_norm(self.encoder.decayed_variables())
        decoder = WEIGHT_DECAY * half_squared_norm(self.decoder.decayed_variables())
        prior = WEIGHT_DECAY * half_squared_norm([self.prior.coupling])
        return {"encoder": encoder, "decoder": decoder, "total": encoder + decoder + prior}

    def weight_decay_gradients(self) -> list[tf.Tensor | float]:
        """Gradient of the total penalty for each of `trainable_variables`; 0.0 where none is."""
        decayed = [
            *self.encoder.decayed_variables(),
            *self.decoder.decayed_variables(),
            self.prior.coupling,
        ]
        names = {id(variable) for variable in decayed}
        return [
            WEIGHT_DECAY * tf.convert_to_tensor(v) if id(v) in names else 0.0
            for v in self.trainable_variables
        ]
