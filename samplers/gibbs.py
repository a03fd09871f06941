"""Block Gibbs sampling of an RBM: all left units at once, then all right units.

One sweep draws z_L ~ p(z_L | z_R) and then z_R ~ p(z_R | the new z_L). The RBM, the chains and
the key are arguments, so that one compiled program serves a training run.
"""

import tensorflow as tf

from samplers import counter_random
from samplers.rbm import RBM, Chains


def _sweep(
    rbm: RBM, right: tf.Tensor, key: tf.Tensor, stream: tf.Tensor, inverse_temperature: tf.Tensor
) -> Chains:
    """One sweep; only the right half matters to what comes next."""
    field = rbm.left_bias + tf.matmul(right, rbm.coupling, transpose_b=True)
    left = counter_random.bernoulli_logits(key, inverse_temperature * field, stream)
    field = rbm.right_bias + tf.matmul(left, rbm.coupling)
    right = counter_random.bernoulli_logits(key, inverse_temperature * field, stream + 1)
    return Chains(left, right)


def sweep(
    rbm: RBM, chains: Chains, key: tf.Tensor, inverse_temperature: float | tf.Tensor = 1.0
) -> Chains:
    """One block-Gibbs sweep, left units first.

    Args:
      rbm: parameters, [L], [R], [L, R].
      chains: left [C, L] (its values do not matter) and right [C, R].
      key: int32 [2]; use each key once.
      inverse_temperature: scalar, or [C, 1] for a temperature per chain; scales the energy.

    Returns:
      The new chains; p(z)^inverse_temperature (normalised) is left invariant.
    """
    return sweeps(rbm, chains, key, 1, inverse_temperature)


def sweeps(
    rbm: RBM,
    chains: Chains,
    key: tf.Tensor,
    num_sweeps: int | tf.Tensor,
    inverse_temperature: float | tf.Tensor = 1.0,
) -> Chains:
    """`num_sweeps` block-Gibbs sweeps in one loop; see `sweep` for the arguments.

    Sweep s draws its left half from stream 2s of the key and its right half from stream 2s + 1.
    """
    scale = tf.cast(inverse_temperature, rbm.coupling.dtype)

    def body(step: tf.Tensor, state: Chains) -> tuple[tf.Tensor, Chains]:
        return step + 1, _sweep(rbm, state.right, key, 2 * step, scale)

    if isinstance(num_sweeps, int) and num_sweeps == 1:
        return body(tf.constant(0), chains)[1]
    return tf.while_loop(lambda step, _: step < num_sweeps, body, (tf.constant(0), chains))[1]
