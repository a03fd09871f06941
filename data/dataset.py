"""What every data set becomes: three arrays, how to read them, and where they came from."""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

# Grey values that lie this close to a multiple of 1/255 (in steps of 1/255) were bytes once.
GREY_LEVEL_TOLERANCE = 1e-4
# What loaders say of files that have a published digest.
PUBLISHED = "the published file"
NOT_PUBLISHED = "not the published file: likelihoods are not comparable with published ones"
BINARISATION_SEED = 1  # published: numpy.random.RandomState(1), anew for each array


@dataclass(frozen=True)
class Dataset:
    """Images of one data set, split three ways.

    Attributes:
      name: in `configs.datasets.DATASETS`, or the stem of the user's file name.
      train: [N, X], levels, of which `grey` makes grey values in [0, 1]. uint8 where those are 0/1
        or multiples of `grey_unit`, float32 (with `grey_unit` 1) elsewhere.
      grey_unit: 1 for binary data, else the step of grey values, such as 1/255.
      dynamic_binarization: whether training images are binarised anew for each batch, with the
        grey values as probabilities of a 1.
      validation: uint8 [V, X] of 0/1, binarised once (see `binarise_once`).
      test: uint8 [T, X] of 0/1, binarised once.
      image_shape: (height, width) with height * width = X, for pictures.
      sha256: hex digest of shape, dtype and bytes of train, validation and test.
      notes: one line: how many images, where found, whether that is the published file.
      published: whether the content has the published digest; None where there is no published
        file.
    """

    name: str
    train: np.ndarray
    grey_unit: float
    dynamic_binarization: bool
    validation: np.ndarray
    test: np.ndarray
    image_shape: tuple[int, int]
    sha256: str
    notes: str
    published: bool | None = None

    @property
    def input_size(self) -> int:
        """X, the number of pixels of an image."""
        return self.train.shape[1]

    @property
    def train_mean(self) -> np.ndarray:
        """Mean grey value of each pixel over the training images, float32 [X]."""
        return self.grey(self.train.mean(axis=0, dtype=np.float64)).astype(np.float32)

    def grey(self, levels: Any) -> Any:
        """Grey values in [0, 1] of levels of `train`, in the floating type of the levels given."""
        return levels * self.grey_unit


def build_dataset(
    train: np.ndarray,
    validation_grey: np.ndarray,
    test_grey: np.ndarray,
    *,
    image_shape: tuple[int, int],
    notes: str,
    grey_unit: float = 1.0,
    dynamic_binarization: bool = True,
    published: bool | None = None,
) -> Dataset:
    """Binarises validation and test once and takes the digest; the name is left for `data.load`.

    Args:
      train: [N, X], see `Dataset`.
      validation_grey: [V, X] grey values in [0, 1]; 0/1 values stay as they are.
      test_grey: [T, X], likewise.
      image_shape: (height, width).
      notes: what follows the numbers of images.
      grey_unit: see `Dataset`.
      dynamic_binarization: see `Dataset`.
      published: see `Dataset`.
    """
    train = np.ascontiguousarray(train)
    validation = binarise_once(validation_grey)
    test = binarise_once(test_grey)
    notes = f"{len(train)} train + {len(validation)} validation + {len(test)} test images{notes}"
    return Dataset(
        name="",
        train=train,
        grey_unit=grey_unit,
        dynamic_binarization=dynamic_binarization,
        validation=validation,
        test=test,
        image_shape=image_shape,
        sha256=digest(train, validation, test),
        notes=" ".join(notes.split()),
        published=published,
    )


def published_note(published: bool, *paths: Path) -> str:
    """`notes` of `build_dataset` for files that have a published digest."""
    verdict = PUBLISHED if published else NOT_PUBLISHED
    return f": {verdict}; from {', '.join(map(str, paths))}"


def binarise_once(grey: np.ndarray) -> np.ndarray:
    """The fixed binarisation: `RandomState(1).rand(*shape) < grey`, uint8, same shape.

    A grey value of exactly 0 or 1 is kept, since rand() lies in [0, 1).
    """
    draws = np.random.RandomState(BINARISATION_SEED).rand(*grey.shape)
    return (draws < grey).astype(np.uint8)


def is_binary(images: np.ndarray) -> bool:
    """Whether every value is exactly 0 or 1."""
    return bool(np.all((images == 0) | (images == 1)))


def grey_levels(grey: np.ndarray) -> tuple[np.ndarray, float]:
    """Grey values in [0, 1] in the smallest exact form.

    Args:
      grey: [N, X] in [0, 1].

    Returns:
      (train, grey_unit) as in `Dataset`: uint8 levels of 1/255 where all values are multiples of
      1/255 up to rounding (the files hold bytes that went through float32), else float32 and 1.
    """
    levels = np.asarray(grey, dtype=np.float64) * 255.0
    rounded = np.rint(levels)
    if np.abs(levels - rounded).max() < GREY_LEVEL_TOLERANCE:
        return rounded.astype(np.uint8), 1.0 / 255.0
    return np.asarray(grey, dtype=np.float32), 1.0


def near_square(size: int) -> tuple[int, int]:
    """The factorisation height * width = size nearest to a square, height <= width."""
    height = next(h for h in range(math.isqrt(size), 0, -1) if size % h == 0)
    return height, size // height


def digest(*arrays: np.ndarray) -> str:
    """sha256 (hex) of the shape, dtype and bytes of each array, in order."""
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(f"{array.shape} {array.dtype.str}\n".encode())
        sha.update(np.ascontiguousarray(array).data)
    return sha.hexdigest()
