"""The tables of README and docs/results.md are those of the kept results."""

from benchmarks import methods
from tests.helpers import hand_made_results


def test_pages_are_of_the_kept_results():
    cells = methods.kept()
    for page, tables in (
        ("README.md", {"headline": methods.headline(cells)}),
        ("docs/results.md", methods.tables(cells)),
    ):
        text = (methods.ROOT / page).read_text()
        for name, table in tables.items():
            assert f"<!-- {name}: begin -->\n\n{table}\n<!-- {name}: end -->" in text, name
    best = methods.best_of_each(cells)
    assert len(best) < len(cells) and best[0].results[0].config.num_train_iter == 1_000_000


def test_runs_are_kept_by_schedule_without_a_place(tmp_path, monkeypatch):
    monkeypatch.setattr(methods, "RESULTS", tmp_path / "kept")
    for tree, nll in (("first", 93.5), ("again", 93.25)):
        hand_made_results.write(tmp_path / tree, nll)
        methods.keep(tmp_path / tree)
    [kept] = (tmp_path / "kept").glob("*-steps/**/result.json")
    assert "; from " not in kept.read_text()
    assert {path.name for path in kept.parent.iterdir()} == {"config.json", "result.json"}
    cells = methods.kept()
    assert "| dvaes_power | **93.25** ± 0.02; 36 ms |" in methods.tables(cells)["methods"]
    assert "| `dvaes_power` |" in methods.headline(cells) and " 93.25 [" in methods.headline(cells)
