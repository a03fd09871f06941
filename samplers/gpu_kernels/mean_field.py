"""All iterations of an RBM's mean field as one operation of a GPU."""

import tensorflow as tf

from samplers.gpu_kernels import embedded
from samplers.gpu_kernels.embedded import Kernel

_PADDED, _ROWS = 128, 4
_KERNEL = Kernel("mean_field_128", "mean_field", 8, 1, 67_584)


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
    if max(coupling.shape) > _PADDED or not embedded.fits(_KERNEL):
        return None
    fields = [left_field, right_field]
    num_rows = left_field.shape[0]
    sizes = tf.constant([num_rows, *coupling.shape, iterations], tf.int32)
    results = [tf.TensorSpec(shape) for shape in (*(f.shape for f in fields), [num_rows])]
    return embedded.call(_KERNEL, -(-num_rows // _ROWS), [coupling, *fields, sizes], results)
