"""A user's own .npz file with the arrays train, validation and test."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from configs.files import bad_file
from data.checks import check_images
from data.dataset import Dataset, build_dataset, grey_levels, is_binary, near_square
from data.npz import read_npz

SPLITS = ("train", "validation", "test")
_REMEDY = (
    "save it with numpy.savez_compressed(FILE, train=..., validation=..., test=...), each array "
    "[N, X] or [N, H, W] of numbers in [0, 1]"
)


def load(path: Path) -> Dataset:
    """Loads a user's file.

    Training values that are all 0 or 1 are used as they are; otherwise they are grey values, with
    which each batch is binarised anew.

    Args:
      path: an .npz file with the arrays `train`, `validation` and `test` of values in [0, 1],
        each [N, X], or each [N, H, W] with X = H * W.

    Raises:
      UserError: the file is missing or damaged, or its arrays are not as described.
    """
    arrays = read_npz(path, SPLITS, _REMEDY)
    shape = arrays["train"].shape[1:]
    if len(shape) not in (1, 2) or 0 in shape:
        what = f"'train' has shape {arrays['train'].shape}, not [N, X] or [N, H, W]"
        raise bad_file(path, what, _REMEDY)
    width = int(np.prod(shape))
    for name, array in arrays.items():
        if array.shape[1:] != shape:
            what = f"'{name}' has images of shape {array.shape[1:]}, 'train' of shape {shape}"
            raise bad_file(path, what, _REMEDY)
        arrays[name] = array.reshape(array.shape[0], width)
        check_images(path, f"'{name}'", arrays[name], width, _REMEDY)
    train, validation, test = (arrays[name] for name in SPLITS)
    binary = is_binary(train)
    levels, grey_unit = (train.astype(np.uint8), 1.0) if binary else grey_levels(train)
    loaded = build_dataset(
        levels,
        validation,
        test,
        image_shape=tuple(shape) if len(shape) == 2 else near_square(width),
        grey_unit=grey_unit,
        dynamic_binarization=not binary,
        notes=f" of {width} {'binary' if binary else 'grey'} pixels; from {path}",
    )
    return replace(loaded, name=path.stem)
