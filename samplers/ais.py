"""Annealed importance sampling of a log-partition function (Neal 2001).

The path runs from independent units to the model, with energies mixed linearly (Salakhutdinov and
Murray 2008); a model may sum a part of its units out (`samplers.energy_model.Path`). Forward AIS is
unbiased for Z, hence its logarithm is low on average; reverse AIS from exact samples is unbiased
for 1/Z, hence high.
"""

from typing import NamedTuple

import tensorflow as tf

from samplers import checks, counter_random, hardware
from samplers.diagnostics import LogMeanEstimate, log_mean_estimate
from samplers.energy_model import EnergyModel, Parameters, Path, State, base_log_partition


class AISResult(NamedTuple):
    """log_weights: [C] per-chain estimates of log Z in nats; state: of the path, at its end."""

    log_weights: tf.Tensor
    state: State


def _anneal(
    path: Path, state: State, num_chains: int, key: tf.Tensor, temperatures: tf.Tensor
) -> tuple[tf.Tensor, State]:
    """Log weights [C] (float64) and final states along [T + 1] inverse temperatures."""
    steps = temperatures.shape[0] - 1
    unrolled = hardware.steps_a_trip(steps)

    def body(index: tf.Tensor, state: State, log_weights: tf.Tensor) -> tuple:
        for step in (index + offset for offset in range(unrolled)):
            # FIRST the old state's weight, THEN a sweep at the new temperature.
            old, new = temperatures[step], temperatures[step + 1]
            log_weights += tf.cast(path.log_ratio(state, old, new), tf.float64)
            state = path.sweep(state, counter_random.fold_in(key, step), new)
        return index + unrolled, state, log_weights

    start = (tf.constant(0), state, tf.zeros([num_chains], tf.float64))
    _, state, log_weights = tf.while_loop(lambda index, *_: index < steps, body, start)
    return log_weights, state


def run(
    model: EnergyModel,
    params: Parameters,
    base: tf.Tensor,
    key: tf.Tensor,
    temperatures: tf.Tensor,
    num_chains: int,
) -> AISResult:
    """Forward AIS.

    Args:
      model: what log Z is wanted of, at `params`.
      base: [D] log odds of the independent units where the path starts.
      key: int32 [2].
      temperatures: [T + 1] rising inverse temperatures from 0 to 1, in the dtype of the parameters;
        see `linear_temperatures`.
      num_chains: C.

    Returns:
      AISResult; E[mean exp(log_weights)] = Z for any T and C.

    Raises:
      ValueError: fewer than one chain or step, or arguments that do not fit each other.
    """
    model.check_base(params, base)
    checks.temperatures(temperatures, base.dtype)
    num_chains = checks.whole("num_chains", num_chains)
    return _run(model, params, base, key, temperatures, num_chains)


@hardware.Program
def _run(
    model: EnergyModel,
    params: Parameters,
    base: tf.Tensor,
    key: tf.Tensor,
    temperatures: tf.Tensor,
    num_chains: int,
) -> AISResult:
    path = model.path(params, base)
    keys = counter_random.split(key, 2)
    start = path.start(num_chains, keys[0])
    log_weights, state = _anneal(path, start, num_chains, keys[1], temperatures)
    return AISResult(log_weights + base_log_partition(base), state)


def run_reverse(
    model: EnergyModel,
    params: Parameters,
    base: tf.Tensor,
    state: State,
    key: tf.Tensor,
    temperatures: tf.Tensor,
) -> AISResult:
    """Reverse AIS: from samples of the model down to the base.

    Args:
      state: C states. Exact samples of the model make the result an upper bound of log Z on
        average; samples of long chains make it a check only.
      model, params, base, key, temperatures: as in `run`; temperatures still rise from 0 to 1.

    Returns:
      AISResult whose log_weights are per-chain values of log Z0 - log(Z0/Z): the estimate of log Z
      is -log mean exp(-log_weights), high on average (E[mean exp(-log_weights)] = 1/Z for exact
      starts).

    Raises:
      ValueError: as in `run`, or `state` does not fit.
    """
    model.check_base(params, base)
    checks.temperatures(temperatures, base.dtype)
    model.check_state(params, state)
    return _run_reverse(model, params, base, state, key, temperatures)


@hardware.Program
def _run_reverse(
    model: EnergyModel,
    params: Parameters,
    base: tf.Tensor,
    state: State,
    key: tf.Tensor,
    temperatures: tf.Tensor,
) -> AISResult:
    path = model.path(params, base)
    num_chains = tf.nest.flatten(state)[0].shape[0]
    down = tf.reverse(temperatures, axis=[0])
    log_weights, state = _anneal(path, path.of_model(state), num_chains, key, down)
    return AISResult(base_log_partition(base) - log_weights, state)


def linear_temperatures(num_temperatures: int, dtype: tf.DType = tf.float32) -> tf.Tensor:
    """num_temperatures >= 1 steps of equal size from 0 to 1: [num_temperatures + 1]."""
    num_temperatures = checks.whole("num_temperatures", num_temperatures)
    checks.float_type(dtype)
    return tf.cast(tf.linspace(tf.constant(0.0, tf.float64), 1.0, num_temperatures + 1), dtype)


def log_partition_estimate(
    model: EnergyModel,
    params: Parameters,
    base: tf.Tensor,
    key: tf.Tensor,
    num_chains: int = 1024,
    num_temperatures: int = 1000,
) -> LogMeanEstimate:
    """log Z in nats by forward AIS, with standard error and ESS; low on average (Jensen)."""
    temperatures = linear_temperatures(num_temperatures, base.dtype)
    return log_mean_estimate(run(model, params, base, key, temperatures, num_chains).log_weights)
