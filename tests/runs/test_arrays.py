"""`dvae.train` on images that are given as arrays, and without a word."""

import numpy as np
import pytest

import dvae
from configs import registry
from configs.errors import UserError
from data import user_file
from dvae.runs import arrays, commands
from tests.helpers import tiny_runs
from tests.helpers.works import refused


@pytest.fixture
def images(tmp_path):
    with np.load(tiny_runs.write_data(tmp_path / "own.npz", grey=False)) as arrays:
        return dict(arrays)


def test_arrays_are_trained_on_as_a_file_of_them_is(images, tmp_path, monkeypatch, capfd):
    monkeypatch.setitem(registry.STRUCTURES, "2-layer-nonlin", tiny_runs.TINY)
    settings = dict(log_dir=tmp_path / "logs", **tiny_runs.ARGUMENTS)
    ours = dvae.train(images, progress=False, **settings)
    assert capfd.readouterr().out == ""
    theirs = dvae.train(tmp_path / "own.npz", **settings)
    assert "test NLL" in capfd.readouterr().out
    for left, right in zip(ours.model.variables, theirs.model.variables, strict=True):
        np.testing.assert_array_equal(left.numpy(), right.numpy())
    assert ours.result["test_nll"] == theirs.result["test_nll"]
    [kept] = (tmp_path / "logs" / "data").iterdir()
    assert ours.config.dataset == str(kept) and ours.dataset().sha256 == theirs.dataset().sha256
    before = kept.stat().st_mtime_ns
    again = dvae.train([a.tolist() for a in images.values()], progress=False, **settings)
    assert (again.path, kept.stat().st_mtime_ns) == (ours.path, before)  # loaded, not trained


def test_a_channel_of_one_is_no_other_shape(images, tmp_path):
    flat = user_file.of_arrays(images, tmp_path).dataset
    height, width = flat.image_shape
    channel = {
        name: array.reshape(len(array), height, width, 1).astype(np.float32)
        for name, array in images.items()
    }
    loaded = user_file.of_arrays(channel, tmp_path).dataset
    assert loaded.image_shape == (height, width) and loaded.sha256 == flat.sha256


# What becomes of the arrays, settings, words of the one line.
_REFUSED = {
    "one of them": (lambda a: {"train": a["train"]}, {}, r"has no array 'validation' \(it holds"),
    "four": (lambda a: [a["train"]] * 4, {}, "dataset is a list of 4"),
    "width": (lambda a: a | {"test": a["test"][:, 1:]}, {}, "'test' has images of shape"),
    "range": (lambda a: a | {"test": a["test"] * 2}, {}, "'test' holds values from 0.0 to 2.0"),
    "empty": (lambda a: a | {"test": a["test"][:0]}, {}, "'test' holds no images"),
    "text": (lambda a: a | {"test": np.array("x")}, {}, "'test' has dtype"),
    "axes": (lambda a: {n: v[..., None, None] for n, v in a.items()}, {}, "'train' has shape"),
    "ragged": (lambda a: a | {"train": [[1, 2], [3]]}, {}, "'train'"),
    "alone": (lambda a: a["train"], {}, "dataset is one array"),
    "batch": (dict, {"train_batchsize": 9999}, "^train_batchsize=9999 exceeds the .* of dataset"),
    "size": (dict, {"input_size": 3}, "^input_size is 3, but the images of arrays-"),
    "k": (dict, {"k": 0}, "^k=0 must be"),
    "type": (dict, {"num_train_iter": 1e4}, "is 10000.0, not of type int: write 10000$"),
    "start": (dict, {"start_from": "nowhere"}, "there is no run at nowhere"),
}


@pytest.mark.parametrize("case", _REFUSED)
def test_a_refused_call_is_one_line_and_leaves_nothing(images, tmp_path, case):
    change, settings, message = _REFUSED[case]
    settings = dict(log_dir=tmp_path / "logs", progress=False, train_batchsize=2) | settings
    with refused(message, ValueError):
        dvae.train(change(images), **settings)
    assert not (tmp_path / "logs").exists()


@pytest.mark.parametrize(("scale", "warned"), [(1 / 255, True), (0.03, False)])
def test_images_that_are_nearly_black_are_warned_of(images, monkeypatch, caplog, scale, warned):
    def stop(*_):
        raise UserError("no further")

    monkeypatch.setattr(commands.RunDirectory, "of_run", stop)
    dark = {name: array * scale for name, array in images.items()}
    with pytest.raises(ValueError, match="no further"):
        dvae.train(dark, train_batchsize=2, progress=False)
    assert ("divided by 255 twice?" in caplog.text) == warned


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros([6]), r"x have shape \[6\], not \[N, 6\] or .*: x = x\[None\]$"),
        (np.zeros([2, 3]), r"x have shape .*: x = x\[None\]$"),
        (np.zeros([0, 6]), r"x have shape \[0, 6\], not .* with N at least 1"),
        (np.full([5, 6], np.nan), "x must be of 0 and 1: "),
        (255 * np.eye(6), "x must be of 0 and 1: x = x / 255$"),
        (np.zeros([5, 1, 2, 3]), r"x have shape .*: x = x\[:, 0\]$"),
        (np.full([5, 6], 0.3), r"x must be of 0 and 1: .*: x = .*random\(x.shape\) < x$"),
        (np.full([5, 6], -1), r"x must be of 0 and 1: x = np.interp"),
        (2 * np.eye(6) - 1, r"x must be of 0 and 1: x = \(x \+ 1\) / 2$"),
        (np.full([5, 6], "a"), "x must be of 0 and 1, not of dtype <U1$"),
    ],
)
def test_rows_that_are_not_binary(values, message):
    with pytest.raises(ValueError, match=message):
        arrays.binary_rows("x", values, [(6,), (2, 3)])


@pytest.mark.parametrize("shape", [(6,), (2, 3), (1, 6), (1, 2, 3)])
def test_one_row_may_have_an_axis_before_it(shape):
    bits = np.array([1, 0, 0, 1, 1, 0])
    row = arrays.binary_row("a", bits.reshape(shape), [(6,), (2, 3)])
    np.testing.assert_array_equal(row, bits[None])
    with pytest.raises(ValueError, match=r"^a has shape .*, not \[6\] or \[2, 3\]$"):
        arrays.binary_row("a", np.stack([bits, bits]).reshape(2, *shape), [(6,), (2, 3)])


def test_a_run_starts_from_the_best_model_of_another(images, tmp_path, monkeypatch):
    monkeypatch.setitem(registry.STRUCTURES, "2-layer-nonlin", tiny_runs.TINY)
    settings = dict(log_dir=tmp_path / "logs", **tiny_runs.ARGUMENTS)
    first = dvae.train(images, progress=False, **settings)
    frozen = settings | {"base_lr": 1e-30, "progress": False}  # so that weights stay
    second = dvae.train(images, start_from=first, **frozen)
    assert second.result["start"]["step"] == first.step and second.path != first.path
    assert second.result["start"]["checkpoint"] == second.config.started_from
    trained = zip(first.model.trainable_variables, second.model.trainable_variables, strict=True)
    for theirs, ours in trained:
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    assert any(np.any(v.numpy()) for v in first.model.prior.trainable_variables)
    assert "start" not in first.result and not first.config.started_from
    of_the_first = {name: value for name, value in frozen.items() if name != "struct"}
    again = dvae.train(start_from=str(first.path), **of_the_first)  # data and structure are its own
    assert again.path == second.path  # finished: loaded
    fresh = dvae.train(images, **frozen)  # lies beside it
    assert fresh.path not in (first.path, second.path)
    for change, message in (
        ({"num_chains": 30}, "is a run of another num_chains"),
        ({"num_latents": 8}, "is a run of another structure"),
        ({"start_from": tmp_path}, "there is no run at"),
    ):
        with pytest.raises(ValueError, match=message):
            dvae.train(images, **(frozen | {"start_from": first.path} | change))
