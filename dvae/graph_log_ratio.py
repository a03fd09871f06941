"""Log ratios of several latent groups for a prior of any graph: what `dvae.log_ratio` is for RBMs.

They ask an energy model for energies and their derivatives alone: any that is multilinear with
couplings of pairs will do, with units placed in any way. Groups are consecutive units. For an RBM
with an even number of groups they are the rules of its halves.
"""

import tensorflow as tf

from configs.paper import SPIKE_LOGIT_CLIP, SPIKE_Q_CLIP
from dvae.log_ratio import GradientOnly, LogRatio, negative_entropy
from dvae.posteriors import Sample
from dvae.priors import Prior
from dvae.smoothing import Smoothing
from samplers.energy_model import EnergyModel, Parameters


def _groups(num_units: int, units_per_group: int) -> tuple[tf.Tensor, int]:
    """The group of each unit, int32 [1, D], and how many groups there are."""
    return tf.range(num_units)[None, :] // units_per_group, num_units // units_per_group


class SmoothedGroups(LogRatio):
    """DVAE++: the KL of the binary latents, smoothed by conditioning on ζ.

    A coupling inside a group has q_i q_j. Between groups it has ν_i q_j, i in the earlier one,
    ν_i = q(z_i = 1 | ζ_i, x): later logits depend on z_i through ζ_i alone. An unbiased one-sample
    estimate.
    """

    def __init__(self, smoothing: Smoothing, units_per_group: int) -> None:
        self._smoothing, self._units_per_group = smoothing, units_per_group

    def __call__(self, prior: Prior, params: Parameters, sample: Sample) -> tf.Tensor:  # noqa: D102
        logits = sample.params.logits
        q = tf.sigmoid(logits)
        nu = tf.sigmoid(logits + self._smoothing.log_ratio(sample.latents))
        group, num_groups = _groups(q.shape[1], self._units_per_group)
        term = negative_entropy(logits)
        for index in range(num_groups):  # what each group adds to the mean energy
            before = tf.where(group < index, nu, 0.0)
            term += prior.energy(params, tf.where(group == index, q, before))
            if index > 0:
                term -= prior.energy(params, before)
        return term


class SpikeGroups(GradientOnly):
    """DVAE (Rolfe 2017, eq. 11 and 12, whose derivation holds for any graph).

    Encoder part: Σ_i stop[ℓ_i - b_i - Σ_j J_ij s_j c_ij] q̂_i, c_ij = (1 - s_i) / (1 - q̂_i) where j
    is in a later group than i, else 1. Prior part: the energy of couplings at s and of biases at q,
    states stopped. s = 1[ζ > 0] in every group but the last, where s = q.
    """

    def __init__(self, units_per_group: int) -> None:
        self._units_per_group = units_per_group

    def __call__(self, prior: Prior, params: Parameters, sample: Sample) -> tf.Tensor:  # noqa: D102
        logits = tf.clip_by_value(sample.params.logits, -SPIKE_LOGIT_CLIP, SPIKE_LOGIT_CLIP)
        q = tf.sigmoid(logits)
        group, num_groups = _groups(q.shape[1], self._units_per_group)
        spikes = tf.cast(sample.latents > 0.0, q.dtype)
        states = tf.stop_gradient(tf.where(group == num_groups - 1, q, spikes))
        clipped = tf.minimum(SPIKE_Q_CLIP, q)
        correction = (1.0 - states) / (1.0 - clipped)
        model = prior.energy_model
        whole = field = model.field(params, states)
        for index in range(num_groups - 1):  # without later groups, whose share is corrected
            part = model.field(params, tf.where(group <= index, states, 0.0))
            field = tf.where(group == index, part + correction * (whole - part), field)
        encoder_part = tf.reduce_sum(tf.stop_gradient(logits - field) * clipped, axis=1)
        biases, couplings = _apart(model, params)
        prior_part = prior.energy(couplings, states)
        return encoder_part + prior_part + prior.energy(biases, tf.stop_gradient(q))


def _apart(model: EnergyModel, params: Parameters) -> tuple[Parameters, Parameters]:
    """The parameters with zeros for all couplings, and with zeros for all else."""
    names = set(model.couplings)
    zero = {name: tf.zeros_like(value) for name, value in params._asdict().items()}
    biases = {name: value for name, value in zero.items() if name in names}
    couplings = {name: value for name, value in zero.items() if name not in names}
    return params._replace(**biases), params._replace(**couplings)
