"""weights.npz of an exported model: what outlives this program, for NumPy alone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from configs.files import replacing


def _parts(layer: keras.layers.Layer) -> Iterator[tuple[str, Any]]:
    """Public attributes of a layer that are layers or tensors, alone or in lists."""
    for name, value in vars(layer).items():
        many = isinstance(value, list | tuple)
        for index, part in enumerate(value if many else [value]):
            if not name.startswith("_") and isinstance(part, keras.layers.Layer | tf.Tensor):
                yield f"{name}.{index}" if many else name, part


def named_arrays(layer: keras.layers.Layer, place: str = "") -> dict[str, np.ndarray]:
    """Weights, averages and constants of a layer by their place, "decoder.network.rest.0.kernel".

    A part that has two places goes by the first.
    """
    arrays: dict[str, np.ndarray] = {}
    left = {id(variable): variable for variable in layer.variables}
    for name, part in _parts(layer):
        if isinstance(part, tf.Tensor):
            arrays[f"{place}{name}"] = part.numpy()
        elif not part.variables or any(id(variable) in left for variable in part.variables):
            arrays |= named_arrays(part, f"{place}{name}.")
            for variable in part.variables:
                left.pop(id(variable), None)
    own = {f"{place}{variable.name}": variable.numpy() for variable in left.values()}
    return own | arrays


def write_weights(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes a compressed .npz atomically; the same arrays give the same bytes. Raises OSError."""
    with replacing(path) as file:
        np.savez_compressed(file, **arrays)
