"""Doubly reparameterised gradients: encoder and generative model have weights of their own.

Two terms over the same samples ζ, whose forward passes are one in the compiled program. The
generative one reaches decoder and prior alone, since ζ is stopped; the inference one reaches the
encoder alone, and through ζ only, since all other weights are `frozen`. Both have the value of the
objective's log weights.
"""

from typing import Any

import keras
import tensorflow as tf

from dvae.encoder import Batch
from dvae.estimators.base import Estimator, Inputs, Step
from dvae.model import DVAE
from dvae.networks import frozen
from dvae.objective import Terms
from dvae.posteriors import Sample
from dvae.rollout import given, joined, rollout


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

    The bound is the objective at the samples drawn: the ELBO or L_K of the binary model
    where ζ is hard, the relaxed objective (a bound of nothing) elsewhere.

    Needs a hierarchical encoder and a log ratio that is log q(ζ | x) - log p(ζ).
    """

    def step(self, model: DVAE, inputs: Inputs, state: Any) -> Step:  # noqa: D102
        # Before the passes that move batch-norm averages, so that both see the same weights.
        frozen_model = frozen(model)
        sample = model.sample(inputs.batch, self.num_samples, inputs.key, training=True)
        surrogate, generative = self.surrogate(model, frozen_model, inputs, sample)
        bound = self.objective.value(generative.log_weights(inputs.kl_weight))
        return Step(surrogate, self.metrics(generative, bound, inputs.kl_weight), state)

    def along_samples(self, model: DVAE, batch: Batch, sample: Sample) -> Sample:
        """The same samples, whose log q has a gradient along them alone; inside `frozen`."""
        groups = tf.split(sample.latents, model.encoder.num_groups, axis=1)
        condition = model.encoder.condition(batch)
        rows = sample.latents.shape[0] // batch.images.shape[0]
        return joined(
            model.posterior, rollout(model.encoder, condition, rows, given(groups), training=True)
        )

    def surrogate(
        self, model: DVAE, frozen_model: keras.StatelessScope, inputs: Inputs, sample: Sample
    ) -> tuple[tf.Tensor, Terms]:
        """Both terms of samples, B*K rows, and those of the generative model.

        frozen_model: the model as it was when they were drawn.
        """
        batch, params, _, kl_weight = inputs
        generative = self.objective.terms(model, batch, params, _stopped(sample))
        with frozen_model:
            inferred = self.along_samples(model, batch, sample)
            inference = self.objective.terms(model, batch, _stopped(params), inferred)

        log_weights = generative.log_weights(kl_weight)
        path = inference.log_weights(kl_weight)
        weights = tf.fill(log_weights.shape, 1.0 / log_weights.shape[1])
        encoder_weights = weights
        if self.objective.importance_weighted:
            weights = tf.stop_gradient(tf.nn.softmax(log_weights, axis=1))
            encoder_weights = kl_weight * tf.square(weights) + (1.0 - kl_weight) * weights
        surrogate = tf.reduce_sum(weights * log_weights + encoder_weights * path, axis=1)
        return tf.reduce_mean(surrogate), generative


def _stopped(tensors: Any) -> Any:
    """The same without gradients; fields that are None stay so."""
    return tf.nest.map_structure(lambda t: None if t is None else tf.stop_gradient(t), tensors)
