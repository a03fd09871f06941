"""Grids of images as arrays and PNG files."""

import os
from pathlib import Path

import numpy as np
import tensorflow as tf


def grid(images: np.ndarray, image_shape: tuple[int, int], columns: int) -> np.ndarray:
    """Tiles images [N, X] in [0, 1] row by row with a grey line between: uint8 [H, W, 1]."""
    height, width = image_shape
    rows = -(-len(images) // columns)
    canvas = np.full([rows * (height + 1) + 1, columns * (width + 1) + 1], 0.5)
    for index, image in enumerate(images):
        top, left = divmod(index, columns)
        top, left = top * (height + 1) + 1, left * (width + 1) + 1
        canvas[top : top + height, left : left + width] = image.reshape(image_shape)
    return np.uint8(np.round(255 * np.clip(canvas, 0.0, 1.0)))[..., None]


def above_each_other(upper: np.ndarray, lower: np.ndarray, columns: int) -> np.ndarray:
    """Interleaves two sets [N, X] so that `grid` shows each row of `upper` over its `lower`."""
    pairs = []
    for start in range(0, len(upper), columns):
        pairs += [upper[start : start + columns], lower[start : start + columns]]
    return np.concatenate(pairs)


def write_png(path: Path, picture: np.ndarray) -> None:
    """Writes uint8 [H, W, 1] atomically."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(tf.io.encode_png(picture).numpy())
    os.replace(temporary, path)
