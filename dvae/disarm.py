"""DisARM: antithetic pairs of bits, integrated over what their difference does not depend on."""

from typing import TYPE_CHECKING, NamedTuple

import tensorflow as tf

from configs.paper import Structure
from dvae.encoder import with_log_density
from dvae.estimators import Estimate, Estimator
from dvae.posteriors import PosteriorParams
from samplers import counter_random
from samplers.energy_model import Parameters

if TYPE_CHECKING:
    from dvae.model import DVAE


class _Chains(NamedTuple):
    """Latents and logits of 1 + G chains: a list of groups, [B, 1 + G, K, d] each."""

    latents: list[tf.Tensor]
    logits: list[tf.Tensor]


class Disarm(Estimator):
    """The ELBO's gradient from antithetic pairs (Dong, Mnih and Tucker 2020, 2006.10680).

    A pair z = 1[ℓ + ε > 0], z~ = 1[ℓ - ε > 0] with ε logistic gives logit i the gradient
    1/2 (f(z) - f(z~)) (z_i - z~_i) σ(|ℓ_i|), f = log p(x | z) - κ (log q(z | x) + E(z)) and κ =
    kl_weight.

    Several groups: one main chain, and for each group a partner that shares the groups before it,
    takes z~ there, and goes on through the groups after it with the main chain's ε. Given the
    earlier groups either member has the f of its z in expectation, so that each group's gradient is
    unbiased; the ε they share afterwards changes no mean, and makes their difference less noisy.
    Each of the 1 + G chains is distributed as q: decoder and prior learn from, and the bound is,
    the mean over all of them.

    K pairs an image (more only lower the variance). Needs an encoder with `image_products` and
    `group_params`.
    """

    def __init__(self, structure: Structure) -> None:
        del structure

    def __call__(  # noqa: D102
        self,
        model: "DVAE",
        images: tf.Tensor,
        params: Parameters,
        key: tf.Tensor,
        kl_weight: tf.Tensor,
    ) -> Estimate:
        chains = self._chains(model, images, key)
        units = chains.latents[0].shape[-1]
        rows = [tf.concat(parts, axis=-1) for parts in chains]
        latents, logits = (tf.reshape(part, [-1, part.shape[-1]]) for part in rows)
        # The score of log q inside f has zero mean.
        own = PosteriorParams(tf.stop_gradient(logits))
        encoding = with_log_density(model.parts.posterior, latents, own)
        forward = model.terms(images, params, encoding, training=True)
        values = forward.log_weights(kl_weight)
        bound = tf.reduce_mean(values)

        values = tf.reshape(values, rows[0].shape[:3])
        surrogate = bound
        for group, (z, group_logits) in enumerate(zip(*chains, strict=True)):
            partner = group + 1
            main = group_logits[:, 0]
            half_difference = 0.5 * (values[:, 0] - values[:, partner])
            slope = (z[:, 0] - z[:, partner]) * tf.sigmoid(tf.abs(main))
            slope = tf.stop_gradient(half_difference[..., None] * slope)
            surrogate += units * tf.reduce_mean(slope * main)
        return Estimate.of(surrogate, bound, forward)

    @staticmethod
    def _chains(model: "DVAE", images: tf.Tensor, key: tf.Tensor) -> _Chains:
        """All chains side by side: each network runs once, on the chains that differ by then."""
        num_pairs = model.config.k
        products = model.encoder.image_products(images)
        latents: list[tf.Tensor] = []
        logits: list[tf.Tensor] = []
        for group in range(len(products)):
            num_chains = group + 1
            earlier = [tf.reshape(part, [-1, part.shape[-1]]) for part in latents]
            found = model.encoder.group_params(
                products, group, earlier, num_chains * num_pairs, training=True
            ).logits
            found = tf.reshape(found, [images.shape[0], num_chains, num_pairs, -1])
            # The partner of this group starts from the main chain.
            latents, logits = (
                [_with_partner(part) for part in parts] for parts in (latents, [*logits, found])
            )
            noise = _logistic(counter_random.fold_in(key, group), found[:, :1].shape)
            noise = tf.concat([noise] * num_chains + [-noise], axis=1)
            latents.append(tf.cast(logits[-1] + noise > 0.0, tf.float32))
        return _Chains(latents, logits)


def _with_partner(chains: tf.Tensor) -> tf.Tensor:
    """[B, C + 1, K, d] from [B, C, K, d]: one more chain that is the main one's copy."""
    return tf.concat([chains, chains[:, :1]], axis=1)


def _logistic(key: tf.Tensor, shape: tf.TensorShape) -> tf.Tensor:
    """Standard logistic noise: P(ℓ + ε > 0) = σ(ℓ), and symmetric about 0."""
    uniform = counter_random.uniform(key, shape)
    return tf.math.log(uniform) - tf.math.log1p(-uniform)
