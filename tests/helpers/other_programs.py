"""What a program of others sets in the process that dvae is imported into."""

import contextlib
import locale
import logging
import os
import random
import signal
import sys
import threading
import warnings

import keras
import numpy as np
import tensorflow as tf


@contextlib.contextmanager
def _float_types(name):
    before = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx(name)
    keras.config.set_dtype_policy("mixed_float16" if name == "float16" else name)
    try:
        yield lambda: (keras.config.floatx(), keras.config.dtype_policy().name)
    finally:
        keras.config.set_floatx(before[0])
        keras.config.set_dtype_policy(before[1])


@contextlib.contextmanager
def _modes():
    """Eager functions, compiled graphs, a device, seeds, and every warning an error."""
    before = tf.config.functions_run_eagerly(), tf.config.optimizer.get_jit()
    tf.config.run_functions_eagerly(True)
    tf.config.optimizer.set_jit("autoclustering")
    keras.utils.set_random_seed(7)
    try:
        with tf.device("/CPU:0"), np.errstate(all="raise"), warnings.catch_warnings():
            warnings.simplefilter("error")
            yield lambda: (tf.config.functions_run_eagerly(), np.geterr(), warnings.filters[0])
    finally:
        tf.config.run_functions_eagerly(before[0])
        tf.config.optimizer.set_jit(before[1])


OTHERS = {
    "float64": lambda: _float_types("float64"),
    "half precision": lambda: _float_types("float16"),
    "modes": _modes,
}


def state():
    """What of this process belongs to whoever runs it."""
    loggers = logging.getLogger(), tf.get_logger(), logging.getLogger("absl")
    descriptor = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(descriptor)
    return {
        "environment": (dict(os.environ), os.getcwd(), locale.setlocale(locale.LC_ALL)),
        "signals": [signal.getsignal(n) for n in signal.valid_signals()] + [descriptor],
        "streams": [sys.stdout, sys.stderr, os.fstat(2).st_ino],
        "threads": {t.name for t in threading.enumerate() if not t.name.startswith("Thread-")},
        "monitors": [t for t in threading.enumerate() if "TMonitor" in type(t).__name__],
        "logging": [(g.level, [*g.handlers], [*g.filters], g.propagate) for g in loggers],
        "warnings": list(warnings.filters),
        "numpy": (np.geterr(), np.get_printoptions(), np.random.get_state()[1].tolist()),
        "python": (random.getstate(), sys.getrecursionlimit()),
        "floats": (keras.config.floatx(), keras.config.epsilon(), keras.config.dtype_policy().name),
        "eager": tf.config.functions_run_eagerly(),
        "TF32": tf.config.experimental.tensor_float_32_execution_enabled(),
        "jit": tf.config.optimizer.get_jit(),
        "device": tf.constant(1.0).device,
    }
