"""What programs are laid out for, the one place that tells a GPU from a CPU, and their precision.

The layout is set once, by `use`, where a program, a run or an exporter starts. Results do not
depend on it beyond rounding; the random bits are the same.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

STEPS_A_TRIP = 10  # on a GPU
_LAYOUTS = ("cpu", "gpu")
_chosen: str | None = None


def layout() -> str:
    """What `use` has set, "cpu" or "gpu"; else that of a GPU if TensorFlow sees one."""
    return _chosen or ("gpu" if tf.config.get_visible_devices("GPU") else "cpu")


def _choose(layout: str | None) -> None:
    global _chosen
    _chosen = layout


def use(layout: str) -> contextlib.ExitStack:
    """Lays all programs of this process out for a "cpu" or a "gpu", from now on.

    Entered as a context: until it is left.
    """
    if layout not in _LAYOUTS:
        raise ValueError(f"{layout!r} is none of the layouts {', '.join(_LAYOUTS)}")
    undo = contextlib.ExitStack()
    undo.callback(_choose, _chosen)
    _choose(layout)
    return undo


def on_gpu() -> bool:
    """Whether programs are laid out for a GPU."""
    return layout() == "gpu"


def steps_a_trip(steps: int) -> int:
    """How many of a loop's steps to take in one trip of it: a GPU asks the host before each."""
    return STEPS_A_TRIP if on_gpu() and steps % STEPS_A_TRIP == 0 else 1


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

    There is one for each layout, so that none gets what was traced in another. Without AutoGraph,
    which takes longer than all the rest of tracing: loops are `tf.while_loop`s.
    """

    def __init__(self, function: Callable) -> None:
        self._compiled = {
            name: tf.function(function, jit_compile=True, autograph=False) for name in _LAYOUTS
        }
        self.__doc__ = function.__doc__

    def __call__(self, *arguments: Any, **options: Any) -> Any:  # noqa: D102
        with exact_products():
            return self._compiled[layout()](*arguments, **options)

    def __getattr__(self, name: str) -> Any:
        if name == "_compiled":  # not made yet: while it is copied
            raise AttributeError(name)
        return getattr(self._compiled[layout()], name)
