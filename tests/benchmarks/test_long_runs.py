"""The page of long runs says what the results say; log Z of kept models is the exact one."""

import copy

import pytest
import tensorflow as tf

from benchmarks import long_runs, long_runs_page, records
from samplers import exact, mixing
from samplers.rbm import model_of
from tests.helpers import tiny_runs

RECORDS = long_runs_page.read()


@pytest.fixture
def model():
    """A kept model that nothing speaks against."""
    found = copy.deepcopy(RECORDS[-1]["models"][-1])
    assert long_runs_page.failed_checks(found) == []
    return found


def test_the_longest_run_comes_first():
    steps = [record["run"]["num_train_iter"] for record in RECORDS]
    assert steps == sorted(steps, reverse=True) and RECORDS[0]["validation"][-1][0] == steps[0]


@pytest.mark.parametrize(("value", "failed"), [(38.0, []), (399.0, []), (401.0, ["slow chains"])])
def test_slow_chains_are_called_slow(model, value, failed):
    time = model["correlations"]["times"][long_runs_page.SLOWEST]
    time["value"] = value
    assert long_runs_page.failed_checks(model) == failed
    model["recorded_sweeps"] = 10 * value - 1
    assert long_runs_page.failed_checks(model) == [*failed, "short series"]


def _first(model, key, value):
    return next(row for row in model["log_z"] if row.get(key) == value)


_DAMAGE = {
    "distance": lambda m: m["bias"]["distances"]["unit means"].update(score=3.5),
    "cost": lambda m: m["bias"]["costs"]["units and modes"].update(value=0.2, stderr=0.05),
    "log Z": lambda m: _first(m, "temperatures", 10_000).update(value=226.9),
    "few arrivals": lambda m: _first(m, "by", "tempering").update(arrivals=7),
}


@pytest.mark.parametrize("check", _DAMAGE)
def test_what_fails_is_named(model, check):
    _DAMAGE[check](model)
    assert long_runs_page.failed_checks(model) == [check]
    assert check != "distance" or long_runs_page.farthest(model) == 3.5


def test_a_cost_is_stated(model):
    costs = model["bias"]["costs"]
    for cost in costs.values():
        cost.update(value=-0.1, stderr=0.01)
    assert long_runs_page.cost_limit(model) == pytest.approx(0.01645, abs=1e-5)
    _DAMAGE["cost"](model)
    assert long_runs_page.cost_limit(model) == pytest.approx(0.2822, abs=1e-4)


@pytest.fixture
def quick(monkeypatch):
    """Small settings."""
    for name, value in (
        *(("LADDERS", 64), ("RUNGS", 8), ("BURN_IN", 40), ("RECORDINGS", 12), ("SPACING", 5)),
        *(("CHAINS", 32), ("SWEEPS", 512), ("SWEEPS_PER_CALL", 128)),
    ):
        monkeypatch.setattr(mixing, name, value)


@pytest.mark.slow
def test_a_run_is_measured_model_by_model(quick, tmp_path, monkeypatch):
    """Estimates of log Z agree with enumeration; a second time nothing is measured again."""
    monkeypatch.setattr(records, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(long_runs, "AIS_CHAINS", 256)
    monkeypatch.setattr(long_runs, "AIS_TEMPERATURES", 50)
    config = tiny_runs.tiny_config(tiny_runs.write_data(tmp_path / "own.npz", grey=False))
    tiny_runs.train(config, tmp_path / "run", keep_steps=(30, 60))
    long_runs.measure_run(tmp_path / "run", again=False)
    [record] = records.read("long_runs").values()
    found, best = record["models"], long_runs.steps_kept(tmp_path / "run", "best")
    assert [model["step"] for model in found] == sorted({30, 60, *best})
    params, population, _ = long_runs.load_kept(tmp_path / "run", 60)
    assert {half.shape for half in population} == {tf.TensorShape([37, 3])}
    truth = float(exact.log_partition(model_of(params), params))
    for row in found[-1]["log_z"]:
        assert abs(row["value"] - truth) < 5 * row["stderr"] + 1e-4, row
    bias = found[-1]["bias"]
    assert bias["members"] == 37 and bias["sets"] == 12 * 64 // 37
    assert bias["costs"]["units and modes"]["dimension"] == 9
    assert "| 60 |" in long_runs_page.health_table([record])
    monkeypatch.setattr(long_runs, "measure", None)
    long_runs.measure_run(tmp_path / "run", again=False)
    assert list(records.read("long_runs").values()) == [record]
