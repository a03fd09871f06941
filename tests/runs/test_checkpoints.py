"""Checkpoints: complete or absent, checked, the one before in the place of a damaged one."""

import errno
import json
import os
import shutil
import types
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from configs.errors import UserError
from configs.files import aside_of
from dvae.runs import checkpoints
from dvae.runs.checkpoint_store import CheckpointStore
from dvae.runs.checkpoints import Progress, RunOptions, Saver, restore_model
from dvae.runs.directory import RunDirectory
from dvae.runs.records import read_config
from dvae.runs.summaries import Summaries
from dvae.train_step import TrainProgram
from tests.helpers import tiny_runs
from tests.helpers.damaged_files import damaged_bytes, damaged_records, no_hang
from tests.helpers.odd_names import ODD_NAMES
from tests.helpers.tiny_training import config_of, dataset
from tests.helpers.works import refused, works


def things(value=0.0):
    """The tensors of a checkpoint, all of one value."""
    return {"weights": tf.fill([5, 3], float(value)), "count": tf.constant(int(value), tf.int64)}


def save(folder, step, keep=2):
    CheckpointStore(folder, "me").save("latest", step, {"step": step}, things(step), keep=keep)


def restored(folder, owner="me"):
    """The value that is read, which is its step."""
    progress, found = CheckpointStore(folder, owner).restore("latest", things())
    assert {name: (t.dtype, t.shape) for name, t in found.items()} == {
        name: (t.dtype, t.shape) for name, t in things().items()
    }
    values = np.unique(np.append(found["weights"], found["count"]))
    assert len(values) == 1, "half a checkpoint was read"
    assert progress["step"] == values[0]
    return values[0]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def two(tmp_path):
    """A folder with checkpoints of steps 1 and 2, whose values are their steps."""
    for step in (1, 2):
        save(tmp_path, step)
    return tmp_path


def test_newest_is_read_and_old_ones_go(two):
    """Leftovers of killed writers too. A part can be read, and of nothing there is none."""
    left = aside_of(two / "latest-0000000003")
    left.mkdir()
    (left / "tensors.index").write_bytes(b"half")
    assert restored(two) == 2.0
    count = {"count": things()["count"]}
    _, found = CheckpointStore(two, "me").restore("latest", count, step=1)
    assert list(found) == ["count"] and int(found["count"]) == 1
    save(two, 3)
    assert names(two) == ["latest-0000000002", "latest-0000000003"]
    assert restored(two) == 3.0
    assert CheckpointStore(two / "nowhere").restore("latest", things()) is None


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_directory_will_do(tmp_path, name):
    """TensorFlow would take the path for a pattern, and for text."""
    folder = tmp_path / ODD_NAMES[name] / ODD_NAMES[name]
    with works(UserError, ValueError):
        save(folder, 4)
        assert restored(folder) == 4.0


def _same_json(content, good):
    try:
        return json.dumps(json.loads(content)) == json.dumps(json.loads(good))  # 1 is not true
    except (ValueError, RecursionError):
        return False


@pytest.mark.parametrize("name", ["manifest.json", "tensors.index", "tensors.data-00000-of-00001"])
def test_damaged_newest_falls_back(two, caplog, name):
    """At least 300 variants of each file: the one before is read, whole, with a warning."""
    path = two / "latest-0000000002" / name
    good = path.read_bytes()
    contents = list(damaged_bytes(good, 1))
    if name == "manifest.json":
        contents += damaged_records(json.loads(good))
    fell_back = 0
    for content in contents:
        path.write_bytes(content)
        caplog.clear()
        with no_hang():
            value = restored(two)
        if content == good or _same_json(content, good):
            assert value == 2.0
            continue
        assert value == 1.0, content[:200]
        assert "trying an older one" in caplog.text
        fell_back += 1
    assert fell_back >= 300
    path.unlink()
    assert restored(two) == 1.0


def test_checkpoints_that_are_not_this_runs(two, caplog):
    """Weights of another configuration are not damaged, they are wrong: no falling back."""
    with pytest.raises(UserError, match="another configuration"):
        restored(two, owner="somebody else")
    shutil.copytree(two / "latest-0000000001", two / "latest-0000000009")
    assert restored(two) == 2.0
    assert "it is of step 1" in caplog.text
    wrong = {"more": tf.zeros([2])}, {"weights": tf.zeros([3, 5])}
    for other in (*wrong, {"weights": tf.zeros([5, 3], tf.float64)}):
        with pytest.raises(UserError, match="no usable checkpoint"):
            CheckpointStore(two, "me").restore("latest", things() | other)
    for path in two.glob("*/tensors.index"):
        path.write_bytes(b"")
    with refused("no usable checkpoint"):
        restored(two)


def _full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("moment", ["fsync", "rename", "mkdir"])
def test_full_disk_leaves_the_old_ones(two, monkeypatch, moment):
    """A save that fails at any moment changes nothing that can be read, and leaves nothing."""
    before = names(two)
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr(Path if moment == "mkdir" else os, moment, _full)
        save(two, 3)
    assert restored(two) == 2.0
    assert names(two) == before


@pytest.fixture(scope="module")
def program():
    return TrainProgram(config_of(), dataset())


@pytest.fixture
def world(monkeypatch):
    """The time in minutes, to be set, and whether the disk is full."""
    now, sync = types.SimpleNamespace(minutes=1000.0, full=False), os.fsync
    fake = types.SimpleNamespace(monotonic=lambda: 60.0 * now.minutes)
    monkeypatch.setattr(checkpoints, "time", fake)
    monkeypatch.setattr(os, "fsync", lambda file: _full() if now.full else sync(file))
    return now


def test_failures_are_borne_for_the_limit_and_no_longer(tmp_path, world, program, caplog):
    saver = Saver(RunDirectory(tmp_path), program, RunOptions(10.0, 60.0))
    world.minutes += 9.9
    assert not saver.is_due(1)
    world.minutes += 0.2
    assert saver.is_due(1)
    world.full = True
    saver.save(Progress(step=1))
    assert "No space left on device" in caplog.text
    assert not saver.is_due(2), "not at each step"
    world.minutes += 1.0
    assert saver.is_due(2), "but again after a minute"
    world.minutes = 1000.0 + 59.0
    saver.save(Progress(step=3))
    world.minutes = 1000.0 + 61.0
    with refused("no checkpoint could be written for 61 minutes"):
        saver.save(Progress(step=4))


def test_one_success_starts_the_limit_anew(tmp_path, world, program):
    saver = Saver(RunDirectory(tmp_path), program, RunOptions(10.0, 60.0))
    for step, minutes, full in ((1, 50.0, True), (2, 5.0, False), (3, 55.0, True)):
        world.minutes, world.full = world.minutes + minutes, full
        saver.save(Progress(step=step))
        assert step != 2 or not saver.is_due(3)
    world.full = False
    assert saver.restore() == Progress(step=2)


def set_to(program, value):
    weights, averages = (tf.fill(t.shape, float(value)) for t in program.state[:2])
    program.state = program.state._replace(weights=weights, averages=averages)


def value_of(program):
    return {float(v) for variable in program.model.variables for v in np.ravel(variable.numpy())}


@pytest.mark.parametrize("kind", ["best", "kept"])
def test_a_model_that_cannot_be_written_is_written_later_as_it_was(tmp_path, program, world, kind):
    """At the next chance, though training has moved on; no `latest` gets ahead of it before."""
    saver, folder = (
        Saver(RunDirectory(tmp_path), program, RunOptions(keep_steps=(2,))),
        "checkpoints",
    )
    best = 2 if kind == "best" else 1
    set_to(program, 1)
    saver.save_model("best", Progress(step=1))
    saver.save(Progress(step=1, best_step=1))
    set_to(program, 2)
    world.full = True
    saver.save_model(kind, Progress(step=2, updates=2))
    set_to(program, 3)
    saver.save(Progress(step=3, best_step=best))
    assert names(tmp_path / folder) == ["best-0000000001", "latest-0000000001"]
    world.full = False
    saver.save(Progress(step=4, best_step=best))
    models = {"best": ["best-0000000002"], "kept": ["best-0000000001", "kept-0000000002"]}[kind]
    assert names(tmp_path / folder) == [*models, "latest-0000000001", "latest-0000000004"]
    if kind == "best":
        saver.restore_best(2)
    else:
        program.state, _ = restore_model(RunDirectory(tmp_path), program.state, step=2)
    assert value_of(program) == {2.0}


def test_the_older_best_stays_until_latest_knows_the_newer_one(tmp_path, program):
    """A run that is killed in between goes on with the older one."""
    saver = Saver(RunDirectory(tmp_path), program, RunOptions())
    for step in (1, 2):
        set_to(program, step)
        saver.save_model("best", Progress(step=step))
        if step == 1:
            saver.save(Progress(step=1, best_step=1, best_val_nll=1.0))
    again = Saver(RunDirectory(tmp_path), program, RunOptions())
    assert again.restore().best_step == 1
    again.restore_best(1)
    assert value_of(program) == {1.0}


def test_a_removed_directory_is_made_again(tmp_path, program):
    """With configuration and lock, so that it is not entered twice; summaries are found again."""
    config = tiny_runs.tiny_config("own.npz")
    directory = RunDirectory(tmp_path / "run")
    directory.open(config, "5a", fresh=False)
    saver, summaries = Saver(directory, program, RunOptions()), Summaries(directory)
    owner = directory.owner()
    saver.save(Progress(step=1))
    summaries.scalars("train", 1, {"x": 1.0})
    summaries.flush()
    shutil.rmtree(directory.path)
    summaries.scalars("train", 2, {"x": 1.0})
    saver.save(Progress(step=2))
    assert directory.owner() == owner and read_config(directory.path) == (config, "5a")
    assert json.loads((directory.path / "lock.json").read_text())["pid"] == os.getpid()
    summaries.scalars("train", 3, {"x": 1.0})
    summaries.flush()
    assert {step for _, step in tiny_runs.event_points(directory.path)} >= {3}
    assert '"step": 3' in directory.metrics.read_text()
    directory.unlock()
    again = RunDirectory(directory.path)
    again.open(config, "5a", fresh=False)
    found = Saver(again, program, RunOptions()).restore()
    assert found == Progress(step=2)


def test_line_after_a_torn_one_is_whole(tmp_path):
    """A full disk cuts a line of metrics.jsonl short; the next one starts on a line of its own."""
    directory = RunDirectory(tmp_path)
    directory.metrics.write_text('{"kind": "train", "st')
    Summaries(directory).scalars("train", 7, {"x": 1.0})
    lines = directory.metrics.read_text().splitlines()
    assert lines[1] == '{"kind": "train", "step": 7, "x": 1.0}'
