"""What a benchmark's whole process asks of its device."""

import tensorflow as tf

from dvae.runs.process import share_gpus
from samplers import hardware


def prepare_device() -> None:
    """GPU memory as it is needed, its layout, deterministic and exact operations from now on.

    Where others' code runs too there is `dvae.runs.isolation`.
    """
    share_gpus()
    hardware.use(hardware.layout())
    tf.config.experimental.enable_op_determinism()
    tf.config.experimental.enable_tensor_float_32_execution(False)
