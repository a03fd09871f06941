"""Annealed importance sampling of an RBM's log-partition function (Neal 2001).

The path runs between a factorised base and the RBM, with energies mixed linearly (Salakhutdinov
and Murray 2008). The right half is summed out analytically, so that the weights depend on the
left half alone. Forward AIS is unbiased for Z, hence its logarithm is low on average; reverse AIS
from exact samples is unbiased for 1/Z, hence high.
"""

from typing import NamedTuple

import tensorflow as tf

from samplers import checks, counter_random, hardware
from samplers.diagnostics import LogMeanEstimate, log_mean_estimate
from samplers.rbm import RBM, Chains, check_rbm

# A base unit that never flips could make weights of any size: keep its mean away from 0 and 1.
_BASE_MEAN_CLIP = 0.02


class Base(NamedTuple):
    """Factorised base distribution: biases (logits) left [L] and right [R]."""

    left_bias: tf.Tensor
    right_bias: tf.Tensor


class AISResult(NamedTuple):
    """log_weights: [C] per-chain estimates of log Z in nats; left: [C, L] final states."""

    log_weights: tf.Tensor
    left: tf.Tensor


def uniform_base(rbm: RBM) -> Base:
    """Fair bits: the base of the published evaluation."""
    return Base(tf.zeros_like(rbm.left_bias), tf.zeros_like(rbm.right_bias))


def fitted_base(chains: Chains) -> Base:
    """Independent units with the means of `chains` (samples of the RBM, or close to it).

    Any base is right; one closer to the RBM gives weights of less variance. It must not be chosen
    by looking at the weights that it gives.
    """
    for name, half in zip(Chains._fields, chains, strict=True):
        checks.float_type(half.dtype)
        checks.tensor(name, half, [None, None], half.dtype)

    def logit(half: tf.Tensor) -> tf.Tensor:
        mean = tf.reduce_mean(half, axis=0)
        mean = tf.clip_by_value(mean, _BASE_MEAN_CLIP, 1.0 - _BASE_MEAN_CLIP)
        return tf.math.log(mean) - tf.math.log1p(-mean)

    return Base(logit(chains.left), logit(chains.right))


def _mixed(rbm: RBM, base: Base, temperature: tf.Tensor) -> RBM:
    """The RBM at an inverse temperature between the base (0) and the RBM (1)."""
    left = (1.0 - temperature) * base.left_bias + temperature * rbm.left_bias
    right = (1.0 - temperature) * base.right_bias + temperature * rbm.right_bias
    return RBM(left, right, temperature * rbm.coupling)


def base_log_partition(base: Base) -> tf.Tensor:
    """log Z of the base in nats, a scalar."""
    return tf.reduce_sum(tf.nn.softplus(base.left_bias)) + tf.reduce_sum(
        tf.nn.softplus(base.right_bias)
    )


def _log_weight_and_sweep(
    rbm: RBM, base: Base, left: tf.Tensor, old: tf.Tensor, new: tf.Tensor, key: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """FIRST weights the old state, log f_new(z_L) - log f_old(z_L), THEN sweeps at `new`."""
    product = tf.matmul(left, rbm.coupling)

    def right_field(temperature: tf.Tensor) -> tf.Tensor:
        bias = (1.0 - temperature) * base.right_bias + temperature * rbm.right_bias
        return bias + temperature * product

    old_field, new_field = right_field(old), right_field(new)
    increment = (new - old) * tf.linalg.matvec(left, rbm.left_bias - base.left_bias)
    increment += tf.reduce_sum(tf.nn.softplus(new_field) - tf.nn.softplus(old_field), axis=-1)
    right = counter_random.bernoulli_logits(key, new_field, stream=0)
    mixed = _mixed(rbm, base, new)
    if hardware.on_gpu():  # no scaled copy of the couplings
        left_field = mixed.left_bias + new * tf.matmul(right, rbm.coupling, transpose_b=True)
    else:
        left_field = mixed.left_bias + tf.matmul(right, mixed.coupling, transpose_b=True)
    return increment, counter_random.bernoulli_logits(key, left_field, stream=1)


def _anneal(
    rbm: RBM, base: Base, left: tf.Tensor, key: tf.Tensor, temperatures: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Log weights [C] (float64) and final left states along [T + 1] inverse temperatures."""

    steps = temperatures.shape[0] - 1
    unrolled = hardware.steps_a_trip(steps)

    def body(index: tf.Tensor, left: tf.Tensor, log_weights: tf.Tensor) -> tuple:
        for step in (index + offset for offset in range(unrolled)):
            increment, left = _log_weight_and_sweep(
                rbm,
                base,
                left,
                temperatures[step],
                temperatures[step + 1],
                counter_random.fold_in(key, step),
            )
            log_weights += tf.cast(increment, tf.float64)
        return index + unrolled, left, log_weights

    start = (tf.constant(0), left, tf.zeros([left.shape[0]], tf.float64))
    _, left, log_weights = tf.while_loop(lambda index, *_: index < steps, body, start)
    return log_weights, left


def check_path(rbm: RBM, base: Base, temperatures: tf.Tensor) -> None:
    """Raises ValueError unless RBM, base and temperatures make a path."""
    check_rbm(rbm)
    dtype, (num_left, num_right) = rbm.coupling.dtype, rbm.coupling.shape
    checks.tensor("left_bias of the base", base.left_bias, [num_left], dtype)
    checks.tensor("right_bias of the base", base.right_bias, [num_right], dtype)
    checks.temperatures(temperatures, dtype)


def run(
    rbm: RBM, base: Base, key: tf.Tensor, temperatures: tf.Tensor, num_chains: int
) -> AISResult:
    """Forward AIS.

    Args:
      rbm: parameters, [L], [R], [L, R].
      base: factorised start of the path.
      key: int32 [2].
      temperatures: [T + 1] rising inverse temperatures from 0 to 1, in the RBM's dtype; see
        `linear_temperatures`.
      num_chains: C.

    Returns:
      AISResult; E[mean exp(log_weights)] = Z for any T and C.

    Raises:
      ValueError: fewer than one chain or step, or arguments that do not fit each other.
    """
    check_path(rbm, base, temperatures)
    return _run(rbm, base, key, temperatures, checks.whole("num_chains", num_chains))


@hardware.Program
def _run(
    rbm: RBM, base: Base, key: tf.Tensor, temperatures: tf.Tensor, num_chains: int
) -> AISResult:
    keys = counter_random.split(key, 2)
    left = counter_random.bernoulli_logits(
        keys[0], tf.broadcast_to(base.left_bias, [num_chains, rbm.left_bias.shape[0]])
    )
    log_weights, left = _anneal(rbm, base, left, keys[1], temperatures)
    return AISResult(log_weights + tf.cast(base_log_partition(base), tf.float64), left)


def run_reverse(
    rbm: RBM, base: Base, left: tf.Tensor, key: tf.Tensor, temperatures: tf.Tensor
) -> AISResult:
    """Reverse AIS: from samples of the RBM down to the base.

    Args:
      left: [C, L] left halves. Exact samples of the RBM make the result an upper bound of log Z on
        average; samples of long chains make it a check only.
      rbm, base, key, temperatures: as in `run`; temperatures still rise from 0 to 1.

    Returns:
      AISResult whose log_weights are per-chain values of log Z0 - log(Z0/Z): the estimate of log Z
      is -log mean exp(-log_weights), high on average (E[mean exp(-log_weights)] = 1/Z for exact
      starts).

    Raises:
      ValueError: as in `run`, or `left` does not fit.
    """
    check_path(rbm, base, temperatures)
    checks.tensor("left", left, [None, rbm.coupling.shape[0]], rbm.coupling.dtype)
    return _run_reverse(rbm, base, left, key, temperatures)


@hardware.Program
def _run_reverse(
    rbm: RBM, base: Base, left: tf.Tensor, key: tf.Tensor, temperatures: tf.Tensor
) -> AISResult:
    log_weights, left = _anneal(rbm, base, left, key, tf.reverse(temperatures, axis=[0]))
    return AISResult(tf.cast(base_log_partition(base), tf.float64) - log_weights, left)


def linear_temperatures(num_temperatures: int, dtype: tf.DType = tf.float32) -> tf.Tensor:
    """num_temperatures >= 1 steps of equal size from 0 to 1: [num_temperatures + 1]."""
    num_temperatures = checks.whole("num_temperatures", num_temperatures)
    checks.float_type(dtype)
    return tf.cast(tf.linspace(tf.constant(0.0, tf.float64), 1.0, num_temperatures + 1), dtype)


def log_partition_estimate(
    rbm: RBM, base: Base, key: tf.Tensor, num_chains: int = 1024, num_temperatures: int = 1000
) -> LogMeanEstimate:
    """log Z in nats by forward AIS, with standard error and ESS; low on average (Jensen)."""
    temperatures = linear_temperatures(num_temperatures, rbm.coupling.dtype)
    return log_mean_estimate(run(rbm, base, key, temperatures, num_chains).log_weights)
