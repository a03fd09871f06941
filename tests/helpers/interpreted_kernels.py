"""Kernels of our own in Triton's interpreter, in the place of `embedded.call`: without a GPU."""

import os
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf

_INTERPRETED = mock.patch.dict(os.environ, TRITON_INTERPRET="1")
with _INTERPRETED:  # Triton looks at it where it is first imported
    pytest.importorskip("triton", reason="Triton is for Linux")
    import triton.language as tl
    from triton.runtime import interpreter

    from samplers.gpu_kernels import write


_patch = interpreter._patch_lang_tensor


def _patched(tensor):
    """Whole numbers of arrays of one element, which NumPy 2.4 does not make of itself any more."""
    _patch(tensor)
    tensor.__index__ = lambda self: int(self.handle.data.item())


interpreter._patch_lang_tensor = _patched


class _Array:
    """As much of a tensor as the interpreter asks for."""

    def __init__(self, array=None, dtype=""):
        self.array, self.dtype = array, dtype or str(getattr(array, "dtype", ""))

    def data_ptr(self):
        return self.array.ctypes.data

    def set_(self, storage, *_):
        self.array, self.dtype = storage.array, storage.dtype

    def new_empty(self, *_, **__):
        return _Array()

    def untyped_storage(self):
        return self

    cpu = untyped_storage

    def size(self, *_):
        return self.array.shape

    stride = storage_offset = size

    def copy_(self, other):
        pass


def _plain(tensor):
    """Its values; the interpreter has no bfloat16, whose values float32 has too."""
    return np.array(tf.cast(tensor, tf.float32) if tensor.dtype == tf.bfloat16 else tensor)


@_INTERPRETED
def call(kernel, programs, operands, results):
    """Every program in turn. What nothing is written to stays NaN."""
    function, pointers, constants = write.KERNELS[kernel.name]
    arrays = [_plain(operand) for operand in operands]
    written = [np.full(result.shape, np.nan, np.float32) for result in results]
    assert function.__name__ == kernel.function and len(pointers) == len(arrays + written)
    constants = [tl.float32 if value is tl.bfloat16 else value for value in constants]
    function[(programs,)](*map(_Array, arrays + written), *constants)
    return [tf.cast(array, r.dtype) for array, r in zip(written, results, strict=True)]
