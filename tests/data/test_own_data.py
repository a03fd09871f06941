"""A user's images: each line of docs/own_data.md converts, and the error that it helps names it."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

import data
from configs.errors import UserError
from data import conversions, user_file
from tests.helpers.works import refused

PAGE = (Path(__file__).parents[2] / "docs" / "own_data.md").read_text()
LINES = dict(re.findall(r"^\| (.+) \| `(images = .+)` \|$", PAGE, re.M))
# Six pictures of 5 by 7 bytes, the first of which holds the smallest and the largest.
BYTES = np.random.default_rng(5).integers(0, 256, (6, 5, 7), dtype=np.uint8)
BYTES[0, 0, :2] = 0, 255
UNIT = BYTES / 255
BITS = UNIT > 0.5

FILES = {
    "one `.npy` file": BYTES,
    "a folder of PNG files of one size, whatever their colours": BYTES,
    "the same, of several sizes": np.stack(
        [Image.fromarray(picture).resize((28, 28)) for picture in BYTES]
    ),
    "a CSV table, an image a row": BYTES.reshape(6, 35),
    "the same with a header, and labels in its first column": BYTES.reshape(6, 35),
    "MATLAB, [N, pixels]": BYTES.reshape(6, 35),
    "MATLAB, [height, width, N]": BYTES,
    "MATLAB, [pixels, N], made by `reshape` of such pictures of 5 by 7": BYTES,
}
PYTORCH = "a PyTorch data set, with `ToTensor` or without"
# What people have, and what becomes of it.
ARRAYS = {
    "channels first, [N, 1, H, W]": (UNIT[:, None], UNIT),
    "colour, [N, H, W, 3], or 4 with alpha": (np.stack([UNIT] * 3 + [UNIT * 0], -1), UNIT),
    "colour, [N, 3, H, W]": (np.stack([UNIT, UNIT, UNIT], axis=1), UNIT),
    "grey and alpha, [N, H, W, 2]": (np.stack([UNIT, UNIT * 0], axis=-1), UNIT),
    "volumes, [N, D, H, W]": (np.stack([UNIT] * 5, 1), np.stack([UNIT] * 5, 1).reshape(6, -1)),
    "NaN or infinity: without such images": (
        np.where(np.arange(210).reshape(6, 5, 7) == 80, np.nan, UNIT),
        np.delete(UNIT, 2, axis=0),
    ),
    "bytes, 0 to 255": (BYTES, UNIT),
    "16 bits, 0 to 65535": (BYTES * np.uint16(257), UNIT),
    "spins, -1 and 1": (2 * BITS.astype(np.int8) - 1, BITS),
    "slightly outside [0, 1]": (UNIT * 1.002 - 0.001, (UNIT * 1.002 - 0.001).clip(0, 1)),
    "real numbers of another range": ((BYTES.astype(int) * 257 - 32768).astype(np.int16), UNIT),
    "grey values to be cut once": (UNIT, BITS),
}
ACCEPTED = "grey values to be cut once"


def test_the_page_has_the_lines_that_are_tested():
    assert set(LINES) == {*FILES, PYTORCH, *ARRAYS}


def executed(line, **names):
    imports = next(
        block for block in re.findall("```python\n(.*?)```", PAGE, re.S) if "PIL" in block
    )
    exec(imports, names)
    exec(line, names)
    return names["images"]


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("images.npy", BYTES)
    Path("folder").mkdir()
    for index, picture in enumerate(map(Image.fromarray, BYTES)):
        coloured = picture.convert(["L", "RGB", "RGBA"][index % 3])
        if index % 3 == 2:
            coloured.putalpha(7)
        coloured.save(f"folder/{index}.png")
    rows = BYTES.reshape(6, 35)
    np.savetxt("table.csv", rows, delimiter=",")
    header = ",".join(["label", *(f"pixel{i}" for i in range(35))])
    labelled = np.insert(rows.astype(int), 0, 999, axis=1)
    np.savetxt("labelled.csv", labelled, delimiter=",", header=header, comments="")
    cube = np.moveaxis(BYTES, 0, -1)
    columns = cube.reshape(35, 6, order="F")  # as MATLAB's reshape does
    savemat("data.mat", {"rows": rows, "cube": cube, "columns": columns})


@pytest.mark.parametrize("have", FILES)
def test_lines_that_read_files(files, have):
    np.testing.assert_array_equal(executed(LINES[have]), FILES[have])


@pytest.mark.parametrize("tensor", [True, False])
def test_the_line_for_data_sets_of_pairs(tensor):
    pictures = UNIT[:, None].astype(np.float32) if tensor else map(Image.fromarray, BYTES)
    found = executed(LINES[PYTORCH], dataset=[(picture, 3) for picture in pictures])
    np.testing.assert_allclose(found, UNIT if tensor else BYTES, atol=1e-7)


@pytest.mark.parametrize("have", ARRAYS)
def test_lines_that_convert_arrays_are_those_of_errors(have):
    given, wanted = ARRAYS[have]
    found = executed(LINES[have], images=given)
    np.testing.assert_allclose(found, wanted, atol=1e-12)
    user_file.of_arrays([found] * 3, Path())
    if have != ACCEPTED:
        with refused(f": {re.escape(LINES[have])}$"):
            user_file.of_arrays([given] * 3, Path())


def test_values_of_no_known_range_are_stretched():
    for values in ([0.0, 16.0], [0, 100], [-0.4, 2.8], [-0.5, 0.3], [0.0, 1e6]):
        assert "np.interp(" in conversions.of_values("x", np.array([values]))


def test_where_a_value_is_not_finite_is_said():
    given = ARRAYS["NaN or infinity: without such images"][0]
    with pytest.raises(UserError, match=r"infinity: 1 of 210 values, first at \[2, 1, 3\]"):
        user_file.of_arrays([given] * 3, Path())


CUT = r"cut it off: train, {0} = np.split\(train, \[len\(train\) \* 9 // 10\]\)$"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            (BITS, [1] * 6),
            "^dataset is a tuple of 2, not .train, validation, test.; labels are",
        ),
        (((BITS, [1] * 6),) * 3, "^dataset: 'train': .* images that have one size, without labels"),
        ((BITS, [1] * 6, BITS), r"'validation' has images of shape \(\), .*, without labels$"),
        ([*BITS], "^dataset is a list of 6, not"),
        (BITS, r"^dataset is one array, of shape \(6, 5, 7\): .*=np.split\(images, \[4, 4\]\)$"),
        (dict(train=BITS, test=BITS), r"has no array 'validation' .*; " + CUT.format("validation")),
        (dict(train=BITS, val=BITS), r"has no array 'test' .*; " + CUT.format("test")),
        (dict(x_train=BITS, test=BITS), r"has no array 'train' \(it holds x_train, test\); give"),
        (
            dict(train=BITS, valid=BITS, test=BITS, name="../x"),
            r"^dataset\['name'\] is '../x': use",
        ),
        (None, "^dataset is None: give a name, a path, or arrays$"),
    ],
)
def test_arrays_that_are_not_three(given, message):
    with refused(message):
        user_file.of_arrays(given, Path())


@pytest.mark.parametrize("name", ["validation", "valid", "val"])
def test_names_of_the_validation_images(tmp_path, name):
    arrays = {"train": BITS, name: BITS[1:], "test": BITS[2:], "labels": np.array(["a"])}
    own = user_file.of_arrays(arrays | {"name": "clouds"}, tmp_path)
    assert own.path.name == f"clouds-{own.dataset.sha256[:12]}.npz" and not own.path.exists()
    own.write()
    np.savez(tmp_path / "own.npz", **arrays)
    for path in (own.path, tmp_path / "own.npz"):
        found = data.load(str(path))
        assert (found.name, found.sha256) == (path.stem, own.dataset.sha256)
        assert (
            f"6 train + 5 validation + 4 test images of 35 binary pixels; from {path}"
            == found.notes
        )
    assert own.dataset.notes == data.load(str(own.path)).notes


def test_a_file_without_a_split_says_how_to_cut_one_off(tmp_path):
    np.savez(tmp_path / "own.npz", train=BITS, validation=BITS)
    message = r"own.npz: has no array 'test' \(it holds train, validation\); " + CUT.format("test")
    with pytest.raises(UserError, match=message):
        data.load(str(tmp_path / "own.npz"))
