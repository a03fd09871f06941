"""Persistent contrastive divergence: chains that follow the parameters (Tieleman 2008)."""

from typing import NamedTuple

import tensorflow as tf

from samplers import checks
from samplers.energy_model import EnergyModel, Parameters, State


class PCDState(NamedTuple):
    """chains: the persistent chains, a state of the model."""

    chains: State


class PCDInfo(NamedTuple):
    """mean_energy: scalar, mean energy of the chains at the parameters of the step, in nats."""

    mean_energy: tf.Tensor


def init(
    model: EnergyModel, key: tf.Tensor, num_chains: int, dtype: tf.DType = tf.float32
) -> PCDState:
    """Exact samples at zero parameters.

    Raises:
      ValueError: fewer than one chain, or neither float32 nor float64.
    """
    return PCDState(model.start(num_chains, key, dtype))


def step(
    model: EnergyModel, params: Parameters, state: PCDState, key: tf.Tensor, num_sweeps: int
) -> tuple[PCDState, PCDInfo]:
    """`num_sweeps` sweeps at the parameters.

    The gradient estimate from the chains is biased towards where they were: they lag behind
    moving parameters.

    Raises:
      ValueError: fewer than one sweep, or chains and parameters that do not fit each other.
    """
    model.check_state(params, state.chains)
    num_sweeps = checks.whole_or_tensor("num_sweeps", num_sweeps)
    chains = model.sweeps(params, state.chains, key, num_sweeps)
    return PCDState(chains), PCDInfo(tf.reduce_mean(model.energy(params, chains)))
