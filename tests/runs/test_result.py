"""The final numbers, their errors, and what is not to be trusted or not known."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from dvae.evaluation import LikelihoodEstimate
from dvae.runs import records, result
from dvae.runs.model_card import model_card
from samplers import counter_random, log_partition, log_z_table
from samplers.log_partition import LogPartition, Settings
from samplers.rbm import Halves
from tables.report import build_report
from tables.report import records as report_records
from tables.results import gather, read_tree
from tables.side_by_side import side_by_side
from tests.helpers import hand_made_results, statistical
from tests.helpers.compiled_samplers import both_of, exact_chains
from tests.helpers.works import refused
from tests.reference.rbm import random_rbm

ROOT = Path(__file__).parents[2]
REFERENCE = random_rbm(5, 7, seed=51, bias_scale=1.5, coupling_scale=1.2)


@pytest.mark.parametrize("kind", ["exact", "stuck"])
def test_small_rbms_are_certified(kind):
    """Forward and reverse AIS within 5 of their errors of 0.03, Markov's bound below.

    Stuck chains have never left zero: reverse AIS from them would be 2 nats too low.
    """
    chains = exact_chains(REFERENCE, statistical.seed(3), 997)
    if kind == "stuck":
        chains = Halves(*(0.0 * half for half in chains))
    settings, key = Settings(997, 16, "uniform"), statistical.key(5)
    measured = log_partition.measure(*both_of(REFERENCE), chains, key, settings)
    exact = REFERENCE.log_partition()
    assert measured.exact == pytest.approx(exact, abs=1e-9)
    assert measured.upper_status == "certified"
    assert measured.stderr < 0.03 and measured.reverse_stderr < 0.03
    assert abs(measured.value - exact) < 5 * measured.stderr
    assert abs(measured.reverse - exact) < 5 * measured.reverse_stderr
    assert exact - 1.0 < measured.markov_lower < exact
    assert measured.best() == measured.exact and measured.best_stderr() == 0.0
    assert measured.interval() == (measured.exact, measured.exact)


def test_large_rbms_are_checked():
    """Beyond enumeration the reverse start is what the chains are, and is called so."""
    big = random_rbm(30, 31, seed=1, bias_scale=0.1, coupling_scale=0.01)
    rng = np.random.default_rng(1)
    chains = Halves(*(np.float32(rng.integers(0, 2, (64, n))) for n in (30, 31)))
    found = log_partition.measure(*both_of(big), chains, counter_random.key(1), Settings(64, 16))
    assert found.upper_status == "checked"
    assert found.exact is None
    # Nearly independent units: log Z is that of the biases within a hundredth of a nat.
    independent = sum(np.logaddexp(0.0, bias).sum() for bias in big.parameters[:2])
    assert found.best() == pytest.approx(independent, abs=0.5)


AIS = LogPartition(7.0, 0.1, 50.0, 6.5, 7.05, 0.1, "checked", None)


@pytest.mark.parametrize("reverse", [7.05, 7.5, 6.5])
def test_disagreement_widens_it(reverse):
    """1.96 standard errors to both sides; estimators 3.5 joint errors apart are both in it."""
    low, high = AIS._replace(reverse=reverse).interval()
    ends = (7.0, 7.0) if reverse == 7.05 else (min(7.0, reverse), max(7.0, reverse))
    assert (low, high) == pytest.approx((ends[0] - 0.196, ends[1] + 0.196), abs=1e-4)


TERMS = LikelihoodEstimate(80.0, 85.0, sampling_stderr=0.3, test_set_stderr=0.4, num_images=11)


def test_errors_add_in_squares():
    """log Z 0.196, sampling 0.588 and the test set 0.784 nats, of 1.96 errors each."""
    found = result.likelihood_record(AIS, TERMS)
    assert (found["test_nll"], found["test_neg_elbo"]) == (87.0, 92.0)
    assert found["unnormalized_nll"] == 80.0
    interval, both = found["nll_interval"], math.hypot(0.196, 0.588)
    for part, error in (("", both), ("_with_test_set", math.hypot(both, 0.784))):
        assert interval[f"low{part}"] == pytest.approx(87.0 - error, abs=1e-3)
        assert interval[f"high{part}"] == pytest.approx(87.0 + error, abs=1e-3)
    assert interval["log_z"] == pytest.approx([-0.196, 0.196], abs=1e-4)
    # A reverse estimate above widens the upper side alone.
    interval = result.likelihood_record(AIS._replace(reverse=8.0), TERMS)["nll_interval"]
    assert interval["low"] == pytest.approx(87.0 - both, abs=1e-3)
    assert interval["high"] == pytest.approx(87.0 + math.hypot(1.196, 0.588), abs=1e-3)


def test_exact_log_z_replaces_ais():
    found = result.likelihood_record(AIS._replace(exact=6.0), TERMS)
    assert (found["test_nll"], found["log_z_stderr"]) == (86.0, 0.0)
    assert found["log_z_interval"]["forward_ais"] == 7.0


LIKELIHOOD = LikelihoodEstimate(20.0, 25.0, 0.01, 0.4, num_images=11)
# value, stderr, ess, Markov's bound, reverse, its stderr; what is wrong with it.
DOUBTFUL = {
    "chains that do not mix": ((57.1, 0.35, 8.0, 56.0, 15.0, 0.4), "below"),
    "reverse five errors below": ((57.1, 0.02, 700.0, 56.8, 56.96, 0.02), "below"),
    "reverse far above": ((57.1, 0.02, 700.0, 56.8, 60.0, 0.02), "above"),
    "an error that cannot say": ((57.1, 1.0, 1.0, 54.0, 57.1, 0.02), None),
    "negative, and reverse lower still": ((-3.0, 0.02, 700.0, -3.3, -9.0, 0.02), "below"),
}
SOUND = {
    "as measured": (57.1, 0.02, 700.0, 56.8, 57.13, 0.02),
    "three errors apart": (57.1, 0.02, 700.0, 56.8, 57.18, 0.02),
    "all weights equal, float32 apart": (57.1, 0.0, 1024.0, 57.0, 57.1001, 0.0),
}


def partition(numbers, exact=None, chains=1024, reverse_chains=None):
    count = reverse_chains or chains
    ess = count / (1 + (count - 1) * numbers[5] ** 2)
    found = LogPartition(*numbers, "checked", exact)
    return found._replace(num_chains=chains, reverse_ess=ess, num_reverse=count)


@pytest.fixture
def judged(capsys):
    """The record of some log Z and likelihood, and what the console says of it."""

    def judged(log_z, likelihood=LIKELIHOOD):
        record = result.likelihood_record(log_z, likelihood)
        result.announce({**record, "eval_iw_samples": 100})
        return record, capsys.readouterr().out

    return judged


@pytest.mark.parametrize("case", DOUBTFUL)
def test_a_contradicted_log_z_is_not_called_checked(case, judged):
    numbers, word = DOUBTFUL[case]
    record, text = judged(partition(numbers))
    assert "not to be trusted" in text and "AIS agree" not in text
    interval = record["log_z_interval"]
    assert interval["trusted"] is False and interval["reasons"]
    if word:
        assert any(word in reason for reason in interval["reasons"])
    assert record["nll_interval"]["trusted"] is False
    # The interval does not exclude what the check says, nor what lies above a failing value.
    assert interval["high"] is None or interval["high"] >= numbers[4]
    assert interval["low"] <= numbers[0]
    # The card of a stored model with this log Z says it too.
    path = ROOT / "models" / "digits-1-layer-nonlin-dvaes_power-k1"
    facts, stored = (json.loads((path / f"{n}.json").read_text()) for n in ("data", "result"))
    config = hand_made_results.config_of(dataset="digits")
    card = model_card(config, {**stored, **record}, facts, {}, path)
    assert card.count("not to be trusted") >= 2
    assert "reverse AIS from the run's own chains is a check" not in card


@pytest.mark.parametrize("case", SOUND)
def test_a_sound_one_is(case, judged):
    """An enumerated value needs no check."""
    record, text = judged(partition(SOUND[case]))
    assert record["log_z_interval"]["trusted"] and record["nll_interval"]["trusted"]
    assert "not to be trusted" not in text
    assert "(forward and reverse AIS agree)" in text and "100 importance samples" in text
    record, _ = judged(partition(DOUBTFUL["chains that do not mix"][0], exact=58.0))
    assert record["log_z_interval"]["trusted"] and record["log_z_interval"]["high"] == 58.0


@pytest.mark.parametrize(("nll", "impossible"), [(-1.0, True), (-1e7, True), (-0.01, False)])
def test_a_negative_likelihood_of_bits_is_impossible(nll, impossible, judged):
    """Beyond its error of 0.05 nats, though log Z is enumerated."""
    likelihood = LIKELIHOOD._replace(nll=nll - 57.1, sampling_stderr=0.025)
    record, text = judged(partition(SOUND["as measured"], 57.1), likelihood)
    assert ("impossible" in text) == impossible
    assert record["nll_interval"].get("trusted", True) != impossible


def test_no_false_alarm_on_any_result_that_is_kept():
    """80 of benchmarks/results and models whose log Z is by AIS: none is doubted."""
    names = "forward_ais forward_ais_stderr forward_ais_ess markov_lower_bound reverse_ais"
    judged = 0
    for path in [
        *ROOT.glob("benchmarks/results/**/result.json"),
        *ROOT.glob("models/*/result.json"),
    ]:
        record, config = (
            json.loads(path.with_name(f"{n}.json").read_text()) for n in ("result", "config")
        )
        z = record["log_z_interval"]
        numbers = [z[name] for name in (*names.split(), "reverse_ais_stderr")]
        chains = record["protocol"]["ais_chains"], config["num_chains"]
        assert partition(numbers, None, *chains).doubts() == (), path
        judged += z["exact"] is None
    assert judged >= 80


def test_reports_say_it(tmp_path):
    """A cell of two seeds, one of them doubtful: no significance, never the best."""
    doubtful = {"low": 99.0, "high": None, "trusted": False, "reasons": ["it failed"]}
    for seed, changes in ((0, {}), (1, dict(log_z_interval=doubtful))):
        hand_made_results.write(tmp_path, 80.0 + seed, changes, seed=seed)
    hand_made_results.write(tmp_path, 90.0, baseline="dvaes_exp")
    cells = gather(read_tree(tmp_path).results)
    [table] = build_report(cells).tables
    assert "not to be trusted" in str(table.rows) and "**90.00**" in str(side_by_side(cells))
    [record] = [r for r in report_records(cells) if r["baseline"] == "dvaes_power"]
    assert record["num_seeds"] == 2 and math.isnan(record["difference_in_standard_errors"])


_SOUND = partition(SOUND["as measured"])
_ALONE = partition((57.1, math.nan, 1.0, 54.1, 57.1, 0.02))._replace(num_chains=1)
UNKNOWN = {
    "one importance sample": (_SOUND, dict(sampling_stderr=math.nan)),
    "one test image": (_SOUND, dict(test_set_stderr=math.nan)),
    "one chain of AIS": (_ALONE, {}),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_a_result(case, judged, tmp_path):
    """An error that nobody knows is null in JSON and a word on the console, never 0 or NaN."""
    log_z, fields = UNKNOWN[case]
    record, shown = judged(log_z, LIKELIHOOD._replace(**fields))
    assert "null" in json.dumps(record, allow_nan=False)
    assert "not known" in shown and "nan" not in shown
    config = hand_made_results.config_of()
    records.write_config(tmp_path / "config.json", records.RunConfig(config, "5a"))
    records.write_result(tmp_path, {**hand_made_results.record_of(config, 0.0), **record})
    assert records.read_result(tmp_path / "result.json")["test_nll"] == record["test_nll"]


def test_a_report_and_a_table(tmp_path):
    """Unknown errors and times are words, and nothing in the csv; a ladder or chain alone, too."""
    unknown = {"low": None, "high": None, "log_z": [None, None]}
    changes = {"nll_interval": unknown, "ms_per_step": None, "log_z_stderr": None}
    hand_made_results.write(tmp_path, 85.0, changes)
    tree = read_tree(tmp_path)
    assert not tree.problems
    cells = gather(tree.results)
    [table] = build_report(cells).tables
    assert "not known" in str(table) and "nan" not in str(table).lower()
    assert "error not known" in str(side_by_side(cells))
    [record] = report_records(cells)
    assert record["log_z_error"] is None and record["hours"] is None
    row = log_z_table.make_row("one", 12.0, math.nan, 1, 1.0)
    assert row["low"] is row["high"] is row["stderr"] is None
    assert "nan" not in log_z_table.format_table([{**row, "seconds": None, "distance": None}])


def test_a_result_of_no_update_is_none(tmp_path):
    """As older versions wrote them: named, not counted, and exit code 3."""
    changes = dict(skipped_updates=60, num_train_iter=60)
    path = hand_made_results.write(tmp_path, 35.61, changes, num_train_iter=60)
    tree = read_tree(tmp_path)
    assert not tree.results and "no update" in tree.problems[0]
    with refused() as raised:
        records.read_result(path / "result.json")
    assert raised.value.exit_code == 3
