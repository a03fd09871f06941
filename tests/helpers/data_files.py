"""Small data files of each published form, with distinct prime sizes; used by test_data*.py."""

import dataclasses
import hashlib
import io
from pathlib import Path

import numpy as np
import scipy.io

from configs.datasets import DATASETS

WIDTH = 784
COUNTS = {"train": 13, "valid": 7, "test": 11}
NUM_VALIDATION = 5  # stands in for omniglot's 1345 where a test needs speed
OMNIGLOT_COUNTS = {"data": 17, "testdata": 3}


def change(patch, name, **fields):
    """Gives a data set another entry."""
    patch.setitem(DATASETS, name, dataclasses.replace(DATASETS[name], **fields))


def publish_binarized_mnist(patch, base="https://a.b/"):
    """As if the small files were the published ones."""
    content = {
        f"binarized_mnist_{split}.amat": amat_bytes(binary_images(split)) for split in COUNTS
    }
    digests = {base + name: hashlib.sha256(text).hexdigest() for name, text in content.items()}
    files = {url: f"sha256:{digest}" for url, digest in digests.items()}
    change(patch, "binarized_mnist", files=files)
    return content


def omniglot_columns(patch):
    """Arrays of a small file, for which the data set has so many images for validation."""
    change(patch, "omniglot", sizes=(12, NUM_VALIDATION, 3))
    return {key: to_columns(omniglot_rows(key)) for key in OMNIGLOT_COUNTS}


def publish_omniglot(patch, content, base="https://a.b/"):
    """As if this were the published file."""
    files = {f"{base}chardata.mat": f"md5:{hashlib.md5(content).hexdigest()}"}
    change(patch, "omniglot", files=files)


def binary_images(split, width=WIDTH):
    generator = np.random.default_rng(list(COUNTS).index(split))
    return (generator.random((COUNTS[split], width)) < 0.2).astype(np.uint8)


def npz_bytes(*args, **arrays):
    file = io.BytesIO()
    np.savez_compressed(file, *args, **arrays)
    return file.getvalue()


def amat_bytes(images):
    return "".join(" ".join(str(v) for v in row) + "\n" for row in images).encode()


def mat_bytes(compressed=True, version="5", **arrays):
    file = io.BytesIO()
    scipy.io.savemat(file, arrays, do_compression=compressed and version == "5", format=version)
    return file.getvalue()


def put(path, content):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def put_binarized_mnist(directory, suffix):
    encode = npz_bytes if suffix == ".npz" else amat_bytes
    for split in COUNTS:
        put(Path(directory) / f"binarized_mnist_{split}{suffix}", encode(binary_images(split)))


def omniglot_rows(key, count=None):
    """Grey images [N, 784], row-major, multiples of 1/255."""
    generator = np.random.default_rng(OMNIGLOT_COUNTS[key])
    shape = (count or OMNIGLOT_COUNTS[key], WIDTH)
    return generator.integers(0, 256, shape) * (generator.random(shape) < 0.2) / 255.0


def to_columns(rows):
    """[N, 784] row-major -> [784, N] column-major, pixel by pixel: a loop, unlike the loader."""
    columns = np.empty((WIDTH, len(rows)))
    for i in range(28):
        for j in range(28):
            columns[j * 28 + i] = rows[:, i * 28 + j]
    return columns


def user_arrays(width=23, scale=1):
    generator = np.random.default_rng(3)
    return {
        name: generator.integers(0, 18, (count, width)) / 17 * scale
        for name, count in (("train", 13), ("validation", 7), ("test", 11))
    }
