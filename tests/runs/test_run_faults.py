"""Whole runs under a full disk, a removed directory, a lost terminal and bad numbers.

Each runs in a process of its own and shares its compiled programs with the others. Nothing is
statistical: what a fault must not change is compared bit for bit.
"""

import functools
import json
import os
import shutil
import signal

import numpy as np
import pytest

from tests.helpers import tiny_runs


@pytest.fixture(scope="module")
def train(spawner, tmp_path_factory):
    """Trains in a child; returns its exit code and its error."""

    def run(config, directory, **options):
        child = spawner.Process(
            target=tiny_runs.train_in_child, args=(config.to_json(), directory), kwargs=options
        )
        child.start()
        child.join()
        error = directory.parent / "error"
        return child.exitcode, error.read_text() if error.exists() else ""

    return run


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tiny_runs.write_data(tmp_path_factory.mktemp("data") / "data.npz", grey=True)
    return tiny_runs.tiny_config(path, eval_every=15)


@pytest.fixture(scope="module")
def undisturbed(train, config, tmp_path_factory):
    """The numbers of a run to which nothing happens; SIGUSR1 is no disturbance."""
    directory = tmp_path_factory.mktemp("undisturbed") / "run"
    noted = directory.parent / "noted"
    actions = [
        (17, functools.partial(tiny_runs.send_signal, signal.SIGUSR1)),
        (18, functools.partial(tiny_runs.note_checkpoints, directory, noted)),
    ]
    code, _ = train(config, directory, actions=actions, checkpoint_minutes=1e6)
    assert code == 0
    return tiny_runs.numbers(directory), noted.read_text().split()


def assert_same_tensors(ours, theirs):
    """Checkpoints of the same steps are the same, those of the end among them."""
    common = ours[2].keys() & theirs[2].keys()
    assert {name for name, _ in common} >= {"latest-0000000060"}
    for key in common:
        np.testing.assert_array_equal(ours[2][key], theirs[2][key], err_msg=str(key))


def test_sigusr1_writes_a_checkpoint_and_goes_on(undisturbed):
    """It comes after 17 steps; at 18 its checkpoint is there, though none was due."""
    (result, metrics, _), noted = undisturbed
    assert noted == ["best-0000000015", "latest-0000000015", "latest-0000000017"]
    assert result["num_train_iter"] == 60
    assert metrics[-1]["step"] == 60


def test_full_disk_in_mid_run_costs_points_but_no_numbers(train, config, tmp_path, undisturbed):
    """From step 31 to 50 nothing can be written: summaries, an evaluation, checkpoints."""
    directory = tmp_path / "run"
    actions = [
        (31, functools.partial(tiny_runs.fill_disk, True)),
        (50, functools.partial(tiny_runs.fill_disk, False)),
    ]
    code, error = train(config, directory, actions=actions)
    assert (code, error) == (0, "")
    ours, theirs = tiny_runs.numbers(directory), undisturbed[0]
    assert ours[0] == theirs[0]
    assert ours[1] == [line for line in theirs[1] if not 31 < line["step"] <= 50]
    assert_same_tensors(ours, theirs)


def test_disk_that_stays_full_ends_the_run_and_it_can_go_on(train, config, tmp_path, undisturbed):
    """One clear line, exit code 2, the checkpoint from before the fault kept; then the same end."""
    directory = tmp_path / "run"
    fill = functools.partial(tiny_runs.fill_disk, True)
    code, error = train(config, directory, actions=[(34, fill)], max_unsaved_minutes=0.0)
    assert code == 2
    assert "no checkpoint could be written" in error
    assert len(error.splitlines()) == 1
    names = sorted(path.name for path in (directory / "checkpoints").glob("latest-*"))
    assert names == ["latest-0000000024", "latest-0000000030"]
    code, _ = train(config, directory)
    assert code == 0
    ours, theirs = tiny_runs.numbers(directory), undisturbed[0]
    assert ours[:2] == theirs[:2]
    assert_same_tensors(ours, theirs)
    points = tiny_runs.event_points(directory)
    assert len(points) == len(set(points))


def test_removed_directory_costs_what_was_in_it_and_nothing_else(
    train, config, tmp_path, undisturbed
):
    directory = tmp_path / "run"
    actions = [(20, functools.partial(shutil.rmtree, directory))]
    code, error = train(config, directory, actions=actions)
    assert (code, error) == (0, "")
    ours, theirs = tiny_runs.numbers(directory), undisturbed[0]
    assert ours[0] == theirs[0]
    assert ours[1] == [line for line in theirs[1] if line["step"] > 20]
    assert not (directory / "lock.json").exists()
    code, _ = train(config, directory)  # finished: nothing to do, and it can be opened again
    assert code == 0


def test_lost_terminal(train, config, tmp_path, undisturbed):
    """Standard output and error are broken pipes from step 5 on."""
    directory = tmp_path / "run"
    code, _ = train(config, directory, actions=[(5, _lose_terminal)])
    assert code == 0
    ours, theirs = tiny_runs.numbers(directory), undisturbed[0]
    assert ours[:2] == theirs[:2]
    assert_same_tensors(ours, theirs)


def _lose_terminal():
    reader, writer = os.pipe()
    os.close(reader)
    os.dup2(writer, 1)
    os.dup2(writer, 2)


def test_numbers_that_stay_bad_stop_the_run(train, config, tmp_path):
    """A learning rate of 10^30 ruins the first update: 100 skipped ones later the run ends."""
    path = tmp_path / "run"
    bad = tiny_runs.tiny_config(
        config.dataset, base_lr=1e30, num_train_iter=400, eval_every=400, summary_every=400
    )
    code, error = train(bad, path)
    assert code == 2
    assert "updates in a row were not finite, first of all in: " in error
    assert "--base_lr" in error
    assert len(error.splitlines()) == 1
    assert any(name.name.startswith("latest-") for name in (path / "checkpoints").iterdir())
    assert not (path / "result.json").exists()
    assert json.loads((path / "config.json").read_text())["base_lr"] == 1e30
