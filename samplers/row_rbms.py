"""Many RBMs at once, one for each of B rows, with S chains each: Gibbs sweeps, AIS, mean field.

The parameters are those of `samplers.rbm` with a row in front: biases [B, L] and [B, R],
couplings [B, L, R]; chains are left [B, S, L] and right [B, S, R]. All log quantities are in nats.
"""

from typing import NamedTuple

import tensorflow as tf

from samplers import checks, counter_random, hardware
from samplers.rbm import Halves, RBMParameters, model_of


class Annealed(NamedTuple):
    """End of annealed importance sampling: chains, and log_weights [B, S] (float64, nats)."""

    chains: Halves
    log_weights: tf.Tensor


def _check(rbm: RBMParameters, left: tf.Tensor) -> None:
    rows = rbm.coupling.shape[0]
    model_of(rbm).check_parameters(rbm, [rows])
    checks.tensor("left", left, [rows, None, rbm.coupling.shape[1]], rbm.coupling.dtype)


def left_field(rbm: RBMParameters, right: tf.Tensor) -> tf.Tensor:
    """Logits of the left units, [B, S, L], given the right ones, [B, S, R]."""
    return rbm.left_bias[:, None] + tf.matmul(right, rbm.coupling, transpose_b=True)


def right_field(rbm: RBMParameters, left: tf.Tensor) -> tf.Tensor:
    """Logits of the right units, [B, S, R], given the left ones, [B, S, L]."""
    return rbm.right_bias[:, None] + tf.matmul(left, rbm.coupling)


def energy(rbm: RBMParameters, chains: Halves) -> tf.Tensor:
    """E(z) of each chain, [B, S]; multilinear, so that means may stand for states."""
    left_terms = tf.reduce_sum(chains.left * left_field(rbm, chains.right), axis=-1)
    return -(left_terms + tf.reduce_sum(chains.right * rbm.right_bias[:, None], axis=-1))


def sweeps(rbm: RBMParameters, left: tf.Tensor, key: tf.Tensor, num_sweeps: int) -> tf.Tensor:
    """Left halves [B, S, L] after block-Gibbs sweeps, each of the right half and then the left.

    Sweep s draws from streams 2s and 2s + 1 of the key.

    Raises:
      ValueError: a negative number of sweeps, or arguments that do not fit each other.
    """
    _check(rbm, left)
    num_sweeps = checks.whole_or_tensor("num_sweeps", num_sweeps, 0)

    def sweep(index: tf.Tensor, left: tf.Tensor) -> tuple:
        right = counter_random.bernoulli_logits(key, right_field(rbm, left), 2 * index)
        left = counter_random.bernoulli_logits(key, left_field(rbm, right), 2 * index + 1)
        return index + 1, left

    return tf.while_loop(lambda index, _: index < num_sweeps, sweep, (tf.constant(0), left))[1]


def anneal(rbm: RBMParameters, key: tf.Tensor, num_chains: int, num_temperatures: int) -> Annealed:
    """Annealed importance sampling (Neal 2001) of each row's RBM.

    The path scales the couplings of the spins z - 1/2 from 0 to 1 in equal steps, with one sweep at
    each, while their fields stay. The base is then of independent bits, and of a symmetric RBM no
    mode is nearer to it than another; scaled couplings of bits would favour that of the biases.
    Weights are of both halves, which needs no softplus: what it costs in variance it saves in time.

    Args:
      rbm: parameters of B rows.
      key: int32 [2], or [B*S, 2]: one for each chain.
      num_chains: S, independent chains of each row.
      num_temperatures: T, of the couplings.

    Returns:
      Annealed. For any T and any function h, E[exp(log_weights) h(z)] = Σ_z exp(-E(z)) h(z) at the
      final state z: mean exp(log_weights) is unbiased for Z, its logarithm low on average.

    Raises:
      ValueError: no chain, no temperature, or parameters that do not fit each other.
    """
    model_of(rbm).check_parameters(rbm, rbm.coupling.shape[:1])
    num_chains = checks.whole("num_chains", num_chains)
    num_temperatures = checks.whole("num_temperatures", num_temperatures)
    return _anneal(rbm, key, num_chains, num_temperatures)


@hardware.Program
def _anneal(rbm: RBMParameters, key: tf.Tensor, num_chains: int, num_temperatures: int) -> Annealed:
    rows, coupling = rbm.left_bias.shape[0], rbm.coupling
    left_bias = rbm.left_bias + 0.5 * tf.reduce_sum(coupling, axis=2)
    right_bias = rbm.right_bias + 0.5 * tf.reduce_sum(coupling, axis=1)

    def base(bias: tf.Tensor, stream: int) -> tf.Tensor:
        logits = tf.broadcast_to(bias[:, None], [rows, num_chains, bias.shape[1]])
        return counter_random.bernoulli_logits(key, logits, stream)

    def one(index: tf.Tensor, left: tf.Tensor, right: tf.Tensor, total: tf.Tensor) -> tuple:
        # First the old state's weight, then a sweep at the new temperature.
        product = tf.matmul(left - 0.5, coupling)
        total += tf.cast(tf.reduce_sum(product * (right - 0.5), axis=-1), tf.float64)
        scale = tf.cast(index, product.dtype) / num_temperatures
        right_logits = right_bias[:, None] + scale * product
        right = counter_random.bernoulli_logits(key, right_logits, 2 * index)
        product = tf.matmul(right - 0.5, coupling, transpose_b=True)
        left_logits = left_bias[:, None] + scale * product
        left = counter_random.bernoulli_logits(key, left_logits, 2 * index + 1)
        return index + 1, left, right, total

    total = tf.zeros([rows, num_chains], tf.float64)
    start = (tf.constant(1), base(left_bias, 0), base(right_bias, 1), total)
    _, left, right, total = tf.while_loop(lambda index, *_: index <= num_temperatures, one, start)
    # The path ends at exp(-E) times exp of a quarter of all couplings.
    constant = -0.25 * tf.reduce_sum(coupling, axis=[1, 2])
    for bias in (left_bias, right_bias):
        constant += tf.reduce_sum(tf.nn.softplus(bias), axis=1)
    log_weights = tf.cast(constant, tf.float64)[:, None] + total / num_temperatures
    return Annealed(Halves(left, right), log_weights)


def mean_field(rbm: RBMParameters, left: tf.Tensor, num_iterations: int) -> Halves:
    """Means [B, S, L] and [B, S, R] after iterations of mean field from left halves [B, S, L].

    Each updates the right half from the left and then the left: a fixed point near the start.

    Raises:
      ValueError: a negative number of iterations, or arguments that do not fit each other.
    """
    _check(rbm, left)
    return _mean_field(rbm, left, checks.whole("num_iterations", num_iterations, 0))


@hardware.Program
def _mean_field(rbm: RBMParameters, left: tf.Tensor, num_iterations: int) -> Halves:

    def update(index: tf.Tensor, left: tf.Tensor, right: tf.Tensor) -> tuple:
        right = tf.sigmoid(right_field(rbm, left))
        return index + 1, tf.sigmoid(left_field(rbm, right)), right

    start = (tf.constant(0), left, tf.sigmoid(right_field(rbm, left)))
    return Halves(*tf.while_loop(lambda index, *_: index < num_iterations, update, start)[1:])
