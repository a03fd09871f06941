"""Tables on a real Ray cluster of two nodes, one of which is killed in the middle of a run."""

import signal
import threading
import time

import pytest

from configs.errors import UserError
from tables.on_ray import RayExecutor
from tables.results import read_tree
from tables.stop import StopRequest
from tests.helpers import stand_in_program, stand_in_table

_MISSING = "Ray is not installed (requirements-cluster.txt)"
ray = pytest.importorskip("ray", reason=_MISSING)
cluster_utils = pytest.importorskip("ray.cluster_utils", reason=_MISSING)

_TIMEOUT = 180.0
_GRID = stand_in_table.GRID._replace(ks=(1,), baselines=("dvaes_power",))


@pytest.fixture(scope="module")
def cluster():
    """Two nodes that take one run each, deaf to SIGINT like all that a script starts with &."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIGHT_SECONDS", "8")
        patch.setenv("LIGHT_HOSTS", "1")  # an attempt elsewhere must judge the lock by its lease
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


def _when_all_train(runs, act):
    """Calls `act`, in a thread, once every run has written a checkpoint."""

    def wait():
        end = time.monotonic() + _TIMEOUT
        while not all((run.directory / "checkpoint.json").exists() for run in runs):
            if time.monotonic() > end:
                break  # the test's own assertions tell
            time.sleep(0.05)
        act()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def test_runs_that_fit_no_node_are_told(cluster):
    assert "2 CPUs and 0 GPUs, 1 and 0 for each run" in _executor(cluster).describe()
    assert "NO NODE" not in _executor(cluster).describe()
    for cpus, gpus in ((2.0, 0.0), (1.0, 0.25)):  # the two nodes have one core each
        assert "NO NODE HAS THAT" in RayExecutor(cluster.address, cpus, gpus, 1).describe()
    with pytest.raises(UserError, match="run_gpus"):
        RayExecutor(cluster.address, 1.0, 1.5, 1)


def test_a_stop_lets_every_run_write_a_checkpoint(cluster, tmp_path):
    runs = stand_in_table.plan(tmp_path, _GRID._replace(seeds=(0, 1, 2)))
    stop = StopRequest()

    def request():
        stop.number = 15

    _when_all_train(runs[:2], request)
    outcomes = list(_executor(cluster).outcomes(runs, stop))
    assert [ended.status for ended in outcomes] == ["stopped"] * 3
    assert sum((run.directory / "checkpoint.json").exists() for run in runs) == 2
    assert not any((run.directory / "lock.json").exists() for run in runs)


def test_a_run_whose_node_is_killed_goes_on_elsewhere(cluster, tmp_path):
    runs = stand_in_table.plan(tmp_path, _GRID)
    thread = _when_all_train(runs, lambda: cluster.remove_node(cluster.other, allow_graceful=False))
    outcomes = list(_executor(cluster).outcomes(runs, StopRequest()))
    thread.join(_TIMEOUT)
    assert [ended.status for ended in outcomes] == ["finished"] * 2, outcomes
    assert sorted(ended.attempts for ended in outcomes) == [1, 2]
    moved = max(outcomes, key=lambda ended: ended.attempts).run
    said = moved.log_path.read_text()
    assert "gave no sign of life: its run goes on here" in said
    resumed = [line for line in said.splitlines() if line.startswith("resumed at step")]
    assert len(resumed) == 1 and 1 <= int(resumed[0].split()[-1]) < stand_in_program.STEPS
    for run in runs:
        [found] = [r for r in read_tree(tmp_path).results if r.config.seed == run.config.seed]
        assert found.nll == stand_in_program.expected_nll(run.config)
