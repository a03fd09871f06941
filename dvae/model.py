"""The discrete VAE: encoder, prior, decoder and likelihood, put together by a configuration."""

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from configs.paper import WEIGHT_DECAY, ExperimentConfig
from configs.registry import DECODERS, ENCODERS, LIKELIHOODS, PRIORS, resolve
from dvae import objectives
from dvae.baselines import make_parts
from dvae.encoder import Encoding
from dvae.estimators import Estimate
from dvae.networks import half_squared_norm
from dvae.priors import Prior
from samplers.energy_model import Parameters


class Forward(NamedTuple):
    """One pass through the model; everything per image and sample, [B, K], in nats.

    log_likelihood: log p(x | ζ). kl: KL term without log Z. encoding: the B*K rows.
    outputs: [B*K, X] of the decoder.
    """

    log_likelihood: tf.Tensor
    kl: tf.Tensor
    encoding: Encoding
    outputs: tf.Tensor

    def log_weights(self, kl_weight: tf.Tensor) -> tf.Tensor:
        """log w of each sample, [B, K] in nats, without log Z."""
        return objectives.log_weights(self.log_likelihood, self.kl, kl_weight)


class DVAE(keras.layers.Layer):
    """A discrete VAE, built from a configuration and the training mean, float32 [X]."""

    def __init__(self, config: ExperimentConfig, train_mean: np.ndarray) -> None:
        super().__init__(dtype="float32")
        self.config = config
        structure = config.structure
        prior = Prior(resolve(PRIORS[structure.prior])(structure))
        # The order in which parts are set is that of the variables in checkpoints.
        self.parts = make_parts(config.baseline, structure, config.beta, prior)
        self.encoder = resolve(self.parts.encoder or ENCODERS[structure.encoder])(
            structure, train_mean, self.parts.posterior, config.seed
        )
        self.prior = prior
        self.likelihood = resolve(LIKELIHOODS[structure.likelihood])()
        self.decoder = resolve(DECODERS[structure.decoder])(
            structure, train_mean, self.likelihood, config.seed
        )

    @property
    def importance_weighted(self) -> bool:
        """Whether the training objective is the importance-weighted bound."""
        return self.parts.importance_weighted and self.config.k > 1

    def forward(
        self,
        images: tf.Tensor,
        params: Parameters,
        key: tf.Tensor,
        training: bool,
        num_samples: int | None = None,
    ) -> Forward:
        """K relaxed samples of each image [B, X] (0/1) and their terms; K is config.k if None."""
        encoding = self.encoder.sample(images, num_samples or self.config.k, key, training)
        return self.terms(images, params, encoding, training)

    def terms(
        self, images: tf.Tensor, params: Parameters, encoding: Encoding, training: bool
    ) -> Forward:
        """The terms of given latents, B*K rows, of images [B, X] (0/1)."""
        outputs = self.decoder.outputs(encoding.relaxed, training)
        grouped = tf.reshape(outputs, [images.shape[0], -1, outputs.shape[1]])
        log_likelihood = self.likelihood.log_prob(images[:, None, :], grouped)
        kl = tf.reshape(self.parts.kl(params, encoding), log_likelihood.shape)
        return Forward(log_likelihood, kl, encoding, outputs)

    def objective(self, forward: Forward, kl_weight: tf.Tensor) -> tf.Tensor:
        """The training objective's value, ELBO or L_K, a scalar in nats without log Z."""
        log_weights = forward.log_weights(kl_weight)
        if self.importance_weighted:
            return objectives.importance_weighted_bound(log_weights)
        return objectives.elbo(log_weights)

    def estimate(
        self, images: tf.Tensor, params: Parameters, key: tf.Tensor, kl_weight: tf.Tensor
    ) -> Estimate:
        """The training objective of a batch [B, X] (0/1), by the baseline's estimator."""
        return self.parts.estimator(self, images, params, key, kl_weight)

    def weight_decay(self) -> dict[str, tf.Tensor]:
        """Penalties in nats: encoder, decoder, and total (with the prior's)."""
        encoder, decoder, prior = (
            WEIGHT_DECAY * half_squared_norm(part.decayed_variables())
            for part in (self.encoder, self.decoder, self.prior)
        )
        return {"encoder": encoder, "decoder": decoder, "total": encoder + decoder + prior}

    def weight_decay_rates(self) -> list[float]:
        """What the total penalty's gradient multiplies each of `trainable_variables` by."""
        parts = (self.encoder, self.decoder, self.prior)
        decayed = {id(variable) for part in parts for variable in part.decayed_variables()}
        return [WEIGHT_DECAY if id(v) in decayed else 0.0 for v in self.trainable_variables]

    def weight_decay_gradients(self) -> list[tf.Tensor | float]:
        """Gradient of the total penalty for each of `trainable_variables`; 0.0 where none is."""
        return [
            rate * tf.convert_to_tensor(v) if rate else 0.0
            for v, rate in zip(self.trainable_variables, self.weight_decay_rates(), strict=True)
        ]
