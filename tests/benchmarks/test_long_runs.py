"""The page of long runs says what the results say; its measurements agree with enumeration."""

import copy
import json

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import long_runs, long_runs_measures, long_runs_page, long_runs_verdicts
from dvae.runs.checkpoints import RunOptions
from samplers import counter_random, exact
from samplers.rbm import model_of
from tests.helpers import statistical, tiny_runs
from tests.helpers.compiled_samplers import rbm_of
from tests.reference.rbm import random_rbm

RECORDS = [json.loads(path.read_text()) for path in sorted(long_runs.RESULTS.glob("*.json"))]


@pytest.fixture
def model():
    """A kept model all of whose checks are passed."""
    found = copy.deepcopy(RECORDS[0]["models"][0])
    assert long_runs_verdicts.verdict(found)[0]
    return found


def failed(model, check, words):
    fine, text = check(model)
    assert not fine and words in text, text
    assert not long_runs_verdicts.verdict(model)[0]


def test_page_shows_the_kept_results():
    assert long_runs_page.page(RECORDS) == (long_runs.ROOT / "docs" / "long_runs.md").read_text()
    assert long_runs_page.progress_text(RECORDS) in (long_runs.ROOT / "README.md").read_text()


def test_how_far_runs_are():
    """The last model that was evaluated, of runs that are not at their end."""
    going_on, ended = (copy.deepcopy(RECORDS[0]) for _ in range(2))
    for record, last in ((going_on, 999), (ended, 1000)):
        record["run"] |= {"num_train_iter": 1000, "baseline": f"to {last}"}
        found = {
            "protocol": {"published_data": True, "ais_temperatures": 10},
            "eval_iw_samples": 50,
            "test_nll": 88.124,
            "val_nll": 89.0,
            "nll_interval": {"low": 88.0, "high": 88.2},
            "log_z": 7.0,
            "log_z_interval": {"low": 6.9, "high": 7.1},
            "train_seconds": 5400.0,
            "code": [{"commit": "abc", "sources": "def"}, {"commit": None, "sources": "ghi"}],
            "machine": {"processor": "a processor", "cpus": 1},
        }
        record["models"] = [{"step": 10}, {"step": last, "evaluation": found}, {"step": 1001}]
    text = long_runs_page.progress_text([going_on, ended, {**ended, "models": [{"step": 5}]}])
    [row] = [line for line in text.splitlines() if line.startswith("| 1-layer")]
    assert "to 999" in row and "| 999 of 1,000 | 88.12 [88.00, 88.20] | 89.00 |" in row
    assert row.endswith("| 7.00 [6.90, 7.10] | 1.5 | abc, ghi |")
    assert long_runs_page.progress_text([ended]) == ""


def test_slow_chains_are_called_slow(model):
    slowest = model["correlations"]["times"][long_runs_verdicts.SLOWEST]
    for value, words in (
        (38.0, "a step forgets the one before"),
        (39.0, "lasts 1.0 steps, which the population has to remember"),  # within 3 errors of 40
        (390.0, "lasts 9.8 steps, which the population has to remember"),
    ):
        slowest.update(value=value, stderr=0.5)
        fine, text = long_runs_verdicts.forgetting(model)
        assert fine and words in text
    slowest.update(value=500.0)
    failed(model, long_runs_verdicts.forgetting, "more than 4,096 recorded sweeps can resolve")
    model["recorded_sweeps"] = 10**6
    failed(model, long_runs_verdicts.forgetting, "lasts 12.5 steps, far too slow")


def test_a_distant_population_is_called_distant(model):
    model["bias"]["distances"]["unit means"]["score"] = 3.5
    failed(model, long_runs_verdicts.distance, "more than chance")


def test_a_cost_is_stated(model):
    model["bias"]["costs"]["units and modes"].update(value=0.2, stderr=0.05)
    failed(model, long_runs_verdicts.cost, "costs at least 0.200 ± 0.050 nats (in 300 statistics)")


def test_estimates_of_log_z_that_disagree(model):
    best = next(row for row in model["log_z"] if row.get("temperatures") == 10_000)
    best["value"] += 0.1
    failed(model, long_runs_verdicts.agreement, "do not agree")


def test_few_arrivals_are_told(model):
    next(row for row in model["log_z"] if "arrivals" in row)["arrivals"] = 7
    failed(model, long_runs_verdicts.agreement, "few tempered states arrived")


def test_base_is_the_fitted_one_only_where_it_is_better_everywhere(model):
    other = copy.deepcopy(model)
    for found in (model, other):
        for row in found["log_z"]:
            row["stderr"] = 0.01 if row["base"] == "uniform" else 0.008
    records = [{**RECORDS[0], "models": [model, other]}]
    assert long_runs_page.preferred_base(records) == "fitted"
    [row] = [r for r in other["log_z"] if (r["by"], r["base"]) == ("forward AIS", "fitted")][:1]
    row["stderr"] = 0.0095
    assert long_runs_page.preferred_base(records) == "uniform"
    assert long_runs_page.base_ratios(other)[row["temperatures"]] == pytest.approx(0.95)


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
    long_runs.measure_run(tmp_path / "run", again=False, data_dir=str(tmp_path))
    [result] = (tmp_path / "results").iterdir()
    record = json.loads(result.read_text())
    assert "evaluation" not in record["models"][0]
    evaluated = record["models"][1]["evaluation"]
    assert evaluated["train_seconds"] > 0.0 and "data" not in evaluated["protocol"]
    assert [model["step"] for model in record["models"]] == [30, 60]
    kept = long_runs_measures.load_kept(tmp_path / "run", 60)
    assert {half.shape for half in kept.population} == {tf.TensorShape([37, 3])}
    truth = float(exact.log_partition(model_of(kept.params), kept.params))
    for row in record["models"][1]["log_z"]:
        assert abs(row["value"] - truth) < 5 * row["stderr"] + 1e-4, row
    bias = record["models"][1]["bias"]
    assert bias["members"] == 37 and bias["sets"] == 12 * 64 // 37
    assert bias["costs"]["units and modes"]["dimension"] == 9
    assert abs(evaluated["log_z"] - truth) < 5 * evaluated["log_z_stderr"] + 1e-4
    assert "step 60" in long_runs_page.page([record])
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
