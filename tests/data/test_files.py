"""Files that cannot be used, and how files are written."""

import os

import numpy as np
import pytest

import data
from configs.errors import UserError
from data import amat, files, matlab, npz
from tests.helpers import data_files as made


@pytest.mark.parametrize("name", ["binarized_mnist_valid.npz", "chardata.mat", "mine.npz"])
@pytest.mark.parametrize("kind", ["directory", "pipe", "dangling link"])
def test_what_is_no_file_is_refused(tmp_path, name, kind):
    made.put_binarized_mnist(tmp_path, ".amat")
    path = tmp_path / name
    if kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(tmp_path / "gone")
    if name == "binarized_mnist_valid.npz":
        (tmp_path / "binarized_mnist_valid.amat").unlink()
    dataset = {"chardata.mat": "omniglot", "mine.npz": str(path)}.get(name, "binarized_mnist")
    with pytest.raises(UserError, match=name) as raised:
        data.load(dataset, str(tmp_path))
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_an_unreadable_file_is_refused(tmp_path):
    path = made.put(tmp_path / "mine.npz", made.npz_bytes(**made.user_arrays()))
    path.chmod(0)
    with pytest.raises(UserError, match=r"mine.npz: cannot be opened"):
        data.load(str(path), "")


def test_a_recorded_checksum_is_compared(tmp_path):
    made.put_binarized_mnist(tmp_path, ".npz")
    path = tmp_path / "binarized_mnist_test.npz"
    with open(path, "rb") as file:
        right = files.sha256_of(file)
    files.record_checksum(path, right)
    assert (tmp_path / "binarized_mnist_test.npz.sha256").read_text() == f"{right}  {path.name}\n"
    data.load("binarized_mnist", str(tmp_path))
    wrong = "0123456789abcdef" * 4
    files.record_checksum(path, wrong)
    with pytest.raises(UserError) as raised:
        data.load("binarized_mnist", str(tmp_path))
    assert right in str(raised.value)
    assert wrong in str(raised.value)
    files.checksum_path(path).write_bytes(b"\xff nonsense")
    with pytest.raises(UserError, match="does not hold a sha256"):
        data.load("binarized_mnist", str(tmp_path))


def test_bombs_are_refused_before_memory_is_taken(tmp_path):
    zeros = np.zeros(1 << 22, np.uint8)
    path = made.put(tmp_path / "a.npz", made.npz_bytes(zeros))
    with pytest.raises(UserError, match="implausible shape"):
        npz.read_npz(path, ("arr_0",), "", max_bytes=1 << 20)
    path = made.put(tmp_path / "a.mat", made.mat_bytes(data=zeros))
    with pytest.raises(UserError, match="inflates to more"):
        matlab.read_mat(path, ("data",), "", max_bytes=1 << 20)
    path = tmp_path / "sparse.amat"
    with open(path, "wb") as file:
        file.truncate(amat.MAX_AMAT_BYTES + 1)
    with pytest.raises(UserError, match="more than the"):
        amat.read_amat(path, 784, "")


@pytest.mark.parametrize(
    "text, message",
    [
        (b"0 1 1\n0 1\n", "line 2 has 2 pixels, not 3"),
        (b"0 1 1\n0 1 1\n1", "line 3 has 1 pixels, not 3"),
        (b"0 1 10\n", "number other than 0 and 1 at offset 4"),
        (b"0 1 2\n", "has the byte b'2' at offset 4"),
        (b" \n\n", "holds no images"),
        (b"", "is empty"),
    ],
)
def test_amat_messages(tmp_path, text, message):
    with pytest.raises(UserError) as raised:
        amat.read_amat(made.put(tmp_path / "a.amat", text), 3, "mend it")
    assert str(raised.value).startswith(f"{tmp_path}/a.amat: ")
    assert message in str(raised.value)
    assert str(raised.value).endswith("; mend it")


def test_amat_layouts(tmp_path):
    text = b"0 1  1 \r\n\n1\t0 0"
    images = amat.read_amat(made.put(tmp_path / "a.amat", text), 3, "")
    np.testing.assert_array_equal(images, [[0, 1, 1], [1, 0, 0]])


def test_writing_is_all_or_nothing(tmp_path):
    path = made.put(tmp_path / "a", b"old")
    with pytest.raises(RuntimeError), files.write_atomically(path) as file:
        file.write(b"new")
        raise RuntimeError
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert path.read_bytes() == b"old"
    with files.write_atomically(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"
