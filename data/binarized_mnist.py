"""Binarised MNIST: the fixed binarisation of Larochelle & Murray (AISTATS 2011)."""

import hashlib
from pathlib import Path

import numpy as np

from configs.datasets import DatasetEntry
from data.amat import read_amat, to_amat
from data.checks import check_binary
from data.dataset import Dataset, build_dataset, published_note
from data.download import published_file, remedy_of
from data.npz import read_npz

_MAX_ARRAY_BYTES = 1 << 30  # the training set as float64 has 314 MB


def load(entry: DatasetEntry, data_dir: Path) -> Dataset:
    """Finds, or else downloads, the three files.

    Each split is looked for as `binarized_mnist_SPLIT.npz` (with the one array `arr_0`), then as
    the published text `binarized_mnist_SPLIT.amat`.

    Args:
      entry: says which files, and where in `data_dir`.
      data_dir: the data directory; it may be read-only if the files are there.

    Raises:
      UserError: a file is damaged, or is missing and cannot be downloaded.
    """
    width = entry.image_shape[0] * entry.image_shape[1]
    suffixes = (".npz", ".amat")
    paths = {url: published_file(entry, url, data_dir, suffixes) for url in entry.files}
    images = [_read(path, width, remedy_of(url)) for url, path in paths.items()]
    published = all(map(_is_published, images, entry.files.values()))
    return build_dataset(
        *images,
        image_shape=entry.image_shape,
        dynamic_binarization=False,
        published=published,
        notes=published_note(published, *paths.values()),
    )


def _read(path: Path, width: int, remedy: str) -> np.ndarray:
    """uint8 [N, width] of 0/1 from either form."""
    if path.suffix == ".amat":
        return read_amat(path, width, remedy)
    images = read_npz(path, ("arr_0",), remedy, _MAX_ARRAY_BYTES)["arr_0"]
    check_binary(path, "'arr_0'", images, width, remedy)
    return images.astype(np.uint8)


def _is_published(images: np.ndarray, digest: str) -> bool:
    """Whether the images, written as .amat, have the published digest: whatever form they had."""
    return f"sha256:{hashlib.sha256(to_amat(images)).hexdigest()}" == digest
