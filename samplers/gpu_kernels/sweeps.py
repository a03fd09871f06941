"""All block Gibbs sweeps of two classes as one operation of a GPU."""

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from samplers.gpu_kernels import embedded
from samplers.gpu_kernels.embedded import Kernel


class _Form(NamedTuple):
    """A kernel for classes of up to `padded` units, `rows` chains in each of its programs."""

    kernel: Kernel
    padded: int
    rows: int

    @property
    def is_streamed(self) -> bool:
        """Whether it reads the matrices anew for every product."""
        return self.kernel.function == "streamed"


# The first that a GPU can hold is taken. Shared memory is what XLA asks for.
_FORMS = (
    _Form(Kernel("sweeps_resident_128", "resident", 8, 1, 200_704), 128, 16),
    _Form(Kernel("sweeps_streamed_128", "streamed", 8, 3, 51_200), 128, 16),
    _Form(Kernel("sweeps_streamed_256", "streamed", 8, 3, 102_400), 256, 32),
)


def _form(units: int) -> _Form | None:
    fitting = (form for form in _FORMS if units <= form.padded and embedded.fits(form.kernel))
    return next(fitting, None)


def holds(units: int, num_chains: int, parts: int) -> bool:
    """Whether a kernel sweeps classes of at most so many units, on the GPU of `use_kernels`.

    parts: of the chains, each of which is drawn on its own; a quarter of one must be whole.
    """
    return _form(units) is not None and num_chains % (4 * parts) == 0


def _parts(matrix: tf.Tensor, padded: int) -> tf.Tensor:
    """bfloat16 [3, padded, padded] whose sum is the float32 matrix, but for underflow."""
    rows, columns = matrix.shape
    rest, parts = tf.pad(matrix, [[0, padded - rows], [0, padded - columns]]), []
    for _ in range(3):
        # A mask, not a cast: XLA may leave out a cast to bfloat16 and back.
        upper = tf.bitcast(tf.bitcast(rest, tf.int32) & -65536, tf.float32)
        parts.append(tf.cast(upper, tf.bfloat16))
        rest -= upper
    return tf.stack(parts)


def sweeps(
    biases: Sequence[tf.Tensor],
    couplings: Sequence[tf.Tensor],
    state: tf.Tensor,
    key: tf.Tensor,
    num_sweeps: int | tf.Tensor,
    inverse_temperature: float | tf.Tensor,
    base: Sequence[tf.Tensor] | None,
    parts: int,
) -> tuple[tf.Tensor, tf.Tensor] | None:
    """`gibbs.sweeps` of two classes that are drawn in turn, each given the other.

    Args:
      biases: [d] of each class.
      couplings: what multiplies the units of the other class, [d1, d0] and its transpose.
      state: units of the second class, [C, d1].
      key, num_sweeps, inverse_temperature, base: as there.
      parts: see `holds`.

    Returns:
      The new units of both classes; None where no kernel does it.
    """
    (num_chains, units_1), units_0 = state.shape, couplings[1].shape[0]
    units = max(units_0, units_1)
    at_least_one = isinstance(num_sweeps, int) and num_sweeps > 0
    if not (at_least_one and state.dtype == tf.float32 and holds(units, num_chains, parts)):
        return None
    form = _form(units)
    temperatures = tf.reshape(tf.cast(inverse_temperature, tf.float32), [-1])
    quarter = num_chains // (4 * parts)
    programs = -(-quarter // (form.rows // 4))
    per_chain = temperatures.shape[0] != 1
    sizes = [units_0, units_1, quarter, programs, per_chain, base is not None, num_sweeps]
    results = [tf.TensorSpec([num_chains, units]) for units in (units_0, units_1)]
    if form.is_streamed:
        matrices = tf.stack([_parts(coupling, form.padded) for coupling in couplings])
        scratch = [2, parts * programs, form.rows, form.padded]
        results.append(tf.TensorSpec(scratch, tf.bfloat16))
    else:
        matrices = couplings[1]
    # Where there is no base nothing is read of it.
    operands = [matrices, *biases, *(biases if base is None else base), temperatures, state, key]
    operands.append(tf.constant(sizes, tf.int32))
    return tuple(embedded.call(form.kernel, parts * programs, operands, results)[:2])
