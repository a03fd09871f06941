"""Numbers that are not known or not to be trusted: what a result, console, card and table say."""

import json
import math
from pathlib import Path

import pytest

from configs.errors import UserError
from dvae.evaluation import LikelihoodEstimate
from dvae.runs import json_files, records, result
from dvae.runs.model_card import model_card
from samplers import log_z_table
from samplers.log_partition import LogPartition
from tables.report import build_report
from tables.report import records as report_records
from tables.results import gather, read_tree
from tables.side_by_side import side_by_side
from tests.helpers import hand_made_results

ROOT = Path(__file__).parents[2]
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


def partition(numbers, exact=None, chains=1024):
    found = LogPartition(*numbers, "checked", exact)
    if "num_chains" not in LogPartition._fields:
        return found
    reverse_ess = chains / (1 + (chains - 1) * numbers[5] ** 2)
    return found._replace(num_chains=chains, reverse_ess=reverse_ess, num_reverse=chains)


def said(record, capsys):
    result.announce({**record, "eval_iw_samples": 100})
    return capsys.readouterr().out


class TestTrust:
    @pytest.mark.parametrize("case", DOUBTFUL)
    def test_a_contradicted_log_z_is_not_called_checked(self, case, capsys):
        numbers, word = DOUBTFUL[case]
        record = result.likelihood_record(partition(numbers), LIKELIHOOD)
        text = said(record, capsys)
        assert "not to be trusted" in text and "upper side checked" not in text
        interval = record["log_z_interval"]
        assert interval["trusted"] is False and interval["reasons"]
        if word:
            assert any(word in reason for reason in interval["reasons"])
        assert record["nll_interval"]["trusted"] is False
        # The interval does not exclude what the check says, nor what lies above a failing value.
        assert interval["high"] is None or interval["high"] >= numbers[4]
        assert interval["low"] <= numbers[0]

    @pytest.mark.parametrize("case", SOUND)
    def test_a_sound_one_is(self, case, capsys):
        record = result.likelihood_record(partition(SOUND[case]), LIKELIHOOD)
        assert record["log_z_interval"]["trusted"] and record["nll_interval"]["trusted"]
        assert "not to be trusted" not in said(record, capsys)

    def test_an_enumerated_value_needs_no_check(self):
        numbers, _ = DOUBTFUL["chains that do not mix"]
        record = result.likelihood_record(partition(numbers, exact=58.0), LIKELIHOOD)
        assert record["log_z_interval"]["trusted"] and record["log_z_interval"]["high"] == 58.0

    @pytest.mark.parametrize(("nll", "impossible"), [(-1.0, True), (-1e7, True), (-0.01, False)])
    def test_a_negative_likelihood_of_bits_is_impossible(self, nll, impossible, capsys):
        """Beyond its error of 0.05 nats, though log Z is enumerated."""
        likelihood = LIKELIHOOD._replace(nll=nll - 57.1, sampling_stderr=0.025)
        record = result.likelihood_record(partition(SOUND["as measured"], 57.1), likelihood)
        assert ("impossible" in said(record, capsys)) == impossible
        assert record["nll_interval"].get("trusted", True) != impossible

    def test_no_false_alarm_on_any_result_that_is_kept(self):
        """80 of benchmarks/results and models whose log Z is by AIS: none is doubted."""
        kept = [*ROOT.glob("benchmarks/results/**/result.json"), *ROOT.glob("models/*/result.json")]
        judged = 0
        for path in kept:
            record = json.loads(path.read_text())
            z = record["log_z_interval"]
            numbers = (
                z["forward_ais"],
                z["forward_ais_stderr"],
                z["forward_ais_ess"],
                z["markov_lower_bound"],
                z["reverse_ais"],
                z["reverse_ais_stderr"],
            )
            config = json.loads(path.with_name("config.json").read_text())
            count = config["num_chains"]
            found = partition(numbers)._replace(
                num_chains=record["protocol"]["ais_chains"],
                num_reverse=count,
                reverse_ess=count / (1 + (count - 1) * numbers[5] ** 2),
            )
            assert found.doubts() == (), path
            judged += z["exact"] is None
        assert judged >= 80

    def test_the_card_says_it(self):
        """Of a stored model's numbers, log Z replaced by a doubtful one."""
        path = ROOT / "models" / "digits-1-layer-nonlin-dvaes_power-k1"
        facts, stored = (json.loads((path / f"{n}.json").read_text()) for n in ("data", "result"))
        config = hand_made_results.config_of(dataset="digits")
        for case, (numbers, _) in DOUBTFUL.items():
            record = result.likelihood_record(partition(numbers), LIKELIHOOD)
            card = model_card(config, {**stored, **record}, facts, {})
            assert card.count("not to be trusted") >= 2, case
            assert "reverse AIS from the run's own chains is a check" not in card

    def test_reports_say_it(self, tmp_path):
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


UNKNOWN = {
    "one importance sample": (partition(SOUND["as measured"]), dict(sampling_stderr=math.nan)),
    "one test image": (partition(SOUND["as measured"]), dict(test_set_stderr=math.nan)),
    "one chain of AIS": (
        partition((57.1, math.nan, 1.0, 54.1, 57.1, 0.02))._replace(
            **({"num_chains": 1} if "num_chains" in LogPartition._fields else {})
        ),
        {},
    ),
}


class TestUnknown:
    """An error that nobody knows is null in JSON and a word on the console, never 0 or NaN."""

    @pytest.mark.parametrize("case", UNKNOWN)
    def test_a_result(self, case, capsys, tmp_path):
        log_z, fields = UNKNOWN[case]
        record = result.likelihood_record(log_z, LIKELIHOOD._replace(**fields))
        text = json.dumps(record, allow_nan=False)
        assert "null" in text
        shown = said(record, capsys)
        assert "not known" in shown and "nan" not in shown
        config = hand_made_results.config_of()
        records.write_config(tmp_path / "config.json", records.RunConfig(config, "5a"))
        whole = {**hand_made_results.record_of(config, 0.0), **record}
        records.write_result(tmp_path, whole)
        assert records.read_result(tmp_path / "result.json")["test_nll"] == record["test_nll"]

    def test_a_report(self, tmp_path):
        """Unknown errors and times are words, and nothing in the csv."""
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

    def test_rows_of_single_draws(self):
        """A ladder, a population or a chain alone."""
        row = log_z_table.make_row("one", 12.0, math.nan, 1, 1.0)
        assert row["low"] is row["high"] is row["stderr"] is None
        shown = {**row, "seconds": None, "distance": None}
        assert "nan" not in log_z_table.format_table([shown])

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_what_is_no_number_is_never_written(self, value, tmp_path):
        with pytest.raises(ValueError, match="not JSON compliant"):
            json_files.write_json(tmp_path / "record.json", {"number": value})
        assert not list(tmp_path.iterdir())
        (tmp_path / "record.json").write_text(json.dumps({"number": value}))
        with pytest.raises(UserError, match="damaged"):
            json_files.read_json(tmp_path / "record.json")


def test_a_result_of_no_update_is_none(tmp_path):
    """As older versions wrote them: named, not counted, and exit code 3."""
    hand_made_results.write(
        tmp_path, 35.61, dict(skipped_updates=60, num_train_iter=60), num_train_iter=60
    )
    tree = read_tree(tmp_path)
    assert not tree.results and "no update" in tree.problems[0]
    [path] = tmp_path.rglob("result.json")
    with pytest.raises(UserError) as raised:
        records.read_result(path)
    assert raised.value.exit_code == 3
