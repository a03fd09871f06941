"""What programs are laid out for, the one place that tells a GPU from a CPU, and their precision.

The layout is set once, by `use`, where a program, a run or an exporter starts, and so is the GPU
for which programs take kernels of our own (`samplers.gpu_kernels`), by `use_kernels`. Results do
not depend on either beyond rounding; the random bits are the same.
"""

import contextlib
import ctypes
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import tensorflow as tf

STEPS_A_TRIP = 10  # on a GPU
_LAYOUTS = ("cpu", "gpu")
_chosen: str | None = None
# Of cuDeviceGetAttribute: compute capability, and the shared memory that a block may ask for.
_MAJOR, _MINOR, _SHARED_MEMORY = 75, 76, 97


class Gpu(NamedTuple):
    """What decides whether a GPU can hold a kernel.

    compute_capability: major and minor. shared_memory: bytes that a block may ask for.
    """

    compute_capability: tuple[int, int]
    shared_memory: int


_kernel_gpu: Gpu | None = None


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


def found_gpu() -> Gpu | None:
    """What the driver says of the first GPU that TensorFlow sees; None where no driver answers."""
    gpus = tf.config.get_visible_devices("GPU")
    if not gpus:
        return None
    place, device, value = int(gpus[0].name.rpartition(":")[2]), ctypes.c_int(), ctypes.c_int()
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    if driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), place):
        return None
    found = []
    for attribute in (_MAJOR, _MINOR, _SHARED_MEMORY):
        if driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device):
            return None
        found.append(value.value)
    return Gpu((found[0], found[1]), found[2])


def _choose_kernels(gpu: Gpu | None) -> None:
    global _kernel_gpu
    _kernel_gpu = gpu


def use_kernels(gpu: Gpu | None) -> contextlib.ExitStack:
    """Programs laid out for a GPU take kernels of ours that this one can hold; None: take none.

    From now on; entered as a context: until it is left.
    """
    undo = contextlib.ExitStack()
    undo.callback(_choose_kernels, _kernel_gpu)
    _choose_kernels(gpu)
    return undo


def kernel_gpu() -> Gpu | None:
    """The GPU whose kernels programs take; None: XLA's operations only."""
    return _kernel_gpu if on_gpu() else None


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

    There is one for each layout and each GPU of `use_kernels`, so that none gets what was traced
    for another. Without AutoGraph, which takes longer than all the rest of tracing: loops are
    `tf.while_loop`s.
    """

    def __init__(self, function: Callable) -> None:
        self._function, self._compiled = function, {}
        self.__doc__ = function.__doc__

    def _current(self) -> Any:
        key = layout(), kernel_gpu()
        if key not in self._compiled:
            compiled = tf.function(self._function, jit_compile=True, autograph=False)
            self._compiled.setdefault(key, compiled)
        return self._compiled[key]

    def __call__(self, *arguments: Any, **options: Any) -> Any:  # noqa: D102
        with exact_products():
            return self._current()(*arguments, **options)

    def __getattr__(self, name: str) -> Any:
        if name in ("_function", "_compiled"):  # not made yet: while it is copied
            raise AttributeError(name)
        return getattr(self._current(), name)
