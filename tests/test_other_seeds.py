"""Statistical tests, and they alone, can be run on other seeds."""

import pytest

from tests.other_seeds import OtherSeeds


@pytest.mark.parametrize("factor", [3])
def even(factor, monkeypatch, seed=1):
    monkeypatch.setenv("SEED", str(seed))
    assert factor * seed % 2


def exact():
    raise AssertionError


def test_failures_are_counted_by_their_seeds(tmp_path, capsys):
    file = tmp_path / "test_file.py"
    names = "even as test_even, exact as test_exact"
    file.write_text(f"from tests.test_other_seeds import {names}\n")
    assert pytest.main(["-q", "-s", str(file)], plugins=[OtherSeeds(range(10, 14))]) == 0
    said = capsys.readouterr().out
    assert "test_file.py::test_even[3] [10, 12]" in said and "1 passed, 1 skipped" in said
