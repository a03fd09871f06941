"""Block Gibbs sampling over colour classes: units that no coupling joins are drawn at once.

One sweep draws each class in turn given the newest units of the others; an RBM is the case of two.
Couplings, chains and key are arguments, so that one compiled program serves a training run.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

from samplers import checks, counter_random, hardware
from samplers.gpu_kernels import sweeps as sweeps_kernel

# Sweeps in one trip of the loop on a GPU, where each trip is a launch of its own.
_UNROLLED = 10


class Block(NamedTuple):
    """A colour class: d units that are independent given those of other classes.

    bias: [d]. coupling: [M, d] from the M units of the classes `sources`, side by side.
    sources: places of these classes among the blocks, one at least.
    """

    bias: tf.Tensor
    coupling: tf.Tensor
    sources: tuple[int, ...]


class _Field(NamedTuple):
    """What turns the sources' states [rows, M] into a field, in powers of 1/2 (exponents).

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


def _field(
    block: Block, base: tf.Tensor | None, scale: tf.Tensor, key: tf.Tensor, rows: int, parts: int
) -> _Field:
    bias, matrix = block.bias, block.coupling
    if base is not None:
        base = (1.0 - scale) * base * counter_random.EXPONENT_PER_LOGIT
    scale *= counter_random.EXPONENT_PER_LOGIT
    natural = [rows, matrix.shape[1]]
    flat = [parts, rows * natural[1] // parts]
    per_chain = scale.shape.rank != 0
    if per_chain:
        scaled, bias = scale, scale * bias
    else:
        scaled, matrix, bias = None, scale * matrix, scale * bias
    if base is not None:
        bias += base
    if hardware.on_gpu():
        places = tf.reshape(counter_random.unit_places(*flat, key), natural)
        return _Field(matrix, bias, scaled, natural, places)
    spread = [
        None if x is None else tf.reshape(tf.broadcast_to(x, natural), flat) for x in (bias, scaled)
    ]
    return _Field(matrix, *spread, flat, None)


def _draw(
    field: _Field, others: list[tf.Tensor], key: tf.Tensor, stream: tf.Tensor, first_part: int
) -> tf.Tensor:
    other = others[0] if len(others) == 1 else tf.concat(others, axis=1)
    exponents = tf.reshape(tf.matmul(other, field.matrix), field.shape)
    if field.scale is not None:
        exponents *= field.scale
    exponents += field.bias
    if field.places is not None:
        return counter_random.bernoulli_at(field.places, key, exponents, stream)
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


def check_temperature(value: float | tf.Tensor, num_chains: int) -> None:
    """Raises ValueError unless it is a scalar or one for each chain."""
    checks.number("inverse_temperature", value)
    shape = tf.TensorShape(value.shape) if tf.is_tensor(value) else tf.TensorShape([])
    if not any(shape.is_compatible_with(one) for one in ([], [num_chains, 1])):
        raise ValueError(f"inverse_temperature of shape {shape} must be a scalar or [C, 1]")


def in_one_kernel(
    blocks: Sequence[Block],
    state: tf.Tensor,
    key: tf.Tensor,
    num_sweeps: int | tf.Tensor,
    inverse_temperature: float | tf.Tensor,
    base: Sequence[tf.Tensor] | None,
    parts: int,
) -> tuple[tf.Tensor, ...] | None:
    """`sweeps` of two classes that draw each other, as one operation of a GPU; None: not here.

    state: units of the second class. parts: of the chains, each drawn on its own.
    """
    if [block.sources for block in blocks] != [(1,), (0,)]:
        return None
    biases, couplings = [block.bias for block in blocks], [block.coupling for block in blocks]
    how = num_sweeps, inverse_temperature, base, parts
    return sweeps_kernel.sweeps(biases, couplings, state, key, *how)


def sweeps(
    blocks: Sequence[Block],
    state: Sequence[tf.Tensor],
    key: tf.Tensor,
    num_sweeps: int | tf.Tensor,
    inverse_temperature: float | tf.Tensor = 1.0,
    base: Sequence[tf.Tensor] | None = None,
    concurrent: bool | None = None,
) -> tuple[tf.Tensor, ...]:
    """`num_sweeps` sweeps over the classes in their order, in one loop.

    Class c of n is drawn in sweep s from stream n s + c of the key.

    Args:
      blocks: the classes.
      state: units of each class, [C, d], static shapes; values of the first class do not matter
        where no class before it in a sweep asks for them.
      key: int32 [2]; use each key once.
      num_sweeps: a number or a scalar.
      inverse_temperature: t, a scalar, or [C, 1] for a temperature per chain; scales the energy.
      base: log odds of independent units, [d] of each class: they enter fields with weight 1 - t.
      concurrent: walk the two halves of the chains as independent operations, which XLA's CPU
        runtime executes at once; False makes one operation of them, the better for a GPU. None
        looks whether there is one. The result is the same, bit for bit.

    Returns:
      The new state; p(z)^t (with a base: base^(1-t) p(z)^t), normalised, is left invariant.

    Raises:
      ValueError: a negative number of sweeps, or a temperature that fits no chains.
    """
    num_chains, num_classes = state[0].shape[0], len(blocks)
    num_sweeps = checks.whole_or_tensor("num_sweeps", num_sweeps, 0)
    check_temperature(inverse_temperature, num_chains)
    if concurrent is None:
        concurrent = not hardware.on_gpu()
    halves = 2 if num_chains % 2 == 0 else 1
    how = num_sweeps, inverse_temperature, base, halves
    if (swept := in_one_kernel(blocks, state[-1], key, *how)) is not None:
        return swept
    groups = halves if concurrent else 1
    scale = tf.cast(inverse_temperature, blocks[0].coupling.dtype)
    scales = [scale] * groups if scale.shape.rank == 0 else tf.split(scale, groups)
    bases = [None] * num_classes if base is None else base
    sizes = num_chains // groups, halves // groups
    fields = [
        [_field(block, of, scale, key, *sizes) for block, of in zip(blocks, bases, strict=True)]
        for scale in scales
    ]
    key = counter_random.schedule(key)

    def one(step: tf.Tensor, state: list[list]) -> list[list]:
        state = [list(parts) for parts in state]
        for group in range(groups):
            for index, block in enumerate(blocks):
                others = [state[source][group] for source in block.sources]
                stream = num_classes * step + index
                state[index][group] = _draw(fields[group][index], others, key, stream, group)
        return state

    def several(count: int) -> Callable[..., tuple]:
        def body(step: tf.Tensor, state: list[list]) -> tuple:
            for index in range(count):
                state = one(step + index, state)
            return step + count, state

        return body

    carried = (tf.constant(0), [tf.split(units, groups) for units in state])
    first, trip = _trips(num_sweeps)
    if first:
        carried = several(first)(*carried)
    if not isinstance(num_sweeps, int) or num_sweeps > first:
        carried = tf.while_loop(lambda step, _: step < num_sweeps, several(trip), carried)
    return tuple(tf.concat(parts, 0) for parts in carried[1])
