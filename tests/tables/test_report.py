"""What a report says of results made by hand: nothing mixed, nothing invented."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from configs.registry import BASELINES, SAMPLERS, Baseline
from configs.tables import TABLES
from tables import driver, report
from tables.results import gather, read_tree
from tables.side_by_side import side_by_side
from tests.helpers.hand_made_results import write


def _document(root):
    tree = read_tree(root)
    cells = gather(tree.results)
    return report.build_report(cells, tree.problems), report.records(cells)


def _column(table, name):
    return [row[table.header.index(name)] for row in table.rows]


def test_published_protocol_is_compared_with_its_mark(tmp_path):
    nlls = (85.00, 85.03, 85.12)
    for seed, nll in enumerate(nlls):
        write(tmp_path, nll, seed=seed)
    document, [record] = _document(tmp_path)
    [table] = document.tables
    assert table.title.endswith(": the published protocol")
    columns = ("test NLL", "seeds", "from published")
    assert [_column(table, c) for c in columns] == [["85.05 ± 0.06"], ["3"], ["+0.12"]]
    assert "published 84.93 ± 0.02 (unverified)" in table.notes[-1]
    assert any("UNVERIFIED" in note for note in table.notes)
    error = np.hypot(np.std(nlls, ddof=1) / np.sqrt(3), 0.02 / np.sqrt(5))
    gap = np.mean(nlls) - 84.93
    assert record["difference"] == pytest.approx(gap)
    assert record["difference_in_standard_errors"] == pytest.approx(gap / error)
    assert record["hours"] == pytest.approx(10.0)  # 36 ms x a million steps
    known = dict(log_z_error=0.03, device="CPU", code="c0ffee", steps=1_000_000)
    assert known | {"published_status": "unverified"} == {
        name: record[name] for name in (*known, "published_status")
    }


def test_times_of_several_devices_are_not_averaged(tmp_path):
    """Seeds on a CPU took 36 and 54 ms, one on a GPU 0.9: 10, 15 and 0.25 hours."""
    for seed, (ms, device) in enumerate(((36.0, "CPU"), (0.9, "GPU: NVIDIA H200"), (54.0, "CPU"))):
        write(tmp_path, 85.0, dict(ms_per_step=ms, device=device), seed=seed)
    document, [record] = _document(tmp_path)
    assert "hours 12.50, 0.25;" in str(document.tables) and record["hours"] is None
    [table] = side_by_side(gather(read_tree(tmp_path).results)).tables
    assert table.rows[0][1].endswith("; 45 ms, 0.9 ms (H200)")


def test_a_run_resumed_by_other_code_names_both(tmp_path):
    earlier = [{"commit": "bead", "sources": "0"}, {"commit": None, "sources": "4567"}]
    write(tmp_path, 85.0, record_changes=dict(earlier_code=earlier))
    assert _document(tmp_path)[1][0]["code"] == "bead then 4567 then c0ffee"


def test_one_seed_claims_no_significance(tmp_path):
    write(tmp_path, 85.0)
    [table] = _document(tmp_path)[0].tables
    assert _column(table, "test NLL") == ["85.00 (one seed)"]
    assert "in standard errors one seed" in table.notes[-1]


def test_a_reduced_schedule_is_not_compared(tmp_path):
    for seed in (0, 1):
        write(tmp_path, 93.0 + seed, seed=seed, num_train_iter=10_000)
    document, [record] = _document(tmp_path)
    [table] = document.tables
    assert "10,000 steps" in table.title and table.title.endswith("a reduced schedule")
    assert "from published" not in table.header and record["difference"] is None
    assert any("num_train_iter 10,000 (published: 1,000,000)" in note for note in table.notes)
    assert any("no difference is given" in note for note in table.notes)
    assert "published, another protocol 84.93 ± 0.02 (unverified)" in table.notes[-1]


_OTHERS = {
    "fewer steps": dict(num_train_iter=10_000),
    "other sharpness": dict(beta=12.0),
    "other sampler settings": dict(num_sweeps=80),
    "other importance samples": dict(eval_iw_samples=100),
    "other AIS": dict(ais_temperatures=500),
    "other data draw": dict(record_changes=dict(sha="cd" * 32)),
    "other evaluation interval": dict(eval_every=999),
}


@pytest.mark.parametrize("name", _OTHERS)
def test_another_protocol_has_a_table_of_its_own(tmp_path, name):
    write(tmp_path / "a", 85.0)
    write(tmp_path / "b", 99.0, seed=1, **_OTHERS[name])
    tables = _document(tmp_path)[0].tables
    assert len(tables) == len({table.title for table in tables}) == 2
    shown = sorted(_column(table, "test NLL")[0] for table in tables)
    assert shown == ["85.00 (one seed)", "99.00 (one seed)"]
    published = sum("published protocol" in table.title for table in tables)
    assert published == 1 or name == "other data draw"


_TITLES = {True: ": the published protocol", False: "another protocol than published"}
_TITLES[None] = "importance samples"  # nobody knows


@pytest.mark.parametrize("published", _TITLES)
def test_published_values_are_those_of_the_published_file(tmp_path, published):
    note = "5 images: said by the loader; from x"
    write(tmp_path, 85.0, dict(data_note=note, published_data=published), dataset="omniglot")
    document, [record] = _document(tmp_path)
    [table] = document.tables
    assert table.notes[0].startswith("Data: 5 images: said by the loader (sha256 abab")
    another = published is False
    departures = "data: not the published file" if another else ""
    assert record["departures_from_published"] == departures
    assert (record["difference"] is None) == another
    assert table.title.endswith(_TITLES[published])


def test_the_command_names_a_data_file_by_its_path(tmp_path):
    """Where it lies; of several places, one where it lies still."""
    gone, there = tmp_path / "gone" / "own.npz", tmp_path / "there" / "own.npz"
    there.parent.mkdir()
    there.touch()
    for seed, path in enumerate((gone, there)):
        write(tmp_path / "logs", 85.0, seed=seed, dataset=str(path))
    [table] = _document(tmp_path / "logs")[0].tables
    assert f"--datasets={there} " in table.commands[0]


def test_methods_are_compared_with_the_best_of_several_seeds(tmp_path):
    """Of the same structure and K; neither one seed nor a doubtful log Z takes part."""
    runs = {"dvaes_power": (85.0, 85.2, 85.1), "dvaes_exp": (86.0, 86.5), "dvaes_gi": (84.0,)}
    for baseline, nlls in runs.items():
        for seed, nll in enumerate(nlls):
            write(tmp_path, nll, seed=seed, baseline=baseline)
    for seed in (0, 1):
        doubt = dict(nll_interval=dict(trusted=False))
        write(tmp_path, 80.0 + seed, doubt, seed=seed, baseline="dvaes_unexp")
        write(tmp_path, 90.0 + seed, seed=seed, struct="2-layer-nonlin")
    [table] = _document(tmp_path)[0].tables
    found = dict(
        zip(
            zip(*(_column(table, c) for c in ("struct", "baseline")), strict=True),
            _column(table, "above the best, 95 %"),
            strict=True,
        )
    )
    wanted = stats.ttest_ind(runs["dvaes_exp"], runs["dvaes_power"], equal_var=False)
    low, high = wanted.confidence_interval(0.95)
    one = "1-layer-nonlin"
    assert found == {
        (one, "dvaes_power"): "best",
        (one, "dvaes_exp"): f"+1.15 [{low:+.2f}, {high:+.2f}]",
        **dict.fromkeys([(one, "dvaes_gi"), (one, "dvaes_unexp")], "–"),
        ("2-layer-nonlin", "dvaes_power"): "–",
    }
    assert any(note.startswith("Above the best") for note in table.notes)


def test_nothing_was_published_of_ones_own_data(tmp_path):
    own = dict(published_data=None, data_note="4 images")
    write(tmp_path, 85.0, own, dataset=str(tmp_path / "own.npz"), num_train_iter=2000, beta=2.0)
    document, [record] = _document(tmp_path)
    [table] = document.tables
    assert "published" not in " ".join([table.title, *table.notes, *table.header])
    assert "2,000 steps" in table.title and "beta 2.0" in table.title
    assert record["departures_from_published"] == ""


def test_samplers_are_compared(tmp_path):
    for seed, noise in enumerate((0.0, 0.2)):
        write(tmp_path, 85.0 + noise, seed=seed)
        write(tmp_path, 86.0 + 2 * noise, seed=seed, sampler="pcd")
    main, samplers = _document(tmp_path)[0].tables
    assert _column(main, "sampler") == ["pa", "pcd"]
    assert samplers.title.startswith("Population annealing against PCD")
    assert _column(samplers, "PCD - annealing") == ["+1.10"]


def test_an_added_baseline_is_reported_without_a_published_value(tmp_path, monkeypatch):
    """One registry entry is all that it takes; Table 1 stays as published."""
    added = Baseline(method="dvae.methods:dvaes", sharpness={"2-layer-nonlin": 7.0})
    monkeypatch.setitem(BASELINES, "added", added)
    for seed, nll in enumerate((84.0, 84.2)):
        write(tmp_path, nll, seed=seed, baseline="added")
        write(tmp_path, nll + 1.0, seed=seed)
    [table] = driver.write_report(tmp_path, tmp_path).tables
    assert _column(table, "baseline") == ["dvaes_power", "added"]
    assert _column(table, "test NLL") == ["85.10 ± 0.14", "84.10 ± 0.14"]
    assert _column(table, "published") == ["84.93 ± 0.02 (unverified)", "–"]
    assert _column(table, "from published") == ["+0.17", "–"]
    assert table.title.endswith(": the published protocol")
    assert any("--baselines=dvaes_power,added " in command for command in table.commands)
    assert "| added | 84.10 ± 0.14 |" in (tmp_path / "report.md").read_text()
    assert "added" not in TABLES[1].baselines and len(TABLES[1].baselines) == 8


def test_an_added_sampler_is_reported_beside_the_others(tmp_path, monkeypatch):
    monkeypatch.setitem(SAMPLERS, "added", SAMPLERS["pcd"])
    for sampler, nll in (("added", 83.0), ("pcd", 86.0), ("pa", 85.0)):
        write(tmp_path, nll, sampler=sampler)
    document, records = _document(tmp_path)
    main, samplers = document.tables
    assert _column(main, "sampler") == ["pa", "pcd", "added"]
    assert _column(main, "test NLL") == [f"{nll}.00 (one seed)" for nll in (85, 86, 83)]
    assert [record["published_mean"] for record in records] == [84.93, None, None]
    assert any("--samplers=pa,pcd,added " in command for command in main.commands)
    assert _column(samplers, "PCD - annealing") == ["+1.00"]
    assert len(document.pictures) == 3 and "added" not in TABLES[1].samplers


def test_methods_side_by_side(tmp_path):
    """A column for each setting, the lowest of it in bold; a method lacks what was not run.

    Times are of a CPU where nothing is said.
    """
    one, two, card = dict(struct="1-layer-nonlin"), dict(struct="2-layer-nonlin"), "GPU: a card"
    write(tmp_path, 93.5, **one)
    write(tmp_path, 93.25, baseline="dvaepp_power", **one)
    write(tmp_path, 91.0, dict(device=card), k=5, **two)
    for seed, nll in enumerate((92.5, 91.5)):
        write(tmp_path, nll, seed=seed, **two)
    [table] = side_by_side(gather(read_tree(tmp_path).results)).tables
    columns = "1-layer-nonlin, k=1", "2-layer-nonlin, k=1", "2-layer-nonlin, k=5"
    assert table.header == ("method", *columns)
    weak, best = table.rows
    assert weak == ("dvaepp_power", "**93.25** ± 0.02; 36 ms", "", "")
    assert best[:2] == ("dvaes_power", "93.50 ± 0.02; 36 ms")
    seeds, on_card = "**92.00** ± 0.71 (2 seeds); 36 ms", "**91.00** ± 0.02; 36 ms (a card)"
    assert best[2:] == (seeds, on_card)
    assert len(table.commands) >= 1 and "run_table.py" in table.commands[0]


def test_a_table_leaves_out_what_a_method_lacks(monkeypatch):
    """K below the least one, and more groups than the most."""
    weak = dataclasses.replace(BASELINES["dvaes_exp"], least_k=2, most_groups=1)
    monkeypatch.setitem(BASELINES, "weak", weak)
    structs = "1-layer-nonlin", "2-layer-nonlin"
    grid = TABLES[3]._replace(baselines=("dvaes_exp", "weak"), structs=structs, ks=(1, 5))
    kept = [(s.baseline, s.struct, s.k) for s in grid.settings()]
    assert [s for s in kept if s[0] == "weak"] == [("weak", "1-layer-nonlin", 5)]
    assert sum(s[0] == "dvaes_exp" for s in kept) == 4
