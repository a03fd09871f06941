"""Binarised MNIST: the fixed binarisation of Larochelle & Murray (AISTATS 2011)."""

import contextlib
import hashlib
import io
from pathlib import Path

import numpy as np

from data.amat import read_amat
from data.checks import check_binary
from data.dataset import Dataset, build_dataset
from data.download import DownloadPolicy, download
from data.files import exists, record_checksum, write_atomically
from data.npz import read_npz

BASE_URL = "https://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/"
IMAGE_SHAPE = (28, 28)
WIDTH = 784
PUBLISHED_COUNTS = (50000, 10000, 10000)
_SPLITS = ("train", "valid", "test")
_MAX_ARRAY_BYTES = 1 << 30  # the training set as float64 has 314 MB


def load(data_dir: str | Path, policy: DownloadPolicy | None = None) -> Dataset:
    """Finds, or else downloads, the three files.

    Each split is looked for as `binarized_mnist_SPLIT.npz` (with the one array `arr_0`), then as
    `binarized_mnist_SPLIT.amat`, in `DATA_DIR/binarized_mnist` and in DATA_DIR. What is
    downloaded is kept in the first of these as .amat and, for the next time, as .npz.

    Args:
      data_dir: the data directory; it may be read-only if the files are there.
      policy: how to download.

    Raises:
      UserError: a file is damaged, or is missing and cannot be downloaded.
    """
    data_dir = Path(data_dir)
    paths = [_find(data_dir, split) or _fetch(data_dir, split, policy) for split in _SPLITS]
    train, validation, test = (_read(path) for path in paths)
    counts = (len(train), len(validation), len(test))
    if counts == PUBLISHED_COUNTS:
        verdict = "the published counts (the published checksum is not known here)"
    else:
        verdict = "not the published file, which has {} + {} + {}".format(*PUBLISHED_COUNTS)
    found = ", ".join(str(path) for path in paths)
    return build_dataset(
        name="binarized_mnist",
        train=train,
        grey_unit=1.0,
        validation_grey=validation,
        test_grey=test,
        image_shape=IMAGE_SHAPE,
        notes="{} train + {} validation + {} test images: {}; from {}".format(
            *counts, verdict, found
        ),
        dynamic_binarization=False,
    )


def _find(data_dir: Path, split: str) -> Path | None:
    for directory in (data_dir / "binarized_mnist", data_dir):
        for suffix in (".npz", ".amat"):
            path = directory / f"binarized_mnist_{split}{suffix}"
            if exists(path):
                return path
    return None


def _remedy(name: str) -> str:
    return f"delete it to download it anew, or put there a sound {name} from {BASE_URL}"


def _read(path: Path) -> np.ndarray:
    """uint8 [N, 784] of 0/1 from either form."""
    remedy = _remedy(f"{path.stem}.amat")
    if path.suffix == ".amat":
        return read_amat(path, WIDTH, remedy)
    images = read_npz(path, ("arr_0",), remedy, _MAX_ARRAY_BYTES)["arr_0"]
    check_binary(path, "'arr_0'", images, WIDTH, remedy)
    return images.astype(np.uint8)


def _fetch(data_dir: Path, split: str, policy: DownloadPolicy | None) -> Path:
    """Downloads one split as .amat and keeps an .npz beside it; returns the path of the .amat."""
    name = f"binarized_mnist_{split}.amat"
    path = data_dir / "binarized_mnist" / name
    download(BASE_URL + name, path, check=lambda part: read_amat(part, WIDTH, ""), policy=policy)
    with contextlib.suppress(OSError):  # the .amat alone will do
        _cache(path.with_suffix(".npz"), _read(path))
    return path


def _cache(path: Path, images: np.ndarray) -> None:
    """Writes the .npz; its checksum first, so that none of an earlier file can be left over."""
    archive = io.BytesIO()
    np.savez_compressed(archive, images)
    record_checksum(path, hashlib.sha256(archive.getbuffer()).hexdigest())
    with write_atomically(path) as file:
        file.write(archive.getbuffer())
