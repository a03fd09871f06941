"""OMNIGLOT, 28x28 grey values, as prepared by Burda et al. (ICLR 2016)."""

import hashlib
from pathlib import Path

import numpy as np

from configs.datasets import DatasetEntry
from configs.files import bad_file, open_to_read
from data.checks import check_images
from data.dataset import Dataset, build_dataset, grey_levels, published_note
from data.download import published_file, remedy_of
from data.matlab import MAX_FILE_BYTES, read_mat

_KEYS = ("data", "testdata")


def load(entry: DatasetEntry, data_dir: Path) -> Dataset:
    """Finds, or else downloads, `chardata.mat`.

    The last training images are the validation set. Training images are binarised anew for each
    batch, validation and test once.

    Args:
      entry: says which file, where in `data_dir`, and how many images are for validation.
      data_dir: the data directory; it may be read-only if the file is there.

    Raises:
      UserError: the file is damaged, or is missing and cannot be downloaded.
    """
    [(url, digest)] = entry.files.items()
    path, remedy = published_file(entry, url, data_dir), remedy_of(url)
    arrays = read_mat(path, _KEYS, remedy)
    images, test = (_to_images(path, key, arrays[key], entry, remedy) for key in _KEYS)
    num_validation = entry.sizes[1]
    if len(images) <= num_validation:
        what = f"'data' has {len(images)} columns; the last {num_validation} are for validation"
        raise bad_file(path, what, remedy)
    with open_to_read(path, MAX_FILE_BYTES, remedy) as file:
        published = f"md5:{hashlib.file_digest(file, 'md5').hexdigest()}" == digest
    train, validation = np.split(images, [-num_validation])
    levels, grey_unit = grey_levels(train)
    return build_dataset(
        levels,
        validation,
        test,
        image_shape=entry.image_shape,
        grey_unit=grey_unit,
        published=published,
        notes=published_note(published, path),
    )


def _to_images(
    path: Path, key: str, columns: np.ndarray, entry: DatasetEntry, remedy: str
) -> np.ndarray:
    """Checks an array of the file and turns it: [X, N] -> [N, X], as `_to_rows`."""
    height, width = entry.image_shape
    if columns.ndim != 2 or columns.shape[0] != height * width:
        what = f"'{key}' has shape {columns.shape}, not [{height * width}, N]"
        raise bad_file(path, what, remedy)
    rows = _to_rows(columns, height, width)
    check_images(path, f"'{key}'", rows, height * width, remedy)
    return rows


def _to_rows(columns: np.ndarray, height: int, width: int) -> np.ndarray:
    """[X, N] with pixels column by column -> [N, X] with pixels row by row."""
    return columns.T.reshape(-1, width, height).transpose(0, 2, 1).reshape(-1, height * width)
