"""The restricted Boltzmann machine: its parameters, its states and their energies.

p(z) = exp(-E(z)) / Z with E(z) = -(a.z_L + b.z_R + z_L' W z_R), all in nats.
"""

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from samplers import checks, counter_random, hardware


class RBM(NamedTuple):
    """Parameters: left_bias a [L], right_bias b [R], coupling W [L, R]; float32 or float64."""

    left_bias: tf.Tensor
    right_bias: tf.Tensor
    coupling: tf.Tensor


class Chains(NamedTuple):
    """States of C Markov chains: left [C, L] and right [C, R], 0 or 1 in the RBM's dtype."""

    left: tf.Tensor
    right: tf.Tensor


def check_rbm(rbm: RBM, lead: Sequence[int | None] = ()) -> None:
    """Raises ValueError unless the parameters, with leading extents, fit each other."""
    dtype = getattr(rbm.coupling, "dtype", None)
    checks.float_type(dtype)
    checks.tensor("coupling", rbm.coupling, [*lead, None, None], dtype)
    *_, num_left, num_right = tf.TensorShape(rbm.coupling.shape).with_rank(len(lead) + 2)
    checks.tensor("left_bias", rbm.left_bias, [*lead, num_left], dtype)
    checks.tensor("right_bias", rbm.right_bias, [*lead, num_right], dtype)


def check_chains(rbm: RBM, chains: Chains) -> None:
    """Raises ValueError unless there are chains and they fit the RBM, which must be sound."""
    check_rbm(rbm)
    dtype = rbm.coupling.dtype
    checks.tensor("left", chains.left, [None, rbm.coupling.shape[0]], dtype)
    checks.tensor("right", chains.right, [chains.left.shape[0], rbm.coupling.shape[1]], dtype)


def energy(rbm: RBM, chains: Chains) -> tf.Tensor:
    """E(z) of each chain, [C], in nats; low energy is high probability."""
    check_chains(rbm, chains)
    left_field = rbm.left_bias + tf.matmul(chains.right, rbm.coupling, transpose_b=True)
    if hardware.on_gpu() and rbm.coupling.shape[0] == rbm.coupling.shape[1]:  # one sum for both
        return -tf.reduce_sum(chains.left * left_field + chains.right * rbm.right_bias, axis=-1)
    left_terms = tf.reduce_sum(chains.left * left_field, axis=-1)
    return -(left_terms + tf.linalg.matvec(chains.right, rbm.right_bias))


def halves(rbm: RBM, states: tf.Tensor) -> Chains:
    """Splits states [N, L + R] into the left and the right half."""
    check_rbm(rbm)
    checks.tensor("states", states, [None, sum(rbm.coupling.shape)], rbm.coupling.dtype)
    num_left = rbm.left_bias.shape[0]
    return Chains(states[:, :num_left], states[:, num_left:])


def left_log_marginal(rbm: RBM, left: tf.Tensor) -> tf.Tensor:
    """log of the sum over z_R of exp(-E), [C] from left [C, L]: a.z_L + sum softplus(b + z_L W)."""
    check_rbm(rbm)
    checks.tensor("left", left, [None, rbm.coupling.shape[0]], rbm.coupling.dtype)
    right_field = rbm.right_bias + tf.matmul(left, rbm.coupling)
    return tf.linalg.matvec(left, rbm.left_bias) + tf.reduce_sum(tf.nn.softplus(right_field), -1)


def right_log_marginal(rbm: RBM, right: tf.Tensor) -> tf.Tensor:
    """log sum over z_L of exp(-E(z_L, z_R)), [C] from right [C, R]."""
    check_rbm(rbm)
    checks.tensor("right", right, [None, rbm.coupling.shape[1]], rbm.coupling.dtype)
    left_field = rbm.left_bias + tf.matmul(right, rbm.coupling, transpose_b=True)
    return tf.linalg.matvec(right, rbm.right_bias) + tf.reduce_sum(tf.nn.softplus(left_field), -1)


def uniform_chains(
    key: tf.Tensor, num_chains: int, num_left: int, num_right: int, dtype: tf.DType = tf.float32
) -> Chains:
    """Independent fair bits, left [C, L] and right [C, R]: exact samples of the RBM at zero."""
    checks.float_type(dtype)
    counts = {"num_chains": num_chains, "num_left": num_left, "num_right": num_right}
    num_chains, num_left, num_right = (checks.whole(*count) for count in counts.items())
    words = counter_random.bits(key, [num_chains, num_left + num_right])
    # The sign bit decides.
    values = tf.cast(tf.bitcast(words, tf.int32) < 0, dtype)
    return Chains(values[:, :num_left], values[:, num_left:])
