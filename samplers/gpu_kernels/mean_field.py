"""All iterations of an RBM's mean field as one operation of a GPU."""

import tensorflow as tf

from samplers.gpu_kernels import embedded
from samplers.gpu_kernels.embedded import Kernel

_ROWS = 4
# By the units that a half may have. The first that a GPU can hold is taken. Shared memory is what
# XLA asks for.
_FORMS = {
    128: Kernel("mean_field_128", "mean_field", 8, 1, 67_584),
    256: Kernel("mean_field_256", "mean_field", 8, 3, 33_280),
}


def _form(units: int) -> Kernel | None:
    fitting = (k for padded, k in _FORMS.items() if units <= padded and embedded.fits(k))
    return next(fitting, None)


def mean_field(
    coupling: tf.Tensor, left_field: tf.Tensor, right_field: tf.Tensor, iterations: int
) -> list[tf.Tensor] | None:
    """Means [N, L] and [N, R] of the fit, and its lower bound of the log of the sum, [N] in nats.

    Of sums of exp(f.z_L + g.z_R + z_L' W z_R) over z, f and g a row of the fields. No gradient
    flows. None where no kernel does it.

    Args:
      coupling: W, float32 [L, R].
      left_field: [N, L].
      right_field: [N, R].
      iterations: from means of one half; each sets the right half, then the left.
    """
    kernel = _form(max(coupling.shape))
    if kernel is None:
        return None
    fields = [left_field, right_field]
    num_rows = left_field.shape[0]
    sizes = tf.constant([num_rows, *coupling.shape, iterations], tf.int32)
    results = [tf.TensorSpec(shape) for shape in (*(f.shape for f in fields), [num_rows])]
    return embedded.call(kernel, -(-num_rows // _ROWS), [coupling, *fields, sizes], results)
