"""A user's own images: an .npz file with the arrays train, validation and test, or arrays."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from configs.errors import UserError
from configs.files import bad_file, replacing
from data.checks import check_dtype, check_images
from data.dataset import Dataset, build_dataset, grey_levels, is_binary, near_square
from data.npz import read_npz

SPLITS = ("train", "validation", "test")
_ARRAYS = "train=..., validation=..., test=..."
_FORM = "each array [N, X], [N, H, W] or [N, H, W, 1] of numbers in [0, 1]"
_REMEDY = f"save it with numpy.savez_compressed(FILE, {_ARRAYS}), {_FORM}"
_ARGUMENT = Path("dataset")  # what errors of arrays speak of
_REMEDY_OF_ARRAYS = f"give dataset=dict({_ARRAYS}), {_FORM}"


def load(path: Path) -> Dataset:
    """Loads a user's file.

    Training values that are all 0 or 1 are used as they are; otherwise they are grey values, with
    which each batch is binarised anew.

    Args:
      path: an .npz file with the arrays `train`, `validation` and `test` of values in [0, 1],
        each [N, X], or each [N, H, W] or [N, H, W, 1] with X = H * W.

    Raises:
      UserError: the file is missing or damaged, or its arrays are not as described.
    """
    loaded = _checked(path, read_npz(path, SPLITS, _REMEDY), _REMEDY)
    return replace(loaded, name=path.stem, notes=f"{loaded.notes}; from {path}")


def keep(arrays: Any, folder: Path) -> Path:
    """Writes arrays as a file for `load` into a folder, if it is not there; returns its path.

    The name is made of the images' digest, so that the same arrays are the same file.

    Args:
      arrays: a dictionary of `train`, `validation` and `test`, or these three in order: anything
        that NumPy takes for an array, of shapes and values as in `load`.

    Raises:
      UserError: they are not as described. OSError: the file cannot be written.
    """
    given = [*arrays] if isinstance(arrays, Mapping) else SPLITS[: len(arrays)]
    if {*given} != {*SPLITS} or len(arrays) != len(SPLITS):
        raise UserError(f"dataset holds {', '.join(map(str, given))}; {_REMEDY_OF_ARRAYS}")
    images = arrays.values() if isinstance(arrays, Mapping) else arrays
    made = {}
    for name, each in zip(given, images, strict=True):
        try:
            made[name] = np.asarray(each)
        except ValueError as error:  # rows of several lengths
            raise bad_file(_ARGUMENT, f"'{name}': {error}", _REMEDY_OF_ARRAYS) from None
        check_dtype(_ARGUMENT, f"'{name}'", made[name].dtype, _REMEDY_OF_ARRAYS)
    digest = _checked(_ARGUMENT, dict(made), _REMEDY_OF_ARRAYS).sha256
    path = folder / f"arrays-{digest[:12]}.npz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            np.savez_compressed(file, **made)
    return path


def _checked(path: Path, arrays: dict[str, np.ndarray], remedy: str) -> Dataset:
    """The data set of three arrays; `path` is what errors call them."""
    if arrays["train"].ndim == 4 and arrays["train"].shape[-1] == 1:
        arrays = {name: a[..., 0] if a.ndim == 4 else a for name, a in arrays.items()}
    shape = arrays["train"].shape[1:]
    if len(shape) not in (1, 2) or 0 in shape:
        what = f"'train' has shape {arrays['train'].shape}, not [N, X] or [N, H, W]"
        raise bad_file(path, what, remedy)
    width = int(np.prod(shape))
    for name, array in arrays.items():
        if array.shape[1:] != shape:
            what = f"'{name}' has images of shape {array.shape[1:]}, 'train' of shape {shape}"
            raise bad_file(path, what, remedy)
        arrays[name] = array.reshape(array.shape[0], width)
        check_images(path, f"'{name}'", arrays[name], width, remedy)
    train, validation, test = (arrays[name] for name in SPLITS)
    binary = is_binary(train)
    levels, grey_unit = (train.astype(np.uint8), 1.0) if binary else grey_levels(train)
    return build_dataset(
        levels,
        validation,
        test,
        image_shape=tuple(shape) if len(shape) == 2 else near_square(width),
        grey_unit=grey_unit,
        dynamic_binarization=not binary,
        notes=f" of {width} {'binary' if binary else 'grey'} pixels",
    )
