"""The directory of a run: one at a time, one configuration, nothing ever deleted."""

import json
import os
import subprocess
import sys

import pytest
import tensorflow as tf
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary

from configs.errors import UserError
from configs.experiment import ExperimentConfig, build_config
from dvae.runs import records
from dvae.runs.directory import RunDirectory
from dvae.runs.lock import RunLock
from dvae.runs.records import read_config
from dvae.runs.summaries import Summaries
from tests.helpers import tiny_runs
from tests.helpers.damaged_files import damaged_bytes, damaged_records, no_hang


@pytest.fixture
def config():
    return tiny_runs.tiny_config("own.npz")


@pytest.fixture
def other_process():
    """A living process that is not this one."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.communicate()


def open_at(path, config, fresh=False, sha256="5a"):
    directory = RunDirectory(path)
    directory.open(config, sha256, fresh)
    return directory


def hold(path, process):
    """The lock of a run, as if another process of this machine held it."""
    (path / "lock.json").unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "getpid", lambda: process.pid)
        RunLock(path / "lock.json").take()


def test_second_run_is_refused_while_the_first_lives(tmp_path, config, other_process, caplog):
    open_at(tmp_path / "run", config)
    hold(tmp_path / "run", other_process)
    with pytest.raises(UserError, match=f"process {other_process.pid} trains in"):
        open_at(tmp_path / "run", config)
    other_process.kill()
    other_process.wait()
    directory = open_at(tmp_path / "run", config)
    assert "took over the lock" in caplog.text
    directory.unlock()
    assert not (tmp_path / "run" / "lock.json").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"host": 1}', "\0\0"])
def test_lock_that_was_never_written_is_taken_over(tmp_path, config, text):
    open_at(tmp_path, config).unlock()
    (tmp_path / "lock.json").write_text(text)
    open_at(tmp_path, config)
    assert json.loads((tmp_path / "lock.json").read_text())["pid"] == os.getpid()


def test_other_configuration_is_refused_by_name(tmp_path, config):
    """Every field that differs is named, with both values; the data's checksum too."""
    open_at(tmp_path, config).unlock()
    other = tiny_runs.tiny_config("own.npz", base_lr=0.5, k=5)
    for path in (tmp_path, tmp_path):  # the refused one leaves no lock behind
        with pytest.raises(UserError) as caught:
            open_at(path, other, sha256="other")
        for part in (
            "base_lr: 0.003 there, 0.5 now",
            "k: 1 there, 5 now",
            "data_sha256: 5a there, other now",
            "fresh=True",
        ):
            assert part in str(caught.value)
        assert "seed" not in str(caught.value)
    assert read_config(open_at(tmp_path, config).path) == (config, "5a")


@pytest.mark.parametrize("fault", ["damaged", "full"])
def test_a_directory_that_cannot_be_used_is_left_unlocked(tmp_path, config, monkeypatch, fault):
    """The process may live on, as a notebook does, and somebody else mends the directory."""
    if fault == "damaged":
        (tmp_path / "config.json").write_text("{")
    else:

        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(records, "write_config", full)
    with pytest.raises(UserError):
        open_at(tmp_path, config)
    assert not (tmp_path / "lock.json").exists()


def test_own_data_are_known_by_their_content(tmp_path, monkeypatch):
    """The same file by another spelling or at another place is the same run."""
    monkeypatch.setenv("HOME", "/home/somebody")
    first = build_config(dataset="data/own.npz")
    open_at(tmp_path, first).unlock()
    for spelling in ("./data/../own.npz", "~/moved/own.npz", "/mnt/own.npz", "data/own.npz"):
        config = build_config(dataset=spelling)
        try:
            directory = open_at(tmp_path, config)
        except UserError as error:
            pytest.fail(f"{spelling}: {error}")
        assert read_config(directory.path) == (config, "5a")  # where the file lies now
        directory.unlock()
    with pytest.raises(UserError) as caught:
        open_at(tmp_path, build_config(dataset="other/own.npz"), sha256="6b")
    assert "data_sha256: 5a there, 6b now (another file of the name own.npz)" in str(caught.value)


def test_fresh_moves_everything_aside(tmp_path, config, caplog):
    """Twice within a second, too: each old run keeps a directory of its own."""
    path = tmp_path / "run"
    for number in range(3):
        directory = open_at(path, config, fresh=True)
        directory.result.write_text(str(number))
        directory.checkpoints.mkdir()
        (directory.checkpoints / "tensors").write_text(str(number))
        directory.unlock()
    found = {p: (p / "result.json").read_text() for p in tmp_path.iterdir()}
    assert sorted(found.values()) == ["0", "1", "2"]
    assert found[path] == "2"
    for place, number in found.items():
        assert (place / "checkpoints" / "tensors").read_text() == number
        assert place == path or place.name.startswith("run.old-")
        assert place == path or str(place) in caplog.text


def test_fresh_moves_a_run_of_another_configuration(tmp_path, config):
    open_at(tmp_path / "run", config).unlock()
    other = tiny_runs.tiny_config("own.npz", k=5)
    assert read_config(open_at(tmp_path / "run", other, fresh=True).path)[0] == other


def test_removed_directory_is_made_again(tmp_path, config):
    """With configuration and lock, so that the run can be resumed and is not entered twice."""
    directory = open_at(tmp_path / "run", config)
    owner = directory.owner()
    os.rename(tmp_path / "run", tmp_path / "gone")
    directory.restore_if_removed()
    assert read_config(directory.path) == (config, "5a")
    assert directory.owner() == owner
    assert json.loads((tmp_path / "run" / "lock.json").read_text())["pid"] == os.getpid()


def test_damaged_config_is_one_line(tmp_path, config):
    """Each of some 1000 damaged files: refused, the same, or another that the marks tell apart."""
    directory = open_at(tmp_path, config)
    good, owner = directory.config.read_bytes(), directory.owner()
    contents = [*damaged_bytes(good, 1), *damaged_records(json.loads(good))]
    assert len(contents) >= 800
    refused = 0
    for content in contents:
        directory.config.write_bytes(content)
        try:
            with no_hang():
                found = read_config(directory.path)
        except UserError as error:
            assert len(str(error).splitlines()) == 1
            refused += 1
        else:
            assert isinstance(found[0], ExperimentConfig)
            # Checkpoints carry the owner's mark: they are refused with any other configuration.
            assert found == (config, "5a") or directory.owner() != owner
    assert refused > 0.7 * len(contents)


def test_torn_and_damaged_metrics_are_dropped(tmp_path, config):
    """Of damaged lines none stops a resume; whole ones up to the checkpoint stay."""
    directory = open_at(tmp_path, config)
    lines = [json.dumps({"kind": "train", "step": step, "x": 1.0}) for step in (10, 20, 30)]
    torn = ['{"kind": "train", "st', "[]", "7", '{"step": 10}', "[" * 100_000, "é\udcff"]
    text = "\n".join([lines[0], *torn, lines[1], lines[2]])
    directory.metrics.write_bytes(text.encode(errors="surrogateescape"))
    Summaries(directory).forget_after(20, 20)
    assert directory.metrics.read_text().splitlines() == lines[:2]


def test_unwritable_place_is_one_line(tmp_path, config):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="choose another log_dir"):
        open_at(tmp_path / "file" / "run", config)


def write_events(path, *steps, torn=b""):
    """A TensorBoard file of one point at each step, and bytes behind it."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for step in steps:
            value = Summary.Value(tag="train/x", simple_value=float(step))
            writer.write(Event(step=step, summary=Summary(value=[value])).SerializeToString())
    path.write_bytes(path.read_bytes() + torn)
    return path.read_bytes()


def steps_of(path):
    records = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    return [Event.FromString(record).step for record in records]


_NO_EVENTS = {
    "noise": bytes(range(256)) * 8,
    "text": b"not a record of anything, and longer than the header of one\n",
    "zeros": bytes(4096),
}


@pytest.mark.parametrize("content", _NO_EVENTS.values(), ids=_NO_EVENTS)
def test_events_that_do_not_parse_are_set_aside(tmp_path, config, content, caplog):
    """What comes before the damage stays; what TensorBoard cannot read it does not find."""
    directory = open_at(tmp_path, config)
    path = tmp_path / "events.out.tfevents.1.host"
    damaged = write_events(path, 10, 20, 30, torn=content)
    Summaries(directory).forget_after(20, 20)
    assert steps_of(path) == [10, 20]
    aside = {found.name: found.read_bytes() for found in tmp_path.glob("damaged-*.events")}
    assert [*aside.values()] == [damaged]
    [line] = [record.getMessage() for record in caplog.records]
    assert str(path) in line and all(name in line for name in aside) and "\n" not in line


def test_records_of_something_else_are_set_aside(tmp_path, config, caplog):
    """Their checksums are right, but no events are in them."""
    directory = open_at(tmp_path, config)
    path = tmp_path / "events.out.tfevents.1.host"
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(b"\xff\xff not an event")
    Summaries(directory).forget_after(20, 20)
    assert steps_of(path) == [] and len(list(tmp_path.glob("damaged-*.events"))) == 1
    assert "set aside" in caplog.text


@pytest.mark.parametrize("step", [-1, 20])
def test_what_is_no_events_file_is_set_aside(tmp_path, config, step):
    """A directory, a pipe, a link: neither read, which could take for ever, nor removed."""
    directory = open_at(tmp_path, config)
    names = [f"events.out.tfevents.{number}.host" for number in range(4)]
    (tmp_path / names[0]).mkdir()
    os.mkfifo(tmp_path / names[1])
    (tmp_path / names[2]).symlink_to(tmp_path / "nowhere")
    write_events(tmp_path / names[3], 10)
    with no_hang():
        Summaries(directory).forget_after(step, step)
    left = [path for path in tmp_path.glob("*tfevents*")]
    assert left == ([] if step < 0 else [tmp_path / names[3]])
    assert len(list(tmp_path.glob("damaged-*.events"))) == 3


def test_torn_last_event_is_no_damage(tmp_path, config, caplog):
    directory = open_at(tmp_path, config)
    path = tmp_path / "events.out.tfevents.1.host"
    path.write_bytes(write_events(path, 10, 20)[:-5])
    Summaries(directory).forget_after(20, 20)
    assert steps_of(path) == [10] and caplog.text == ""
