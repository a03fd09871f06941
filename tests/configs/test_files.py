"""What lies in the place of a file is read at once or refused in a line, and no link is written to.

Each place that reads or writes is asked, not the helper that it may use.
"""

import contextlib
import os
import socket
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import data
from configs import command_line
from configs.errors import UserError
from data import amat
from dvae.runs import commands, json_files, records
from dvae.runs.checkpoints import CheckpointStore
from dvae.runs.directory import RunDirectory
from dvae.runs.pictures import write_png
from dvae.runs.process import say
from dvae.runs.summaries import Summaries
from tables import documents, driver
from tables.runs import Outcome, outcome_of, start_process
from tests.helpers import data_files as made
from tests.helpers import hand_made_results, stand_in_table, tiny_runs
from tests.helpers.damaged_files import no_hang
from tests.helpers.works import refused


def _socket(path):
    with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)


def _sparse(path):
    with path.open("wb") as file:
        file.truncate(1 << 42)


STRANGE = {
    "pipe": os.mkfifo,
    "link to a pipe": lambda path: (os.mkfifo(f"{path}.pipe"), path.symlink_to(f"{path}.pipe")),
    "endless": lambda path: path.symlink_to("/dev/zero"),
    "directory": Path.mkdir,
    "socket": _socket,
    "giant": _sparse,
    "link to nothing": lambda path: path.symlink_to(f"{path}.gone"),
}


def _flags(path):
    try:
        command_line.parse(["run.py", f"--flagfile={path}"])
    except SystemExit as stop:
        raise UserError(path) from stop


def _flags_within(path):
    outer = path.with_name(f"outer-{path.name}")
    outer.write_text(f"--flagfile={path}\n")
    _flags(outer)


def _published(dataset):
    """Reads one file of a published data set whose others are there."""

    def read(path):
        made.put_binarized_mnist(path.parent, ".amat")
        (path.parent / "binarized_mnist_valid.amat").unlink()
        data.load(dataset, str(path.parent))

    return read


READERS = {
    "config.json": lambda path: records.read_config(path.parent),
    "data.json": lambda path: RunDirectory(path.parent).read_data_facts(),
    "result.json": records.read_result,
    "metrics.jsonl": lambda path: Summaries(RunDirectory(path.parent)).forget_after(1, 1),
    "README.md": lambda path: documents.insert(path, "text"),
    "some.flags": _flags,
    "inner.flags": _flags_within,
    "images.amat": lambda path: amat.read_amat(path, 3, ""),
    "images.npz": lambda path: data.load(str(path), ""),
    "binarized_mnist_valid.npz": _published("binarized_mnist"),
    "chardata.mat": _published("omniglot"),
}


@pytest.mark.parametrize("name", READERS)
def test_what_is_no_file_is_refused_at_once(tmp_path, name, capsys):
    for kind, make in STRANGE.items():
        if (name, kind) == ("metrics.jsonl", "link to nothing"):
            continue  # no curves are none
        folder = tmp_path / kind.replace(" ", "_")
        folder.mkdir()
        make(folder / name)
        with refused(name), no_hang(5):
            READERS[name](folder / name)


# Tensors may have any size: a giant would be read.
@pytest.mark.parametrize("kind", [kind for kind in STRANGE if kind != "giant"])
def test_what_is_no_checkpoint_file_is_passed_over(tmp_path, kind):
    """Each of its files, and one that the manifest does not name: TensorFlow would read it."""
    value = {"value": tf.constant(1.0)}
    for name in ("manifest.json", "tensors.index", "tensors.data-00000-of-00001", "tensors.more"):
        store = CheckpointStore(tmp_path / name)
        for step in (1, 2):
            store.save("latest", step, {"step": step}, value, keep=2)
        path = tmp_path / name / "latest-0000000002" / name
        path.unlink(missing_ok=True)
        STRANGE[kind](path)
        with no_hang(20):
            assert store.restore("latest", value)[0] == {"step": 1}, name


def _summaries(path):
    Summaries(RunDirectory(path.parent)).scalars("train", 1, {"x": 1.0})


def _table_log(path):
    run = stand_in_table.plan(path.parent.parent, stand_in_table.SMALL_GRID)[0]
    os.rename(path, run.log_path)
    with contextlib.suppress(UserError):
        start_process(run, ["echo"], {}, at_parents_death=15).wait()


def _generated(path):
    class Model:
        image_shape = (2, 3)

        def sample_latents(self, num):
            return np.zeros([num, 4])

        def decode(self, latents):
            return np.zeros([len(latents), 6])

    assert commands.generate(Model(), path.parent, num_images=3) == 0
    assert np.load(path.parent / "generated.npz")["latents"].shape == (3, 4)


WRITERS = {
    "generated.npz": _generated,
    "generated.png": _generated,
    "result.json": lambda path: json_files.write_json(path, {}),
    "samples.png": lambda path: write_png(path, np.zeros([2, 2, 1], np.uint8)),
    "report.md": lambda path: documents.write_text(path, "text"),
    "metrics.jsonl": _summaries,
    "output/log.txt": _table_log,
}


@pytest.mark.parametrize("name", WRITERS)
def test_nothing_is_written_through_a_link(tmp_path, name):
    """In the place of the file, and of what it was written aside to when that could be foreseen."""
    victim, path = tmp_path / "victim", tmp_path / "run" / name
    victim.write_text("kept")
    path.parent.mkdir(parents=True)
    path.symlink_to(victim)
    path.with_name(f".{path.name}.{os.getpid()}").symlink_to(victim)
    WRITERS[name](path)
    assert victim.read_text() == "kept"


def test_a_link_in_the_place_of_a_directory_of_ours(tmp_path):
    """What is swept, written or drawn there would be somebody else's."""
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / ".kept").mkdir(parents=True)
    run = tmp_path / "run"
    run.mkdir()
    (run / "checkpoints").symlink_to(elsewhere)
    with pytest.raises(UserError, match="checkpoints is a link"):
        RunDirectory(run).open(tiny_runs.tiny_config("own.npz"), "5a", fresh=False)
    hand_made_results.write(tmp_path / "tree", 85.0)
    (tmp_path / "tree" / "plots").symlink_to(elsewhere)
    with pytest.raises(UserError, match="cannot write to"):
        driver.write_report(tmp_path / "tree", tmp_path / "tree")
    assert [path.name for path in elsewhere.iterdir()] == [".kept"]


def test_a_sweep_takes_nothing_of_others(tmp_path):
    (tmp_path / ".ssh").mkdir()
    CheckpointStore(tmp_path).save("latest", 1, {}, {"value": tf.constant(1.0)}, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".ssh", "latest-0000000001"]


def test_console_lines_command_no_terminal(capsys, monkeypatch):
    def fail():
        raise UserError("a name\x1b[2J\rwith\x07 commands\u202e")

    with pytest.raises(SystemExit):
        command_line.guarded(fail)
    say("a name\x1b[2J\twith\x9b commands")
    out, err = capsys.readouterr()
    for text in (out, err):
        assert "commands" in text and not set(text) & set("\x1b\x07\x9b\r\u202e")


def test_names_of_runs_on_the_console(tmp_path):
    """What a failed run printed last goes into the table's own lines."""
    run = stand_in_table.plan(tmp_path, stand_in_table.SMALL_GRID)[0]
    start_process(run, ["printf", r"error: \033[2J"], {}, at_parents_death=15).wait()
    ended = outcome_of(run, 3)
    assert isinstance(ended, Outcome) and "\x1b" not in ended.message
