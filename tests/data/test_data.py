"""Loaders in every published form."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import data
from configs.datasets import DATASETS
from configs.errors import UserError
from data.dataset import near_square
from tests.helpers import data_files as made
from tests.helpers.works import refused

ROOT = Path(__file__).parents[2]
assert_equal, assert_close = np.testing.assert_array_equal, np.testing.assert_allclose


def fixed_draw(grey):
    return (np.random.RandomState(1).rand(*grey.shape) < grey).astype(np.uint8)


@pytest.mark.parametrize("suffix", [".npz", ".amat"])
@pytest.mark.parametrize("place", ["binarized_mnist", "."])
def test_binarized_mnist_in_every_form_and_place(tmp_path, suffix, place):
    made.put_binarized_mnist(tmp_path / place, suffix)
    found = data.load("binarized_mnist", str(tmp_path), input_size=784)
    for array, split in ((found.train, "train"), (found.validation, "valid"), (found.test, "test")):
        assert_equal(array, made.binary_images(split))
        assert array.dtype == np.uint8
    assert (found.name, found.grey_unit, found.image_shape) == ("binarized_mnist", 1.0, (28, 28))
    assert not found.dynamic_binarization and found.input_size == 784
    assert "13 train + 7 validation + 11 test" in found.notes
    assert "not the published file" in found.notes
    assert_close(found.train_mean, made.binary_images("train").mean(axis=0), rtol=0, atol=1e-7)
    assert found.train_mean.dtype == np.float32


def test_omniglot_is_transposed_split_and_binarised(tmp_path):
    rows, test_rows = made.omniglot_rows("data", 1345 + 17), made.omniglot_rows("testdata")
    picture = np.zeros((28, 28))
    picture[3, 5:21] = 1.0  # a horizontal bar: transposed, it would be a vertical one
    rows[0] = picture.ravel()
    content = made.mat_bytes(data=made.to_columns(rows), testdata=made.to_columns(test_rows))
    made.put(tmp_path / "OMNIGLOT" / "chardata.mat", content)
    found = data.load("omniglot", str(tmp_path))
    assert (found.train.dtype, found.grey_unit) == (np.uint8, 1 / 255)
    assert found.dynamic_binarization
    assert_equal(found.train[0].reshape(28, 28), picture * 255)
    assert_close(found.train * found.grey_unit, rows[:17], atol=1e-12)
    assert_equal(found.validation, fixed_draw(rows[17:]))
    assert_equal(found.test, fixed_draw(test_rows))
    assert_close(found.train_mean, rows[:17].mean(axis=0), atol=1e-7)
    assert "not the published file" in found.notes


def test_omniglot_in_data_dir_itself_uncompressed_and_of_any_grey(tmp_path, monkeypatch):
    columns = made.omniglot_columns(monkeypatch)
    content = made.mat_bytes(False, data=columns["data"] * 0.987, testdata=columns["testdata"])
    made.put(tmp_path / "chardata.mat", content)
    found = data.load("omniglot", str(tmp_path))
    assert (found.train.dtype, found.grey_unit) == (np.float32, 1.0)
    assert_close(found.train, made.omniglot_rows("data")[:12] * 0.987, atol=1e-7)


def test_omniglot_needs_more_columns_than_the_validation_set(tmp_path):
    columns = made.to_columns(made.omniglot_rows("data", 1345))
    made.put(tmp_path / "chardata.mat", made.mat_bytes(data=columns, testdata=columns[:, :3]))
    with pytest.raises(UserError, match="1345 columns"):
        data.load("omniglot", str(tmp_path))


def test_digits():
    found = data.load("digits", "/nowhere")
    shapes = [array.shape for array in (found.train, found.validation, found.test)]
    assert shapes == [(1297, 64), (200, 64), (300, 64)]
    assert (found.image_shape, found.grey_unit, found.train.max()) == ((8, 8), 1 / 16, 16)
    assert found.dynamic_binarization and set(np.unique(found.test)) == {0, 1}
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
    assert (found.name, found.image_shape) == ("mine", (1, 23))
    assert_close(found.train * found.grey_unit, arrays["train"], atol=1e-7)
    assert_equal(found.validation, fixed_draw(arrays["validation"]))
    assert_equal(found.test, fixed_draw(arrays["test"]))
    # 17 divides 255, hence the steps are bytes; all zero is binary
    assert (found.train.dtype, found.grey_unit) == (np.uint8, 1.0 if scale == 0.0 else 1 / 255)
    assert found.dynamic_binarization == (scale != 0.0)


@pytest.mark.parametrize("dtype", [np.bool_, np.int64, np.float16, np.dtype(">f4")])
def test_binary_user_file_of_pictures(tmp_path, dtype):
    arrays = {k: (v > 0.5).reshape(-1, 3, 7) for k, v in made.user_arrays(21).items()}
    content = made.npz_bytes(**{k: np.asfortranarray(v.astype(dtype)) for k, v in arrays.items()})
    found = data.load(str(made.put(tmp_path / "mine.npz", content)), "", input_size=21)
    assert found.image_shape == (3, 7) and not found.dynamic_binarization
    assert (found.train.dtype, found.grey_unit) == (np.uint8, 1.0)
    for array, name in ((found.train, "train"), (found.validation, "validation")):
        assert_equal(array, arrays[name].reshape(-1, 21))


def test_uncompressed_user_file_with_arbitrary_floats(tmp_path):
    arrays = {k: v**1.5 for k, v in made.user_arrays().items()}
    np.savez(tmp_path / "mine.npz", **arrays, more=np.array([{}], dtype=object))
    found = data.load(str(tmp_path / "mine.npz"), "")
    assert (found.train.dtype, found.grey_unit) == (np.float32, 1.0)
    assert_close(found.train, arrays["train"], atol=1e-7)


@pytest.mark.parametrize("size, shape", [(784, (28, 28)), (23, (1, 23)), (12, (3, 4)), (1, (1, 1))])
def test_near_square(size, shape):
    assert near_square(size) == shape


_WRONG = [
    ("digits", 784, "input_size is 784, but the images of digits have 64 pixels"),
    ("mnist", None, "dataset=mnist is unknown; choose one of: binarized_mnist, omniglot, digits"),
    (
        "a/one.npy",
        None,
        "not an .npz file: split its images, and save np.savez_compressed('one.npz'",
    ),
    ("/nowhere/mine.npz", None, "/nowhere/mine.npz: does not exist; save it with"),
    ("/\0.npz", None, "cannot be opened"),
]


@pytest.mark.parametrize("dataset, input_size, message", _WRONG)
def test_wrong_requests(dataset, input_size, message):
    with refused(re.escape(message)):
        data.load(dataset, "", input_size)


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


def test_no_code_but_their_entries_knows_data_sets_by_name():
    packages = (ROOT / name for name in ("configs", "data", "samplers", "dvae", "tables"))
    for path in [*ROOT.glob("run*.py"), *(p for folder in packages for p in folder.rglob("*.py"))]:
        nodes = ast.walk(ast.parse(path.read_text()))
        constants = [node.value for node in nodes if isinstance(node, ast.Constant)]
        assert path.name == "datasets.py" or not set(DATASETS).intersection(constants), path


@pytest.mark.parametrize("code", ["import data; data.load('digits', '')", "import data.mat_child"])
def test_importing_data_is_silent_and_takes_no_tensorflow(code):
    code += "; import sys; assert 'tensorflow' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_without_a_data_dir_it_is_datasets_or_else_2018s(tmp_path, monkeypatch):
    """Downloads go to ./datasets; ./data is looked into where only that has the files."""

    def download(url, path, digest):
        raise UserError(f"downloaded to {path}")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("data.download.download", download)
    with pytest.raises(UserError, match="to datasets/binarized_mnist/"):
        data.load("binarized_mnist")
    made.put_binarized_mnist(tmp_path / "data" / "binarized_mnist", ".amat")
    assert len(data.load("binarized_mnist").train) == 13
    with pytest.raises(UserError, match="to datasets/binarized_mnist/"):
        data.load("binarized_mnist", "datasets")
    (tmp_path / "data").rename(tmp_path / "datasets")
    made.put(tmp_path / "data" / "binarized_mnist_train.amat", b"damaged")
    assert len(data.load("binarized_mnist").train) == 13
