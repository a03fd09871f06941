"""DisARM: antithetic pairs of bits, integrated over what their difference does not depend on."""

from typing import Any

import tensorflow as tf

from dvae.estimators.base import Estimator, Inputs, Step
from dvae.model import DVAE
from dvae.posteriors import PosteriorParams
from dvae.rollout import Draw, Latents, rollout, sample_of
from samplers import counter_random


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

    K pairs an image (more only lower the variance). Needs a hierarchical encoder.
    """

    def step(self, model: DVAE, inputs: Inputs, state: Any) -> Step:  # noqa: D102
        batch, params, key, kl_weight = inputs
        num_groups = model.encoder.num_groups
        chains = [batch.images.shape[0], -1, self.num_samples]
        walk = rollout(
            model.encoder,
            model.encoder.condition(batch),
            self.num_samples,
            antithetic(key, chains),
            training=True,
        )
        latents = tf.concat(walk.latents, axis=1)
        # A chain has its main chain's logits until it leaves it.
        logits = [
            _with_copies(_by_chain(own.logits, chains), num_groups - group)
            for group, own in enumerate(walk.params)
        ]
        rows = tf.reshape(tf.concat(logits, axis=-1), latents.shape)
        # The score of log q inside f has zero mean.
        own = PosteriorParams(tf.stop_gradient(rows))
        sample = sample_of(model.posterior, latents, own)
        terms = self.objective.terms(model, batch, params, sample)
        values = terms.log_weights(kl_weight)
        bound = tf.reduce_mean(values)

        values = tf.reshape(values, chains)
        surrogate = bound
        for group, (z, group_logits) in enumerate(zip(walk.latents, logits, strict=True)):
            z, partner, main = _by_chain(z, chains), group + 1, group_logits[:, 0]
            half_difference = 0.5 * (values[:, 0] - values[:, partner])
            slope = (z[:, 0] - z[:, partner]) * tf.sigmoid(tf.abs(main))
            slope = tf.stop_gradient(half_difference[..., None] * slope)
            surrogate += z.shape[-1] * tf.reduce_mean(slope * main)
        return Step(surrogate, self.metrics(terms, bound, kl_weight), state)


def antithetic(key: tf.Tensor, chains: list[int]) -> Draw:
    """Bits of all chains so far, and of one more that leaves the main chain in this group.

    chains: [B, -1, K], how rows fall apart; chain 0 is the main one.
    """

    def draw(group: int, params: PosteriorParams, earlier: Latents) -> Latents:
        logits = _by_chain(params.logits, chains)
        noise = _logistic(counter_random.fold_in(key, group), logits[:, :1].shape)
        noise = tf.concat([noise] * logits.shape[1] + [-noise], axis=1)
        bits = tf.cast(_with_copies(logits, 1) + noise > 0.0, tf.float32)
        forked = [_with_copies(_by_chain(z, chains), 1) for z in earlier]
        return [tf.reshape(z, [-1, z.shape[-1]]) for z in (*forked, bits)]

    return draw


def _by_chain(rows: tf.Tensor, chains: list[int]) -> tf.Tensor:
    """[B, C, K, d] from rows [B*C*K, d]."""
    return tf.reshape(rows, [*chains, rows.shape[1]])


def _with_copies(chains: tf.Tensor, count: int) -> tf.Tensor:
    """[B, C + count, K, d] from [B, C, K, d]: more chains that are copies of the main one."""
    return tf.concat([chains, *[chains[:, :1]] * count], axis=1)


def _logistic(key: tf.Tensor, shape: tf.TensorShape) -> tf.Tensor:
    """Standard logistic noise: P(ℓ + ε > 0) = σ(ℓ), and symmetric about 0."""
    uniform = counter_random.uniform(key, shape)
    return tf.math.log(uniform) - tf.math.log1p(-uniform)
