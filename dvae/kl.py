"""KL terms between posterior and prior, one value per row, without the constant log Z.

Each takes the prior's parameters and an `Encoding` of N rows and returns [N] in nats, to which
log Z belongs: KL = term + log Z. Gradients flow to encoder and prior. `smoothed_kl` and
`spike_kl_gradient` are made for the two halves of an RBM; the others take any prior.
"""

import tensorflow as tf

from configs.paper import SPIKE_LOGIT_CLIP, SPIKE_Q_CLIP
from dvae.encoder import Encoding
from dvae.priors import Prior
from dvae.relaxed_priors import RelaxedPrior
from dvae.smoothing import Smoothing
from samplers.energy_model import Parameters
from samplers.rbm import RBMParameters, halves, model_of


def negative_entropy(logits: tf.Tensor) -> tf.Tensor:
    """Σ_i -H(q_i) of Bernoulli units, [N] from logits [N, D]: Σ q log q + (1-q) log(1-q)."""
    q = tf.sigmoid(logits)
    log_q, log_p = tf.math.log_sigmoid(logits), tf.math.log_sigmoid(-logits)
    return tf.reduce_sum(q * log_q + (1.0 - q) * log_p, axis=1)


def factorial_kl(prior: Prior, params: Parameters, encoding: Encoding) -> tf.Tensor:
    """KL(q || p) - log Z for independent units (one group), in closed form; exact.

    For any prior, since its energy is multilinear: E_q[E(z)] = E(q).
    """
    logits = encoding.params.logits
    return negative_entropy(logits) + prior.energy(params, tf.sigmoid(logits))


def smoothed_kl(rbm: RBMParameters, encoding: Encoding, smoothing: Smoothing) -> tf.Tensor:
    """DVAE++ : the KL of the binary latents, smoothed by conditioning on ζ_L.

    In the coupling term the left half's q is replaced by ν = q(z_L = 1 | ζ_L, x), as the right
    half's logits depend on ζ_L. An unbiased one-sample estimate for several groups.
    """
    logits = encoding.params.logits
    q = halves(rbm, tf.sigmoid(logits))
    left_logits = halves(rbm, logits).left
    left_relaxed = halves(rbm, encoding.relaxed).left
    nu = tf.sigmoid(left_logits + smoothing.log_ratio(left_relaxed))
    linear = tf.linalg.matvec(q.left, rbm.left_bias) + tf.linalg.matvec(q.right, rbm.right_bias)
    pairs = tf.reduce_sum(tf.matmul(nu, rbm.coupling) * q.right, axis=1)
    return negative_entropy(logits) - linear - pairs


def spike_kl_gradient(rbm: RBMParameters, encoding: Encoding, units_per_group: int) -> tf.Tensor:
    """DVAE with several groups (Rolfe 2017, eq. 11 and 12): only the gradient is that of the KL.

    Encoder part: Σ_i stop[ℓ_i - h_i - (J s)_i c_i] q̂_i. Prior part: -(s_L' W s_R + h.q) with the
    states stopped. s = 1[ζ > 0] in every group but the last, where s = q.
    """
    logits = tf.clip_by_value(encoding.params.logits, -SPIKE_LOGIT_CLIP, SPIKE_LOGIT_CLIP)
    q = tf.sigmoid(logits)
    spikes = tf.cast(encoding.relaxed > 0.0, q.dtype)
    last = tf.range(q.shape[1]) >= q.shape[1] - units_per_group
    states = tf.stop_gradient(tf.where(last[None, :], q, spikes))
    stopped_q = tf.stop_gradient(q)
    s, q_halves = halves(rbm, states), halves(rbm, stopped_q)

    # h + c * J s, where c corrects for s standing in for the probability on the left half.
    correction = (1.0 - s.left) / (1.0 - tf.minimum(SPIKE_Q_CLIP, q_halves.left))
    left_field = rbm.left_bias + correction * tf.matmul(s.right, rbm.coupling, transpose_b=True)
    right_field = rbm.right_bias + tf.matmul(s.left, rbm.coupling)
    field = tf.concat([left_field, right_field], axis=1)
    encoder_part = tf.reduce_sum(
        tf.stop_gradient(logits - field) * tf.minimum(SPIKE_Q_CLIP, q), axis=1
    )
    # The energy of s has the biases at s; the estimator wants them at q.
    coupling_only = rbm._replace(
        left_bias=tf.zeros_like(rbm.left_bias), right_bias=tf.zeros_like(rbm.right_bias)
    )
    biases_only = rbm._replace(coupling=tf.zeros_like(rbm.coupling))
    model = model_of(rbm)
    prior_part = model.energy(coupling_only, s) + model.energy(biases_only, q_halves)
    return encoder_part + prior_part


def straight_log_ratio(prior: Prior, params: Parameters, encoding: Encoding) -> tf.Tensor:
    """log q(ζ | x) + E(ζ), E the prior's own energy: for any prior, by `dvae.straight_relaxations`.

    The log ratio of the binary latents where ζ is 0 or 1; elsewhere no estimate of any KL.
    """
    return encoding.log_q + prior.energy(params, encoding.relaxed)


def half_averaged_log_ratio(
    prior: Prior, params: Parameters, encoding: Encoding, num_left: int
) -> tf.Tensor:
    """log q(z | x) + E(z), the left half averaged given the right: for an undirected posterior.

    log q is without log Z of the image's posterior, as the encoder gives it, and so is this. The
    left units are independent given the right half, hence the mean of E, which is multilinear, is
    its value at their probabilities (Rao-Blackwell; 1901.03440).
    """
    left = tf.sigmoid(encoding.params.logits[:, :num_left])
    means = tf.concat([left, encoding.relaxed[:, num_left:]], axis=1)
    return encoding.log_q + prior.energy(params, means)


def relaxed_log_ratio(
    params: Parameters, encoding: Encoding, relaxed_prior: RelaxedPrior
) -> tf.Tensor:
    """log q(ζ | x) - log p(ζ) - log Z: a one-sample estimate of the KL of the relaxed latents.

    Unbiased up to the bound of the prior itself (DVAE#).
    """
    return encoding.log_q - relaxed_prior.unnormalized_log_density(params, encoding.relaxed)
