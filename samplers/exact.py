"""Exact log Z, moments and samples of small models, by enumeration in float64.

What is enumerated is the part of the units that the model names; it sums the others out itself.
"""

import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from samplers import checks, counter_random, hardware
from samplers.energy_model import EnergyModel, Parameters, State

MAX_ENUMERATED_UNITS = 20
_CHUNK_BITS = 14


def is_enumerable(model: EnergyModel) -> bool:
    """Whether the part that enumeration runs over is small enough."""
    return model.num_enumerated <= MAX_ENUMERATED_UNITS


def _checked(model: EnergyModel, params: Parameters) -> Parameters:
    """The parameters in float64. Raises ValueError where they do not fit, or are too many."""
    model.check_parameters(params)
    if not is_enumerable(model):
        raise ValueError(f"{model} has {model.num_enumerated} units to enumerate: too many")
    return tf.nest.map_structure(lambda parameter: tf.cast(parameter, tf.float64), params)


def _bits(numbers: tf.Tensor, num_units: int) -> tf.Tensor:
    """Binary expansions of int32 [N], the first unit fastest: [N, num_units] float64."""
    bits = tf.bitwise.right_shift(numbers[:, None], tf.range(num_units, dtype=tf.int32)[None, :])
    return tf.cast(bits & 1, tf.float64)


def _chunks(model: EnergyModel) -> tuple[int, int]:
    """States in a chunk, and chunks."""
    size = 2 ** min(model.num_enumerated, _CHUNK_BITS)
    return size, 2**model.num_enumerated // size


def _log_marginals(model: EnergyModel, params: Parameters, chunk: tf.Tensor) -> tf.Tensor:
    size, _ = _chunks(model)
    states = _bits(chunk * size + tf.range(size, dtype=tf.int32), model.num_enumerated)
    return model.log_marginal(params, states)


def _over_chunks(model: EnergyModel, add: Callable[..., tuple], start: Any) -> Any:
    """What `add(chunk, total)` makes of `start`, chunk by chunk."""
    count = _chunks(model)[1]
    return tf.while_loop(lambda chunk, _: chunk < count, add, (tf.constant(0), start))[1]


@hardware.Program
def _log_partition(model: EnergyModel, params: Parameters) -> tf.Tensor:
    def add(chunk: tf.Tensor, total: tf.Tensor) -> tuple:
        value = tf.reduce_logsumexp(_log_marginals(model, params, chunk))
        high = tf.maximum(total, value)
        return chunk + 1, high + tf.math.log(tf.exp(total - high) + tf.exp(value - high))

    return _over_chunks(model, add, tf.constant(-math.inf, tf.float64))


def log_partition(model: EnergyModel, params: Parameters) -> tf.Tensor:
    """log Z = log sum_z exp(-E(z)) in nats, a float64 scalar, exact up to rounding.

    Raises ValueError when more than MAX_ENUMERATED_UNITS units are left to enumerate.
    """
    return _log_partition(model, _checked(model, params))


@hardware.Program
def _moments(model: EnergyModel, params: Parameters, log_z: tf.Tensor) -> Parameters:
    def add(chunk: tf.Tensor, total: Parameters) -> tuple:
        with tf.GradientTape() as tape:
            tape.watch(params)
            share = tf.reduce_logsumexp(_log_marginals(model, params, chunk))
        gradient = tape.gradient(share, list(params), unconnected_gradients="zero")
        weight = tf.exp(share - log_z)
        parts = (t + weight * g for t, g in zip(total, gradient, strict=True))
        return chunk + 1, type(params)(*parts)

    return _over_chunks(model, add, tf.nest.map_structure(tf.zeros_like, params))


def moments(model: EnergyModel, params: Parameters) -> Parameters:
    """The gradient of log Z with respect to the parameters, float64, shaped as they are.

    Raises ValueError as `log_partition`.
    """
    params = _checked(model, params)
    return _moments(model, params, _log_partition(model, params))


def samples(model: EnergyModel, params: Parameters, key: tf.Tensor, num_samples: int) -> State:
    """Independent exact samples of p(z), in the dtype of the parameters.

    The enumerated part is drawn from its marginal, the other units given it. They are what makes
    reverse AIS an upper bound of log Z on average, whatever the chains.

    Raises ValueError as `log_partition`, and at fewer than one sample.
    """
    num_samples = checks.whole("num_samples", num_samples)
    dtype, params = params[0].dtype, _checked(model, params)
    log_z = _log_partition(model, params)
    chunks = [_log_marginals(model, params, chunk) for chunk in range(_chunks(model)[1])]
    cumulative = tf.cumsum(tf.exp(tf.concat(chunks, axis=0) - log_z))
    keys = counter_random.split(key, 2)
    level = counter_random.uniform(keys[0], [num_samples], tf.float64) * cumulative[-1]
    rows = tf.searchsorted(cumulative, level, side="right")
    state = model.complete(params, _bits(rows, model.num_enumerated), keys[1])
    return tf.nest.map_structure(lambda part: tf.cast(part, dtype), state)
