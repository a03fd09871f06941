"""weights.npz of an exported model: what outlives this program, for NumPy alone."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from configs.errors import UserError
from configs.files import replacing


def _within(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Layers and tensors: a value, or what lists and dictionaries hold."""
    if isinstance(value, keras.layers.Layer | tf.Tensor):
        yield name, value
    elif isinstance(value, list | tuple | Mapping):
        for key, inner in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _within(f"{name}.{key}", inner)


def _parts(layer: keras.layers.Layer) -> Iterator[tuple[str, Any]]:
    """What public attributes of a layer hold, then its other layers by their number.

    A `keras.Sequential` has no attributes for its layers; they are numbered as its `layers`.
    """
    seen = set()
    for name, value in vars(layer).items():
        for place, part in _within(name, value) if not name.startswith("_") else ():
            seen.add(id(part))
            yield place, part
    layers = layer.layers if isinstance(layer, keras.Model) else layer._layers
    for place, part in _within("layers", layers):
        if id(part) not in seen:
            yield place, part


def _named(layer: keras.layers.Layer, place: str) -> list[tuple[str, np.ndarray]]:
    """Arrays of a layer, its own variables first, with names that begin with its place."""
    found, names = [], {id(value): name for name, value in vars(layer).items() if name[0] != "_"}
    left = {id(variable): variable for variable in layer.variables}
    for name, part in _parts(layer):
        if isinstance(part, tf.Tensor):
            found.append((f"{place}{name}", part.numpy()))
        elif not part.variables or any(id(variable) in left for variable in part.variables):
            found += _named(part, f"{place}{name}.")
            for variable in part.variables:
                left.pop(id(variable), None)
    # By its attribute where it has one: Keras counts the unnamed ones through a process.
    own = [(f"{place}{names.get(key, one.name)}", one.numpy()) for key, one in left.items()]
    return own + found


def named_arrays(layer: keras.layers.Layer) -> dict[str, np.ndarray]:
    """Weights, averages and constants of a layer by their place, "decoder.network.rest.0.kernel".

    A part that has two places goes by the first.

    Raises:
      UserError: two have one name.
    """
    arrays: dict[str, np.ndarray] = {}
    for name, array in _named(layer, ""):
        if name in arrays:
            raise UserError(
                f"two weights of the model are called {name}: give each a name of its own by "
                "add_weight(name=...), and keep layers in attributes without an underscore; the "
                "run's checkpoints stay as they are"
            )
        arrays[name] = array
    return arrays


def write_weights(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes a compressed .npz atomically; the same arrays give the same bytes. Raises OSError."""
    with replacing(path) as file:
        np.savez_compressed(file, **arrays)
