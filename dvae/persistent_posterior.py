"""Training with an undirected posterior: chains of every image that persist from step to step."""

from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from dvae.encoder import Encoding
from dvae.estimators import Estimate, Estimator
from dvae.networks import frozen
from dvae.relaxed_priors import Parameters
from samplers import counter_random

if TYPE_CHECKING:
    from dvae.model import DVAE


class PersistentPosterior(Estimator):
    """The gradient along relaxed samples of persistent chains (Vahdat et al. 2019, 1901.03440).

    Two terms over the same samples ζ. Decoder and prior take the gradient of log w_k with the
    normalised weights w~_k, ζ stopped; the encoder takes it along ζ alone with
    κ w~_k² + (1-κ) w~_k, κ being kl_weight. log q enters with its parameters stopped and without
    log Z of the image's posterior, which the weights of one image share. At K = 1 every weight is
    1. Biased by the relaxation, by chains that lag behind, and by the sweeps that no gradient flows
    through. The objective's value needs that log Z, so that no step knows it.

    Needs an `UndirectedEncoder`.
    """

    knows_bound = False

    def init_states(self, model: "DVAE", num_images: int, key: tf.Tensor) -> tf.Tensor:
        """Left halves of K chains of each image, uint8 [num_images, K, L]: fair bits."""
        shape = [num_images, model.config.k, model.encoder.num_left]
        signs = tf.bitcast(counter_random.bits(key, shape), tf.int32)
        return tf.cast(signs < 0, tf.uint8)

    def step(  # noqa: D102
        self,
        model: "DVAE",
        images: tf.Tensor,
        params: Parameters,
        key: tf.Tensor,
        kl_weight: tf.Tensor,
        states: tf.Tensor,
    ) -> tuple[Estimate, tf.Tensor]:
        # Before the passes that move batch-norm averages, so that both terms see the same weights.
        frozen_model = frozen(model)
        encoding, left = model.encoder.follow(images, tf.cast(states, tf.float32), key)
        estimate = _estimate(model, frozen_model, images, params, encoding, kl_weight)
        return estimate, tf.cast(left, states.dtype)

    def __call__(
        self,
        model: "DVAE",
        images: tf.Tensor,
        params: Parameters,
        key: tf.Tensor,
        kl_weight: tf.Tensor,
    ) -> Estimate:
        """One estimate from chains that AIS leaves, for a batch whose images have none."""
        frozen_model = frozen(model)
        encoding = model.encoder.sample(images, model.config.k, key, training=True)
        return _estimate(model, frozen_model, images, params, encoding, kl_weight)


def _estimate(
    model: "DVAE",
    frozen_model: keras.StatelessScope,
    images: tf.Tensor,
    params: Parameters,
    encoding: Encoding,
    kl_weight: tf.Tensor,
) -> Estimate:
    generative = model.terms(images, params, _stopped(encoding), training=True)
    with frozen_model:
        inference = model.terms(images, _stopped(params), encoding, training=True)
    log_weights = generative.log_likelihood - kl_weight * generative.kl
    weights = tf.nn.softmax(tf.stop_gradient(log_weights), axis=1)
    encoder_weights = kl_weight * tf.square(weights) + (1.0 - kl_weight) * weights
    path = inference.log_likelihood - kl_weight * inference.kl
    surrogate = tf.reduce_sum(weights * log_weights + encoder_weights * path, axis=1)
    return Estimate(
        tf.reduce_mean(surrogate),
        model.objective(generative, kl_weight),
        tf.reduce_mean(generative.log_likelihood),
        tf.reduce_mean(generative.kl),
    )


def _stopped(tensors: Any) -> Any:
    """A nest of tensors without gradients; what is None stays so."""
    return tf.nest.map_structure(lambda t: None if t is None else tf.stop_gradient(t), tensors)
