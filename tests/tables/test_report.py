"""What a report says of results made by hand: nothing mixed, nothing invented."""

import csv
import io
import json

import numpy as np
import pytest
from scipy import stats

from configs.errors import UserError
from tables import comparison, driver, protocol, report, writing
from tables.cells import gather
from tables.results import read_tree
from tables.statistics import (
    MEASUREMENT_FLOOR,
    MEASUREMENT_ONLY,
    SEEDS_ALONE,
    UNKNOWN,
    Sample,
    difference,
    summarize,
)
from tests.helpers import hand_made_results

_FULL = dict(num_train_iter=1_000_000)
_SHORT = dict(num_train_iter=10_000)


def _document(root):
    tree = read_tree(root)
    cells = gather(tree.results)
    return report.build_report(cells, tree.problems), report.records(cells)


def _column(table, name):
    return [row[table.header.index(name)] for row in table.rows]


def test_published_protocol_is_compared_with_its_mark(tmp_path):
    nlls = (85.00, 85.03, 85.12)
    for seed, nll in enumerate(nlls):
        hand_made_results.write(tmp_path, nll, seed=seed, **_FULL)
    document, [record] = _document(tmp_path)
    [table] = document.tables
    assert table.title.endswith(": the published protocol")
    assert _column(table, "test NLL") == ["85.05 ± 0.06"]
    assert _column(table, "seeds") == ["3"]
    assert _column(table, "from published") == ["+0.12"]
    assert "published 84.93 ± 0.02 (unverified)" in table.notes[-1]
    assert any("UNVERIFIED" in note for note in table.notes)
    error = np.hypot(np.std(nlls, ddof=1) / np.sqrt(3), 0.02 / np.sqrt(5))
    gap = np.mean(nlls) - 84.93
    assert record["difference"] == pytest.approx(gap)
    assert record["difference_in_standard_errors"] == pytest.approx(gap / error)
    assert record["log_z_error"] == 0.03
    assert record["hours"] == pytest.approx(10.0)  # 36 ms x a million steps
    assert (record["device"], record["code"], record["steps"]) == ("CPU", "c0ffee", 1_000_000)
    assert record["published_status"] == "unverified"


def test_a_run_resumed_by_other_code_names_both(tmp_path):
    earlier = [{"commit": None, "sources": None}, {"commit": None, "sources": "4567"}]
    hand_made_results.write(tmp_path, 85.0, record_changes=dict(earlier_code=earlier), **_FULL)
    assert _document(tmp_path)[1][0]["code"] == "not recorded then 4567 then c0ffee"


def test_one_seed_claims_no_significance(tmp_path):
    hand_made_results.write(tmp_path, 85.0, **_FULL)
    [table] = _document(tmp_path)[0].tables
    assert _column(table, "test NLL") == ["85.00 (one seed)"]
    assert "in standard errors one seed" in table.notes[-1]


def test_a_reduced_schedule_is_not_compared(tmp_path):
    for seed in (0, 1):
        hand_made_results.write(tmp_path, 93.0 + seed, seed=seed, **_SHORT)
    document, [record] = _document(tmp_path)
    [table] = document.tables
    assert "10,000 steps" in table.title and table.title.endswith("a reduced schedule")
    assert "from published" not in table.header
    assert any("num_train_iter 10,000 (published: 1,000,000)" in note for note in table.notes)
    assert any("no difference is given" in note for note in table.notes)
    assert "published, another protocol 84.93 ± 0.02 (unverified)" in table.notes[-1]
    assert record["difference"] is None


_OTHERS = {
    "fewer steps": (dict(num_train_iter=10_000), {}),
    "other sharpness": (dict(beta=12.0), {}),
    "other sampler settings": (dict(num_sweeps=80), {}),
    "other importance samples": (dict(eval_iw_samples=100), {}),
    "other AIS": (dict(ais_temperatures=500), {}),
    "other data draw": ({}, dict(sha="cd" * 32)),
    "other evaluation interval": (dict(eval_every=999), {}),
}


@pytest.mark.parametrize("name", _OTHERS)
def test_another_protocol_has_a_table_of_its_own(tmp_path, name):
    fields, changes = _OTHERS[name]
    hand_made_results.write(tmp_path / "a", 85.0, **_FULL)
    hand_made_results.write(tmp_path / "b", 99.0, changes, seed=1, **(_FULL | fields))
    document, _ = _document(tmp_path)
    assert len(document.tables) == 2
    assert len({table.title for table in document.tables}) == 2
    assert sorted(_column(table, "test NLL")[0] for table in document.tables) == [
        "85.00 (one seed)",
        "99.00 (one seed)",
    ]
    if fields:
        assert sum("published protocol" in table.title for table in document.tables) == 1


def test_published_values_are_compared_with_on_the_published_file_alone(tmp_path):
    foreign = dict(published_data=False, data_note="4 images: not the published file")
    hand_made_results.write(tmp_path / "a", 85.0, dict(sha="aa" * 32), **_FULL)
    hand_made_results.write(tmp_path / "b", 86.0, dict(sha="bb" * 32, **foreign), **_FULL)
    document, records = _document(tmp_path)
    kinds = {_column(table, "test NLL")[0][:2]: table.title for table in document.tables}
    assert kinds["85"].endswith(": the published protocol")
    assert kinds["86"].endswith("another protocol than published")
    assert [record["difference"] is None for record in records] == [False, True]
    assert records[1]["departures_from_published"] == "data: not the published file"


@pytest.mark.parametrize(
    ("dataset", "sha", "departures", "said"),
    [
        ("binarized_mnist", "0ca16e91", "", "the published file"),
        ("binarized_mnist", "53d96b84", "data: not the published file", "not the published file"),
        ("omniglot", "91502cb9", "data: not the published file", "not the published file"),
        ("digits", "01234567", "", "not the published file"),
    ],
)
def test_earlier_results_count_as_published_by_the_checksum_of_their_data(
    tmp_path, dataset, sha, departures, said
):
    known = "0ca16e91057b9a806f1c11355bb4610bb4d6c08dab952b1a3186e73244221ca1"
    note = "5 images: the published counts (the published checksum is not known here); from x"
    changes = dict(sha=known if known.startswith(sha) else sha * 8, data_note=note)
    fields = _FULL | dict(dataset=dataset)
    directory = hand_made_results.write(tmp_path, 85.0, changes, **fields)
    record = json.loads((directory / "result.json").read_text())
    del record["protocol"]["published_data"]
    (directory / "result.json").write_text(json.dumps(record))
    document, [record] = _document(tmp_path)
    assert record["departures_from_published"] == departures
    assert document.tables[0].notes[0].startswith(f"Data: 5 images: {said} (sha256 {sha}")


def test_the_same_run_twice_is_refused(tmp_path):
    for tree in "ab":
        hand_made_results.write(tmp_path / tree, 85.0, **_FULL)
    with pytest.raises(UserError, match="are the same run"):
        _document(tmp_path)


def test_damaged_and_moved_results_are_not_counted(tmp_path):
    good = hand_made_results.write(tmp_path, 85.0, **_FULL)
    torn = hand_made_results.write(tmp_path, 85.0, seed=1, **_FULL)
    (torn / "result.json").write_text("{")
    lacking = hand_made_results.write(tmp_path, 85.0, seed=2, **_FULL)
    (lacking / "result.json").write_text(json.dumps({"test_nll": 3.0}))
    infinite = hand_made_results.write(tmp_path, float("nan"), seed=3, **_FULL)
    swapped = hand_made_results.write(tmp_path, 85.0, seed=4, **_FULL)
    (swapped / "config.json").write_text((good / "config.json").read_text())
    moved = hand_made_results.write(tmp_path, 70.0, seed=5, **_FULL)
    moved.rename(moved.with_name(f"{moved.name}.old-20260101-000000"))
    tree = read_tree(tmp_path)
    assert [result.directory for result in tree.results] == [good]
    assert len(tree.problems) == 4
    for directory in (torn, lacking, infinite, swapped):
        assert sum(str(directory) in problem for problem in tree.problems) == 1
    document = driver.write_report(tmp_path, tmp_path)
    assert document.tables[-1].title == "Not counted"
    assert len(document.tables[-1].rows) == 4


def test_samplers_are_compared(tmp_path):
    for seed, noise in enumerate((0.0, 0.2)):
        hand_made_results.write(tmp_path, 85.0 + noise, seed=seed, **_FULL)
        hand_made_results.write(tmp_path, 86.0 + 2 * noise, seed=seed, sampler="pcd", **_FULL)
    document, _ = _document(tmp_path)
    main, samplers = document.tables
    assert _column(main, "sampler") == ["pa", "pcd"]
    assert samplers.title.startswith("Population annealing against PCD")
    assert _column(samplers, "PCD - annealing") == ["+1.10"]


def test_welch_is_scipys_on_the_runs_themselves():
    ours, theirs = [1.0, 2.0, 4.0], [3.0, 3.5, 5.5, 9.0]
    ours_sample, theirs_sample = (summarize(x, [0.1] * len(x)) for x in (ours, theirs))
    found = difference(ours_sample, theirs_sample)
    wanted = stats.ttest_ind(ours, theirs, equal_var=False)
    assert found.basis == SEEDS_ALONE
    assert found.in_standard_errors == pytest.approx(wanted.statistic)
    assert found.p_value == pytest.approx(wanted.pvalue)


@pytest.mark.parametrize("ours", [[90.0, 90.001], [90.0, 90.0]])
def test_seeds_that_agree_by_chance_claim_no_more_than_was_measured(ours):
    theirs = [90.1, 90.1005]
    found = difference(*(summarize(x, [0.196] * 2) for x in (ours, theirs)))
    assert found.basis == MEASUREMENT_FLOOR
    assert found.standard_error == pytest.approx(0.1, rel=1e-3)  # two means of two, 0.1 each run
    assert found.p_value > 0.4
    exact = difference(Sample(1.0, 0.0, 2), Sample(1.0, 0.0, 2))
    assert (exact.standard_error, exact.basis) == (0.0, SEEDS_ALONE)
    assert np.isnan(exact.p_value) and np.isnan(exact.in_standard_errors)


def test_one_seed_falls_back_on_the_error_of_measurement_and_says_so():
    one = summarize([90.0], [0.196])
    many = summarize([91.0, 91.4], [0.196, 0.196])
    found = difference(many, one)
    assert found.basis == MEASUREMENT_ONLY
    assert found.standard_error == pytest.approx(np.hypot(0.1, 0.1 / np.sqrt(2)), rel=1e-3)
    assert difference(one, Sample(84.0, 0.1, 5)).basis == UNKNOWN


def test_trees_side_by_side(tmp_path):
    for seed in (0, 1):
        hand_made_results.write(tmp_path / "a", 85.0 + seed, seed=seed, **_FULL)
        hand_made_results.write(tmp_path / "b", 84.0 + seed, seed=seed, num_sweeps=80, **_FULL)
        hand_made_results.write(tmp_path / "c", 84.0, dict(sha="cd" * 32), seed=seed, **_FULL)
    trees = [(tmp_path / name, read_tree(tmp_path / name).results) for name in "abc"]
    document, [changed, other_data] = comparison.compare(trees)
    assert changed["difference"] == pytest.approx(-1.0)
    assert changed["changed_settings"] == "num_sweeps: 80, not 40"
    assert other_data["difference"] is None
    assert "data_sha256" in other_data["changed_settings"]
    assert document.tables[1].rows[0][7] == "not comparable"


def test_nearest_protocol_is_the_counterpart(tmp_path):
    hand_made_results.write(tmp_path / "a" / "short", 93.0, **_SHORT)
    hand_made_results.write(tmp_path / "a" / "full", 85.0, **_FULL)
    hand_made_results.write(tmp_path / "b", 92.5, num_sweeps=80, **_SHORT)
    trees = [(tmp_path / name, read_tree(tmp_path / name).results) for name in "ab"]
    _, [record] = comparison.compare(trees)
    assert record["difference"] == pytest.approx(-0.5)


def test_commands_give_the_cells_again(tmp_path):
    for struct in ("1-layer-lin", "1-layer-nonlin"):
        for k in (1, 5):
            hand_made_results.write(tmp_path, 90.0, struct=struct, k=k, num_sweeps=80, **_SHORT)
    hand_made_results.write(tmp_path, 90.0, baseline="dvaes_exp", seed=3, num_sweeps=80, **_SHORT)
    [table] = _document(tmp_path)[0].tables
    start = "python run_table.py --datasets=binarized_mnist"
    rest = "--num_sweeps=80 --num_train_iter=10000"
    assert sorted(table.commands) == [
        f"{start} --structs=1-layer-lin,1-layer-nonlin --ks=1,5 --baselines=dvaes_power "
        f"--samplers=pa --seeds=0 {rest}",
        f"{start} --structs=1-layer-nonlin --ks=1 --baselines=dvaes_exp --samplers=pa "
        f"--seeds=3 {rest}",
    ]


def test_files_hold_what_the_document_says(tmp_path):
    changes = dict(device="GPU: <A&B_100%>")
    hand_made_results.write(tmp_path, 85.0, changes, **_FULL)
    hand_made_results.write(tmp_path, 85.5, changes, k=5, **_FULL)
    document, records = _document(tmp_path)
    page = writing.html(document)
    assert "&lt;A&amp;B_100%&gt;" in page and "<A&B" not in page
    assert all(picture.path in page for picture in document.pictures)
    tex = writing.latex(document)
    assert r"$<$A\&B\_100\%$>$" in tex
    body = [line for line in tex.splitlines() if line.endswith(r" \\")]
    assert len({line.count(" & ") for line in body}) == 1 and len(body) == 3
    rows = list(csv.DictReader(io.StringIO(writing.csv_text(records))))
    assert [float(row["test_nll_mean"]) for row in rows] == [85.0, 85.5]
    text = writing.markdown(document)
    assert "| 1-layer-nonlin | 5 |" in text and "![" in text


def test_insertion_needs_its_markers(tmp_path):
    path = tmp_path / "text.md"
    for content in ("none", "<!-- table: end --> <!-- table: begin -->"):
        path.write_text(content)
        with pytest.raises(UserError, match="must hold the lines"):
            writing.insert(path, "x")
        assert path.read_text() == content


def test_protocol_names_every_field_that_decides_numbers(tmp_path):
    """A new field of ExperimentConfig is part of the protocol unless it is excluded on purpose."""
    hand_made_results.write(tmp_path, 85.0, **_FULL)
    [result] = read_tree(tmp_path).results
    found = protocol.protocol_of(result)
    names = {name for name, _ in (*found.training, *found.measurement)}
    cell = {"dataset", "struct", "k", "baseline", "sampler", "seed"}
    harmless = {"input_size", "summary_every", "eval_batchsize"}
    assert set(result.config.to_json()) - names == cell | harmless
