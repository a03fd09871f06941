"""Checkpoints that cannot be written: warned of, tried again, and the end only after the limit."""

import errno
import os
import shutil
import types

import numpy as np
import pytest
import tensorflow as tf

from configs.errors import UserError
from dvae.runs import checkpoints
from dvae.runs.checkpoints import Progress, RunOptions, Saver, restore_model
from dvae.runs.directory import RunDirectory
from dvae.runs.summaries import Summaries
from dvae.train_step import TrainProgram
from tests.helpers import tiny_runs
from tests.helpers.tiny_training import config_of, dataset


@pytest.fixture
def clock(monkeypatch):
    """The time in minutes, to be set."""
    now = types.SimpleNamespace(minutes=1000.0)
    fake = types.SimpleNamespace(monotonic=lambda: 60.0 * now.minutes)
    monkeypatch.setattr(checkpoints, "time", fake)
    return now


@pytest.fixture(scope="module")
def program():
    return TrainProgram(config_of(), dataset())


@pytest.fixture
def full_disk(monkeypatch):
    """Nothing can be written while its `on` is set."""
    state = types.SimpleNamespace(on=False)
    sync = os.fsync

    def fsync(descriptor):
        if state.on:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    return state


def test_failures_are_borne_for_the_limit_and_no_longer(
    tmp_path, clock, program, full_disk, caplog
):
    saver = Saver(RunDirectory(tmp_path), program, RunOptions(10.0, 60.0))
    clock.minutes += 9.9
    assert not saver.is_due(1)
    clock.minutes += 0.2
    assert saver.is_due(1)
    full_disk.on = True
    saver.save(Progress(step=1))
    assert "No space left on device" in caplog.text
    assert not saver.is_due(2), "not at each step"
    clock.minutes += 1.0
    assert saver.is_due(2), "but again after a minute"
    clock.minutes = 1000.0 + 59.0
    saver.save(Progress(step=3))
    clock.minutes = 1000.0 + 61.0
    with pytest.raises(UserError, match="no checkpoint could be written for 61 minutes") as caught:
        saver.save(Progress(step=4))
    assert len(str(caught.value).splitlines()) == 1


def test_one_success_starts_the_limit_anew(tmp_path, clock, program, full_disk):
    saver = Saver(RunDirectory(tmp_path), program, RunOptions(10.0, 60.0))
    full_disk.on = True
    clock.minutes += 50.0
    saver.save(Progress(step=1))
    full_disk.on = False
    clock.minutes += 5.0
    saver.save(Progress(step=2))
    assert not saver.is_due(3)
    full_disk.on = True
    clock.minutes += 55.0
    saver.save(Progress(step=3))
    full_disk.on = False
    assert saver.restore() == Progress(step=2)


def names(folder):
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def set_to(program, value):
    weights, averages = (tf.fill(t.shape, float(value)) for t in program.state[:2])
    program.state = program.state._replace(weights=weights, averages=averages)


def value_of(program):
    return {float(v) for variable in program.model.variables for v in np.ravel(variable.numpy())}


@pytest.mark.parametrize("kind", ["best", "kept"])
def test_a_model_that_cannot_be_written_is_written_later_as_it_was(
    tmp_path, program, full_disk, kind
):
    """At the next chance, though training has moved on; no `latest` gets ahead of it before."""
    saver = Saver(RunDirectory(tmp_path), program, RunOptions(keep_steps=(2,)))
    set_to(program, 1)
    saver.save_model("best", Progress(step=1))
    saver.save(Progress(step=1, best_step=1))
    set_to(program, 2)
    full_disk.on = True
    saver.save_model(kind, Progress(step=2, updates=2))
    set_to(program, 3)
    saver.save(Progress(step=3, best_step=2 if kind == "best" else 1))
    assert names(tmp_path) == ["best-0000000001", "latest-0000000001"]
    full_disk.on = False
    saver.save(Progress(step=4, best_step=2 if kind == "best" else 1))
    latest = ["latest-0000000001", "latest-0000000004"]
    if kind == "best":
        assert names(tmp_path) == ["best-0000000002", *latest]
        saver.restore_best(2)
    else:
        assert names(tmp_path) == ["best-0000000001", "kept-0000000002", *latest]
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


def test_removed_directory_is_made_again_by_a_checkpoint(tmp_path, program):
    config = tiny_runs.tiny_config("own.npz")
    directory = RunDirectory(tmp_path / "run")
    directory.open(config, "5a", fresh=False)
    saver = Saver(directory, program, RunOptions())
    saver.save(Progress(step=1))
    shutil.rmtree(tmp_path / "run")
    saver.save(Progress(step=2))
    directory.unlock()
    again = RunDirectory(tmp_path / "run")
    again.open(config, "5a", fresh=False)
    assert Saver(again, program, RunOptions()).restore() == Progress(step=2)


def test_summaries_outlive_a_removed_directory(tmp_path, caplog):
    """What is written after it is found again, in TensorBoard's file and in metrics.jsonl."""
    directory = RunDirectory(tmp_path / "run")
    directory.open(tiny_runs.tiny_config("own.npz"), "5a", fresh=False)
    summaries = Summaries(directory)
    summaries.scalars("train", 1, {"x": 1.0})
    summaries.flush()
    shutil.rmtree(tmp_path / "run")
    for step in (2, 3):
        summaries.scalars("train", step, {"x": 1.0})
        directory.restore_if_removed()
    summaries.flush()
    assert {step for _, step in tiny_runs.event_points(directory.path)} >= {3}
    assert '"step": 3' in directory.metrics.read_text()


def test_line_after_a_torn_one_is_whole(tmp_path):
    """A full disk cuts a line of metrics.jsonl short; the next one starts on a line of its own."""
    directory = RunDirectory(tmp_path)
    directory.metrics.write_text('{"kind": "train", "st')
    Summaries(directory).scalars("train", 7, {"x": 1.0})
    lines = directory.metrics.read_text().splitlines()
    assert lines[1] == '{"kind": "train", "step": 7, "x": 1.0}'


@pytest.mark.parametrize("name", ["checkpoint_minutes", "max_unsaved_minutes"])
@pytest.mark.parametrize("value", [-1.0, float("nan")])
def test_impossible_times_are_refused(name, value):
    with pytest.raises(UserError, match=name):
        RunOptions(**{name: value})
