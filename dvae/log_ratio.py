"""Log ratios log q(ζ | x) - log p(ζ), or KL terms in their place; one value per row, without log Z.

KL = term + log Z. Each is called with the prior, its parameters and a `Sample` of N rows, and
returns [N] in nats; gradients flow to encoder and prior. Those that say so are made for the two
halves of an RBM.
"""

import abc
from typing import ClassVar

import numpy as np
import tensorflow as tf

from configs.paper import SPIKE_LOGIT_CLIP, SPIKE_Q_CLIP
from dvae.posteriors import Sample
from dvae.priors import Prior
from dvae.relaxed_priors import RelaxedPrior
from dvae.smoothing import Smoothing
from samplers.energy_model import Parameters
from samplers.rbm import RBMParameters, halves, model_of


class LogRatio(abc.ABC):
    """name: of its mean in logs. log_partition: how often log Z is to be added to that mean."""

    name: ClassVar[str] = "obj/kl"
    log_partition: ClassVar[float] = 1.0

    @abc.abstractmethod
    def __call__(self, prior: Prior, params: Parameters, sample: Sample) -> tf.Tensor:
        """[N] in nats."""

    def histograms(self, latents: tf.Tensor) -> dict[str, tf.Tensor]:
        """Tensors whose histograms summaries show, from latents [N, D]."""
        del latents
        return {}

    def scalars(self, params: Parameters, arrays: dict[str, np.ndarray]) -> dict[str, float]:
        """What summaries show of it, given the values of its `histograms`."""
        del params, arrays
        return {}


class GradientOnly(LogRatio):
    """A term of which only the gradient is right: its value is reported as that of a surrogate."""

    name = "obj/kl_gradient_surrogate"
    log_partition = 0.0


class Factorial(LogRatio):
    """KL(q || p) - log Z for independent units (one group), in closed form; exact.

    For any prior, since its energy is multilinear: E_q[E(z)] = E(q).
    """

    def __call__(self, prior: Prior, params: Parameters, sample: Sample) -> tf.Tensor:  # noqa: D102
        logits = sample.params.logits
        return negative_entropy(logits) + prior.energy(params, tf.sigmoid(logits))


class Smoothed(LogRatio):
    """DVAE++: the KL of the binary latents, smoothed by conditioning on ζ_L; for an RBM.

    In the coupling term the left half's q is replaced by ν = q(z_L = 1 | ζ_L, x), as the right
    half's logits depend on ζ_L. An unbiased one-sample estimate for several groups.
    """

    def __init__(self, smoothing: Smoothing) -> None:
        self._smoothing = smoothing

    def __call__(self, prior: Prior, params: RBMParameters, sample: Sample) -> tf.Tensor:  # noqa: D102
        logits = sample.params.logits
        q = halves(params, tf.sigmoid(logits))
        left_logits = halves(params, logits).left
        left_relaxed = halves(params, sample.latents).left
        nu = tf.sigmoid(left_logits + self._smoothing.log_ratio(left_relaxed))
        linear = tf.linalg.matvec(q.left, params.left_bias)
        linear += tf.linalg.matvec(q.right, params.right_bias)
        pairs = tf.reduce_sum(tf.matmul(nu, params.coupling) * q.right, axis=1)
        return negative_entropy(logits) - linear - pairs


class SpikeGradient(GradientOnly):
    """DVAE with several groups (Rolfe 2017, eq. 11 and 12); for an RBM.

    Encoder part: Σ_i stop[ℓ_i - h_i - (J s)_i c_i] q̂_i. Prior part: -(s_L' W s_R + h.q) with the
    states stopped. s = 1[ζ > 0] in every group but the last, where s = q.
    """

    def __init__(self, units_per_group: int) -> None:
        self._units_per_group = units_per_group

    def __call__(self, prior: Prior, params: RBMParameters, sample: Sample) -> tf.Tensor:  # noqa: D102
        logits = tf.clip_by_value(sample.params.logits, -SPIKE_LOGIT_CLIP, SPIKE_LOGIT_CLIP)
        q = tf.sigmoid(logits)
        spikes = tf.cast(sample.latents > 0.0, q.dtype)
        last = tf.range(q.shape[1]) >= q.shape[1] - self._units_per_group
        states = tf.stop_gradient(tf.where(last[None, :], q, spikes))
        stopped_q = tf.stop_gradient(q)
        s, q_halves = halves(params, states), halves(params, stopped_q)

        # h + c * J s, where c corrects for s standing in for the probability on the left half.
        correction = (1.0 - s.left) / (1.0 - tf.minimum(SPIKE_Q_CLIP, q_halves.left))
        product = tf.matmul(s.right, params.coupling, transpose_b=True)
        left_field = params.left_bias + correction * product
        right_field = params.right_bias + tf.matmul(s.left, params.coupling)
        field = tf.concat([left_field, right_field], axis=1)
        encoder_part = tf.reduce_sum(
            tf.stop_gradient(logits - field) * tf.minimum(SPIKE_Q_CLIP, q), axis=1
        )
        # The energy of s has the biases at s; the estimator wants them at q.
        coupling_only = params._replace(
            left_bias=tf.zeros_like(params.left_bias), right_bias=tf.zeros_like(params.right_bias)
        )
        biases_only = params._replace(coupling=tf.zeros_like(params.coupling))
        model = model_of(params)
        prior_part = model.energy(coupling_only, s) + model.energy(biases_only, q_halves)
        return encoder_part + prior_part


class Binary(LogRatio):
    """log q(z | x) + E(z): for any prior.

    The log ratio of the binary latents where ζ is 0 or 1. Where relaxed bits stand as if they were
    bits (`dvae.relaxed_bernoulli`) it is no estimate of any KL.
    """

    def __call__(self, prior: Prior, params: Parameters, sample: Sample) -> tf.Tensor:  # noqa: D102
        return sample.log_q + prior.energy(params, sample.latents)


class HalfAveragedGradient(GradientOnly):
    """log q(z | x) + E(z), the left half averaged given the right: for an undirected posterior.

    log q is without log Z of the image's posterior, as the encoder gives it, and so is this. The
    left units are independent given the right half, hence the mean of E, which is multilinear, is
    its value at their probabilities (Rao-Blackwell; 1901.03440).
    """

    def __init__(self, num_left: int) -> None:
        self._num_left = num_left

    def __call__(self, prior: Prior, params: Parameters, sample: Sample) -> tf.Tensor:  # noqa: D102
        left = tf.sigmoid(sample.params.logits[:, : self._num_left])
        means = tf.concat([left, sample.latents[:, self._num_left :]], axis=1)
        return sample.log_q + prior.energy(params, means)


class Relaxed(LogRatio):
    """log q(ζ | x) - log p(ζ) - log Z: a one-sample estimate of the KL of the relaxed latents.

    Unbiased up to the bound of the prior itself (DVAE#).
    """

    def __init__(self, relaxed_prior: RelaxedPrior) -> None:
        self.relaxed_prior = relaxed_prior

    def __call__(self, prior: Prior, params: Parameters, sample: Sample) -> tf.Tensor:  # noqa: D102
        return sample.log_q - self.relaxed_prior.unnormalized_log_density(params, sample.latents)

    def histograms(self, latents: tf.Tensor) -> dict[str, tf.Tensor]:  # noqa: D102
        return self.relaxed_prior.histograms(latents)

    def scalars(self, params: Parameters, arrays: dict[str, np.ndarray]) -> dict[str, float]:  # noqa: D102
        return self.relaxed_prior.scalars(params, arrays)


def negative_entropy(logits: tf.Tensor) -> tf.Tensor:
    """Σ_i -H(q_i) of Bernoulli units, [N] from logits [N, D]: Σ q log q + (1-q) log(1-q)."""
    q = tf.sigmoid(logits)
    log_q, log_p = tf.math.log_sigmoid(logits), tf.math.log_sigmoid(-logits)
    return tf.reduce_sum(q * log_q + (1.0 - q) * log_p, axis=1)
