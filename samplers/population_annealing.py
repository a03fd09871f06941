"""Population annealing along the training of an energy model.

The population follows the moving parameters by importance weights instead of by relaxation alone
(Hukushima and Iba 2003; Machta 2010): reweight by exp(E_old - E_new), resample, sweep. The mean
weight of each step is an estimate of Z_new / Z_old, so log Z is tracked along the whole training.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from samplers import checks, counter_random
from samplers.diagnostics import normalized
from samplers.energy_model import EnergyModel, Parameters, State

# Bisections for the size of a bridge: to 2^-14 of the remaining way.
_BISECTIONS = 14
_MAX_BRIDGES = 1000


class PopulationState(NamedTuple):
    """A weighted population and the parameters that it represents.

    chains: C states of the model.
    log_weights: [C] unnormalised, with mean weight 1; zero after a resampling.
    params: the parameters at which chains and weights are a sample of p(z).
    log_partition: float64 scalar, tracked log Z of `params` in nats. exp(log_partition) is unbiased
      when the parameters do not depend on this population; when it feeds the gradient, each
      update raises the energy of just these samples and the value drifts low.
    family: int32 [C], the ancestor of each member among those of the last `relabel`.
    """

    chains: State
    log_weights: tf.Tensor
    params: Parameters
    log_partition: tf.Tensor
    family: tf.Tensor


class PopulationInfo(NamedTuple):
    """Diagnostics of one step.

    ess: scalar in [1, C], effective sample size after reweighting (the least over bridges).
    surviving_families: scalar, number of ancestors with descendants.
    resampled: scalar, share of reweightings that were followed by resampling, in [0, 1].
    bridges: scalar, number of reweightings that the step took; 1 if none was needed.
    """

    ess: tf.Tensor
    surviving_families: tf.Tensor
    resampled: tf.Tensor
    bridges: tf.Tensor


def init(
    model: EnergyModel, key: tf.Tensor, num_chains: int, dtype: tf.DType = tf.float32
) -> PopulationState:
    """An exact population at zero parameters: fair bits, log Z = D log 2.

    Raises:
      ValueError: fewer than one chain, or neither float32 nor float64.
    """
    chains = model.start(num_chains, key, dtype)
    num_chains = tf.nest.flatten(chains)[0].shape[0]
    return PopulationState(
        chains=chains,
        log_weights=tf.zeros([num_chains], dtype),
        params=model.independent(tf.zeros([model.num_units], dtype)),
        log_partition=model.num_units * tf.math.log(tf.constant(2.0, tf.float64)),
        family=tf.range(num_chains),
    )


def _check_state(model: EnergyModel, params: Parameters, state: PopulationState) -> None:
    """Raises ValueError unless the population is of this model and of parameters like these."""
    model.check_state(params, state.chains)
    model.check_state(state.params, state.chains)
    size = tf.nest.flatten(state.chains)[0].shape[0]
    checks.tensor("log_weights", state.log_weights, [size], params[0].dtype)
    if not tf.TensorShape(state.family.shape).is_compatible_with([size]):
        raise ValueError(f"family of shape {state.family.shape} is not one of {size} members")


def relabel(state: PopulationState, condition: tf.Tensor | bool = True) -> PopulationState:
    """Makes each member the founder of a family, where the scalar `condition` holds."""
    family = tf.where(condition, tf.range(state.family.shape[0]), state.family)
    return state._replace(family=family)


def normalized_weights(state: PopulationState) -> tf.Tensor:
    """Weights of the members, [C], summing to one."""
    return tf.nn.softmax(state.log_weights)


def count_families(family: tf.Tensor) -> tf.Tensor:
    """Number of distinct labels among [C] labels that do not decrease, as a float32 scalar.

    Systematic resampling keeps them in order: its ancestors do not decrease.
    """
    return 1.0 + tf.reduce_sum(tf.cast(family[1:] != family[:-1], tf.float32))


def systematic_ancestors(shares: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    """int32 [C] ancestors drawn by systematic resampling: each expects C times its share [C].

    Points (j + u) / C for one uniform u are looked up in the cumulative weights (Kitagawa 1996), by
    bisection, all at once: two operations of a GPU, where a histogram of them takes five.
    """
    size = shares.shape[0]
    offset = counter_random.uniform(key, [], shares.dtype)
    points, powers = tf.range(size, dtype=shares.dtype), [2**n for n in range(size.bit_length())]
    cumulative = tf.cumsum(shares) * float(size) - offset
    cumulative = tf.pad(cumulative, [[0, sum(powers) - size]], constant_values=np.inf)
    below = tf.zeros([size], tf.int32)
    for power in reversed(powers):
        more = tf.gather(cumulative, below + (power - 1)) <= points
        below += power * tf.cast(more, tf.int32)
    # Rounding may leave the last sum below C: whatever point is beyond it goes to the last member.
    return tf.minimum(below, size - 1)


def _largest_bridge(
    log_weights: tf.Tensor, change: tf.Tensor, remaining: tf.Tensor, least_ess: tf.Tensor
) -> tf.Tensor:
    """The largest share of the remaining way that one reweighting may take, by bisection.

    Judged by the conditional ESS (Zhou, Johansen, Aston 2016, equation 3.10), that of the new
    weights under the old ones, as share of C: the plain ESS also sees what earlier steps left.
    """
    old = tf.nn.log_softmax(log_weights)

    def enough(share: tf.Tensor) -> tf.Tensor:
        first = tf.reduce_logsumexp(old + share * change)
        second = tf.reduce_logsumexp(old + 2.0 * share * change)
        return tf.exp(2.0 * first - second) >= least_ess

    def halve(index: tf.Tensor, low: tf.Tensor, high: tf.Tensor) -> tuple:
        middle = 0.5 * (low + high)
        good = enough(middle)
        return index + 1, tf.where(good, middle, low), tf.where(good, high, middle)

    start = (tf.constant(0), tf.zeros_like(remaining), remaining)
    _, low, _ = tf.while_loop(lambda index, *_: index < _BISECTIONS, halve, start)
    # When not even the smallest share keeps the ESS, go on by it all the same.
    share = tf.maximum(low, remaining * 2.0**-_BISECTIONS)
    return tf.where(enough(remaining), remaining, share)


def _reweight(
    state: PopulationState, change: tf.Tensor, key: tf.Tensor, threshold: float | tf.Tensor
) -> tuple[PopulationState, tf.Tensor, tf.Tensor]:
    """Adds [C] changes of log weight, tracks log Z, and resamples when the ESS is low."""
    size = change.shape[0]
    log_weights = state.log_weights + change
    shares, log_ratio = normalized(log_weights)
    log_weights -= log_ratio
    ess = 1.0 / tf.reduce_sum(tf.square(shares))
    # At a threshold of one even a population of equal weights is resampled, as published.
    always = not tf.is_tensor(threshold) and threshold >= 1.0
    resample = (ess < threshold * size) | (threshold >= 1.0)

    def resampled() -> tuple:
        ancestors = systematic_ancestors(shares, key)
        chains = tf.nest.map_structure(lambda part: tf.gather(part, ancestors), state.chains)
        return chains, tf.zeros_like(log_weights), tf.gather(state.family, ancestors)

    def kept() -> tuple:
        return state.chains, log_weights, state.family

    outcome = resampled() if always else tf.cond(resample, resampled, kept)
    chains, log_weights, family = outcome
    log_partition = state.log_partition + tf.cast(log_ratio, tf.float64)
    state = state._replace(
        chains=chains, log_weights=log_weights, family=family, log_partition=log_partition
    )
    return state, ess, tf.cast(resample, tf.float32)


def _between(old: Parameters, new: Parameters, share: tf.Tensor) -> Parameters:
    """The parameters at a share of the way from `old` to `new`; exactly `new` at its end."""

    def mixed(start: tf.Tensor, end: tf.Tensor) -> tf.Tensor:
        return tf.where(share < 1.0, start + share * (end - start), end)

    return tf.nest.map_structure(mixed, old, new)


def step(
    model: EnergyModel,
    params: Parameters,
    state: PopulationState,
    key: tf.Tensor,
    num_sweeps: int,
    resample_threshold: float | tf.Tensor = 1.0,
    bridge_ess: float = 0.0,
) -> tuple[PopulationState, PopulationInfo]:
    """Moves the population from the parameters it is at to `params`.

    Args:
      model: what is sampled.
      params: its new parameters.
      state: population at the old parameters.
      key: int32 [2].
      num_sweeps: sweeps after each reweighting.
      resample_threshold: resample when ESS / C is below it (a float, or a scalar tensor); 1 =
        always (as published). When resampling is skipped the weights carry over, in log Z and in
        `normalized_weights`.
      bridge_ess: a reweighting that would leave the conditional ESS / C below this is taken in
        several, through parameters in between, each followed by sweeps; 0 = one reweighting
        whatever the ESS.

    Returns:
      The new state and its diagnostics; state.params is `params`, or what was reached after 1000
      bridges. log_partition is consistent in C; exp(log_partition) is unbiased for a path of
      parameters that does not depend on the population (without bridges, whose sizes depend on it,
      the statement is exact).

    Raises:
      ValueError: arguments out of their range, or that do not fit each other.
    """
    _check_state(model, params, state)
    num_sweeps = checks.whole_or_tensor("num_sweeps", num_sweeps)
    checks.number("resample_threshold", resample_threshold, 0.0, 1.0)
    checks.number("bridge_ess", bridge_ess, 0.0, 0.99)
    dtype = state.log_weights.dtype
    if tf.is_tensor(resample_threshold):
        resample_threshold = tf.cast(resample_threshold, dtype)
    origin = state.params
    # Energies are linear in the parameters: differences of parameters give differences of
    # energies without cancellation, and any share of the way costs nothing more.
    direction = tf.nest.map_structure(tf.subtract, params, origin)

    def leg(
        index: tf.Tensor,
        done: tf.Tensor,
        state: PopulationState,
        ess: tf.Tensor,
        resampled: tf.Tensor,
    ) -> tuple:
        change = -model.energy(direction, state.chains)
        share = 1.0 - done
        if bridge_ess > 0.0:
            share = _largest_bridge(
                state.log_weights, change, share, tf.constant(bridge_ess, dtype)
            )
        done = tf.minimum(done + share, 1.0)
        here = _between(origin, params, done)
        keys = counter_random.split(counter_random.fold_in(key, index), 2)
        state, new_ess, was = _reweight(state, share * change, keys[0], resample_threshold)
        chains = model.sweeps(here, state.chains, keys[1], num_sweeps)
        state = state._replace(chains=chains, params=here)
        return index + 1, done, state, tf.minimum(ess, new_ess), resampled + was

    size = tf.cast(tf.shape(state.log_weights)[0], dtype)
    start = (tf.constant(0), tf.zeros([], dtype), state, size, tf.constant(0.0))
    if bridge_ess > 0.0:
        outcome = tf.while_loop(
            lambda index, done, *_: (done < 1.0) & (index < _MAX_BRIDGES), leg, start
        )
    else:
        outcome = leg(*start)
    index, _, state, ess, resampled = outcome
    count = tf.cast(index, tf.float32)
    return state, PopulationInfo(ess, count_families(state.family), resampled / count, count)
