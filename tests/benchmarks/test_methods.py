"""README's table of methods is that of the kept results."""

from benchmarks import methods
from tests.helpers import hand_made_results


def test_readme_is_of_the_kept_results():
    before, _, rest = (methods.ROOT / "README.md").read_text().partition("<!-- methods: begin -->")
    table, end, _ = rest.partition("<!-- methods: end -->")
    assert before and end and table == f"\n\n{methods.text()}\n"


def test_runs_are_kept_by_schedule_without_a_place(tmp_path, monkeypatch):
    monkeypatch.setattr(methods, "RESULTS", tmp_path / "kept")
    for tree, nll in (("first", 93.5), ("again", 93.25)):
        hand_made_results.write(tmp_path / tree, nll)
        methods.keep(tmp_path / tree)
    [kept] = (tmp_path / "kept").glob("*-steps/**/result.json")
    assert "; from " not in kept.read_text()
    assert {path.name for path in kept.parent.iterdir()} == {"config.json", "result.json"}
    assert "| dvaes_power | **93.25** ± 0.02; 36 ms |" in methods.text()
