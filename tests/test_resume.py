"""A run that is killed or stopped at any moment ends with the numbers it would have had.

Nothing here is statistical: everything is compared bit for bit.
"""

import multiprocessing
import os
import random
import signal
import time

import pytest

from dvae.signals import Stopped
from dvae.training import Run
from tests import tiny_run

_CASES = {
    "annealing": dict(grey=True),
    "annealing, weights carried": dict(grey=False, resample_threshold=0.8, k=5),
    "pcd, own log Z population": dict(
        grey=True, population_annealing=False, log_z_population="separate", baseline="dvaepp_exp"
    ),
}


def _case(name, folder):
    fields = dict(_CASES[name])
    path = tiny_run.write_data(folder / "data.npz", fields.pop("grey"))
    return tiny_run.tiny_config(path, **fields)


@pytest.fixture(scope="module")
def spawner():
    """Starts processes from a server that has the slow imports behind it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.conftest", "data", "dvae.training", "tests.tiny_run"])
    return context


def _train_in_child(spawner, config, directory, seconds=None):
    """Runs a child to its end, or kills it after so many seconds; returns whether it was killed.

    Children start alike, so that they share compiled programs; this process does not.
    """
    arguments = (config.to_json(), directory)
    child = spawner.Process(target=tiny_run.train_in_child, args=arguments, daemon=True)
    child.start()
    child.join(seconds)
    killed = child.is_alive()
    if killed:
        os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert child.exitcode == (-signal.SIGKILL if killed else 0)
    return killed


def _kill_at_random_moments(spawner, config, directory, num_kills, seconds, seed):
    """Starts the run again and again and kills it at random; returns how often it was alive."""
    rng = random.Random(seed)
    killed = 0
    for _ in range(num_kills):
        # From before the first sign of life to well into the run.
        killed += _train_in_child(spawner, config, directory, rng.uniform(0.0, seconds))
        if (directory / "result.json").exists():
            break
    return killed


@pytest.mark.parametrize(
    ("case", "num_kills"),
    [
        ("annealing", 3),
        ("annealing, weights carried", 2),
        ("pcd, own log Z population", 2),
        *(pytest.param(case, 20, marks=pytest.mark.slow) for case in _CASES),
    ],
)
def test_killed_run_ends_with_the_same_numbers(tmp_path, spawner, case, num_kills):
    config = _case(case, tmp_path)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    _train_in_child(spawner, config, whole)
    start = time.monotonic()
    _train_in_child(spawner, config, tmp_path / "again")  # with every program in the cache
    seconds = time.monotonic() - start
    again = tiny_run.numbers(tmp_path / "again")
    tiny_run.assert_same_numbers(again, tiny_run.numbers(whole))
    killed = _kill_at_random_moments(spawner, config, broken, num_kills, seconds, seed=7)
    assert killed >= 1
    _train_in_child(spawner, config, broken)
    tiny_run.assert_same_numbers(tiny_run.numbers(broken), tiny_run.numbers(whole))
    points = tiny_run.event_points(broken)
    assert len(points) == len(set(points)), "a point was written twice"
    assert set(points) == set(tiny_run.event_points(whole))


def test_stopping_after_each_call_changes_nothing(tmp_path):
    """4 steps = 2 steps + save + restore + 2 steps: seeds, chains and data order included."""
    config = _case("annealing", tmp_path)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    tiny_run.train(config, whole)
    advance = Run._advance

    def advance_and_stop(run, num_steps):
        seconds = advance(run, min(num_steps, 17))
        run._signals._stop = signal.SIGTERM
        return seconds

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "_advance", advance_and_stop)
        for _ in range(5):
            with pytest.raises(Stopped):
                tiny_run.train(config, broken, checkpoint_minutes=1e6)
    tiny_run.train(config, broken)
    tiny_run.assert_same_numbers(tiny_run.numbers(broken), tiny_run.numbers(whole))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_end_in_good_order(tmp_path, number, code):
    config = _case("annealing", tmp_path)
    advance = Run._advance

    def advance_and_signal(run, num_steps):
        seconds = advance(run, num_steps)
        if run.progress.step >= 24:
            os.kill(os.getpid(), number)
            time.sleep(0.01)
        return seconds

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "_advance", advance_and_signal)
        with pytest.raises(Stopped) as stop:
            tiny_run.train(config, tmp_path / "run", checkpoint_minutes=1e6)
    assert stop.value.exit_code == code
    assert [p.name for p in (tmp_path / "run" / "checkpoints").iterdir()] == ["latest-0000000024"]
