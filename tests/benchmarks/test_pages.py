"""Pages show what the kept results give, and results are kept and read back."""

import pytest

from benchmarks import methods, pages, records
from tests.helpers import hand_made_results

TABLES = pages.tables()


@pytest.mark.parametrize("place", TABLES, ids=" ".join)
def test_pages_show_the_kept_results(place):
    file, name = place
    before, _, rest = (records.ROOT / file).read_text().partition(f"<!-- {name}: begin -->")
    table, end, _ = rest.partition(f"<!-- {name}: end -->")
    assert before and end and table == f"\n\n{TABLES[place]}\n"


def test_a_result_is_kept_and_read_back(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    for name, value in (("b", 0.1), ("a", None)):
        records.keep("exactness", name, {"value": value})
    found = records.read("exactness")
    assert [(name, record["value"]) for name, record in found.items()] == [("a", None), ("b", 0.1)]
    assert all(record["machine"]["cpus"] >= 1 for record in found.values())


@pytest.mark.parametrize("page", methods.PAGES)
def test_runs_are_kept_by_schedule_without_a_place(tmp_path, monkeypatch, page):
    monkeypatch.setattr(records, "RESULTS", tmp_path / "kept")
    for tree, nll in (("first", 93.5), ("again", 93.25)):
        hand_made_results.write(tmp_path / tree, nll)
        methods.keep(tmp_path / tree, page)
    [kept] = (tmp_path / "kept" / page).glob("*-steps/**/result.json")
    assert "; from " not in kept.read_text()
    assert {path.name for path in kept.parent.iterdir()} == {"config.json", "result.json"}
    cells = methods.kept(page)
    assert "| dvaes_power | **93.25** ± 0.02; 36 ms |" in methods.tables(cells)["methods"]
    assert "| `dvaes_power` |" in methods.headline(cells) and " 93.25 [" in methods.headline(cells)
    assert " | 10,000 | 93.25 [" in methods.priors(cells)


def test_the_best_of_each_method_comes_first():
    cells = methods.kept("methods")
    best = methods.best_of_each(cells)
    assert len(best) < len(cells) and best[0].results[0].config.num_train_iter == 1_000_000
