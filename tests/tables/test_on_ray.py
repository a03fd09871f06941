"""Tables on a real Ray cluster of two nodes, one of which is killed in the middle of a run.

Nothing here depends on how fast the machine is: no run ends before its test opens the gate.
"""

import contextlib
import json
import os
import signal
import threading
from pathlib import Path

import pytest

from configs.errors import UserError
from dvae.runs.process import SignalWatch
from tables.on_ray import RayExecutor
from tables.results import read_tree
from tests.helpers import stand_in_program, stand_in_table
from tests.helpers.stand_in_table import wait_until

_MISSING = "Ray is not installed (requirements-cluster.txt)"
ray = pytest.importorskip("ray", reason=_MISSING)
cluster_utils = pytest.importorskip("ray.cluster_utils", reason=_MISSING)

_TIMEOUT = 180.0
_GRID = stand_in_table.GRID._replace(ks=(1,), baselines=("dvaes_power",))


@pytest.fixture(scope="module")
def cluster():
    """Two nodes that take one run each, deaf to SIGINT like all that a script starts with &."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STAND_IN_SECONDS", "1")
        patch.setenv("STAND_IN_GATE", "1")
        patch.setenv("STAND_IN_HOSTS", "1")  # an attempt elsewhere must judge the lock by its lease
        patch.setenv("RAY_DISABLE_IMPORT_WARNING", "1")
        small = dict(object_store_memory=80 * 2**20, num_cpus=1)
        head = dict(small, include_dashboard=False)
        heard = signal.signal(signal.SIGINT, signal.SIG_IGN)
        cluster = cluster_utils.Cluster(initialize_head=True, head_node_args=head)
        cluster.other = cluster.add_node(**small)
        signal.signal(signal.SIGINT, heard)
        yield cluster
        ray.shutdown()
        cluster.shutdown()


def _executor(cluster, max_attempts=3):
    return RayExecutor(cluster.address, 1.0, 0.0, max_attempts, stand_in_table.PROGRAM)


def _when_training(runs, count, act):
    """Calls `act`, in a thread, once `count` of the runs have written a checkpoint."""

    def wait():
        with contextlib.suppress(TimeoutError):  # the test's own assertions say so
            wait_until(lambda: sum(map(_has_checkpoint, runs)) == count)
        act()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def _has_checkpoint(run):
    return (run.directory / "checkpoint.json").exists()


def _kill_when_training(runs, kill):
    """Calls `kill` once all runs have written one, and lets them end after that."""

    def act():
        try:
            kill()
        finally:
            (runs[0].log_dir / "gate").touch()

    return _when_training(runs, len(runs), act)


def _process_of(run):
    return json.loads((run.directory / "lock.json").read_text())["pid"]


def _is_dead(process):
    """Whether it is gone, or a zombie."""
    try:
        return not Path(f"/proc/{process}/cmdline").read_bytes()
    except FileNotFoundError:
        return True


def test_runs_that_fit_no_node_are_announced(cluster):
    assert "2 CPUs and 0 GPUs, 1 and 0 for each run" in _executor(cluster).describe()
    assert "NO NODE" not in _executor(cluster).describe()
    for cpus, gpus in ((2.0, 0.0), (1.0, 0.25)):  # the two nodes have one core each
        assert "NO NODE HAS THAT" in RayExecutor(cluster.address, cpus, gpus, 1).describe()
    with pytest.raises(UserError, match="run_gpus"):
        RayExecutor(cluster.address, 1.0, 1.5, 1)


def test_a_stop_lets_every_run_write_a_checkpoint(cluster, tmp_path):
    runs = stand_in_table.plan(tmp_path, _GRID._replace(seeds=(0, 1, 2)))
    stop = SignalWatch()

    def request():
        stop.number = 15

    _when_training(runs, 2, request)
    outcomes = list(_executor(cluster).outcomes(runs, stop))
    assert [ended.status for ended in outcomes] == ["stopped"] * 3
    assert sum(map(_has_checkpoint, runs)) == 2
    assert not any((run.directory / "lock.json").exists() for run in runs)


def test_a_killed_run_is_started_again(cluster, tmp_path):
    """What Ray does to a run just before a worker whose node died ends."""
    ended = _killed(cluster, tmp_path, max_attempts=3)
    assert (ended.status, ended.attempts) == ("finished", 2), ended
    _assert_went_on(ended.run)


def test_a_run_killed_too_often_has_failed(cluster, tmp_path):
    ended = _killed(cluster, tmp_path, max_attempts=1)
    assert ended.status == "failed" and "it was killed" in ended.message


def _killed(cluster, log_dir, max_attempts):
    """How a run ends that is killed once."""
    [run] = runs = stand_in_table.plan(log_dir, _GRID._replace(seeds=(0,)))
    thread = _kill_when_training(runs, lambda: os.kill(_process_of(run), signal.SIGKILL))
    [ended] = _executor(cluster, max_attempts).outcomes(runs, SignalWatch())
    thread.join(_TIMEOUT)
    return ended


def _assert_went_on(run):
    printed = run.log_path.read_text()
    assert "gave no sign of life: its run goes on here" in printed
    resumed = [line for line in printed.splitlines() if line.startswith("resumed at step")]
    assert len(resumed) == 1 and 1 <= int(resumed[0].split()[-1]) < stand_in_program.STEPS


def test_a_run_whose_node_is_killed_goes_on_elsewhere(cluster, tmp_path):
    runs = stand_in_table.plan(tmp_path, _GRID)

    def kill_node():
        processes = [_process_of(run) for run in runs]
        cluster.remove_node(cluster.other, allow_graceful=False)
        # A node's processes live on for a moment, and a run whose holder lives is not taken over.
        wait_until(lambda: any(map(_is_dead, processes)))

    thread = _kill_when_training(runs, kill_node)
    outcomes = list(_executor(cluster).outcomes(runs, SignalWatch()))
    thread.join(_TIMEOUT)
    assert [ended.status for ended in outcomes] == ["finished"] * 2, outcomes
    assert sorted(ended.attempts for ended in outcomes) == [1, 2]
    _assert_went_on(max(outcomes, key=lambda ended: ended.attempts).run)
    for run in runs:
        [found] = [r for r in read_tree(tmp_path).results if r.config.seed == run.config.seed]
        assert found.nll == stand_in_program.expected_nll(run.config)
