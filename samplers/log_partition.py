"""log Z of an energy model with every bound there is.

Estimates fail in different ways. Forward AIS is low on average and reverse AIS high, and Markov's
bound holds whatever the weights look like. Agreement is evidence.
"""

from typing import NamedTuple

import tensorflow as tf

from samplers import ais, counter_random, diagnostics, exact
from samplers.energy_model import EnergyModel, Parameters, State, fitted_base, uniform_base
from samplers.log_partition_value import ALPHA, LogPartition

MARKOV_GROUPS = 32
_FORWARD, _REVERSE, _START = range(3)


class Settings(NamedTuple):
    """What log Z is measured with.

    num_chains, num_temperatures, base ("uniform" or "fitted"): of annealed importance sampling.
    num_ladders, num_rungs, num_rounds: of parallel tempering.
    """

    num_chains: int = 1024
    num_temperatures: int = 1000
    base: str = "uniform"
    num_ladders: int = 32
    num_rungs: int = 32
    num_rounds: int = 1000


def make_base(name: str, model: EnergyModel, chains: State) -> tf.Tensor:
    """The base [D] of a name: "uniform" as published, or "fitted" to the chains' means."""
    if name not in ("uniform", "fitted"):
        raise ValueError(f"an AIS base is uniform or fitted, not {name!r}")
    units = model.units(chains)
    return fitted_base(units) if name == "fitted" else uniform_base(model, units.dtype)


class Forward(NamedTuple):
    """Forward AIS and, from the same weights, a lower bound that holds whatever the chains."""

    estimate: diagnostics.LogMeanEstimate
    markov_lower: tf.Tensor


def forward(
    model: EnergyModel,
    params: Parameters,
    base: tf.Tensor,
    key: tf.Tensor,
    settings: Settings,
    alpha: float = ALPHA,
) -> Forward:
    """log Z by forward AIS, low on average; its bound is above log Z with probability alpha."""
    temperatures = ais.linear_temperatures(settings.num_temperatures, base.dtype)
    log_weights = ais.run(model, params, base, key, temperatures, settings.num_chains).log_weights
    groups = min(MARKOV_GROUPS, settings.num_chains)
    return Forward(
        diagnostics.log_mean_estimate(log_weights),
        diagnostics.markov_lower_bound(log_weights, groups, alpha),
    )


def reverse(
    model: EnergyModel,
    params: Parameters,
    base: tf.Tensor,
    state: State,
    key: tf.Tensor,
    settings: Settings,
) -> diagnostics.LogMeanEstimate:
    """log Z by reverse AIS from C states; high on average when they are samples of the model."""
    temperatures = ais.linear_temperatures(settings.num_temperatures, base.dtype)
    log_weights = ais.run_reverse(model, params, base, state, key, temperatures).log_weights
    result = diagnostics.log_mean_estimate(-log_weights)
    return result._replace(value=-result.value)


def estimate(
    model: EnergyModel, params: Parameters, chains: State, key: tf.Tensor, settings: Settings
) -> diagnostics.LogMeanEstimate:
    """Forward AIS alone: quick. chains: samples of the model, for the fitted base."""
    base = make_base(settings.base, model, chains)
    return ais.log_partition_estimate(
        model, params, base, key, settings.num_chains, settings.num_temperatures
    )


def measure(
    model: EnergyModel, params: Parameters, chains: State, key: tf.Tensor, settings: Settings
) -> LogPartition:
    """log Z with every bound: forward and reverse AIS, Markov's bound, enumeration if small.

    Reverse AIS starts from exact samples where the model can be enumerated, else from the chains.
    """
    keys = counter_random.split(key, 3)
    small = exact.is_enumerable(model)
    base = make_base(settings.base, model, chains)
    annealed = forward(model, params, base, keys[_FORWARD], settings)
    start = exact.samples(model, params, keys[_START], settings.num_chains) if small else chains
    backward = reverse(model, params, base, start, keys[_REVERSE], settings)
    return LogPartition(
        value=float(annealed.estimate.value),
        stderr=float(annealed.estimate.stderr),
        ess=float(annealed.estimate.ess),
        markov_lower=float(annealed.markov_lower),
        reverse=float(backward.value),
        reverse_stderr=float(backward.stderr),
        upper_status="certified" if small else "checked",
        exact=float(exact.log_partition(model, params)) if small else None,
        num_chains=settings.num_chains,
        reverse_ess=float(backward.ess),
        num_reverse=int(tf.nest.flatten(start)[0].shape[0]),
    )
