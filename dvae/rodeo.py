"""RODEO: leave-one-out with discrete Stein operators as control variates."""

from typing import TYPE_CHECKING, NamedTuple

import keras
import tensorflow as tf

from configs.paper import Structure
from dvae.encoder import with_log_density
from dvae.estimators import Estimate, Estimator
from dvae.posteriors import PosteriorParams, concat
from dvae.score_function import mean_of_others
from samplers import counter_random
from samplers.energy_model import Parameters

if TYPE_CHECKING:
    from dvae.model import DVAE, Forward


class _Samples(NamedTuple):
    """K samples of each image and the first-order surrogate of each; nothing has a gradient.

    values: f, [B, K]. residuals: r = z - q, variances: q (1-q), slopes: s, all [B, K, D].
    """

    values: tf.Tensor
    residuals: tf.Tensor
    variances: tf.Tensor
    slopes: tf.Tensor


class Rodeo(keras.layers.Layer, Estimator):
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

    Needs an encoder with `image_products` and `group_params`.
    """

    def __init__(self, structure: Structure) -> None:
        super().__init__(dtype="float32")
        self._units = structure.units_per_group
        self.coefficients = self.add_weight(
            shape=(2, structure.num_groups), initializer="zeros", name="stein_coefficients"
        )

    def __call__(  # noqa: D102
        self,
        model: "DVAE",
        images: tf.Tensor,
        params: Parameters,
        key: tf.Tensor,
        kl_weight: tf.Tensor,
    ) -> Estimate:
        forward, slopes = self._forward(model, images, params, key, kl_weight)
        values = forward.log_weights(kl_weight)
        logits, latents, slopes = (
            tf.reshape(part, [*values.shape, -1])
            for part in (forward.encoding.params.logits, forward.encoding.relaxed, slopes)
        )
        q = tf.sigmoid(logits)
        parts = values, latents - q, q * (1.0 - q), mean_of_others(slopes)
        gradient = self.gradient(_Samples(*(tf.stop_gradient(part) for part in parts)))
        bound = tf.reduce_mean(values)
        # kl_weight log q takes the score, of zero mean, out of `bound`.
        surrogate = bound + kl_weight * tf.reduce_mean(forward.encoding.log_q)
        fixed = tf.stop_gradient(gradient)
        surrogate += tf.reduce_mean(tf.reduce_sum(fixed * logits, axis=2))
        squared_norm = tf.reduce_sum(tf.square(tf.reduce_mean(gradient, axis=1)), axis=1)
        squared_norm = tf.reduce_mean(squared_norm)
        surrogate -= squared_norm
        return Estimate.of(surrogate, bound, forward)

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

    @staticmethod
    def _forward(
        model: "DVAE",
        images: tf.Tensor,
        params: Parameters,
        key: tf.Tensor,
        kl_weight: tf.Tensor,
    ) -> tuple["Forward", tf.Tensor]:
        """A pass of K >= 2 samples, and ∇_z f of each row as if z were real, [B*K, D].

        A group's z reaches f through decoder, energy, its own log q and the logits of later groups.
        """
        num_samples = max(model.config.k, 2)
        encoder, posterior = model.encoder, model.parts.posterior
        groups: list[PosteriorParams] = []
        latents: list[tf.Tensor] = []
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            products = encoder.image_products(images)
            for group in range(len(products)):
                own = encoder.group_params(products, group, latents, num_samples, True)
                z = posterior.sample(own, counter_random.fold_in(key, group))
                tape.watch(z)
                groups.append(own)
                latents.append(z)
            encoding = with_log_density(posterior, tf.concat(latents, axis=1), concat(groups))
            forward = model.terms(images, params, encoding, training=True)
            total = tf.reduce_sum(forward.log_weights(kl_weight))
        slopes = tape.gradient(total, latents)
        return forward, tf.stop_gradient(tf.concat(slopes, axis=1))
