"""Runs killed, stopped or disturbed end with the numbers they would have had, bit for bit."""

import functools
import json
import os
import random
import shutil
import signal
import time
from functools import partial

import numpy as np
import pytest
import tensorflow as tf

import data
from configs.registry import Structure
from dvae.runs import loop
from dvae.runs.checkpoints import Progress, RunOptions, Saver
from dvae.runs.directory import RunDirectory
from dvae.train_step import TrainProgram
from tests.helpers import tiny_runs
from tests.helpers.tiny_training import eager

CARRIED = "annealing, weights carried"
_PCD = dict(grey=True, sampler="pcd", log_z_population="separate", baseline="dvaepp_exp")
_ONE_GROUP = dict(struct="1-layer-nonlin", structure=Structure(1, 6, 1, 5))
_CASES = {
    "undirected": dict(grey=True, baseline="dvaess_pwl", k=2, **_ONE_GROUP),
    "annealing": dict(grey=True),
    CARRIED: dict(grey=False, resample_threshold=0.8, k=5, eval_every=15),
    "pcd, own log Z population": _PCD,
}


def _config(folder, grey, **fields):
    return tiny_runs.tiny_config(tiny_runs.write_data(folder / "data.npz", grey), **fields)


@pytest.fixture(scope="module")
def start(spawner):
    """Starts a child that trains."""

    def start(config, directory, **options):
        arguments = config.to_json(), directory
        child = spawner.Process(target=tiny_runs.train_in_child, args=arguments, kwargs=options)
        child.start()
        return child

    return start


@pytest.fixture(scope="module")
def train(start):
    """Trains in a child to its end with some exit code; returns its error."""

    def train(config, directory, code=0, **options):
        child, error = start(config, directory, **options), directory.parent / "error"
        error.unlink(missing_ok=True)
        child.join()
        text = error.read_text() if error.exists() else ""
        assert child.exitcode == code, text
        return text

    return train


@pytest.fixture(scope="module")
def whole(train, tmp_path_factory):
    """Configuration and undisturbed run of a case; models that it kept lie in the folder above."""

    @functools.cache
    def whole(case):
        folder = tmp_path_factory.mktemp("whole")
        config = _config(folder, **_CASES[case])
        train(config, folder / "run", keep_steps=(19, 25))
        for kept in (folder / "run" / "checkpoints").glob("kept-*"):
            kept.rename(folder / kept.name)
        return config, folder / "run"

    return whole


def _killed(start, config, directory, rng):
    """Starts the run and kills it at a random moment; returns whether it was still alive."""

    def newest():
        return max((p.stat().st_mtime_ns for p in directory.glob("checkpoints/*")), default=0)

    before, child = newest(), start(config, directory)
    # Most of a start is imports and compiling: most kills should fall into training.
    in_training = rng.random() < 0.8
    while in_training and child.is_alive() and newest() == before:
        time.sleep(0.005)
    child.join(rng.uniform(0.0, 1.5))
    alive = child.is_alive()
    if alive:
        os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert child.exitcode == (-signal.SIGKILL if alive else 0)
    return alive


@pytest.mark.parametrize(
    ("case", "num_kills"),
    [(CARRIED, 2), *(pytest.param(case, 20, marks=pytest.mark.slow) for case in _CASES)],
)
def test_killed_run_ends_with_the_same_numbers(tmp_path, start, train, whole, case, num_kills):
    (config, undisturbed), broken = whole(case), tmp_path / "broken"
    rng, killed = random.Random(7), 0
    while num_kills and not (broken / "result.json").exists():
        killed += _killed(start, config, broken, rng)
        num_kills -= 1
    assert killed >= 1
    train(config, broken)
    tiny_runs.assert_same_numbers(tiny_runs.numbers(broken), tiny_runs.numbers(undisturbed))
    points, expected = tiny_runs.event_points(broken), tiny_runs.event_points(undisturbed)
    assert len(points) == len(set(points)), "a point was written twice"
    # The first call of a resumed run is the compiler's: there may be no time to log.
    assert {p for p in {*points} ^ {*expected} if p[0] != "ms_per_step"} == set()


def test_stopping_in_good_order_and_keeping_models_change_nothing(tmp_path, train, whole):
    """A request to save comes after 17 steps: at 18 there is a checkpoint, though none was due."""
    (config, undisturbed), broken = whole(CARRIED), tmp_path / "broken"
    send, noted = tiny_runs.send_signal, tmp_path / "noted"
    saved = (17, partial(send, signal.SIGUSR1)), (18, partial(_note_checkpoints, broken, noted))
    first = (*saved, (19, partial(send, signal.SIGTERM)))
    for code, actions in ((143, first), (140, [(6, partial(send, signal.SIGUSR2))])):
        options = dict(actions=actions, steps_per_call=9, checkpoint_minutes=1e6)
        train(config, broken, code, **options)
        assert not (broken / "lock.json").exists()
    assert noted.read_text().split() == [
        "best-0000000015",
        "latest-0000000015",
        "latest-0000000017",
    ]
    best, *latest = sorted((broken / "checkpoints").iterdir())
    assert best.name == "best-0000000015"
    assert [path.name for path in latest] == ["latest-0000000019", "latest-0000000025"]
    for path in latest:
        _assert_same_model(undisturbed.parent / path.name.replace("latest", "kept"), path)
    train(config, broken)
    tiny_runs.assert_same_numbers(tiny_runs.numbers(broken), tiny_runs.numbers(undisturbed))


def _note_checkpoints(directory, target):
    """Writes the names of the checkpoints there are now to a file."""
    target.write_text("\n".join(sorted(p.name for p in (directory / "checkpoints").iterdir())))


def _assert_same_model(kept, latest):
    """Weights and chains, all that is kept, are those of a whole checkpoint."""
    ours, theirs = (tf.train.load_checkpoint(str(path / "tensors")) for path in (kept, latest))
    names = set(ours.get_variable_to_shape_map())
    assert len(names) == 10 and {"weights", "averages"} < names
    assert names < set(theirs.get_variable_to_shape_map())
    for name in names:
        place = f"state/sampler{name.removeprefix('chains')}" if name.startswith("chains") else name
        np.testing.assert_array_equal(ours.get_tensor(name), theirs.get_tensor(place), name)


_OTHERS = {
    "weights carried": _CASES[CARRIED],
    "weights of the estimator": dict(grey=False, baseline="rodeo"),
    "own log Z population": _PCD,
}


@pytest.mark.parametrize("case", _OTHERS)
def test_four_steps_are_two_saved_restored_and_two(tmp_path, case):
    """The smallest resume, eager and in this process: weights, slots, chains, metrics, seeds."""
    config = _config(tmp_path, **_OTHERS[case])
    dataset = data.load(config.dataset, ".")

    def advance(program, first, count):
        sizes = len(dataset.train), config.train_batchsize
        with eager():
            program.run(loop.call_indices(*sizes, config.seed, first, count, count), count)

    whole = TrainProgram(config, dataset)
    advance(whole, 0, 2)
    directory = RunDirectory(tmp_path / "run")
    Saver(directory, whole, RunOptions()).save(Progress(step=2))
    advance(whole, 2, 2)
    resumed = TrainProgram(config, dataset)
    advance(resumed, Saver(directory, resumed, RunOptions()).restore().step, 2)
    ours, theirs = ((*p.model.variables, *tf.nest.flatten(p.state)) for p in (resumed, whole))
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


def _assert_same_tensors(ours, theirs):
    """Checkpoints of the same steps are the same, those of the end among them."""
    common = ours[2].keys() & theirs[2].keys()
    assert {name for name, _ in common} >= {"latest-0000000060"}
    for key in common:
        np.testing.assert_array_equal(ours[2][key], theirs[2][key], err_msg=str(key))


def test_a_removed_directory_and_a_full_disk_cost_points_but_no_numbers(tmp_path, train, whole):
    """Removed after 20 steps; nothing can be written from 31 to 50, of an evaluation neither."""
    (config, undisturbed), directory = whole(CARRIED), tmp_path / "run"
    actions = [(20, partial(shutil.rmtree, directory))]
    actions += [(step, partial(tiny_runs.fill_disk, full)) for step, full in ((31, True), (50, 0))]
    assert train(config, directory, actions=actions) == ""
    ours, theirs = tiny_runs.numbers(directory), tiny_runs.numbers(undisturbed)
    assert ours[0] == theirs[0]
    assert ours[1] == [line for line in theirs[1] if 20 < line["step"] <= 31 or line["step"] > 50]
    _assert_same_tensors(ours, theirs)
    assert not (directory / "lock.json").exists()
    again = RunDirectory(directory)  # it can be opened again
    again.open(config, data.load(config.dataset, ".").sha256, fresh=False)
    again.unlock()


def test_disk_that_stays_full_ends_the_run_and_it_can_go_on(tmp_path, train, whole):
    """With exit code 2 and the checkpoint from before kept; then to the same end, unheard."""
    (config, undisturbed), directory = whole(CARRIED), tmp_path / "run"
    fill = partial(tiny_runs.fill_disk, True)
    error = train(config, directory, 2, actions=[(34, fill)], max_unsaved_minutes=0.0)
    assert "no checkpoint could be written" in error
    assert len(error.splitlines()) == 1
    names = sorted(path.name for path in (directory / "checkpoints").glob("latest-*"))
    assert names == ["latest-0000000024", "latest-0000000030"]
    train(config, directory, actions=[(5, _lose_terminal)])
    ours, theirs = tiny_runs.numbers(directory), tiny_runs.numbers(undisturbed)
    assert ours[:2] == theirs[:2]
    _assert_same_tensors(ours, theirs)
    points = tiny_runs.event_points(directory)
    assert len(points) == len(set(points))


def _lose_terminal():
    reader, writer = os.pipe()
    os.close(reader)
    for stream in (1, 2):
        os.dup2(writer, stream)


def test_numbers_that_stay_bad_stop_the_run(tmp_path, train):
    """A learning rate of 10^30 ruins the first update: 100 skipped ones later the run ends."""
    path, seldom = tmp_path / "run", dict.fromkeys(("eval_every", "summary_every"), 400)
    bad = _config(tmp_path, True, base_lr=1e30, num_train_iter=400, **seldom)
    error = train(bad, path, 2)
    assert "updates in a row were not finite, first of all in: " in error
    assert "base_lr" in error
    assert len(error.splitlines()) == 1
    assert any((path / "checkpoints").glob("latest-*"))
    assert not (path / "result.json").exists()
    assert json.loads((path / "config.json").read_text())["base_lr"] == 1e30
