"""What callers give to the samplers, checked before anything is traced or drawn.

Looked at is what is known without running: Python numbers, static shapes, types, and the few
values of a tensor that lies ready. Compiled programs contain nothing of it. Values of parameters
are not judged: a model with NaN has log Z = NaN.
"""

import math
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

FLOATS = (tf.float32, tf.float64)


def whole(name: str, value: Any, least: int = 1) -> int:
    """`value` as an int. Raises ValueError unless it is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise ValueError(f"{name} must be a whole number, not {_value_text(value)}")
    if value < least:
        raise ValueError(f"{name}={value} must be at least {least}")
    return int(value)


def whole_or_tensor(name: str, value: Any, least: int = 1) -> int | tf.Tensor:
    """As `whole`, where an integer scalar tensor, whose value may not be known, will do as well."""
    if not tf.is_tensor(value):
        return whole(name, value, least)
    if not value.dtype.is_integer or not value.shape.is_compatible_with([]):
        raise ValueError(f"{name} must be a whole number, not {_value_text(value)}")
    return value


def number(name: str, value: Any, low: float = -math.inf, high: float = math.inf) -> None:
    """Raises ValueError unless a value that is no tensor is a finite number in [low, high]."""
    if tf.is_tensor(value):
        return
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not real or not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, not {_value_text(value)}")
    if not low <= value <= high:
        raise ValueError(f"{name}={value} must lie in [{low:g}, {high:g}]")


def float_type(dtype: Any) -> None:
    """Raises ValueError unless `dtype` is float32 or float64."""
    try:
        known = tf.as_dtype(dtype) in FLOATS
    except TypeError:
        known = False
    if not known:
        raise ValueError(f"samplers know float32 and float64, not {getattr(dtype, 'name', dtype)}")


def tensor(name: str, value: Any, shape: Sequence[int | None], dtype: Any) -> None:
    """Raises ValueError unless `value` has this static shape (None: any extent) and type."""
    found = tf.TensorShape(getattr(value, "shape", None))
    if not hasattr(value, "dtype") or not found.is_compatible_with(shape):
        extents = ", ".join("any" if extent is None else str(extent) for extent in shape)
        raise ValueError(f"{name} must be a tensor of shape [{extents}], not {_value_text(value)}")
    if tf.as_dtype(value.dtype) != dtype:
        raise ValueError(
            f"{name} is {tf.as_dtype(value.dtype).name}, the model {tf.as_dtype(dtype).name}: "
            "they must be of one type, which `init` takes as dtype"
        )
    if found.num_elements() == 0 and 0 not in shape:
        raise ValueError(f"{name} of shape {found.as_list()} is empty")


def temperatures(values: Any, dtype: Any) -> None:
    """Raises ValueError unless [T + 1] inverse temperatures rise from 0 to 1, as far as known."""
    tensor("temperatures", values, [None], dtype)
    known = tf.get_static_value(values) if tf.is_tensor(values) else values
    if values.shape[0] is not None and values.shape[0] < 2:
        raise ValueError("temperatures must be at least two, 0 and 1")
    rising = known is None or np.all(np.diff(known) >= 0.0)  # False where one is NaN
    if not rising or (known is not None and (known[0] != 0.0 or known[-1] != 1.0)):
        raise ValueError("temperatures must rise from 0 to 1: see samplers.ais.linear_temperatures")


def _value_text(value: Any) -> str:
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"a {tf.as_dtype(value.dtype).name} tensor of shape {list(value.shape)}"
    return repr(value)[:60]
