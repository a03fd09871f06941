"""Trees of results side by side."""

import pytest

from tables import comparison
from tables.results import read_tree
from tests.helpers.hand_made_results import write


def _compared(root, names):
    return comparison.compare([(root / name, read_tree(root / name).results) for name in names])


def test_trees_side_by_side(tmp_path):
    for seed in (0, 1):
        write(tmp_path / "a", 85.0 + seed, seed=seed)
        write(tmp_path / "b", 84.0 + seed, seed=seed, num_sweeps=80)
        write(tmp_path / "c", 84.0, dict(sha="cd" * 32), seed=seed)
    document, [changed, other_data] = _compared(tmp_path, "abc")
    assert changed["difference"] == pytest.approx(-1.0)
    assert changed["changed_settings"] == "num_sweeps: 80, not 40"
    assert other_data["difference"] is None
    assert "data_sha256" in other_data["changed_settings"]
    assert document.tables[1].rows[0][7] == "not comparable"


def test_nearest_protocol_is_the_counterpart(tmp_path):
    write(tmp_path / "a" / "short", 93.0, num_train_iter=10_000)
    write(tmp_path / "a" / "full", 85.0)
    write(tmp_path / "b", 92.5, num_sweeps=80, num_train_iter=10_000)
    _, [record] = _compared(tmp_path, "ab")
    assert record["difference"] == pytest.approx(-0.5)
