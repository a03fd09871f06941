"""Doubly reparameterised gradients: encoder and generative model are raised with their own weights.

Two terms over the same samples ζ. The generative one reaches decoder and prior alone, since ζ is
stopped; the inference one reaches the encoder alone, and through ζ only, since all other weights
are `frozen`. Both values are those of the training objective's log weights.
"""

from typing import TYPE_CHECKING

import tensorflow as tf

from dvae.encoder import Encoding, with_log_density
from dvae.estimators import Estimate, Estimator
from dvae.networks import frozen
from dvae.relaxed_priors import Parameters

if TYPE_CHECKING:
    from dvae.model import DVAE


class DoublyReparameterized(Estimator):
    """Sticking the landing (Roeder et al. 2017) at K = 1, DReG (Tucker et al. 2018) for K > 1.

    Decoder and prior take the gradient of log w_k with the normalised weights w~_k of Burda et al.
    2016; the encoder takes it along ζ_k, log q's own parameters stopped, with
    κ w~_k² + (1-κ) w~_k, where κ is kl_weight, the power of q in w (Vahdat et al. 2019,
    1901.03440). At K = 1 every weight is 1.

    The parameters of log q can be stopped as their score has zero mean under q at K = 1, which the
    squared weights extend to K > 1 for a reparameterised q. So for hard ζ and K = 1 nothing is
    biased that the gradient of ζ does not bias; a relaxed ζ has another mean than q, and an
    estimated one no reparameterisation, which leaves a bias in the encoder's gradient. Batch norm
    couples rows: exact given each row's own path and the statistics' gradients alike.

    `Estimate.bound` is the objective at the samples drawn: the ELBO or L_K of the binary model
    where ζ is hard, the relaxed objective (a bound of nothing) elsewhere.

    Needs an encoder with `params_at` and a KL term that is log q(ζ | x) - log p(ζ).
    """

    def __call__(  # noqa: D102
        self,
        model: "DVAE",
        images: tf.Tensor,
        params: Parameters,
        key: tf.Tensor,
        kl_weight: tf.Tensor,
    ) -> Estimate:
        # Before the passes that move batch-norm averages, so that both see the same weights.
        frozen_model = frozen(model)
        encoding = model.encoder.sample(images, model.config.k, key, training=True)
        generative = model.terms(images, params, _stopped(encoding), training=True)
        with frozen_model:
            own = model.encoder.params_at(images, encoding.relaxed, training=True)
            inferred = with_log_density(model.parts.posterior, encoding.relaxed, own)
            inference = model.terms(images, _stopped(params), inferred, training=True)

        log_weights = generative.log_likelihood - kl_weight * generative.kl
        weights, squared = _weights(tf.stop_gradient(log_weights), model.importance_weighted)
        encoder_weights = kl_weight * squared + (1.0 - kl_weight) * weights
        path = inference.log_likelihood - kl_weight * inference.kl
        surrogate = tf.reduce_sum(weights * log_weights + encoder_weights * path, axis=1)
        return Estimate(
            tf.reduce_mean(surrogate),
            model.objective(generative, kl_weight),
            tf.reduce_mean(generative.log_likelihood),
            tf.reduce_mean(generative.kl),
        )


def _weights(log_weights: tf.Tensor, importance_weighted: bool) -> tuple[tf.Tensor, tf.Tensor]:
    """Weights of generative gradients [B, K] and, at kl_weight 1, of the encoder's."""
    if importance_weighted:
        weights = tf.nn.softmax(log_weights, axis=1)
        return weights, tf.square(weights)
    # Constants, so that XLA sees that both terms have the same backward pass.
    equal = tf.fill(log_weights.shape, 1.0 / log_weights.shape[1])
    return equal, equal


def _stopped(tensors: Encoding | Parameters) -> Encoding | Parameters:
    """The same without gradients; fields that are None stay so."""
    return tf.nest.map_structure(lambda t: None if t is None else tf.stop_gradient(t), tensors)
