"""The restricted Boltzmann machine: its parameters, its states and their energies.

p(z) = exp(-E(z)) / Z with E(z) = -(a.z_L + b.z_R + z_L' W z_R), all in nats.
"""

from typing import NamedTuple

import tensorflow as tf

from samplers import counter_random, hardware


class RBM(NamedTuple):
    """Parameters: left_bias a [L], right_bias b [R], coupling W [L, R]; float32 or float64."""

    left_bias: tf.Tensor
    right_bias: tf.Tensor
    coupling: tf.Tensor


class Chains(NamedTuple):
    """States of C Markov chains: left [C, L] and right [C, R], 0 or 1 in the RBM's dtype."""

    left: tf.Tensor
    right: tf.Tensor


def energy(rbm: RBM, chains: Chains) -> tf.Tensor:
    """E(z) of each chain, [C], in nats; low energy is high probability."""
    left_field = rbm.left_bias + tf.matmul(chains.right, rbm.coupling, transpose_b=True)
    if hardware.on_gpu() and rbm.coupling.shape[0] == rbm.coupling.shape[1]:  # one sum for both
        return -tf.reduce_sum(chains.left * left_field + chains.right * rbm.right_bias, axis=-1)
    left_terms = tf.reduce_sum(chains.left * left_field, axis=-1)
    return -(left_terms + tf.linalg.matvec(chains.right, rbm.right_bias))


def halves(rbm: RBM, states: tf.Tensor) -> Chains:
    """Splits states [N, L + R] into the left and the right half."""
    num_left = rbm.left_bias.shape[0]
    return Chains(states[:, :num_left], states[:, num_left:])


def left_log_marginal(rbm: RBM, left: tf.Tensor) -> tf.Tensor:
    """log of the sum over z_R of exp(-E), [C] from left [C, L]: a.z_L + sum softplus(b + z_L W)."""
    right_field = rbm.right_bias + tf.matmul(left, rbm.coupling)
    return tf.linalg.matvec(left, rbm.left_bias) + tf.reduce_sum(tf.nn.softplus(right_field), -1)


def right_log_marginal(rbm: RBM, right: tf.Tensor) -> tf.Tensor:
    """log sum over z_L of exp(-E(z_L, z_R)), [C] from right [C, R]."""
    left_field = rbm.left_bias + tf.matmul(right, rbm.coupling, transpose_b=True)
    return tf.linalg.matvec(right, rbm.right_bias) + tf.reduce_sum(tf.nn.softplus(left_field), -1)


def uniform_chains(
    key: tf.Tensor, num_chains: int, num_left: int, num_right: int, dtype: tf.DType = tf.float32
) -> Chains:
    """Independent fair bits, left [C, L] and right [C, R]: exact samples of the RBM at zero."""
    words = counter_random.bits(key, [num_chains, num_left + num_right])
    # The sign bit decides.
    values = tf.cast(tf.bitcast(words, tf.int32) < 0, dtype)
    return Chains(values[:, :num_left], values[:, num_left:])
