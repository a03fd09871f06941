"""Files that cannot be used, and how each form is read."""

import io
import os
import resource
import subprocess
import sys
import zipfile

import numpy as np
import pytest

import data
from configs.errors import UserError
from data import amat, matlab, npz
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


def test_bombs_are_refused(tmp_path, monkeypatch):
    path = made.put(tmp_path / "a.npz", made.npz_bytes(np.zeros(1 << 22, np.uint8)))
    with pytest.raises(UserError, match="'arr_0' has 4194432 bytes, more than the 1048576"):
        npz.read_npz(path, ("arr_0",), "", max_bytes=1 << 20)
    path = made.put(tmp_path / "a.mat", made.mat_bytes(data=np.zeros(1 << 27, np.uint8)))
    monkeypatch.setattr(matlab, "MAX_MEMORY_BYTES", 1 << 28)
    with pytest.raises(UserError, match=r"not a sound MATLAB 5 file .*MemoryError"):
        matlab.read_mat(path, ("data",), "")
    path = tmp_path / "sparse.amat"
    with open(path, "wb") as file:
        file.truncate(amat.MAX_AMAT_BYTES + 1)
    with pytest.raises(UserError, match="more than the"):
        amat.read_amat(path, 784, "")


def test_a_header_that_lies_takes_no_memory(tmp_path):
    npy = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        npy, {"descr": "|u1", "fortran_order": False, "shape": (3 << 30,)}
    )
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("arr_0.npy", npy.getvalue() + bytes(1000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match=r"not a sound \.npz file|does not fit into memory"):
        npz.read_npz(tmp_path / "a.npz", ("arr_0",), "")
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
    with pytest.raises(UserError, match=message) as raised:
        matlab.read_mat(path, ("data",), "mend it")
    assert str(raised.value).startswith(f"{path}: ")
    assert str(raised.value).endswith("; mend it")


def test_mat_arrays_come_back_as_they_are_stored(tmp_path):
    arrays = {
        "data": np.arange(6.0).reshape(2, 3) / 7,
        "testdata": np.arange(4, dtype=np.int16).reshape(4, 1),
    }
    path = made.put(tmp_path / "a.mat", made.mat_bytes(**arrays, more=np.eye(2)))
    found = matlab.read_mat(path, ("data", "testdata"), "")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
    with pytest.raises(UserError, match="has no array 'other'"):
        matlab.read_mat(path, ("data", "other"), "")


def test_the_process_that_reads_mat_files_takes_no_tensorflow():
    code = "import data.mat_child, sys; assert 'tensorflow' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


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


def test_amat_text_is_the_published_form(tmp_path):
    images = made.binary_images("test")
    text = amat.to_amat(images).tobytes()
    assert text == made.amat_bytes(images)
    for content in (text, text.replace(b"\n", b"\r\n"), text.replace(b"\n", b" ")[:-1] + b"\n"):
        path = made.put(tmp_path / "a.amat", content)
        width = images.shape[1] if content.count(b"\n") > 1 else images.size
        np.testing.assert_array_equal(amat.read_amat(path, width, ""), images.reshape(-1, width))
