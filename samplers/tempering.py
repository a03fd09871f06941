"""Parallel tempering of an energy model, and log Z from neighbouring temperatures.

Replicas at inverse temperatures between independent units (0) and the model (1) are swept at their
own temperature and exchange states with their neighbours (Swendsen and Wang 1986; Geyer 1991), so
that a state which is stuck at the model can leave through the base. The path is that of
`samplers.ais`. Ratios of partition functions of neighbours come from Bennett's acceptance ratio
(Bennett 1976, equation 12), which is the optimal bridge of Meng and Wong 1996; they add up to
log Z.

Many ladders of replicas run at once and independently: their spread is the error.
"""

from typing import NamedTuple

import tensorflow as tf

from samplers import checks, counter_random, hardware
from samplers.ais import linear_temperatures
from samplers.bridge_sampling import bennett_acceptance_ratio
from samplers.energy_model import EnergyModel, Parameters, Path, State, base_log_partition

# Of a pair of temperatures whose swaps are all accepted: the ladder stays strictly rising.
_LEAST_REJECTION = 1e-3


class TemperingState(NamedTuple):
    """States by temperature, not by replica: a swap moves states.

    state: N T states of the path, those of N ladders at T inverse temperatures, the base first.
    from_base: int32 [N, T], 1 where the state has met the base since it last met the model.
    round: int32 scalar, rounds so far: which neighbours swap alternates with it.
    """

    state: State
    from_base: tf.Tensor
    round: tf.Tensor


class TemperingInfo(NamedTuple):
    """Diagnostics of one round; `run` stacks M rounds in front.

    forward: [N, T - 1], log f_{t+1} - log f_t of the state at t, in nats.
    backward: [N, T - 1], the same difference of the state at t + 1.
    arrivals: int32 [N], 1 where a state that came from the base reached the model.
    """

    forward: tf.Tensor
    backward: tf.Tensor
    arrivals: tf.Tensor


class TemperingEstimate(NamedTuple):
    """log Z in nats and how well the ladders mixed.

    value: float64 scalar. Consistent, with a bias of the order of stderr^2 and either sign; low
      when no replica has yet found a mode of the model.
    stderr: float64 scalar, from the spread of independent ladders (with N - 1 degrees of freedom).
    acceptance: [T - 1], mean chance of a swap between neighbours.
    arrivals: scalar, how many states travelled from the base to the model, in all ladders together;
      only few arrivals mean that neither value nor error is to be trusted.
    """

    value: tf.Tensor
    stderr: tf.Tensor
    acceptance: tf.Tensor
    arrivals: tf.Tensor


def init(path: Path, key: tf.Tensor, num_ladders: int, num_temperatures: int) -> TemperingState:
    """Samples of the base at each of T temperatures: exact there, to be burnt in elsewhere.

    Raises:
      ValueError: no ladder, or fewer than two temperatures.
    """
    num_ladders = checks.whole("num_ladders", num_ladders)
    num_temperatures = checks.whole("num_temperatures", num_temperatures, 2)
    state = path.start(num_ladders * num_temperatures, key)
    return TemperingState(
        state, tf.zeros([num_ladders, num_temperatures], tf.int32), tf.constant(0)
    )


def _differences(path: Path, state: State, rungs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """log f_{t+1} - log f_t at the states at t ("forward") and at those at t + 1, [N, T - 1].

    rungs: [N, T] inverse temperatures of the states.
    """
    above = tf.concat([rungs[:, 1:], rungs[:, -1:]], axis=1)
    below = tf.concat([rungs[:, :1], rungs[:, :-1]], axis=1)
    here, above, below = (tf.reshape(t, [-1, 1]) for t in (rungs, above, below))
    forward = tf.reshape(path.log_ratio(state, here, above), rungs.shape)
    backward = tf.reshape(path.log_ratio(state, below, here), rungs.shape)
    return forward[:, :-1], backward[:, 1:]


def _swapped(values: tf.Tensor, swap: tf.Tensor) -> tf.Tensor:
    """Exchanges values [N, T, ...] of t and t + 1 where swap [N, T - 1]."""
    swap = tf.reshape(swap, [*swap.shape, *[1] * (values.shape.rank - 2)])
    never = tf.zeros_like(swap[:, :1])
    from_above = tf.concat([swap, never], axis=1)
    from_below = tf.concat([never, swap], axis=1)
    above, below = tf.roll(values, -1, axis=1), tf.roll(values, 1, axis=1)
    return tf.where(from_above, above, tf.where(from_below, below, values))


def step(
    path: Path, state: TemperingState, key: tf.Tensor, temperatures: tf.Tensor
) -> tuple[TemperingState, TemperingInfo]:
    """One round: a sweep at every temperature, then swaps between neighbours.

    Args:
      path: from the hot end to the cold one; may differ from that of the round before.
      state: N ladders of T replicas. In even rounds swaps are proposed between t and t + 1 for even
        t, in odd rounds for odd t: states then travel faster than with random proposals.
      key: int32 [2].
      temperatures: [T] rising inverse temperatures from 0 to 1.

    Returns:
      The new state, and the info of the states between sweep and swaps. Both leave the product of
      the tempered distributions invariant; at the base the sweep draws a fresh exact sample.

    Raises:
      ValueError: arguments that do not fit each other.
    """
    checks.temperatures(temperatures, temperatures.dtype)
    shape = state.from_base.shape
    checks.tensor("from_base", state.from_base, [None, *temperatures.shape], tf.int32)
    rungs = tf.broadcast_to(temperatures, shape)
    keys = counter_random.split(key, 2)
    swept = path.sweep(state.state, keys[0], tf.reshape(rungs, [-1, 1]))
    forward, backward = _differences(path, swept, rungs)
    acceptance = tf.exp(tf.minimum(forward - backward, 0.0))
    proposed = tf.range(forward.shape[1]) % 2 == state.round % 2
    # A key of its own: how many streams a sweep takes is the model's affair.
    swap = (counter_random.uniform(keys[1], forward.shape, forward.dtype) < acceptance) & proposed

    def exchanged(part: tf.Tensor) -> tf.Tensor:
        return tf.reshape(_swapped(tf.reshape(part, [*shape, *part.shape[1:]]), swap), part.shape)

    from_base = _swapped(state.from_base, swap)
    arrivals = from_base[:, -1]
    rung = tf.range(from_base.shape[1])
    from_base = tf.where(rung == rung[-1], 0, tf.where(rung == 0, 1, from_base))
    moved = tf.nest.map_structure(exchanged, swept)
    info = TemperingInfo(forward, backward, arrivals)
    return TemperingState(moved, from_base, state.round + 1), info


def equal_rejections(temperatures: tf.Tensor, rejections: tf.Tensor) -> tf.Tensor:
    """Inverse temperatures [T] between which neighbours would all reject equally often.

    The barrier from the base up to a temperature, the sum of rejections on the way, is interpolated
    linearly and cut into equal steps (Syed, Bouchard-Côté, Deligiannidis, Doucet 2022,
    arXiv 1905.02939). rejections: [T - 1], mean chance that a swap of neighbours is rejected.
    """
    steps = tf.maximum(rejections, _LEAST_REJECTION)
    barrier = tf.concat([tf.zeros_like(steps[:1]), tf.cumsum(steps)], axis=0)
    count = steps.shape[0]
    wanted = barrier[-1] * tf.range(1, count, dtype=steps.dtype) / float(count)
    below = tf.reduce_sum(tf.cast(barrier[None, 1:] <= wanted[:, None], tf.int32), axis=1)
    below = tf.minimum(below, count - 1)
    share = (wanted - tf.gather(barrier, below)) / tf.gather(steps, below)
    low, high = (tf.gather(temperatures, below + end) for end in (0, 1))
    inner = low + tf.clip_by_value(share, 0.0, 1.0) * (high - low)
    return tf.concat([temperatures[:1], inner, temperatures[-1:]], axis=0)


def run(
    model: EnergyModel,
    params: Parameters,
    base: tf.Tensor,
    key: tf.Tensor,
    temperatures: tf.Tensor,
    num_ladders: int,
    num_rounds: int,
    num_burn_in: int,
) -> TemperingInfo:
    """num_burn_in rounds that are forgotten, then num_rounds whose infos are stacked.

    Raises:
      ValueError: no ladder, no round, or arguments that do not fit each other.
    """
    model.check_base(params, base)
    checks.temperatures(temperatures, base.dtype)
    num_ladders = checks.whole("num_ladders", num_ladders)
    num_rounds = checks.whole("num_rounds", num_rounds)
    num_burn_in = checks.whole("num_burn_in", num_burn_in, 0)
    return _run(model, params, base, key, temperatures, num_ladders, num_rounds, num_burn_in)


@hardware.Program
def _run(
    model: EnergyModel,
    params: Parameters,
    base: tf.Tensor,
    key: tf.Tensor,
    temperatures: tf.Tensor,
    num_ladders: int,
    num_rounds: int,
    num_burn_in: int,
) -> TemperingInfo:
    keys = counter_random.split(key, 2)
    path = model.path(params, base)
    state = init(path, keys[0], num_ladders, temperatures.shape[0])
    rounds, pairs = num_burn_in + num_rounds, temperatures.shape[0] - 1
    unrolled = hardware.steps_a_trip(rounds)
    shapes = ([num_ladders, pairs], [num_ladders, pairs], [num_ladders])
    dtypes = (temperatures.dtype, temperatures.dtype, tf.int32)
    arrays = TemperingInfo(
        *(
            tf.TensorArray(dtype, rounds, element_shape=shape)
            for dtype, shape in zip(dtypes, shapes, strict=True)
        )
    )

    def advance(index: tf.Tensor, state: TemperingState, arrays: TemperingInfo) -> tuple:
        for now in (index + offset for offset in range(unrolled)):
            round_key = counter_random.fold_in(keys[1], now)
            state, info = step(path, state, round_key, temperatures)
            both = zip(arrays, info, strict=True)
            arrays = TemperingInfo(*(array.write(now, x) for array, x in both))
        return index + unrolled, state, arrays

    _, _, arrays = tf.while_loop(
        lambda index, *_: index < rounds, advance, (tf.constant(0), state, arrays)
    )
    return TemperingInfo(*(array.stack()[num_burn_in:] for array in arrays))


def estimate_from_infos(base: tf.Tensor, infos: TemperingInfo) -> TemperingEstimate:
    """log Z from the stacked infos of `run`: that of the base plus the ratios of neighbours."""
    ratio, influence = bennett_acceptance_ratio(infos.forward, infos.backward)
    # A ladder's influences on all pairs are summed first: its temperatures exchange states, and
    # its rounds are correlated, but the ladders are independent.
    total = tf.reduce_sum(influence, axis=1)
    num_ladders = tf.cast(tf.size(total), tf.float64)
    variance = tf.reduce_sum(total**2) / (num_ladders * (num_ladders - 1.0))
    chance = tf.exp(tf.minimum(infos.forward - infos.backward, 0.0))
    return TemperingEstimate(
        value=base_log_partition(base) + tf.reduce_sum(ratio),
        stderr=tf.sqrt(variance),
        acceptance=tf.reduce_mean(chance, axis=[0, 1]),
        arrivals=tf.reduce_sum(infos.arrivals),
    )


def log_partition_estimate(
    model: EnergyModel,
    params: Parameters,
    base: tf.Tensor,
    key: tf.Tensor,
    num_ladders: int = 32,
    num_temperatures: int = 32,
    num_rounds: int = 1000,
    num_burn_in: int | None = None,
) -> TemperingEstimate:
    """log Z in nats by parallel tempering and Bennett's acceptance ratio.

    Args:
      model, params, base: as for `ais`.
      key: int32 [2].
      num_ladders: N >= 2 independent ladders; their spread is the standard error.
      num_temperatures: steps of equal size between base and model, hence one more replica.
      num_rounds: recorded rounds of sweep and swap.
      num_burn_in: rounds before them; None = a quarter of num_rounds.

    Returns:
      TemperingEstimate. Its bias vanishes with num_rounds: the start is the base at every
      temperature, and what burn-in leaves of it makes log Z low.

    Raises:
      ValueError: fewer than two ladders, none of the rest, or a base that does not fit.
    """
    if checks.whole("num_ladders", num_ladders) < 2:
        raise ValueError("the error needs at least two ladders")
    num_rounds = checks.whole("num_rounds", num_rounds)
    temperatures = linear_temperatures(num_temperatures, base.dtype)
    num_burn_in = num_rounds // 4 if num_burn_in is None else num_burn_in
    infos = run(model, params, base, key, temperatures, num_ladders, num_rounds, num_burn_in)
    return estimate_from_infos(base, infos)
