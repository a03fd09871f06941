"""Block Gibbs sampling of an RBM: all left units at once, then all right units.

One sweep draws z_L ~ p(z_L | z_R) and then z_R ~ p(z_R | the new z_L). The RBM, the chains and
the key are arguments, so that one compiled program serves a training run.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from samplers import checks, counter_random, hardware
from samplers.rbm import RBM, Chains, check_chains

# Sweeps in one trip of the loop on a GPU, which is told of each trip anew.
_UNROLLED = 10


class _Side(NamedTuple):
    """What turns the other side's states [rows, M] into fields, in powers of 1/2 (exponents).

    matrix [M, N]; bias and scale: added to and multiplied with the product, once it has their
    `shape`. On a CPU that is [parts, rows / parts * N], over which both are spread once, outside
    the loop: a flat array is the fastest to walk through. On a GPU it is [rows, N], since its
    library would add a spread bias itself, to a copy of it; `places` are those of the units then.
    """

    matrix: tf.Tensor
    bias: tf.Tensor
    scale: tf.Tensor | None
    shape: list[int]
    places: tf.Tensor | None


def _side(
    bias: tf.Tensor, matrix: tf.Tensor, scale: tf.Tensor, key: tf.Tensor, rows: int, parts: int
) -> _Side:
    scale *= counter_random.EXPONENT_PER_LOGIT
    natural = [rows, matrix.shape[1]]
    flat = [parts, rows * natural[1] // parts]
    per_chain = scale.shape.rank != 0
    if per_chain:
        scaled, bias = scale, scale * bias
    else:
        scaled, matrix, bias = None, scale * matrix, scale * bias
    if hardware.on_gpu():
        places = tf.reshape(counter_random.unit_places(*flat), natural)
        # Not a constant: TensorFlow would write out what each draw makes of it.
        places |= key[0] & 0
        return _Side(matrix, bias, scaled, natural, places)
    spread = [
        None if x is None else tf.reshape(tf.broadcast_to(x, natural), flat) for x in (bias, scaled)
    ]
    return _Side(matrix, *spread, flat, None)


def _sides(
    rbm: RBM,
    inverse_temperature: float | tf.Tensor,
    key: tf.Tensor,
    num_chains: int,
    groups: int,
    parts: int,
) -> list[tuple[_Side, _Side]]:
    """Of each group of chains: what leads to its left and what leads to its right units."""
    scale = tf.cast(inverse_temperature, rbm.coupling.dtype)
    scales = [scale] * groups if scale.shape.rank == 0 else tf.split(scale, groups)
    rest = key, num_chains // groups, parts
    to_left = rbm.left_bias, tf.transpose(rbm.coupling)
    to_right = rbm.right_bias, rbm.coupling
    return [(_side(*to_left, s, *rest), _side(*to_right, s, *rest)) for s in scales]


def _draw(
    side: _Side, other: tf.Tensor, key: tf.Tensor, stream: tf.Tensor, first_part: int
) -> tf.Tensor:
    exponents = tf.reshape(tf.matmul(other, side.matrix), side.shape)
    if side.scale is not None:
        exponents *= side.scale
    exponents += side.bias
    if side.places is not None:
        return counter_random.bernoulli_at(side.places, key, exponents, stream)
    values = counter_random.bernoulli_exponents(key, exponents, stream, first_part)
    return tf.reshape(values, [other.shape[0], -1])


def _trips(num_sweeps: int | tf.Tensor) -> tuple[int, int]:
    """Sweeps before the loop, and in each trip of it."""
    if not isinstance(num_sweeps, int):
        return 0, 1
    if not hardware.on_gpu() or num_sweeps < 2:
        return int(num_sweeps == 1), 1
    # The first trip reads the chains where they are, the others work on their own: no copies.
    return (num_sweeps - 1) % _UNROLLED + 1, _UNROLLED


def _check_temperature(value: float | tf.Tensor, num_chains: int) -> None:
    checks.number("inverse_temperature", value)
    shape = tf.TensorShape(value.shape) if tf.is_tensor(value) else tf.TensorShape([])
    if not any(shape.is_compatible_with(one) for one in ([], [num_chains, 1])):
        raise ValueError(f"inverse_temperature of shape {shape} must be a scalar or [C, 1]")


def sweep(
    rbm: RBM, chains: Chains, key: tf.Tensor, inverse_temperature: float | tf.Tensor = 1.0
) -> Chains:
    """One block-Gibbs sweep, left units first.

    Args:
      rbm: parameters, [L], [R], [L, R].
      chains: left [C, L] (its values do not matter) and right [C, R]; static shapes.
      key: int32 [2]; use each key once.
      inverse_temperature: scalar, or [C, 1] for a temperature per chain; scales the energy.

    Returns:
      The new chains; p(z)^inverse_temperature (normalised) is left invariant.
    """
    return sweeps(rbm, chains, key, 1, inverse_temperature)


def sweeps(
    rbm: RBM,
    chains: Chains,
    key: tf.Tensor,
    num_sweeps: int | tf.Tensor,
    inverse_temperature: float | tf.Tensor = 1.0,
    concurrent: bool | None = None,
) -> Chains:
    """`num_sweeps` block-Gibbs sweeps in one loop; see `sweep` for the other arguments.

    Sweep s draws its left half from stream 2s of the key and its right half from stream 2s + 1.

    Args:
      concurrent: walk the two halves of the chains as independent operations, which XLA's CPU
        runtime executes at once; False makes one operation of them, the better for a GPU. None
        looks whether there is one. The result is the same, bit for bit.

    Raises:
      ValueError: a negative number of sweeps, or arguments that do not fit each other.
    """
    check_chains(rbm, chains)
    num_sweeps = checks.whole_or_tensor("num_sweeps", num_sweeps, 0)
    _check_temperature(inverse_temperature, chains.right.shape[0])
    if concurrent is None:
        concurrent = not hardware.on_gpu()
    halves = 2 if chains.right.shape[0] % 2 == 0 else 1
    groups = halves if concurrent else 1
    num_chains = chains.right.shape[0]
    sides = _sides(rbm, inverse_temperature, key, num_chains, groups, halves // groups)
    key = counter_random.schedule(key)

    def one(step: tf.Tensor, rights: list) -> tuple[list, list]:
        new = []
        for group, right in enumerate(rights):
            to_left, to_right = sides[group]
            left = _draw(to_left, right, key, 2 * step, group)
            new.append((left, _draw(to_right, left, key, 2 * step + 1, group)))
        return [left for left, _ in new], [right for _, right in new]

    def several(count: int) -> Callable[..., tuple]:
        def body(step: tf.Tensor, lefts: list, rights: list) -> tuple:
            # A sweep reads the right half alone; the left one is kept for the caller.
            for index in range(count):
                lefts, rights = one(step + index, rights)
            return step + count, lefts, rights

        return body

    state = (tf.constant(0), tf.split(chains.left, groups), tf.split(chains.right, groups))
    first, trip = _trips(num_sweeps)
    if first:
        state = several(first)(*state)
    if not isinstance(num_sweeps, int) or num_sweeps > first:
        state = tf.while_loop(lambda step, *_: step < num_sweeps, several(trip), state)
    return Chains(tf.concat(state[1], 0), tf.concat(state[2], 0))
