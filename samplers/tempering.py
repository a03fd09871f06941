"""Parallel tempering of an RBM, and log Z from neighbouring temperatures.

Replicas at inverse temperatures between a factorised base (0) and the RBM (1) are swept at their
own temperature and exchange states with their neighbours (Swendsen and Wang 1986; Geyer 1991), so
that a state which is stuck at the RBM can leave through the base. The path is that of
`samplers.ais`: energies mixed linearly, the right half summed out, f_t(z_L). Ratios of partition
functions of neighbours come from Bennett's acceptance ratio (Bennett 1976, equation 12), which is
the optimal bridge of Meng and Wong 1996; they add up to log Z.

Many ladders of replicas run at once and independently: their spread is the error.
"""

from typing import NamedTuple

import tensorflow as tf

from samplers import checks, counter_random, hardware
from samplers.ais import Base, base_log_partition, check_path, linear_temperatures
from samplers.bridge_sampling import bennett_acceptance_ratio
from samplers.rbm import RBM


class TemperingState(NamedTuple):
    """States by temperature, not by replica: a swap moves states.

    left: [N, T, L] left halves of N ladders at T inverse temperatures, the base first.
    from_base: int32 [N, T], 1 where the state has met the base since it last met the RBM.
    round: int32 scalar, rounds so far: which neighbours swap alternates with it.
    """

    left: tf.Tensor
    from_base: tf.Tensor
    round: tf.Tensor


class TemperingInfo(NamedTuple):
    """Diagnostics of one round; `run` stacks M rounds in front.

    forward: [N, T - 1], log f_{t+1}(z_L) - log f_t(z_L) of the state at t, in nats.
    backward: [N, T - 1], the same difference of the state at t + 1.
    arrivals: int32 [N], 1 where a state that came from the base reached the RBM.
    """

    forward: tf.Tensor
    backward: tf.Tensor
    arrivals: tf.Tensor


class TemperingEstimate(NamedTuple):
    """log Z in nats and how well the ladders mixed.

    value: float64 scalar. Consistent, with a bias of the order of stderr^2 and either sign; low
      when no replica has yet found a mode of the RBM.
    stderr: float64 scalar, from the spread of independent ladders (with N - 1 degrees of freedom).
    acceptance: [T - 1], mean chance of a swap between neighbours.
    arrivals: scalar, how many states travelled from the base to the RBM, in all ladders together;
      only few arrivals mean that neither value nor error is to be trusted.
    """

    value: tf.Tensor
    stderr: tf.Tensor
    acceptance: tf.Tensor
    arrivals: tf.Tensor


class _Path(NamedTuple):
    """The mixed parameters at each temperature: biases [T, L] and [T, R], coupling scale [T, 1]."""

    left_bias: tf.Tensor
    right_bias: tf.Tensor
    scale: tf.Tensor


def _path(rbm: RBM, base: Base, temperatures: tf.Tensor) -> _Path:
    scale = temperatures[:, None]
    return _Path(
        (1.0 - scale) * base.left_bias + scale * rbm.left_bias,
        (1.0 - scale) * base.right_bias + scale * rbm.right_bias,
        scale,
    )


def init(key: tf.Tensor, base: Base, num_ladders: int, num_temperatures: int) -> TemperingState:
    """Samples of the base at each of T temperatures: exact there, to be burnt in elsewhere.

    Raises:
      ValueError: no ladder, or fewer than two temperatures.
    """
    num_ladders = checks.whole("num_ladders", num_ladders)
    num_temperatures = checks.whole("num_temperatures", num_temperatures, 2)
    shape = [num_ladders, num_temperatures, base.left_bias.shape[0]]
    left = counter_random.bernoulli_logits(key, tf.broadcast_to(base.left_bias, shape))
    return TemperingState(left, tf.zeros(shape[:2], tf.int32), tf.constant(0))


def _sweep(rbm: RBM, path: _Path, left: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    """One block-Gibbs sweep of z_L through z_R, each replica at its temperature."""
    field = path.right_bias + path.scale * tf.matmul(left, rbm.coupling)
    right = counter_random.bernoulli_logits(key, field, stream=0)
    field = path.left_bias + path.scale * tf.matmul(right, rbm.coupling, transpose_b=True)
    return counter_random.bernoulli_logits(key, field, stream=1)


def _differences(rbm: RBM, path: _Path, left: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """log f_{t+1} - log f_t at the states at t ("forward") and at those at t + 1, [N, T - 1]."""
    product = tf.matmul(left, rbm.coupling)
    steps = _Path(*(part[1:] - part[:-1] for part in path))

    def difference(left: tf.Tensor, product: tf.Tensor) -> tf.Tensor:
        cold = path.right_bias[1:] + path.scale[1:] * product
        hot = path.right_bias[:-1] + path.scale[:-1] * product
        # Terms are subtracted unit by unit: the sums themselves would lose digits.
        changes = tf.reduce_sum(tf.nn.softplus(cold) - tf.nn.softplus(hot), axis=-1)
        return changes + tf.reduce_sum(left * steps.left_bias, axis=-1)

    forward = difference(left[:, :-1], product[:, :-1])
    return forward, difference(left[:, 1:], product[:, 1:])


def _swapped(values: tf.Tensor, swap: tf.Tensor) -> tf.Tensor:
    """Exchanges values [N, T, ...] of t and t + 1 where swap [N, T - 1]."""
    swap = tf.reshape(swap, [*swap.shape, *[1] * (values.shape.rank - 2)])
    never = tf.zeros_like(swap[:, :1])
    from_above = tf.concat([swap, never], axis=1)
    from_below = tf.concat([never, swap], axis=1)
    above, below = tf.roll(values, -1, axis=1), tf.roll(values, 1, axis=1)
    return tf.where(from_above, above, tf.where(from_below, below, values))


def step(
    rbm: RBM,
    state: TemperingState,
    key: tf.Tensor,
    base: Base,
    temperatures: tf.Tensor,
) -> tuple[TemperingState, TemperingInfo]:
    """One round: a sweep at every temperature, then swaps between neighbours.

    Args:
      rbm: the cold end of the path; may differ from that of the round before.
      state: N ladders of T replicas. In even rounds swaps are proposed between t and t + 1 for even
        t, in odd rounds for odd t: states then travel faster than with random proposals.
      key: int32 [2].
      base: the hot end.
      temperatures: [T] rising inverse temperatures from 0 to 1.

    Returns:
      The new state, and the info of the states between sweep and swaps. Both leave the product of
      the tempered distributions invariant; at the base the sweep draws a fresh exact sample.

    Raises:
      ValueError: arguments that do not fit each other.
    """
    check_path(rbm, base, temperatures)
    shape = [None, temperatures.shape[0], rbm.coupling.shape[0]]
    checks.tensor("left", state.left, shape, rbm.coupling.dtype)
    path = _path(rbm, base, temperatures)
    left = _sweep(rbm, path, state.left, key)
    forward, backward = _differences(rbm, path, left)
    acceptance = tf.exp(tf.minimum(forward - backward, 0.0))
    proposed = tf.range(forward.shape[1]) % 2 == state.round % 2
    level = counter_random.uniform(key, forward.shape, forward.dtype, stream=2)
    swap = (level < acceptance) & proposed
    from_base = _swapped(state.from_base, swap)
    arrivals = from_base[:, -1]
    rung = tf.range(from_base.shape[1])
    from_base = tf.where(rung == rung[-1], 0, tf.where(rung == 0, 1, from_base))
    info = TemperingInfo(forward, backward, arrivals)
    return TemperingState(_swapped(left, swap), from_base, state.round + 1), info


def run(
    rbm: RBM,
    base: Base,
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
    check_path(rbm, base, temperatures)
    num_ladders = checks.whole("num_ladders", num_ladders)
    num_rounds = checks.whole("num_rounds", num_rounds)
    num_burn_in = checks.whole("num_burn_in", num_burn_in, 0)
    return _run(rbm, base, key, temperatures, num_ladders, num_rounds, num_burn_in)


@hardware.Program
def _run(
    rbm: RBM,
    base: Base,
    key: tf.Tensor,
    temperatures: tf.Tensor,
    num_ladders: int,
    num_rounds: int,
    num_burn_in: int,
) -> TemperingInfo:
    keys = counter_random.split(key, 2)
    state = init(keys[0], base, num_ladders, temperatures.shape[0])
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
            state, info = step(rbm, state, round_key, base, temperatures)
            both = zip(arrays, info, strict=True)
            arrays = TemperingInfo(*(array.write(now, x) for array, x in both))
        return index + unrolled, state, arrays

    _, _, arrays = tf.while_loop(
        lambda index, *_: index < rounds, advance, (tf.constant(0), state, arrays)
    )
    return TemperingInfo(*(array.stack()[num_burn_in:] for array in arrays))


def estimate_from_infos(base: Base, infos: TemperingInfo) -> TemperingEstimate:
    """log Z from the stacked infos of `run`: that of the base plus the ratios of neighbours."""
    ratio, influence = bennett_acceptance_ratio(infos.forward, infos.backward)
    # A ladder's influences on all pairs are summed first: its temperatures exchange states, and
    # its rounds are correlated, but the ladders are independent.
    total = tf.reduce_sum(influence, axis=1)
    num_ladders = tf.cast(tf.size(total), tf.float64)
    variance = tf.reduce_sum(total**2) / (num_ladders * (num_ladders - 1.0))
    start = tf.cast(base_log_partition(base), tf.float64)
    chance = tf.exp(tf.minimum(infos.forward - infos.backward, 0.0))
    return TemperingEstimate(
        value=start + tf.reduce_sum(ratio),
        stderr=tf.sqrt(variance),
        acceptance=tf.reduce_mean(chance, axis=[0, 1]),
        arrivals=tf.reduce_sum(infos.arrivals),
    )


def log_partition_estimate(
    rbm: RBM,
    base: Base,
    key: tf.Tensor,
    num_ladders: int = 32,
    num_temperatures: int = 32,
    num_rounds: int = 1000,
    num_burn_in: int | None = None,
) -> TemperingEstimate:
    """log Z in nats by parallel tempering and Bennett's acceptance ratio.

    Args:
      rbm: parameters, [L], [R], [L, R].
      base: factorised end of the path, as for `ais`.
      key: int32 [2].
      num_ladders: N >= 2 independent ladders; their spread is the standard error.
      num_temperatures: steps of equal size between base and RBM, hence one more replica.
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
    temperatures = linear_temperatures(num_temperatures, rbm.coupling.dtype)
    num_burn_in = num_rounds // 4 if num_burn_in is None else num_burn_in
    infos = run(rbm, base, key, temperatures, num_ladders, num_rounds, num_burn_in)
    return estimate_from_infos(base, infos)
