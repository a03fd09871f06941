"""Doubly reparameterised gradients: encoder and generative model are raised with their own weights.

Two terms over the same samples ζ, whose forward passes are one in the compiled program. The
generative one reaches decoder and prior alone, since ζ is stopped; the inference one reaches the
encoder alone, and through ζ only, since all other weights are `frozen`. Both have the value of the
objective's log weights.
"""

from typing import TYPE_CHECKING

import keras
import tensorflow as tf

from dvae.encoder import Encoding, with_log_density
from dvae.estimators import Estimate, Estimator
from dvae.networks import frozen
from samplers.energy_model import Parameters

if TYPE_CHECKING:
    from dvae.model import DVAE


class DoublyReparameterized(Estimator):
    """Sticking the landing (Roeder et al. 2017) at K = 1, DReG (Tucker et al. 2018) for K > 1.

    Decoder and prior take the gradient of log w_k with the normalised weights w~_k of Burda et al.
    2016; the encoder takes it along ζ_k with κ w~_k² + (1-κ) w~_k, where κ is kl_weight, the power
    of q in w (Vahdat et al. 2019, 1901.03440). At K = 1 every weight is 1.

    The score of log q can be left out as its mean is zero under q: at K = 1 for hard ζ exactly,
    for a relaxed ζ, whose mean is not q, nearly. At K > 1 its mean with weights is what the squares
    stand for, exactly for a reparameterised ζ drawn from q, which none of these is. The encoder's
    gradient is biased for the binary model, in a direction that the model decides; decoder's and
    prior's are those of the objective at the samples drawn.

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
        return self.estimate(model, frozen_model, images, params, encoding, kl_weight)

    def along_samples(self, model: "DVAE", images: tf.Tensor, encoding: Encoding) -> Encoding:
        """The same samples, whose log q has a gradient along them alone; inside `frozen`."""
        own = model.encoder.params_at(images, encoding.relaxed, training=True)
        return with_log_density(model.parts.posterior, encoding.relaxed, own)

    def estimate(
        self,
        model: "DVAE",
        frozen_model: keras.StatelessScope,
        images: tf.Tensor,
        params: Parameters,
        encoding: Encoding,
        kl_weight: tf.Tensor,
    ) -> Estimate:
        """The estimate from samples, B*K rows; frozen_model: of before they were drawn."""
        generative = model.terms(images, params, _stopped(encoding), training=True)
        with frozen_model:
            inferred = self.along_samples(model, images, encoding)
            inference = model.terms(images, _stopped(params), inferred, training=True)

        log_weights = generative.log_weights(kl_weight)
        path = inference.log_weights(kl_weight)
        weights = tf.fill(log_weights.shape, 1.0 / log_weights.shape[1])
        encoder_weights = weights
        if model.importance_weighted:
            weights = tf.stop_gradient(tf.nn.softmax(log_weights, axis=1))
            encoder_weights = kl_weight * tf.square(weights) + (1.0 - kl_weight) * weights
        surrogate = tf.reduce_sum(weights * log_weights + encoder_weights * path, axis=1)
        bound = model.objective(generative, kl_weight)
        return Estimate.of(tf.reduce_mean(surrogate), bound, generative)


def _stopped(tensors: Encoding | Parameters) -> Encoding | Parameters:
    """The same without gradients; fields that are None stay so."""
    return tf.nest.map_structure(lambda t: None if t is None else tf.stop_gradient(t), tensors)
