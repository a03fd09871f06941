"""Checkpoints: complete or absent, checked, and a damaged one falls back to the one before."""

import errno
import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from configs.errors import UserError
from configs.files import aside_of
from dvae.runs.checkpoints import CheckpointStore
from tests.helpers.damaged_files import damaged_bytes, damaged_records, no_hang
from tests.helpers.odd_names import ODD_NAMES
from tests.helpers.works import works


def things(value=0.0):
    """The tensors of a checkpoint, all of one value."""
    return {"weights": tf.fill([5, 3], float(value)), "count": tf.constant(int(value), tf.int64)}


@pytest.fixture
def two(tmp_path):
    """A folder with checkpoints of steps 1 and 2, whose values are their steps."""
    store = CheckpointStore(tmp_path, "me")
    for step in (1, 2):
        store.save("latest", step, {"step": step, "best": 1.5}, things(step), keep=2)
    return tmp_path


def restored(folder, owner="me"):
    """(progress, value) of what is read."""
    progress, found = CheckpointStore(folder, owner).restore("latest", things())
    assert {name: t.dtype for name, t in found.items()} == {
        name: t.dtype for name, t in things().items()
    }
    values = np.unique(np.append(found["weights"], found["count"]))
    assert len(values) == 1, "half a checkpoint was read"
    return progress, values[0]


def test_newest_is_read_and_old_ones_go(two):
    CheckpointStore(two, "me").save("latest", 3, {"step": 3}, things(3), keep=2)
    names = sorted(path.name for path in two.iterdir())
    assert names == ["latest-0000000002", "latest-0000000003"]
    assert restored(two) == ({"step": 3}, 3.0)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_directory_will_do(tmp_path, name):
    """TensorFlow would take the path for a pattern, and for text."""
    folder = tmp_path / ODD_NAMES[name] / ODD_NAMES[name]
    with works(UserError, ValueError):
        CheckpointStore(folder, "me").save("latest", 4, {"step": 4}, things(4), keep=2)
        assert restored(folder) == ({"step": 4}, 4.0)


def test_none_is_none(tmp_path):
    assert CheckpointStore(tmp_path / "nowhere").restore("latest", things()) is None


@pytest.mark.parametrize("name", ["manifest.json", "tensors.index", "tensors.data-00000-of-00001"])
def test_damaged_newest_falls_back(two, caplog, name):
    """At least 300 variants of each file: the one before is read, whole, with a warning."""
    path = two / "latest-0000000002" / name
    good = path.read_bytes()
    contents = list(damaged_bytes(good, 1))
    if name == "manifest.json":
        contents += damaged_records(json.loads(good))
    assert len(contents) >= 300
    fell_back = 0
    for content in contents:
        path.write_bytes(content)
        caplog.clear()
        with no_hang():
            progress, value = restored(two)
        if content == good or _same_json(content, good):
            assert value == 2.0
            continue
        assert (progress["step"], value) == (1, 1.0), content[:200]
        assert "trying an older one" in caplog.text
        fell_back += 1
    assert fell_back >= 300


def _same_json(content, good):
    try:
        return json.dumps(json.loads(content)) == json.dumps(json.loads(good))  # 1 is not true
    except (ValueError, RecursionError):
        return False


def test_missing_files_fall_back(two):
    for path in sorted((two / "latest-0000000002").iterdir()):
        kept = path.read_bytes()
        path.unlink()
        assert restored(two)[1] == 1.0
        path.write_bytes(kept)
    assert restored(two)[1] == 2.0


def test_all_damaged_is_one_line(two):
    for path in two.glob("*/tensors.index"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match="no usable checkpoint") as caught:
        restored(two)
    assert len(str(caught.value).splitlines()) == 1


def test_checkpoint_of_another_run_is_refused(two):
    """Weights of another configuration are not damaged, they are wrong: no falling back."""
    with pytest.raises(UserError, match="another configuration"):
        restored(two, owner="somebody else")


def test_checkpoint_under_another_name_is_damaged(two, caplog):
    shutil.copytree(two / "latest-0000000001", two / "latest-0000000009")
    assert restored(two)[1] == 2.0
    assert "it is of step 1" in caplog.text


@pytest.mark.parametrize(
    "other",
    [
        {"more": tf.zeros([2])},
        {"weights": tf.zeros([3, 5])},
        {"weights": tf.zeros([5, 3], tf.float64)},
    ],
    ids=["name", "shape", "type"],
)
def test_checkpoint_of_another_model_is_damaged(two, other):
    with pytest.raises(UserError, match="no usable checkpoint"):
        CheckpointStore(two, "me").restore("latest", things() | other)


def test_a_part_can_be_read(two):
    """As a model is from a checkpoint that a run goes on with."""
    count = {"count": things()["count"]}
    _, found = CheckpointStore(two, "me").restore("latest", count, step=1)
    assert list(found) == ["count"] and int(found["count"]) == 1


@pytest.mark.parametrize("moment", ["fsync", "rename", "mkdir"])
def test_full_disk_leaves_the_old_ones(two, monkeypatch, moment):
    """A save that fails at any moment changes nothing that can be read, and leaves nothing."""
    before = sorted(path.name for path in two.iterdir())

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    target = Path if moment == "mkdir" else __import__("os")
    monkeypatch.setattr(target, moment, full)
    with pytest.raises(OSError, match="No space"):
        CheckpointStore(two, "me").save("latest", 3, {"step": 3}, things(3), keep=2)
    monkeypatch.undo()
    assert restored(two)[1] == 2.0
    assert sorted(path.name for path in two.iterdir()) == before


def test_leftovers_of_killed_writers_are_swept(two, caplog):
    left = aside_of(two / "latest-0000000003")
    left.mkdir()
    (left / "tensors.index").write_bytes(b"half")
    assert restored(two)[1] == 2.0
    with caplog.at_level(logging.WARNING):
        CheckpointStore(two, "me").save("latest", 3, {}, things(3), keep=1)
    assert [path.name for path in two.iterdir()] == ["latest-0000000003"]
