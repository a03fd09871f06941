"""Files that cannot be used, and how each form is read."""

import io
import os
import resource
import zipfile

import numpy as np
import pytest

import data
from configs.errors import UserError
from data import amat, matlab, npz
from tests.helpers import data_files as made
from tests.helpers import works


def refused(message, read, *arguments, path, **options):
    """Its one line names the file, says what is wrong, and ends with what to do."""
    with works.refused(rf"^{path}: .*({message}).*; mend it$"):
        read(path, *arguments, "mend it", **options)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_an_unreadable_file_is_refused(tmp_path):
    path = made.put(tmp_path / "mine.npz", made.npz_bytes(**made.user_arrays()))
    path.chmod(0)
    with pytest.raises(UserError, match=r"mine.npz: cannot be opened"):
        data.load(str(path), "")


def test_bombs_are_refused(tmp_path, monkeypatch):
    path = made.put(tmp_path / "a.npz", made.npz_bytes(np.zeros(1 << 22, np.uint8)))
    message = "'arr_0' has 4194432 bytes, more than the 1048576"
    refused(message, npz.read_npz, ("arr_0",), path=path, max_bytes=1 << 20)
    path = made.put(tmp_path / "a.mat", made.mat_bytes(data=np.zeros(1 << 27, np.uint8)))
    monkeypatch.setattr(matlab, "MAX_MEMORY_BYTES", 1 << 28)
    message = r"not a sound MATLAB 5 file .*MemoryError"
    refused(message, matlab.read_mat, ("data",), path=path)
    path = tmp_path / "sparse.amat"
    with open(path, "wb") as file:
        file.truncate(amat.MAX_AMAT_BYTES + 1)
    refused("more than the", amat.read_amat, 784, path=path)


def test_a_header_that_lies_takes_no_memory(tmp_path):
    npy, header = io.BytesIO(), {"descr": "|u1", "fortran_order": False, "shape": (3 << 30,)}
    np.lib.format.write_array_header_1_0(npy, header)
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("arr_0.npy", npy.getvalue() + bytes(1000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    message = r"not a sound \.npz file|does not fit into memory"
    refused(message, npz.read_npz, ("arr_0",), path=path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 17  # in KiB


@pytest.mark.parametrize(
    ("code", "limit", "message"),
    [
        ("import os; os.kill(os.getpid(), 11)", 60, "SciPy's reader was ended by signal 11"),
        ("import time; time.sleep(60)", 0.5, r"cannot be read within 0\.5 s"),
        ("raise SystemExit(3)", 60, "no reason given"),
    ],
)
def test_a_reader_of_mat_files_that_dies_or_hangs(tmp_path, monkeypatch, code, limit, message):
    monkeypatch.setattr(matlab, "_CHILD", made.put(tmp_path / "child.py", code.encode()))
    monkeypatch.setattr(matlab, "TIME_LIMIT", limit)
    path = made.put(tmp_path / "a.mat", made.mat_bytes(data=np.eye(3)))
    refused(message, matlab.read_mat, ("data",), path=path)


def test_mat_arrays_come_back_as_they_are_stored(tmp_path):
    small = np.arange(4, dtype=np.int16).reshape(4, 1)
    arrays = {"data": np.arange(6.0).reshape(2, 3) / 7, "testdata": small}
    path = made.put(tmp_path / "a.mat", made.mat_bytes(**arrays, more=np.eye(2)))
    found = matlab.read_mat(path, ("data", "testdata"), "")
    assert {name: array.dtype for name, array in found.items()} == {
        name: array.dtype for name, array in arrays.items()
    }
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
    refused("has no array 'other'", matlab.read_mat, ("data", "other"), path=path)


_BAD_TEXTS = {
    b"0 1 1\n0 1\n": "line 2 has 2 pixels, not 3",
    b"0 1 1\n0 1 1\n1": "line 3 has 1 pixels, not 3",
    b"0 1 10\n": "number other than 0 and 1 at offset 4",
    b"0 1 2\n": "has the byte b'2' at offset 4",
    b" \n\n": "holds no images",
    b"": "is empty",
}


@pytest.mark.parametrize("text", _BAD_TEXTS)
def test_amat_messages(tmp_path, text):
    refused(_BAD_TEXTS[text], amat.read_amat, 3, path=made.put(tmp_path / "a.amat", text))


def test_amat_layouts(tmp_path):
    text = b"0 1  1 \r\n\n1\t0 0"
    images = amat.read_amat(made.put(tmp_path / "a.amat", text), 3, "")
    np.testing.assert_array_equal(images, [[0, 1, 1], [1, 0, 0]])


def test_amat_text_is_the_published_form(tmp_path):
    images = made.binary_images("test")
    text = amat.to_amat(images).tobytes()
    assert text == made.amat_bytes(images)
    for content in (text, text.replace(b"\n", b"\r\n"), text.replace(b"\n", b" ")[:-1] + b"\n"):
        path = made.put(tmp_path / "a.amat", content)
        width = images.shape[1] if content.count(b"\n") > 1 else images.size
        np.testing.assert_array_equal(amat.read_amat(path, width, ""), images.reshape(-1, width))
