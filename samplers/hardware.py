"""What programs are laid out for: the one place that tells a GPU from a CPU.

Results do not depend on it beyond rounding; the random bits are the same.
"""

import tensorflow as tf


def on_gpu() -> bool:
    """Whether compiled programs run on a GPU: TensorFlow puts them there when it sees one."""
    return bool(tf.config.list_physical_devices("GPU"))
