"""What others set does not reach our numbers, and what we set does not reach their programs."""

import contextlib
import logging
import warnings
from collections.abc import Iterator

import numpy as np

from configs.errors import UserError
from dvae.runs import noise


def _check_libraries() -> None:
    """Raises UserError where Keras or TensorFlow cannot do what a model needs."""
    try:
        import keras
    except ImportError as error:
        reason = f"Keras cannot be imported ({error})"
    else:
        if keras.config.backend() == "tensorflow":
            import tensorflow as tf

            if not tf.executing_eagerly():
                raise UserError("call this outside of graphs, and with eager execution on")
            return
        reason = f"Keras runs on {keras.config.backend()} here"
    raise UserError(
        f"{reason}, and models need it on TensorFlow: set KERAS_BACKEND=tensorflow, or "
        '"backend" in ~/.keras/keras.json, before Keras is imported'
    )


def _is_no_retracing(record: logging.LogRecord) -> bool:
    # Each model has its programs; TensorFlow takes those of the fifth for retracing.
    return "retracing" not in record.getMessage()


@contextlib.contextmanager
def isolated() -> Iterator[None]:
    """TensorFlow, Keras and NumPy as our programs need them; afterwards as they were.

    Programs are compiled and deterministic, floats are float32 and products exact, whatever eager
    mode, float type, device and treatment of warnings the caller has chosen. It holds for the whole
    process while it is entered. Also a decorator.

    Raises:
      UserError: Keras does not run on TensorFlow, or this is called from within a graph.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(noise.dropped())
        stack.enter_context(warnings.catch_warnings())
        if any(action == "error" for action, *_ in warnings.filters):
            warnings.simplefilter("ignore")  # those of the libraries are no errors of ours
        _check_libraries()
        import keras
        import tensorflow as tf
        from tensorflow.python.framework import config  # the only way back from determinism

        from samplers import hardware

        stack.enter_context(np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"))
        stack.enter_context(hardware.use(hardware.layout()))
        stack.enter_context(hardware.exact_products())
        stack.enter_context(tf.device(None))
        for read, write, ours in (
            (tf.config.functions_run_eagerly, tf.config.run_functions_eagerly, False),
            (keras.config.floatx, keras.config.set_floatx, "float32"),
        ):
            before = read()
            if before != ours:
                stack.callback(write, before)
                write(ours)
        logger = tf.get_logger()
        if _is_no_retracing not in logger.filters:
            logger.addFilter(_is_no_retracing)
            stack.callback(logger.removeFilter, _is_no_retracing)
        # XLA's programs for a CPU are deterministic as they are.
        if hardware.on_gpu() and not config.is_op_determinism_enabled():
            config.enable_op_determinism()
            stack.callback(config.disable_op_determinism)
        yield
