"""Persistent contrastive divergence: chains that follow the parameters (Tieleman 2008)."""

from typing import NamedTuple

import tensorflow as tf

from samplers import checks, gibbs
from samplers.rbm import RBM, Chains, energy, uniform_chains


class PCDState(NamedTuple):
    """chains: the persistent chains, left [C, L] and right [C, R]."""

    chains: Chains


class PCDInfo(NamedTuple):
    """mean_energy: scalar, mean energy of the chains at the parameters of the step, in nats."""

    mean_energy: tf.Tensor


def init(
    key: tf.Tensor, num_chains: int, num_left: int, num_right: int, dtype: tf.DType = tf.float32
) -> PCDState:
    """Chains of uniform bits (exact samples at zero parameters)."""
    return PCDState(uniform_chains(key, num_chains, num_left, num_right, dtype))


def step(rbm: RBM, state: PCDState, key: tf.Tensor, num_sweeps: int) -> tuple[PCDState, PCDInfo]:
    """`num_sweeps` block-Gibbs sweeps at the parameters `rbm`.

    The gradient estimate from the chains is biased towards where they were: they lag behind
    moving parameters.

    Raises:
      ValueError: fewer than one sweep, or chains and parameters that do not fit each other.
    """
    num_sweeps = checks.whole_or_tensor("num_sweeps", num_sweeps)
    chains = gibbs.sweeps(rbm, state.chains, key, num_sweeps)
    return PCDState(chains), PCDInfo(tf.reduce_mean(energy(rbm, chains)))
