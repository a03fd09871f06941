"""The directory of a run: one at a time, one for each configuration, nothing ever deleted."""

import itertools
import json
import os
import re
import subprocess

import pytest
import tensorflow as tf
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary

import dvae
from configs.errors import UserError
from configs.experiment import build_config
from dvae.runs import commands, interface, records
from dvae.runs.directory import RunDirectory
from dvae.runs.records import read_config
from dvae.runs.summaries import Summaries
from tests.helpers import hand_made_results, stand_in_table, tiny_runs
from tests.helpers.damaged_files import no_hang
from tests.helpers.works import refused, works


@pytest.fixture
def config():
    return tiny_runs.tiny_config("own.npz")


@pytest.fixture
def opened(tmp_path, config):
    """Opens the run's directory, of some settings."""

    def opened(name="run", config=config, sha256="5a", fresh=False):
        directory = RunDirectory(tmp_path / name)
        directory.open(config, sha256, fresh)
        return directory

    return opened


def test_second_run_is_refused_while_the_first_lives(opened, monkeypatch, caplog):
    other = subprocess.Popen(["sleep", "600"])
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: other.pid)
        path = opened().path
    with pytest.raises(UserError, match=f"process {other.pid} trains in"):
        opened()
    other.kill()
    other.wait()
    directory = opened()
    assert "took over the lock" in caplog.text
    assert json.loads((path / "lock.json").read_text())["pid"] == os.getpid()
    directory.unlock()
    assert not (path / "lock.json").exists()


def test_other_configuration_is_refused_by_name(opened, config):
    """Every field that differs is named, with both values; the data's checksum too."""
    opened().unlock()
    other = tiny_runs.tiny_config("own.npz", base_lr=0.5, k=5)
    said = "base_lr: 0.003 there, 0.5 now", "k: 1 there, 5 now", "data_sha256: 5a there, other now"
    for _ in range(2):  # the refused one leaves no lock behind
        with pytest.raises(UserError) as caught:
            opened(config=other, sha256="other")
        assert all(part in str(caught.value) for part in (*said, "fresh=True"))
        assert "seed" not in str(caught.value)
    directory = opened()
    assert read_config(directory.path) == (config, "5a")
    directory.unlock()
    assert read_config(opened(config=other, fresh=True).path)[0] == other


@pytest.mark.parametrize("fault", ["damaged", "full"])
def test_a_directory_that_cannot_be_used_is_left_unlocked(opened, tmp_path, monkeypatch, fault):
    """The process may live on, as a notebook does, and somebody else mends the directory."""
    if fault == "damaged":
        (tmp_path / "config.json").write_text("{")
    else:

        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(records, "write_config", full)
    with pytest.raises(UserError):
        opened(".")
    assert not (tmp_path / "lock.json").exists()
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="choose another log_dir"):
        opened("file/run")


def test_own_data_are_known_by_their_content(opened, monkeypatch):
    """The same file by another spelling or at another place is the same run."""
    monkeypatch.setenv("HOME", "/home/somebody")
    opened(config=build_config(dataset="data/own.npz")).unlock()
    for spelling in ("./data/../own.npz", "~/moved/own.npz", "/mnt/own.npz", "data/own.npz"):
        config = build_config(dataset=spelling)
        with works(UserError):
            directory = opened(config=config)
        assert read_config(directory.path) == (config, "5a")  # where the file lies now
        directory.unlock()
    with pytest.raises(UserError) as caught:
        opened(config=build_config(dataset="other/own.npz"), sha256="6b")
    assert "data_sha256: 5a there, 6b now (another file of the name own.npz)" in str(caught.value)


def test_fresh_moves_everything_aside(opened, tmp_path, caplog):
    """Twice within a second, too: each old run keeps a directory of its own."""
    for number in range(3):
        directory = opened(fresh=True)
        directory.result.write_text(str(number))
        directory.checkpoints.mkdir()
        (directory.checkpoints / "tensors").write_text(str(number))
        directory.unlock()
    found = {place: (place / "result.json").read_text() for place in tmp_path.iterdir()}
    assert sorted(found.values()) == ["0", "1", "2"]
    assert found.pop(directory.path) == "2"
    for place, number in found.items():
        assert (place / "checkpoints" / "tensors").read_text() == number
        assert place.name.startswith("run.old-") and str(place) in caplog.text


def test_torn_and_damaged_metrics_are_dropped(opened):
    """Of damaged lines none stops a resume; whole ones up to the checkpoint stay."""
    directory = opened()
    lines = [json.dumps({"kind": "train", "step": step, "x": 1.0}) for step in (10, 20, 30)]
    torn = ['{"kind": "train", "st', "[]", "7", '{"step": 10}', "[" * 100_000, "é\udcff"]
    text = "\n".join([lines[0], *torn, lines[1], lines[2]])
    directory.metrics.write_bytes(text.encode(errors="surrogateescape"))
    Summaries(directory).forget_after(20, 20)
    assert directory.metrics.read_text().splitlines() == lines[:2]


def write_events(path, *steps):
    """A TensorBoard file of one point at each step."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for step in steps:
            value = Summary.Value(tag="train/x", simple_value=float(step))
            event = Event(step=step, summary=Summary(value=[value])).SerializeToString()
            writer.write(event if step else b"\xff\xff not an event")


# What stands behind the points of steps 10 to 30; None: the last of 10 and 20 is torn.
_BEHIND = {
    "noise": bytes(range(256)) * 8,
    "text": b"not a record of anything, and longer than the header of one\n",
    "zeros": bytes(4096),
    "record of something else": b"",
    "torn": None,
}


@pytest.mark.parametrize("case", _BEHIND)
def test_events_that_do_not_parse_are_set_aside(opened, case, caplog):
    """What comes before the damage stays. A torn last event is no damage."""
    directory, content = opened(), _BEHIND[case]
    path = directory.path / "events.out.tfevents.1.host"
    # A point of step 0 has a right checksum, and no event is in it.
    write_events(path, 10, 20, *{b"": [0], None: []}.get(content, [30]))
    damaged = path.read_bytes()[:-5] if content is None else path.read_bytes() + content
    path.write_bytes(damaged)
    Summaries(directory).forget_after(20, 20)
    left = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    steps = [Event.FromString(record).step for record in left]
    aside = {found.name: found.read_bytes() for found in path.parent.glob("damaged-*.events")}
    if content is None:
        assert steps == [10] and not aside and caplog.text == ""
    else:
        assert steps == [10, 20] and [*aside.values()] == [damaged]
        [line] = [record.getMessage() for record in caplog.records]
        assert "set aside" in line and str(path) in line and "\n" not in line
        assert all(name in line for name in aside)


@pytest.mark.parametrize("step", [-1, 20])
def test_what_is_no_events_file_is_set_aside(opened, step):
    """A directory, a pipe, a link: neither read, which could take for ever, nor removed."""
    directory = opened()
    paths = [directory.path / f"events.out.tfevents.{number}.host" for number in range(4)]
    paths[0].mkdir()
    os.mkfifo(paths[1])
    paths[2].symlink_to("nowhere")
    write_events(paths[3], 10)
    with no_hang():
        Summaries(directory).forget_after(step, step)
    assert [*directory.path.glob("*tfevents*")] == ([] if step < 0 else [paths[3]])
    assert len(list(directory.path.glob("damaged-*.events"))) == 3


# One name, several settings.
EXAMPLES = {
    "quickstart": dict(dataset="digits", struct="1-layer-nonlin", num_train_iter=10_000),
    "snippet": dict(dataset="digits", struct="1-layer-nonlin", num_train_iter=1000),
    "notebook": dict(dataset="digits", struct="1-layer-nonlin", num_train_iter=2000),
}


@pytest.fixture
def train(tmp_path, monkeypatch, capsys):
    """Settings to the directory of their run; nothing is trained."""

    class Nothing:
        def __init__(self, config, dataset, directory, options):
            self._directory = directory

        def train(self):
            (self._directory.path / "trained").touch()

    monkeypatch.setattr(commands, "Run", Nothing)
    monkeypatch.setattr(commands, "_show_result", lambda _: None)
    monkeypatch.setattr(interface, "TrainedModel", lambda path, *_: path)
    return lambda **settings: dvae.train(log_dir=tmp_path / "logs", **settings)


@pytest.mark.parametrize("order", list(itertools.permutations(EXAMPLES)), ids=" ".join)
def test_the_examples_do_not_collide_in_any_order(train, order, capsys):
    with works(UserError):
        places = {name: train(**EXAMPLES[name]) for name in order}
    assert len(set(places.values())) == len(EXAMPLES)
    said = [line for line in capsys.readouterr().out.splitlines() if "of other settings" in line]
    assert len(said) == 2
    assert all(train(**EXAMPLES[name]) == places[name] for name in order)
    for name, place in places.items():
        wanted = EXAMPLES[name]["num_train_iter"]
        assert json.loads((place / "config.json").read_text())["num_train_iter"] == wanted


def test_a_run_is_found_though_the_one_before_it_is_gone_or_damaged(train):
    """And with fresh it starts anew where it lies."""
    settings = [dict(dataset="digits", num_train_iter=steps) for steps in (1000, 2000, 3000)]
    first, second, third = places = [train(**each) for each in settings]
    assert train(**settings[1], fresh=True) == second
    [old] = [path for path in second.parent.iterdir() if ".old-" in path.name]
    assert old.name.startswith(second.name) and (old / "trained").exists()
    assert (first / "trained").exists()
    (first / "config.json").write_text("{")
    assert train(**settings[1]) == second
    with refused(re.escape(f"{first / 'config.json'}")):
        train(dataset="digits", num_train_iter=4000)
    for path in sorted(first.iterdir()):
        path.unlink()
    assert train(**settings[2]) == third
    assert train(dataset="digits", num_train_iter=4000) == first  # the first that is free
    assert train(**settings[0]) not in places


def test_two_that_start_at_once_share_nothing(tmp_path, monkeypatch):
    """One finds the place free, and taken by another run's settings before it has the lock."""
    one, other = (tiny_runs.tiny_config("own.npz", k=k) for k in (1, 2))
    holder, open_one = RunDirectory(tmp_path / "run"), RunDirectory.open

    def late(directory, *arguments):
        monkeypatch.setattr(RunDirectory, "open", open_one)
        holder.open(other, "5a", fresh=False)
        open_one(directory, *arguments)

    monkeypatch.setattr(RunDirectory, "open", late)
    found = RunDirectory.of_run(tmp_path / "run", one, "5a", fresh=False)
    assert found.path == tmp_path / "run-2"
    assert read_config(found.path)[0] == one and read_config(holder.path)[0] == other
    for directory in (found, holder):
        directory.unlock()


def test_a_table_finds_a_run_beside_another(tmp_path):
    [run, _] = stand_in_table.plan(tmp_path, stand_in_table.SMALL_GRID)
    aside = run.directory.with_name("aside")
    hand_made_results.write(tmp_path, 90.0, k=1, num_train_iter=10)
    assert not run.is_finished()
    run.directory.rename(aside)
    hand_made_results.write(tmp_path, 90.0, k=1)
    run.directory.rename(run.directory.with_name(f"{run.directory.name}-2"))
    aside.rename(run.directory)
    assert run.is_finished()
