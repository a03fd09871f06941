"""What programs are laid out for, the one place that tells a GPU from a CPU, and their precision.

Results do not depend on the layout beyond rounding; the random bits are the same.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf


def on_gpu() -> bool:
    """Whether compiled programs run on a GPU: TensorFlow puts them there when it sees one."""
    return bool(tf.config.list_physical_devices("GPU"))


def steps_a_trip(steps: int) -> int:
    """How many of a loop's steps to write into one trip of it: a GPU is told of each trip anew."""
    return 10 if on_gpu() and steps % 10 == 0 else 1


@contextlib.contextmanager
def exact_products() -> Iterator[None]:
    """Matrix products in whole float32: TensorFlow would round a GPU's factors to 10 bits (TF32).

    States of 0 and 1 lose nothing by it, but couplings do, and log Z moves by up to 6e-3 nats. It
    holds for what is compiled within, by a first call.
    """
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


class Program:
    """A function compiled by XLA, with `exact_products`; else a `tf.function` as any other.

    Without AutoGraph, which takes longer than all the rest of tracing: loops are `tf.while_loop`s.
    """

    def __init__(self, function: Callable) -> None:
        self._compiled = tf.function(function, jit_compile=True, autograph=False)
        self.__doc__ = function.__doc__

    def __call__(self, *arguments: Any, **options: Any) -> Any:  # noqa: D102
        with exact_products():
            return self._compiled(*arguments, **options)

    def __getattr__(self, name: str) -> Any:
        if name == "_compiled":  # not made yet: while it is copied
            raise AttributeError(name)
        return getattr(self._compiled, name)
