"""Binarised MNIST: the fixed binarisation of Larochelle & Murray (AISTATS 2011)."""

import hashlib
from pathlib import Path

import numpy as np

from configs.files import exists
from data.amat import read_amat, to_amat
from data.checks import check_binary
from data.dataset import NOT_PUBLISHED, PUBLISHED, Dataset, build_dataset
from data.download import download
from data.npz import read_npz

CITATION = (
    "Larochelle and Murray 2011, The Neural Autoregressive Distribution Estimator, AISTATS (the "
    "binarisation); LeCun, Bottou, Bengio, Haffner 1998 (MNIST)"
)
BASE_URL = "https://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/"
# Of the published .amat files, as recorded by TensorFlow Datasets (binarized_mnist.txt).
PUBLISHED_SHA256 = {
    "train": "ad693b29f94c14277b095f5238ddefbbdaaae0939789dd2f4f0205278cee3e4d",
    "valid": "1de3d397c40fe8eeb33dafd4099a1f665ec01e96d9be234aaeeac8a34930e2e2",
    "test": "e6687bfea3f820c174f33b7865140b2a2dd2930ef786f35d45795fc193b5ab2c",
}
IMAGE_SHAPE = (28, 28)
WIDTH = 784
_MAX_ARRAY_BYTES = 1 << 30  # the training set as float64 has 314 MB


def load(data_dir: str | Path) -> Dataset:
    """Finds, or else downloads, the three files.

    Each split is looked for as `binarized_mnist_SPLIT.npz` (with the one array `arr_0`), then as
    `binarized_mnist_SPLIT.amat`, in `DATA_DIR/binarized_mnist` and in DATA_DIR. What is
    downloaded is kept in the first of these.

    Args:
      data_dir: the data directory; it may be read-only if the files are there.

    Raises:
      UserError: a file is damaged, or is missing and cannot be downloaded.
    """
    data_dir = Path(data_dir)
    paths = [_find(data_dir, split) or _fetch(data_dir, split) for split in PUBLISHED_SHA256]
    train, validation, test = images = [_read(path) for path in paths]
    published = all(map(_is_published, PUBLISHED_SHA256, images))
    return build_dataset(
        name="binarized_mnist",
        train=train,
        grey_unit=1.0,
        validation_grey=validation,
        test_grey=test,
        image_shape=IMAGE_SHAPE,
        notes=f"{len(train)} train + {len(validation)} validation + {len(test)} test images: "
        f"{PUBLISHED if published else NOT_PUBLISHED}; from {', '.join(map(str, paths))}",
        dynamic_binarization=False,
        published=published,
    )


def _find(data_dir: Path, split: str) -> Path | None:
    for directory in (data_dir / "binarized_mnist", data_dir):
        for suffix in (".npz", ".amat"):
            path = directory / f"binarized_mnist_{split}{suffix}"
            if exists(path):
                return path
    return None


def _read(path: Path) -> np.ndarray:
    """uint8 [N, 784] of 0/1 from either form."""
    remedy = f"delete it to download it anew, or put there a sound {path.stem}.amat from {BASE_URL}"
    if path.suffix == ".amat":
        return read_amat(path, WIDTH, remedy)
    images = read_npz(path, ("arr_0",), remedy, _MAX_ARRAY_BYTES)["arr_0"]
    check_binary(path, "'arr_0'", images, WIDTH, remedy)
    return images.astype(np.uint8)


def _is_published(split: str, images: np.ndarray) -> bool:
    """Whether the images, written as .amat, have the published digest: whatever form they had."""
    return hashlib.sha256(to_amat(images)).hexdigest() == PUBLISHED_SHA256[split]


def _fetch(data_dir: Path, split: str) -> Path:
    name = f"binarized_mnist_{split}.amat"
    path = data_dir / "binarized_mnist" / name
    download(BASE_URL + name, path, f"sha256:{PUBLISHED_SHA256[split]}")
    return path
