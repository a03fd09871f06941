"""Damaged data files of each form: one clear line, or data that is still sound; nothing else."""

import io
import zipfile

import numpy as np
import pytest
from scipy.sparse import csc_array

import data
from configs.errors import UserError
from data import matlab, omniglot
from tests.helpers import data_files as made
from tests.helpers.damaged_files import damaged_bytes, no_hang
from tests.helpers.mat_forks import MatForks


def damaged_arrays(good):
    """Arrays of the right name that hold what they must not."""
    rows, columns = good.shape
    for value in (np.nan, -1.0, -1e-9, 1.0000001, np.inf, -np.inf, 255.0, 1e300):
        for place in ((0, 0), (rows // 2, columns // 2), (rows - 1, columns - 1)):
            bad = good.astype(np.float64)
            bad[place] = value
            yield bad
    shapes = [good[:, :-1], good[:0], good[:, :0], good[0], good[None], good.ravel(), good[0, 0]]
    shapes += [np.concatenate([good, good[:, :3]], axis=1), good.reshape(rows, columns, 1, 1)]
    yield from (np.array(a) for a in shapes)
    yield from (good.astype(dtype) for dtype in (np.complex64, "S3", "U3"))
    yield (good * 255).astype(np.uint8)
    yield good.astype(np.int8) - 2


def npy(header, payload=b""):
    text = header.encode() + b" " * (64 - (len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + payload


_SHAPES = "(10**12, 784)|(1000000000000, 784)|(-1, 784)|(-1, -784)|(2**63,)|()|(0, 784)|"
_SHAPES += "(99999999999999999999999,)|('a',)|7|None|(7, 784)"
_DTYPES = "'|O' 'O' '<U8' '|V8' [('a','|u1')] 'x' 7 '<M8[s]' '<c8'"


def damaged_members():
    """npy files with headers that lie."""
    form = "{{'descr': {}, 'fortran_order': {}, 'shape': {}}}"
    yield from (npy(form.format("'|u1'", False, shape)) for shape in _SHAPES.split("|"))
    for dtype in _DTYPES.split(" "):
        yield npy(form.format(dtype, False, "(1, 784)"), bytes(784 * 8))
    yield npy(form.format("'|u1'", 3, "(1, 784)"), bytes(784))
    yield from map(npy, ("{}" * 5000, "(" * 5000, "__import__('os').abort()"))
    yield from (b"\x93NUMPY" + version + bytes(100) for version in (b"\x09\x00", b"\x03\x00"))
    yield from (b"no array", b"")


def zipped(name, content):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return file.getvalue()


def assert_sound(found):
    grey = found.train * found.grey_unit
    assert grey.min() >= 0 and grey.max() <= 1
    for array in (found.validation, found.test):
        assert array.dtype == np.uint8 and array.max() <= 1
    arrays = found.train, found.validation, found.test
    assert {a.shape[1] for a in arrays} == {found.image_shape[0] * found.image_shape[1]}
    assert min(map(len, arrays)) > 0


def throw(path, contents, dataset, exact, least=None):
    """Loads a data set from each damaged content; more than a share `least`, or all, is refused.

    With `exact`, what loads must be the undamaged data, as the format has checksums. Returns how
    many there were.
    """
    reference, refused, good = data.load(dataset, path.parent).sha256, 0, path.read_bytes()
    contents = list(contents)
    for content in contents:
        path.write_bytes(content)
        try:
            with no_hang():
                found = data.load(dataset, path.parent)
        except UserError as error:
            text = str(error)
            assert text.startswith(f"{path}: ") and len(text.splitlines()) == 1 and len(text) < 1000
            refused += 1
        else:
            assert_sound(found)
            assert not exact or found.sha256 == reference
    path.write_bytes(good)
    assert refused == len(contents) if least is None else refused > least * len(contents)
    return len(contents)


def test_amat(tmp_path):
    made.put_binarized_mnist(tmp_path, ".amat")
    path = tmp_path / "binarized_mnist_valid.amat"
    contents = [*damaged_bytes(path.read_bytes(), 1), b"0 " * 5_000_011, b"\n" * 5_000_011]
    for array in damaged_arrays(made.binary_images("valid")):
        rows = array if array.ndim == 2 else array.reshape(1, -1)
        contents.append("\n".join(" ".join(map(str, row)) for row in rows).encode())
    # what is left: pixels turned over, and files cut at the end of a line
    assert throw(path, contents, "binarized_mnist", False, 0.7) >= 300


def test_npz_of_binarized_mnist(tmp_path):
    made.put_binarized_mnist(tmp_path, ".npz")
    path = tmp_path / "binarized_mnist_valid.npz"
    good = made.binary_images("valid")
    assert throw(path, damaged_bytes(path.read_bytes(), 2), "binarized_mnist", True, 0.8) >= 300
    made.put(path, made.npz_bytes(good))
    damaged = [made.npz_bytes(array) for array in damaged_arrays(good)]
    damaged += [made.npz_bytes(good * 0.5), made.npz_bytes(good.astype(object))]
    damaged += [zipped("arr_0.npy", member) for member in damaged_members()]
    damaged += [made.npz_bytes(other=good), zipped("../arr_0.npy", b""), zipped("arr_0", b"x")]
    throw(path, damaged, "binarized_mnist", True)


@pytest.mark.parametrize("compressed", [True, False])
def test_npz_of_a_user(tmp_path, compressed):
    arrays = made.user_arrays()
    path = tmp_path / "mine.npz"
    (np.savez_compressed if compressed else np.savez)(path, **arrays)
    assert throw(path, damaged_bytes(path.read_bytes(), 3), str(path), True, 0.8) >= 300
    if not compressed:
        return
    damaged = [
        made.npz_bytes(**{**arrays, name: array})
        for name in arrays
        for array in damaged_arrays(arrays[name])
    ]
    damaged += [zipped("train.npy", member) for member in damaged_members()]
    damaged += [made.npz_bytes(**{k: v for k, v in arrays.items() if k != name}) for name in arrays]
    damaged += [made.npz_bytes(**{**arrays, "test": np.array([{}], dtype=object)})]
    throw(path, damaged, str(path), True)


@pytest.fixture
def columns(monkeypatch):
    return made.omniglot_columns(monkeypatch)


@pytest.fixture
def mat_forks(monkeypatch, tmp_path):
    forks = MatForks(tmp_path)
    monkeypatch.setattr(matlab, "_run_child", forks.run)
    yield
    forks.stop()


EVERY = pytest.mark.parametrize("every", [6, pytest.param(1, marks=pytest.mark.slow)])


@EVERY
@pytest.mark.parametrize("compressed", [True, False])
def test_mat(tmp_path, columns, mat_forks, compressed, every):
    good = made.mat_bytes(compressed, target=np.eye(3), **columns)
    path = made.put(tmp_path / "chardata.mat", good)
    contents = list(damaged_bytes(good, 4))[::every]
    # an uncompressed .mat has no checksum: a flipped bit of a grey value is another grey value
    least = 0.7 if compressed else 0.3
    assert throw(path, contents, "omniglot", compressed, least) >= 300 // every


def test_mat_of_other_kinds(tmp_path, columns, mat_forks):
    good = made.mat_bytes(**columns)
    path = made.put(tmp_path / "chardata.mat", good)
    sparse, objects = csc_array(np.eye(5)), np.array([{}, 1], dtype=object)
    odd = ("text", {"a": 1}, [1, "b"], objects, 1j, sparse)
    damaged = [made.mat_bytes(data=columns["data"], testdata=value) for value in odd]
    damaged += [made.mat_bytes(data=columns["data"]), made.mat_bytes(testdata=columns["data"])]
    damaged += [good[:124] + b"\x00\x02" + good[126:]]  # says to be of MATLAB 7.3
    damaged += [made.mat_bytes(version="4", **columns)]
    throw(path, damaged, "omniglot", True)


def test_mat_of_other_numbers(tmp_path, columns, monkeypatch):
    """What is checked of the arrays, whoever read them."""
    held = dict(columns)
    monkeypatch.setattr(omniglot, "read_mat", lambda *_: held)
    made.put(tmp_path / "chardata.mat", b"read by a stand-in")
    data.load("omniglot", tmp_path)
    for key, good in columns.items():
        for array in damaged_arrays(good.T):
            if array.dtype.kind not in "US":  # read_mat itself refuses text
                held[key] = array.T if array.ndim == 2 else array
                with pytest.raises(UserError, match=r"chardata\.mat: "):
                    data.load("omniglot", tmp_path)
        held[key] = good


@EVERY
def test_mat_with_lies_about_its_structure(tmp_path, columns, mat_forks, every):
    others = {"target": np.eye(3), "struct": {"a": 1}, "cell": np.array([1, "b"], dtype=object)}
    good = made.mat_bytes(False, **others, **columns)
    path = made.put(tmp_path / "chardata.mat", good)
    places, start = [], 128
    while start < len(good):  # the first bytes of each variable: type, length, flags, shape, name
        length = int.from_bytes(good[start + 4 : start + 8], "little")
        places += range(start, min(start + 72, start + 8 + length))
        start += 8 + length
    generator = np.random.default_rng(6)

    def contents():
        for _ in range(600 // every):
            changed = bytearray(good)
            for place in generator.choice(places, generator.integers(1, 4)):
                changed[place] = generator.integers(256)
            yield bytes(changed)

    assert throw(path, contents(), "omniglot", False, 0.3) == 600 // every
