"""Relaxed posteriors q(ζ | x): one Bernoulli logit per unit, smoothed, with gradients of samples.

A posterior turns the output of a group's encoder network into `PosteriorParams`, draws relaxed
latents whose gradient with respect to the parameters is defined, and gives log densities. At
evaluation every posterior is the plain Bernoulli of its logits: the relaxation is a training
device.
"""

import abc
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from configs.paper import SHIFTED_Q_CLIP, SPIKE_CLIP
from dvae.normal import normal
from dvae.smoothing import Smoothing
from samplers import counter_random


class PosteriorParams(NamedTuple):
    """Parameters of q(ζ | x) for N rows and d units.

    logits: [N, d], log odds of z = 1.
    shift: [N, d] displacement δ of both components (shifted Gaussian only), else None.
    scale: [1, d] standard deviation s of both components (shifted Gaussian only), else None.
    """

    logits: tf.Tensor
    shift: tf.Tensor | None = None
    scale: tf.Tensor | None = None


class Sample(NamedTuple):
    """Latents of N = B*K rows; row b*K + k is sample k of image b.

    latents: [N, D], relaxed or binary, groups side by side.
    params: parameters of their posterior, [N, D] each.
    log_q: [N] log q(ζ | x) in nats, summed over units; None where ζ has no density.
    """

    latents: tf.Tensor
    params: PosteriorParams
    log_q: tf.Tensor | None = None


def concat(groups: list[PosteriorParams]) -> PosteriorParams:
    """The parameters of several groups side by side, along the units."""
    columns = zip(*groups, strict=True)
    return PosteriorParams(*(None if c[0] is None else tf.concat(c, axis=1) for c in columns))


class Posterior(keras.layers.Layer, abc.ABC):
    """Base of the relaxed posteriors; `outputs_per_unit` numbers come from the network."""

    outputs_per_unit = 1

    def split(self, network_output: tf.Tensor, group: int) -> PosteriorParams:
        """Reads [N, outputs_per_unit * d] as the parameters of a group."""
        del group
        return PosteriorParams(network_output)

    @abc.abstractmethod
    def sample(self, params: PosteriorParams, key: tf.Tensor) -> tf.Tensor:
        """Relaxed latents [N, d] with gradients with respect to the parameters."""

    def log_density(self, relaxed: tf.Tensor, params: PosteriorParams) -> tf.Tensor | None:
        """log q(ζ | x) of each unit, [N, d], in nats; None where ζ has no density."""
        del relaxed, params
        return None

    def scalars(self) -> dict[str, float]:
        """What summaries show of it."""
        return {}

    def histograms(self, params: PosteriorParams) -> dict[str, tf.Tensor]:
        """Tensors whose histograms summaries show, beside q."""
        del params
        return {}


class BernoulliPosterior(Posterior):
    """Nothing is relaxed: bits z ~ Bernoulli(q), through which no gradient flows.

    log q(z | x) has its gradient with respect to the logits, z - q, for score functions; and one
    with respect to z, taken as a real number.
    """

    def sample(self, params: PosteriorParams, key: tf.Tensor) -> tf.Tensor:
        """Exactly 0 or 1."""
        return counter_random.bernoulli_logits(key, params.logits)

    def log_density(self, relaxed: tf.Tensor, params: PosteriorParams) -> tf.Tensor:
        """z log q + (1-z) log(1-q) of each unit, in nats, any shapes that broadcast."""
        return relaxed * params.logits - tf.nn.softplus(params.logits)


class MixturePosterior(Posterior):
    """q r(ζ|1) + (1-q) r(ζ|0) with implicit gradients (DVAE#; Figurnov et al. 2018)."""

    def __init__(self, smoothing: Smoothing) -> None:
        super().__init__(dtype="float32")
        self.smoothing = smoothing

    def sample(self, params: PosteriorParams, key: tf.Tensor) -> tf.Tensor:
        """z ~ Bernoulli(q), ζ ~ r(.|z); dζ/dq = (R0(ζ) - R1(ζ)) / density(ζ)."""
        keys = counter_random.split(key, 2)

        @tf.custom_gradient
        def draw(logits: tf.Tensor) -> tuple:
            binary = counter_random.bernoulli_logits(keys[0], logits)
            relaxed = self.smoothing.sample(binary, keys[1])

            def gradient(upstream: tf.Tensor) -> tf.Tensor:
                difference = self.smoothing.cdf_at_0(relaxed) - self.smoothing.cdf_at_1(relaxed)
                density = tf.exp(self.log_density(relaxed, PosteriorParams(logits)))
                q = tf.sigmoid(logits)
                return upstream * q * (1.0 - q) * difference / density

            return relaxed, gradient

        return draw(params.logits)

    def log_density(self, relaxed: tf.Tensor, params: PosteriorParams) -> tf.Tensor:
        """log(q r1 + (1-q) r0), taken in log space."""
        at_1 = self.smoothing.log_density_at_1(relaxed) + tf.math.log_sigmoid(params.logits)
        at_0 = self.smoothing.log_density_at_0(relaxed) + tf.math.log_sigmoid(-params.logits)
        return tf.reduce_logsumexp(tf.stack([at_0, at_1]), axis=0)

    def scalars(self) -> dict[str, float]:  # noqa: D102
        return self.smoothing.scalars()


class SpikeExponentialPosterior(Posterior):
    """ζ = 0 for z = 0, β e^(βζ) / (e^β - 1) on [0, 1] for z = 1; DVAE (Rolfe 2017)."""

    def __init__(self, sharpness: float) -> None:
        super().__init__(dtype="float32")
        self.sharpness = float(sharpness)

    def sample(self, params: PosteriorParams, key: tf.Tensor) -> tf.Tensor:
        """The inverse distribution function at uniform ρ, differentiated straight through."""
        q = tf.clip_by_value(tf.sigmoid(params.logits), SPIKE_CLIP, 1.0 - SPIKE_CLIP)
        rho = counter_random.uniform(key, params.logits.shape)
        # Clamped so that the branch not taken has no NaN to leak into the gradient.
        fraction = tf.maximum(rho + q - 1.0, 0.0) / q
        value = tf.math.log1p(tf.math.expm1(self.sharpness) * fraction) / self.sharpness
        return tf.where(rho < 1.0 - q, tf.zeros_like(value), value)


def _scale(raw: keras.Variable) -> tf.Tensor:
    """s = |0.2 t| + 0.05, [d]."""
    return tf.abs(0.2 * tf.convert_to_tensor(raw)) + 0.05


class ShiftedGaussianPosterior(Posterior):
    """(1-q) N(ζ; δ, s²) + q N(ζ; 1+δ, s²): the posterior of the Gaussian-integral baseline.

    δ = 0.5 (σ(v) - 0.5) with v a second network output per unit and image; s = |0.2 t| + 0.05 with
    t free, one per unit, started at 1.
    """

    outputs_per_unit = 2

    def __init__(self, num_groups: int, units_per_group: int) -> None:
        super().__init__(dtype="float32")
        self.raw_scales = [
            self.add_weight(shape=(units_per_group,), initializer="ones", name=f"raw_scale_{group}")
            for group in range(num_groups)
        ]

    def split(self, network_output: tf.Tensor, group: int) -> PosteriorParams:
        """Reads [N, 2d] as logits and shift, and adds the scale of the group."""
        logits, raw_shift = tf.split(network_output, 2, axis=1)
        shift = 0.5 * (tf.sigmoid(raw_shift) - 0.5)
        return PosteriorParams(logits, shift, _scale(self.raw_scales[group])[None, :])

    def sample(self, params: PosteriorParams, key: tf.Tensor) -> tf.Tensor:
        """Implicit gradients with respect to logits, shift and scale.

        dζ/dδ = 1 and dζ/ds = [(1-q) r0 (ζ-δ) + q r1 (ζ-1-δ)] / (s density).
        """
        keys = counter_random.split(key, 2)

        @tf.custom_gradient
        def draw(logits: tf.Tensor, shift: tf.Tensor, scale: tf.Tensor) -> tuple:
            binary = counter_random.bernoulli_logits(keys[0], logits)
            noise = counter_random.normal(keys[1], logits.shape)
            relaxed = binary + shift + scale * noise

            def gradient(upstream: tf.Tensor) -> tuple:
                at_0, at_1 = (relaxed - shift) / scale, (relaxed - 1.0 - shift) / scale
                q = tf.sigmoid(logits)
                # Posterior probability of z = 1 given ζ; both densities share the factor 1/s.
                unit = normal(0.0, 1.0)
                responsibility = tf.sigmoid(logits + unit.log_prob(at_1) - unit.log_prob(at_0))
                log_q_density = self.log_density(relaxed, PosteriorParams(logits, shift, scale))
                d_q = (unit.cdf(at_0) - unit.cdf(at_1)) / tf.exp(log_q_density)
                d_scale = (1.0 - responsibility) * at_0 + responsibility * at_1
                return (
                    upstream * q * (1.0 - q) * d_q,
                    upstream,
                    tf.reduce_sum(upstream * d_scale, axis=0, keepdims=True),
                )

            return relaxed, gradient

        return draw(params.logits, params.shift, params.scale)

    def log_density(self, relaxed: tf.Tensor, params: PosteriorParams) -> tf.Tensor:
        """log of the mixture; inside log(1-q), q is clipped to at most 1 - 1e-4."""
        at_0 = normal(params.shift, params.scale).log_prob(relaxed)
        at_1 = normal(params.shift + 1.0, params.scale).log_prob(relaxed)
        log_one_minus_q = tf.math.log1p(
            -tf.minimum(tf.sigmoid(params.logits), 1.0 - SHIFTED_Q_CLIP)
        )
        stacked = tf.stack([at_0 + log_one_minus_q, at_1 + tf.math.log_sigmoid(params.logits)])
        return tf.reduce_logsumexp(stacked, axis=0)

    def scalars(self) -> dict[str, float]:
        """The mean of s over all units."""
        scales = [_scale(raw).numpy().ravel() for raw in self.raw_scales]
        return {"posterior/sigma": float(np.mean(np.concatenate(scales)))}

    def histograms(self, params: PosteriorParams) -> dict[str, tf.Tensor]:  # noqa: D102
        return {"delta_mu": params.shift, "sigma": params.scale, "posterior_s": params.scale}
