"""Published files are recognised by their content: published, another draw, one flipped pixel."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

import data
from configs.datasets import DATASETS
from data.amat import to_amat
from data.dataset import digest
from tests.helpers import data_files as made

ROOT = Path(__file__).parents[2]
REAL = ROOT.parent / "shared" / "data"
needs_real_data = pytest.mark.skipif(not REAL.is_dir(), reason="no real data beside the project")
# sha256 of shape, type and bytes of the three sets: what config.json and result.json hold.
DIGITS = "9225857b2e010a8c092bdf65aea18a75be24f69c229590e15fa3da737e3e308b"
PUBLISHED_MNIST = "0ca16e91057b9a806f1c11355bb4610bb4d6c08dab952b1a3186e73244221ca1"


def assert_verdict(name, folder, published):
    found = data.load(name, folder)
    assert found.published is published
    assert (": the published file; from " in found.notes) == published
    assert ("not the published file" in found.notes) == (not published)
    return found


def splits(found):
    return found.train, found.validation, found.test


@pytest.mark.parametrize("suffix", [".npz", ".amat"])
def test_published_images_are_recognised_in_either_form(tmp_path, monkeypatch, suffix):
    """Neither other images of that form nor those with one flipped pixel are."""
    made.put_binarized_mnist(tmp_path, suffix)
    assert_verdict("binarized_mnist", tmp_path, False)
    made.publish_binarized_mnist(monkeypatch)
    assert_verdict("binarized_mnist", tmp_path, True)
    encode = made.npz_bytes if suffix == ".npz" else made.amat_bytes
    for split in made.COUNTS:
        images = made.binary_images(split)
        images[3, 141] ^= 1
        made.put(tmp_path / f"binarized_mnist_{split}{suffix}", encode(images))
        assert_verdict("binarized_mnist", tmp_path, False)
        made.put_binarized_mnist(tmp_path, suffix)


def test_published_images_of_another_type_or_layout(tmp_path, monkeypatch):
    """One file of each form, and one there in both."""
    made.put_binarized_mnist(tmp_path, ".npz")
    made.publish_binarized_mnist(monkeypatch)
    floats = np.asfortranarray(made.binary_images("train"), dtype=np.float64)
    made.put(tmp_path / "binarized_mnist_train.npz", made.npz_bytes(floats))
    crlf = made.amat_bytes(made.binary_images("test")).replace(b"\n", b" \r\n")
    (tmp_path / "binarized_mnist_test.npz").unlink()
    made.put(tmp_path / "binarized_mnist_test.amat", crlf)
    made.put(tmp_path / "binarized_mnist_valid.amat", made.amat_bytes(made.binary_images("valid")))
    assert_verdict("binarized_mnist", tmp_path, True)


def test_omniglot_is_recognised_by_the_bytes_of_its_file(tmp_path, monkeypatch):
    columns = made.omniglot_columns(monkeypatch)
    content = made.mat_bytes(**columns)
    path = made.put(tmp_path / "chardata.mat", content)
    assert_verdict("omniglot", tmp_path, False)
    made.publish_omniglot(monkeypatch, content)
    assert_verdict("omniglot", tmp_path, True)
    columns["data"][5, 3] = 1.0 - columns["data"][5, 3]
    made.put(path, made.mat_bytes(**columns))
    assert_verdict("omniglot", tmp_path, False)


def test_where_nothing_is_published(tmp_path):
    path = made.put(tmp_path / "mine.npz", made.npz_bytes(**made.user_arrays()))
    for dataset in ("digits", str(path)):
        found = data.load(dataset, "")
        assert found.published is None and "published file" not in found.notes


def test_the_digits_are_always_the_same():
    """Images, split and binarisation: another of them is another data set."""
    found = data.load("digits", "")
    assert found.sha256 == DIGITS
    assert tuple(map(len, splits(found))) == DATASETS["digits"].sizes == (1297, 200, 300)


def test_a_digest_is_of_shape_type_and_bytes():
    """Written out by hand, of an array by rows whatever its layout in memory."""
    first, second = np.arange(6, dtype=np.uint8).reshape(2, 3), np.array([0.5], np.float32)
    text = b"(2, 3) |u1\n" + bytes(range(6)) + b"(1,) <f4\n" + b"\x00\x00\x00\x3f"
    expected = hashlib.sha256(text).hexdigest()
    assert expected == "903ad61ca3c0c81a2b9e7ecf47e0804725171b640067d4a8275ceadc517a153d"
    assert digest(first, second) == digest(np.asfortranarray(first), second) == expected


def test_models_are_of_known_data():
    """The models that come with the project name the digits and the published MNIST."""
    records = [json.loads(path.read_text()) for path in ROOT.glob("models/*/result.json")]
    found = {record["dataset"]: record["data_sha256"] for record in records}
    assert found == {"digits": DIGITS, "binarized_mnist": PUBLISHED_MNIST}


@needs_real_data
def test_the_published_mnist_file_in_npz_form():
    found = assert_verdict("binarized_mnist", REAL, True)
    assert tuple(map(len, splits(found))) == DATASETS["binarized_mnist"].sizes
    means = [array.mean() for array in splits(found)]
    np.testing.assert_allclose(means, [0.13056, 0.13113, 0.13251], atol=5e-6)
    # config.json of earlier runs holds it, and tables know the published file by it
    assert found.sha256 == PUBLISHED_MNIST


@needs_real_data
def test_the_published_mnist_file_as_text_another_draw_and_a_flipped_pixel(tmp_path):
    published = data.load("binarized_mnist", REAL)
    paths = [tmp_path / f"binarized_mnist_{split}.amat" for split in made.COUNTS]
    digests = DATASETS["binarized_mnist"].files.values()
    for path, images, digest_of in zip(paths, splits(published), digests, strict=True):
        to_amat(images).tofile(path)
        assert f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}" == digest_of
    assert assert_verdict("binarized_mnist", tmp_path, True).sha256 == published.sha256
    draw = np.random.RandomState(3).rand(*published.test.shape) < published.test.mean(axis=0)
    flipped = published.test.copy()
    flipped[7001, 400] ^= 1
    for images in (draw.astype(np.uint8), flipped):
        to_amat(images).tofile(paths[-1])
        assert_verdict("binarized_mnist", tmp_path, False)
    for path in paths:
        path.unlink()  # 110 MB


@needs_real_data
def test_the_omniglot_file_there_is_not_the_published_one():
    found = assert_verdict("omniglot", REAL, False)
    assert [*map(len, splits(found))] == [12640, 1345, 4035]
    assert (found.train.dtype, found.grey_unit) == (np.uint8, 1 / 255)
    assert found.sha256 == "91502cb9893a8c300fe34574fa3c4f1fa7dc84661df2655516cc0578cae8b2ac"
    # a stroke goes on from a pixel to its neighbours, below as well as beside
    pictures = found.test.reshape(-1, 28, 28).astype(float)
    below = (pictures[:, 1:] * pictures[:, :-1]).mean()
    beside = (pictures[:, :, 1:] * pictures[:, :, :-1]).mean()
    assert min(below, beside) > 3 * pictures.mean() ** 2
