"""The page of long runs says what the results say; its measurements agree with enumeration."""

import copy
import json

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import long_runs, long_runs_measures, long_runs_page
from dvae.runs.checkpoints import RunOptions
from samplers import counter_random, exact
from samplers.rbm import model_of
from tests.helpers import statistical, tiny_runs
from tests.helpers.compiled_samplers import rbm_of
from tests.reference.rbm import random_rbm

RECORDS = long_runs_page.read(long_runs.RESULTS)


@pytest.fixture
def model():
    """A kept model that nothing speaks against."""
    found = copy.deepcopy(RECORDS[-1]["models"][-1])
    assert long_runs_page.signs(found) == []
    return found


def test_page_shows_the_kept_results():
    page = (long_runs.ROOT / "docs" / "long_runs.md").read_text()
    assert long_runs_page.health_table(RECORDS) in page
    assert long_runs_page.cell_text(long_runs_page.finished()) in page


def test_the_finished_run_comes_first():
    config = long_runs_page.finished().config
    assert RECORDS[0]["run"]["baseline"] == config.baseline
    assert RECORDS[0]["validation"][-1][0] == config.num_train_iter


@pytest.mark.parametrize(("value", "failed"), [(38.0, []), (399.0, []), (401.0, ["slow chains"])])
def test_slow_chains_are_called_slow(model, value, failed):
    time = model["correlations"]["times"][long_runs_page.SLOWEST]
    time["value"] = value
    assert long_runs_page.signs(model) == failed
    model["recorded_sweeps"] = 10 * value - 1
    assert long_runs_page.signs(model) == [*failed, "short series"]


def test_a_distant_population_is_called_distant(model):
    model["bias"]["distances"]["unit means"]["score"] = 3.5
    assert long_runs_page.signs(model) == ["distance"]
    assert long_runs_page.farthest(model) == 3.5


def test_a_cost_is_stated(model):
    costs = model["bias"]["costs"]
    for cost in costs.values():
        cost.update(value=-0.1, stderr=0.01)
    assert long_runs_page.cost_limit(model) == pytest.approx(0.01645, abs=1e-5)
    costs["units and modes"].update(value=0.2, stderr=0.05)
    assert long_runs_page.signs(model) == ["cost"]
    assert long_runs_page.cost_limit(model) == pytest.approx(0.2822, abs=1e-4)


def test_estimates_of_log_z_that_disagree(model):
    best = next(row for row in model["log_z"] if row.get("temperatures") == 10_000)
    best["value"] += 0.2
    assert long_runs_page.signs(model) == ["log Z"]


def test_few_arrivals_are_told(model):
    next(row for row in model["log_z"] if "arrivals" in row)["arrivals"] = 7
    assert long_runs_page.signs(model) == ["few arrivals"]


@pytest.fixture
def quick(monkeypatch):
    """Small settings."""
    for name, value in (
        *(("AIS_CHAINS", 256), ("AIS_TEMPERATURES", (10, 50)), ("LADDERS", 64), ("RUNGS", 8)),
        *(("BURN_IN", 40), ("RECORDINGS", 12), ("SPACING", 5)),
        *(("CHAINS", 32), ("SWEEPS", 512), ("SWEEPS_PER_CALL", 128)),
    ):
        monkeypatch.setattr(long_runs_measures, name, value)


@pytest.mark.slow
def test_tempered_states_have_the_exact_means(quick, seed=1):
    """Means of 64 independent ladders, each to within 5 standard errors of at most 0.02."""
    reference = random_rbm(5, 7, seed=51, bias_scale=1.5, coupling_scale=1.2)
    recorded = long_runs_measures.tempered_states(rbm_of(reference), statistical.key(seed)).numpy()
    assert recorded.shape == (12, 64, 5)
    statistical.assert_mean(recorded.mean(axis=0), reference.means()[:5], largest_error=0.03)


@pytest.mark.slow
def test_a_run_is_measured_model_by_model(quick, tmp_path, monkeypatch):
    """Estimates of log Z agree with enumeration; a second time nothing is measured again."""
    monkeypatch.setattr(long_runs, "RESULTS", tmp_path / "results")
    config = tiny_runs.tiny_config(tiny_runs.write_data(tmp_path / "own.npz", grey=False))
    options = RunOptions(checkpoint_minutes=0.0, keep_steps=(30, 60))
    tiny_runs.train(config, tmp_path / "run", options)
    long_runs.measure_run(tmp_path / "run", again=False)
    [result] = (tmp_path / "results").iterdir()
    record = json.loads(result.read_text())
    found, best = record["models"], long_runs_measures.steps_kept(tmp_path / "run", "best")
    assert [model["step"] for model in found] == sorted({30, 60, *best})
    kept = long_runs_measures.load_kept(tmp_path / "run", 60)
    assert {half.shape for half in kept.population} == {tf.TensorShape([37, 3])}
    truth = float(exact.log_partition(model_of(kept.params), kept.params))
    for row in found[-1]["log_z"]:
        assert abs(row["value"] - truth) < 5 * row["stderr"] + 1e-4, row
    bias = found[-1]["bias"]
    assert bias["members"] == 37 and bias["sets"] == 12 * 64 // 37
    assert bias["costs"]["units and modes"]["dimension"] == 9
    assert "| 60 |" in long_runs_page.health_table([record])
    monkeypatch.setattr(long_runs, "measure", None)
    long_runs.measure_run(tmp_path / "run", again=False)
    assert json.loads(result.read_text()) == record


def test_subspaces_hold_the_energy():
    """The energy is a combination of units and modes."""
    params = rbm_of(random_rbm(5, 7, seed=51, bias_scale=1.5, coupling_scale=1.2))
    chains = long_runs_measures._chains_from(
        params, np.float32(np.random.default_rng(1).random((40, 5)) < 0.5), counter_random.key(2)
    )
    found = long_runs_measures._subspaces(params, chains)
    scales = np.linalg.svd(params.coupling.numpy(), compute_uv=False)
    weights = np.concatenate([params.left_bias, params.right_bias, scales])
    expected = model_of(params).energy(params, chains).numpy()
    np.testing.assert_allclose(-found["units and modes"] @ weights, expected, rtol=1e-4, atol=1e-4)
