"""A user's own images: an .npz file with the arrays train, validation and test, or arrays."""

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from configs.errors import UserError, name_of
from configs.files import bad_file, replacing, writing_to
from configs.setting import value_text
from data import conversions
from data.checks import check_dtype, wrong_values
from data.dataset import Dataset, build_dataset, grey_levels, is_binary, near_square
from data.npz import array_names, read_npz

# What an array of each split may be called; other arrays are not looked at.
SPLITS = {"train": ("train",), "validation": ("validation", "valid", "val"), "test": ("test",)}
_ARRAYS = "train=..., validation=..., test=..."
_FORM = "each array [N, X], [N, H, W] or [N, H, W, 1] of numbers in [0, 1], without labels"
_REMEDY = f"save it with np.savez_compressed(FILE, {_ARRAYS}), {_FORM}"
_ARGUMENT = Path("dataset")  # what errors of arrays speak of
_REMEDY_OF_ARRAYS = f"give dataset=dict({_ARRAYS}), {_FORM}"
_CUT_OFF = "train, {} = np.split(train, [len(train) * 9 // 10])"


class OwnArrays(NamedTuple):
    """Images that a user gave as arrays.

    dataset: what they are as a data set. path: the file for `load` that `write` makes of them.
    arrays: of each split, as they were given.
    """

    dataset: Dataset
    path: Path
    arrays: dict[str, np.ndarray]

    def write(self) -> None:
        """Writes the file if it is not there. Raises UserError when that cannot be."""
        with writing_to(self.path.parent, f"choose another {name_of('log_dir')}"):
            if not self.path.exists():
                with replacing(self.path) as file:
                    np.savez_compressed(file, **self.arrays)


def load(path: Path) -> Dataset:
    """Loads a user's file.

    Training values that are all 0 or 1 are used as they are; otherwise they are grey values, with
    which each batch is binarised anew.

    Args:
      path: an .npz file with the arrays `train`, `validation` (`valid`, `val`) and `test` of values
        in [0, 1], each [N, X], or each [N, H, W] or [N, H, W, 1] with X = H * W.

    Raises:
      UserError: the file is missing or damaged, or its arrays are not as described.
    """
    names = _names(path, array_names(path, _REMEDY), _REMEDY)
    arrays = read_npz(path, tuple(names.values()), _REMEDY)
    arrays = {split: arrays[name] for split, name in names.items()}
    return _named(_dataset(path, arrays, _REMEDY), path)


def of_arrays(given: Any, folder: Path) -> OwnArrays:
    """Images that a user gave as arrays; nothing is written yet.

    Args:
      given: a dictionary of `train`, `validation` (`valid`, `val`) and `test`, or these three in
        order: anything that NumPy takes for an array, of shapes and values as in `load`. A `name`
        in the dictionary becomes part of that of the file.
      folder: where the file shall be. Its name ends with the images' digest, so that the same
        arrays are the same file.

    Raises:
      UserError: they are not as described.
    """
    given = _by_name(given)
    name = given.get("name", "arrays")
    if not (isinstance(name, str) and re.fullmatch(r"[\w.-]+", name)):
        raise UserError(f"dataset['name'] is {value_text(name)}: use letters, digits, _, . and -")
    arrays = {}
    for split, key in _names(_ARGUMENT, given, _REMEDY_OF_ARRAYS).items():
        remedy = "give one array of numbers, of images that have one size, without labels"
        try:
            arrays[split] = np.asarray(given[key])
        except (ValueError, TypeError, RuntimeError) as error:  # rows of several lengths, tensors
            raise bad_file(_ARGUMENT, f"'{split}': {str(error).rstrip('.')}", remedy) from None
        check_dtype(_ARGUMENT, f"'{split}'", arrays[split].dtype, remedy)
    dataset = _dataset(_ARGUMENT, arrays, _REMEDY_OF_ARRAYS)
    path = folder / f"{name}-{dataset.sha256[:12]}.npz"
    return OwnArrays(_named(dataset, path), path, arrays)


def _by_name(given: Any) -> Mapping[str, Any]:
    """The arrays of a dictionary or of three in order. Raises UserError for what is neither."""
    if isinstance(given, Mapping):
        return given
    if isinstance(given, list | tuple):
        if len(given) == len(SPLITS):
            return dict(zip(SPLITS, given, strict=True))
        raise UserError(
            f"dataset is a {type(given).__name__} of {len(given)}, not (train, validation, test); "
            "labels are not used, and a split that is missing is cut off, as in "
            f"{_CUT_OFF.format('validation')}"
        )
    if hasattr(given, "__array__") and np.ndim(given) > 0:
        at = [len(given) * tenths // 10 for tenths in (7, 8)]
        raise UserError(
            f"dataset is one array, of shape {np.shape(given)}: split it (shuffled, if it is "
            f"sorted), as in dataset=np.split(images, {at})"
        )
    raise UserError(f"dataset is {value_text(given)}: give a name, a path, or arrays")


def _names(path: Path, held: Collection[str], remedy: str) -> dict[str, str]:
    """What the array of each split is called there. Raises UserError when one is missing."""
    found: dict[str, str] = {}
    for split, spellings in SPLITS.items():
        names = [name for name in spellings if name in held]
        if not names:
            what = f"has no array '{split}' (it holds {', '.join(map(str, held)) or 'nothing'})"
            cut_off = f"cut it off: {_CUT_OFF.format(split)}"
            raise bad_file(path, what, cut_off if "train" in found else remedy)
        found[split] = names[0]
    return found


def _named(dataset: Dataset, path: Path) -> Dataset:
    return replace(dataset, name=path.stem, notes=f"{dataset.notes}; from {path}")


def _check(path: Path, arrays: dict[str, np.ndarray], remedy: str) -> None:
    """Raises UserError with the line that helps, where one is known."""
    shape = arrays["train"].shape[1:]
    for name, array in arrays.items():
        line = conversions.of_shape("images", array.shape)
        if len(shape) not in (1, 2) or 0 in shape:
            wrong = f"has shape {array.shape}, not [N, X] or [N, H, W]"
        elif array.shape[1:] != shape:
            wrong = f"has images of shape {array.shape[1:]}, 'train' of shape {shape}"
        elif wrong := wrong_values(array):
            line = conversions.of_values("images", array) if len(array) else None
        if wrong:
            mend = f"convert them before you split: {line}" if line else remedy
            raise bad_file(path, f"'{name}' {wrong}", mend)


def _dataset(path: Path, arrays: dict[str, np.ndarray], remedy: str) -> Dataset:
    """The data set of three arrays; `path` is what errors call them."""
    arrays = {n: a[..., 0] if a.ndim == 4 and a.shape[-1] == 1 else a for n, a in arrays.items()}
    _check(path, arrays, remedy)
    shape = arrays["train"].shape[1:]
    width = int(np.prod(shape))
    arrays = {name: array.reshape(len(array), width) for name, array in arrays.items()}
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
