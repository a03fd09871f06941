"""A run that is killed or stopped at any moment ends with the numbers it would have had.

Nothing here is statistical: everything is compared bit for bit.
"""

import dataclasses
import functools
import os
import random
import signal
import time

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

_CASES = {
    "undirected": dict(
        grey=True,
        baseline="dvaess_pwl",
        struct="1-layer-nonlin",
        structure=Structure(1, 6, 1, 5),
        k=2,
    ),
    "annealing": dict(grey=True),
    "annealing, weights carried": dict(grey=False, resample_threshold=0.8, k=5),
    "pcd, own log Z population": dict(
        grey=True, sampler="pcd", log_z_population="separate", baseline="dvaepp_exp"
    ),
}


def _case(name, folder):
    return _config(_CASES[name], folder)


def _config(fields, folder):
    fields = dict(fields)
    path = tiny_runs.write_data(folder / "data.npz", fields.pop("grey"))
    return tiny_runs.tiny_config(path, **fields)


def _start(spawner, config, directory, **hooks):
    """A child that trains. Children start alike and share compiled programs; this process not."""
    child = spawner.Process(
        target=tiny_runs.train_in_child, args=(config.to_json(), directory), kwargs=hooks
    )
    child.start()
    return child


def _kill(child):
    """Kills a child that is still alive; returns whether it was."""
    alive = child.is_alive()
    if alive:
        os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert child.exitcode == (-signal.SIGKILL if alive else 0)
    return alive


def _train_in_child(spawner, config, directory, **options):
    child = _start(spawner, config, directory, **options)
    child.join()
    assert child.exitcode == 0


def _kill_at_random_moments(spawner, config, directory, num_kills, seed):
    """Starts the run again and again and kills it at random moments; returns how often."""
    rng = random.Random(seed)
    killed = 0
    for _ in range(num_kills):
        child = _start(spawner, config, directory)
        # Most of a start is imports and compiling: most kills should fall into training.
        if rng.random() < 0.8:
            _wait_for_a_write(child, directory)
        child.join(rng.uniform(0.0, 1.5))
        killed += _kill(child)
        if (directory / "result.json").exists():
            break
    return killed


def _wait_for_a_write(child, directory):
    """Returns when the run has written a checkpoint or a summary, or the child is gone."""

    def newest():
        return max((p.stat().st_mtime_ns for p in directory.glob("checkpoints/*")), default=0)

    before = newest()
    while child.is_alive() and newest() == before:
        time.sleep(0.005)


@pytest.mark.parametrize(
    ("case", "num_kills"),
    [
        ("pcd, own log Z population", 2),
        *(pytest.param(case, 20, marks=pytest.mark.slow) for case in _CASES),
    ],
)
def test_killed_run_ends_with_the_same_numbers(tmp_path, spawner, case, num_kills):
    config = _case(case, tmp_path)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    _train_in_child(spawner, config, whole)
    killed = _kill_at_random_moments(spawner, config, broken, num_kills, seed=7)
    assert killed >= 1
    _train_in_child(spawner, config, broken)
    tiny_runs.assert_same_numbers(tiny_runs.numbers(broken), tiny_runs.numbers(whole))
    points, expected = tiny_runs.event_points(broken), tiny_runs.event_points(whole)
    assert len(points) == len(set(points)), "a point was written twice"
    # The first call of a resumed run is the compiler's: it may leave no time to be logged.
    assert {p for p in points if p[0] != "ms_per_step"} == {
        p for p in expected if p[0] != "ms_per_step"
    }


def test_stopping_in_good_order_and_keeping_models_change_nothing(tmp_path, spawner):
    """4 steps = 2 steps + save + restore + 2 steps: seeds, chains and data order included.

    The whole run keeps models at steps that are no boundary otherwise: those that the other one
    stopped at.
    """
    config = _case("annealing, weights carried", tmp_path)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    _train_in_child(spawner, config, whole, keep_steps=(17, 25))
    for number, steps, code in ((signal.SIGTERM, 17, 143), (signal.SIGUSR2, 8, 140)):
        stop = functools.partial(tiny_runs.send_signal, number)
        child = _start(
            spawner,
            config,
            broken,
            actions=[(steps, stop)],
            steps_per_call=9,
            checkpoint_minutes=1e6,
        )
        child.join()
        assert child.exitcode == code
        assert not (broken / "lock.json").exists()
    latest = sorted((broken / "checkpoints").iterdir())
    assert [path.name for path in latest] == ["latest-0000000017", "latest-0000000025"]
    for path in latest:
        kept = whole / "checkpoints" / path.name.replace("latest", "kept")
        _assert_same_model(kept, path)
        kept.rename(tmp_path / kept.name)  # the other run has none
    _train_in_child(spawner, config, broken)
    tiny_runs.assert_same_numbers(tiny_runs.numbers(broken), tiny_runs.numbers(whole))


def _assert_same_model(kept, latest):
    """Weights and chains, all that is kept, are those of a whole checkpoint."""
    ours, theirs = (tf.train.load_checkpoint(str(path / "tensors")) for path in (kept, latest))
    names = set(ours.get_variable_to_shape_map())
    assert len(names) == 10 and {"weights", "averages"} < names
    assert names < set(theirs.get_variable_to_shape_map())
    for name in names:
        place = f"state/sampler{name.removeprefix('chains')}" if name.startswith("chains") else name
        np.testing.assert_array_equal(ours.get_tensor(name), theirs.get_tensor(place), name)


@pytest.mark.parametrize(
    "fields",
    [_CASES["annealing, weights carried"], dict(grey=False, baseline="rodeo")],
    ids=["weights carried", "weights of the estimator"],
)
def test_four_steps_are_two_saved_restored_and_two(tmp_path, fields):
    """The smallest resume, eager and in this process: weights, slots, chains, metrics, seeds."""
    config = _config(fields, tmp_path)
    dataset = data.load(config.dataset, ".")

    def advance(program, first, count):
        indices = loop.call_indices(
            len(dataset.train), config.train_batchsize, config.seed, first, count, count
        )
        with eager():
            program.run(indices, count)

    whole = TrainProgram(config, dataset)
    advance(whole, 0, 2)
    directory = RunDirectory(tmp_path / "run")
    Saver(directory, whole, RunOptions()).save(Progress(step=2))
    advance(whole, 2, 2)
    resumed = TrainProgram(dataclasses.replace(config), dataset)
    progress = Saver(directory, resumed, RunOptions()).restore()
    advance(resumed, progress.step, 2)
    for ours, theirs in zip(_everything(resumed), _everything(whole), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def _everything(program):
    kept = (*program.model.variables, *tf.nest.flatten(program.state))
    return [np.asarray(value) for value in kept]
