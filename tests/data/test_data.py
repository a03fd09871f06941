"""Loaders in every published form."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import data
from configs.errors import UserError
from data import binarized_mnist, omniglot
from data.amat import to_amat
from data.dataset import digest, near_square
from tests.helpers import data_files as made

ROOT = Path(__file__).parents[2]
REAL = ROOT.parent / "shared" / "data"
needs_real_data = pytest.mark.skipif(not REAL.is_dir(), reason="no real data beside the project")


def fixed_draw(grey):
    return (np.random.RandomState(1).rand(*grey.shape) < grey).astype(np.uint8)


@pytest.mark.parametrize("suffix", [".npz", ".amat"])
@pytest.mark.parametrize("place", ["binarized_mnist", "."])
def test_binarized_mnist_in_every_form_and_place(tmp_path, suffix, place):
    made.put_binarized_mnist(tmp_path / place, suffix)
    found = data.load("binarized_mnist", str(tmp_path), input_size=784)
    for array, split in ((found.train, "train"), (found.validation, "valid"), (found.test, "test")):
        np.testing.assert_array_equal(array, made.binary_images(split))
        assert array.dtype == np.uint8
    assert (found.name, found.grey_unit, found.image_shape) == ("binarized_mnist", 1.0, (28, 28))
    assert not found.dynamic_binarization
    assert found.input_size == 784
    assert "13 train + 7 validation + 11 test" in found.notes
    assert "not the published file" in found.notes
    np.testing.assert_allclose(
        found.train_mean, made.binary_images("train").mean(axis=0), rtol=0, atol=1e-7
    )
    assert found.train_mean.dtype == np.float32


def test_forms_may_be_mixed_and_give_the_same_digest(tmp_path):
    made.put_binarized_mnist(tmp_path / "a", ".npz")
    made.put_binarized_mnist(tmp_path / "b" / "binarized_mnist", ".amat")
    floats = made.binary_images("valid").astype(np.float32)
    made.put(tmp_path / "b/binarized_mnist/binarized_mnist_valid.npz", made.npz_bytes(floats))
    first, second = (data.load("binarized_mnist", str(tmp_path / d)) for d in "ab")
    assert first.sha256 == second.sha256
    assert len(first.sha256) == 64


def test_digest_depends_on_each_array():
    arrays = [np.zeros((2, 3), np.uint8), np.ones((5, 3), np.uint8)]
    reference = digest(*arrays)
    assert digest(arrays[0].reshape(3, 2), arrays[1]) != reference
    assert digest(arrays[0].astype(np.int8), arrays[1]) != reference
    assert digest(arrays[0], arrays[1] * 0) != reference
    assert digest(*(a.copy() for a in arrays)) == reference


def test_omniglot_is_transposed_split_and_binarised(tmp_path):
    rows = made.omniglot_rows("data", 1345 + 17)
    picture = np.zeros((28, 28))
    picture[3, 5:21] = 1.0  # a horizontal bar: transposed, it would be a vertical one
    rows[0] = picture.ravel()
    test_rows = made.omniglot_rows("testdata")
    content = made.mat_bytes(data=made.to_columns(rows), testdata=made.to_columns(test_rows))
    made.put(tmp_path / "OMNIGLOT" / "chardata.mat", content)
    found = data.load("omniglot", str(tmp_path))
    assert found.train.dtype == np.uint8
    assert found.grey_unit == 1 / 255
    assert found.dynamic_binarization
    np.testing.assert_array_equal(found.train[0].reshape(28, 28), picture * 255)
    np.testing.assert_allclose(found.train * found.grey_unit, rows[:17], atol=1e-12)
    np.testing.assert_array_equal(found.validation, fixed_draw(rows[17:]))
    np.testing.assert_array_equal(found.test, fixed_draw(test_rows))
    np.testing.assert_allclose(found.train_mean, rows[:17].mean(axis=0), atol=1e-7)
    assert "not the published file" in found.notes


def test_omniglot_in_data_dir_itself_uncompressed_and_of_any_grey(tmp_path, monkeypatch):
    monkeypatch.setattr(omniglot, "NUM_VALIDATION", made.NUM_VALIDATION)
    rows = made.omniglot_rows("data") * 0.987
    test_rows = made.omniglot_rows("testdata")
    content = made.mat_bytes(False, data=made.to_columns(rows), testdata=made.to_columns(test_rows))
    made.put(tmp_path / "chardata.mat", content)
    found = data.load("omniglot", str(tmp_path))
    assert (found.train.dtype, found.grey_unit) == (np.float32, 1.0)
    np.testing.assert_allclose(found.train, rows[:12], atol=1e-7)


def test_omniglot_needs_more_columns_than_the_validation_set(tmp_path):
    columns = made.to_columns(made.omniglot_rows("data", 1345))
    made.put(tmp_path / "chardata.mat", made.mat_bytes(data=columns, testdata=columns[:, :3]))
    with pytest.raises(UserError, match="1345 columns"):
        data.load("omniglot", str(tmp_path))


def test_digits():
    found = data.load("digits", "/nowhere")
    assert found.train.shape == (1297, 64)
    assert found.validation.shape == (200, 64)
    assert found.test.shape == (300, 64)
    assert found.image_shape == (8, 8)
    assert found.grey_unit == 1 / 16
    assert found.dynamic_binarization
    assert found.train.max() == 16
    assert set(np.unique(found.test)) == {0, 1}
    assert data.load("digits", "/nowhere").sha256 == found.sha256
    # mean grey of the binarised test images = that of the training images within 5 standard
    # errors; images differ, hence the error is taken over images
    means = found.test.mean(axis=1)
    error = means.std() / np.sqrt(len(means))
    assert abs(means.mean() - found.train_mean.mean()) < 5 * error


@pytest.mark.parametrize("scale", [1, 17 / 255, 0.0])
def test_user_file_of_grey_values(tmp_path, scale):
    arrays = made.user_arrays(23, scale)
    found = data.load(str(made.put(tmp_path / "mine.npz", made.npz_bytes(**arrays))), "")
    assert found.name == "mine"
    assert found.image_shape == (1, 23)
    np.testing.assert_allclose(found.train * found.grey_unit, arrays["train"], atol=1e-7)
    np.testing.assert_array_equal(found.validation, fixed_draw(arrays["validation"]))
    np.testing.assert_array_equal(found.test, fixed_draw(arrays["test"]))
    # 17 divides 255, hence the steps are bytes; all zero is binary
    assert (found.train.dtype, found.grey_unit) == (np.uint8, 1.0 if scale == 0.0 else 1 / 255)
    assert found.dynamic_binarization == (scale != 0.0)


@pytest.mark.parametrize("dtype", [np.bool_, np.int64, np.float16, np.dtype(">f4")])
def test_binary_user_file_of_pictures(tmp_path, dtype):
    arrays = {k: (v > 0.5).reshape(-1, 3, 7) for k, v in made.user_arrays(21).items()}
    content = made.npz_bytes(**{k: np.asfortranarray(v.astype(dtype)) for k, v in arrays.items()})
    found = data.load(str(made.put(tmp_path / "mine.npz", content)), "", input_size=21)
    assert found.image_shape == (3, 7)
    assert not found.dynamic_binarization
    assert (found.train.dtype, found.grey_unit) == (np.uint8, 1.0)
    for array, name in ((found.train, "train"), (found.validation, "validation")):
        np.testing.assert_array_equal(array, arrays[name].reshape(-1, 21))


def test_uncompressed_user_file_with_arbitrary_floats(tmp_path):
    arrays = {k: v**1.5 for k, v in made.user_arrays().items()}
    np.savez(tmp_path / "mine.npz", **arrays, more=np.array([{}], dtype=object))
    found = data.load(str(tmp_path / "mine.npz"), "")
    assert (found.train.dtype, found.grey_unit) == (np.float32, 1.0)
    np.testing.assert_allclose(found.train, arrays["train"], atol=1e-7)


@pytest.mark.parametrize("size, shape", [(784, (28, 28)), (23, (1, 23)), (12, (3, 4)), (1, (1, 1))])
def test_near_square(size, shape):
    assert near_square(size) == shape


@pytest.mark.parametrize(
    "dataset, input_size, message",
    [
        ("digits", 784, "input_size is 784, but the images of digits have 64 pixels"),
        ("mnist", None, "unknown dataset 'mnist'; choose binarized_mnist, omniglot, digits, or"),
        ("/nowhere/mine.npz", None, "/nowhere/mine.npz: does not exist; save it with"),
        ("/\0.npz", None, "cannot be opened"),
    ],
)
def test_wrong_requests(dataset, input_size, message):
    with pytest.raises(UserError) as raised:
        data.load(dataset, "", input_size)
    assert message in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


def test_a_read_only_data_dir_works(tmp_path, monkeypatch):
    made.put_binarized_mnist(tmp_path / "binarized_mnist", ".amat")
    before = sorted(tmp_path.rglob("*"))
    os.chmod(tmp_path / "binarized_mnist", 0o555)

    def no_writing(*args, **kwargs):  # for the superuser, whom permissions do not bind
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.NamedTemporaryFile", no_writing)
    assert len(data.load("binarized_mnist", str(tmp_path)).train) == 13
    assert sorted(tmp_path.rglob("*")) == before
    os.chmod(tmp_path / "binarized_mnist", 0o755)


def test_importing_data_is_silent_and_takes_no_tensorflow():
    code = "import sys, data; data.load('digits', ''); assert 'tensorflow' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def fake_publication(monkeypatch):
    """As if the small files were the published ones."""
    for split in made.COUNTS:
        digest = hashlib.sha256(made.amat_bytes(made.binary_images(split))).hexdigest()
        monkeypatch.setitem(binarized_mnist.PUBLISHED_SHA256, split, digest)


def assert_verdict(found, published):
    assert found.published is published
    assert (": the published file; from " in found.notes) == published
    assert ("not the published file" in found.notes) == (not published)


@pytest.mark.parametrize("suffix", [".npz", ".amat"])
def test_published_images_are_recognised_in_either_form(tmp_path, monkeypatch, suffix):
    made.put_binarized_mnist(tmp_path, suffix)
    assert_verdict(binarized_mnist.load(tmp_path), False)
    fake_publication(monkeypatch)
    assert_verdict(binarized_mnist.load(tmp_path), True)


@pytest.mark.parametrize("split", made.COUNTS)
@pytest.mark.parametrize("suffix", [".npz", ".amat"])
def test_one_flipped_pixel_is_not_the_published_file(tmp_path, monkeypatch, split, suffix):
    made.put_binarized_mnist(tmp_path, suffix)
    fake_publication(monkeypatch)
    images = made.binary_images(split)
    images[3, 141] ^= 1
    encode = made.npz_bytes if suffix == ".npz" else made.amat_bytes
    made.put(tmp_path / f"binarized_mnist_{split}{suffix}", encode(images))
    assert_verdict(binarized_mnist.load(tmp_path), False)


def test_published_images_of_another_type_or_layout(tmp_path, monkeypatch):
    made.put_binarized_mnist(tmp_path, ".npz")
    fake_publication(monkeypatch)
    floats = np.asfortranarray(made.binary_images("train"), dtype=np.float64)
    made.put(tmp_path / "binarized_mnist_train.npz", made.npz_bytes(floats))
    crlf = made.amat_bytes(made.binary_images("test")).replace(b"\n", b" \r\n")
    (tmp_path / "binarized_mnist_test.npz").unlink()
    made.put(tmp_path / "binarized_mnist_test.amat", crlf)
    assert_verdict(binarized_mnist.load(tmp_path), True)


def test_omniglot_is_recognised_by_the_bytes_of_its_file(tmp_path, monkeypatch):
    monkeypatch.setattr(omniglot, "NUM_VALIDATION", made.NUM_VALIDATION)
    columns = {key: made.to_columns(made.omniglot_rows(key)) for key in made.OMNIGLOT_COUNTS}
    content = made.mat_bytes(**columns)
    path = made.put(tmp_path / "chardata.mat", content)
    assert_verdict(omniglot.load(tmp_path), False)
    monkeypatch.setattr(omniglot, "PUBLISHED_MD5", hashlib.md5(content).hexdigest())
    assert_verdict(omniglot.load(tmp_path), True)
    columns["data"][5, 3] = 1.0 - columns["data"][5, 3]
    made.put(path, made.mat_bytes(**columns))
    assert_verdict(omniglot.load(tmp_path), False)


def test_where_nothing_is_published(tmp_path):
    path = made.put(tmp_path / "mine.npz", made.npz_bytes(**made.user_arrays()))
    for dataset in ("digits", str(path)):
        found = data.load(dataset, "")
        assert found.published is None
        assert "published file" not in found.notes


@needs_real_data
def test_the_published_mnist_file_in_npz_form():
    found = binarized_mnist.load(REAL)
    arrays = (found.train, found.validation, found.test)
    assert [len(array) for array in arrays] == [50000, 10000, 10000]
    means = [array.mean() for array in arrays]
    np.testing.assert_allclose(means, [0.13056, 0.13113, 0.13251], atol=5e-6)
    assert_verdict(found, True)
    # config.json of earlier runs holds it, and tables know the published file by it
    assert found.sha256 == "0ca16e91057b9a806f1c11355bb4610bb4d6c08dab952b1a3186e73244221ca1"


@needs_real_data
def test_the_published_mnist_file_as_text_another_draw_and_a_flipped_pixel(tmp_path):
    published = binarized_mnist.load(REAL)
    arrays = (published.train, published.validation, published.test)
    paths = [tmp_path / f"binarized_mnist_{split}.amat" for split in made.COUNTS]
    for path, images in zip(paths, arrays, strict=True):
        to_amat(images).tofile(path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert digest == binarized_mnist.PUBLISHED_SHA256[path.stem.split("_")[-1]]
    found = binarized_mnist.load(tmp_path)
    assert_verdict(found, True)
    assert found.sha256 == published.sha256
    draw = np.random.RandomState(3).rand(*published.test.shape) < published.test.mean(axis=0)
    flipped = published.test.copy()
    flipped[7001, 400] ^= 1
    for images in (draw.astype(np.uint8), flipped):
        to_amat(images).tofile(paths[-1])
        assert_verdict(binarized_mnist.load(tmp_path), False)
    for path in paths:
        path.unlink()  # 110 MB


@needs_real_data
def test_the_omniglot_file_there_is_not_the_published_one():
    found = omniglot.load(REAL)
    assert [len(a) for a in (found.train, found.validation, found.test)] == [12640, 1345, 4035]
    assert (found.train.dtype, found.grey_unit) == (np.uint8, 1 / 255)
    assert_verdict(found, False)
    assert found.sha256 == "91502cb9893a8c300fe34574fa3c4f1fa7dc84661df2655516cc0578cae8b2ac"
    # a stroke goes on from a pixel to its neighbours, below as well as beside
    pictures = found.test.reshape(-1, 28, 28).astype(float)
    below = (pictures[:, 1:] * pictures[:, :-1]).mean()
    beside = (pictures[:, :, 1:] * pictures[:, :, :-1]).mean()
    assert min(below, beside) > 3 * pictures.mean() ** 2
