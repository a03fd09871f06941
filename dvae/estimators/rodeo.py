"""RODEO: leave-one-out with discrete Stein operators as control variates."""

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from configs.registry import Structure
from dvae.estimators.base import Estimator, Inputs, Step
from dvae.estimators.score_function import mean_of_others
from dvae.model import DVAE
from dvae.objective import Objective, Terms
from dvae.posteriors import PosteriorParams, Sample
from dvae.rollout import Draw, Latents, joined, relaxed, rollout


class _Samples(NamedTuple):
    """K samples of each image and the first-order surrogate of each; nothing has a gradient.

    values: f, [B, K]. residuals: r = z - q, variances: q (1-q), slopes: s, all [B, K, D].
    """

    values: tf.Tensor
    residuals: tf.Tensor
    variances: tf.Tensor
    slopes: tf.Tensor


class Rodeo(Estimator):
    """The ELBO's gradient (Shi, Zhou, Hwang, Titsias and Mackey 2022, 2202.09497, section 4).

    f = log p(x | z) - κ (log q(z | x) + E(z)), κ = kl_weight, of K samples an image, two at K = 1.
    The surrogate of f at sample k is linear, h_k(y) = s_k.(y - q), with s_k the mean over the
    OTHER samples of ∇_z f: no further evaluation of f. With r_k = z_k - q, the gradient of the
    logits is the mean over k of

        (f_k - mean_{j≠k} (f_j - α h_j(z_j)) - β h_k(z_k)) r_k + β s_k q (1-q).

    The terms with α and β are Gibbs Stein operators (E over one bit, less the value there) of h and
    of h ∇log q. Their mean is zero whatever α and β are: s_k does not know z_k, and given all
    groups before, r_k has mean zero and products r_i r_j, i ≠ j, have too. So q of a later group
    may depend on the earlier ones, and h be summed over all groups. α and β, one for each group,
    are variables of the model; the surrogate lowers the squared norm of this gradient along them
    (the variance, as the mean is fixed). They start at zero, which is leave-one-out.

    Needs a hierarchical encoder.
    """

    def __init__(self, objective: Objective, num_samples: int, structure: Structure) -> None:
        super().__init__(objective, num_samples, structure)
        self._units = structure.units_per_group
        self.coefficients = keras.Variable(
            tf.zeros([2, structure.num_groups]), name="stein_coefficients"
        )
        self.trainable_variables = [self.coefficients]

    def step(self, model: DVAE, inputs: Inputs, state: Any) -> Step:  # noqa: D102
        kl_weight = inputs.kl_weight
        sample, terms, slopes = self._slopes(model, inputs)
        values = terms.log_weights(kl_weight)
        logits, latents, slopes = (
            tf.reshape(part, [*values.shape, -1])
            for part in (sample.params.logits, sample.latents, slopes)
        )
        q = tf.sigmoid(logits)
        parts = values, latents - q, q * (1.0 - q), mean_of_others(slopes)
        gradient = self.gradient(_Samples(*(tf.stop_gradient(part) for part in parts)))
        bound = tf.reduce_mean(values)
        # kl_weight log q takes the score, of zero mean, out of `bound`.
        surrogate = bound + kl_weight * tf.reduce_mean(sample.log_q)
        fixed = tf.stop_gradient(gradient)
        surrogate += tf.reduce_mean(tf.reduce_sum(fixed * logits, axis=2))
        squared_norm = tf.reduce_sum(tf.square(tf.reduce_mean(gradient, axis=1)), axis=1)
        squared_norm = tf.reduce_mean(squared_norm)
        surrogate -= squared_norm
        return Step(surrogate, self.metrics(terms, bound, kl_weight), state)

    def gradient(self, samples: _Samples) -> tf.Tensor:
        """What each sample says of the gradient of the logits, [B, K, D]; only α and β learn."""
        alpha, beta = tf.unstack(tf.convert_to_tensor(self.coefficients))
        beta_of_units = tf.repeat(beta, self._units)
        products = samples.slopes * samples.residuals
        by_group = tf.reshape(products, [*samples.values.shape, -1, self._units])
        surrogates = tf.reduce_sum(by_group, axis=3)
        others = mean_of_others(samples.values - tf.linalg.matvec(surrogates, alpha))
        signal = samples.values - others - tf.linalg.matvec(surrogates, beta)
        return (
            signal[..., None] * samples.residuals
            + beta_of_units * samples.slopes * samples.variances
        )

    def _slopes(self, model: DVAE, inputs: Inputs) -> tuple[Sample, Terms, tf.Tensor]:
        """K samples, their terms, and ∇_z f of each row as if z were real, [B*K, D].

        A group's z reaches f through decoder, energy, its own log q and the logits of later groups.
        """
        batch, params, key, kl_weight = inputs
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            draw = _watched(relaxed(model.posterior, key), tape)
            condition = model.encoder.condition(batch)
            walk = rollout(model.encoder, condition, max(self.num_samples, 2), draw, training=True)
            sample = joined(model.posterior, walk)
            terms = self.objective.terms(model, batch, params, sample)
            total = tf.reduce_sum(terms.log_weights(kl_weight))
        slopes = tape.gradient(total, walk.latents)
        return sample, terms, tf.stop_gradient(tf.concat(slopes, axis=1))


def _watched(draw: Draw, tape: tf.GradientTape) -> Draw:
    """The same rule, whose draws the tape watches."""

    def watched(group: int, params: PosteriorParams, earlier: Latents) -> Latents:
        latents = draw(group, params, earlier)
        tape.watch(latents[-1])
        return latents

    return watched
