"""The counts over many seeds of docs/exactness.md count what they say."""

import json

import pytest

from benchmarks import exactness, pages
from samplers.log_z_table import exact_row, make_row


def row(name, value, stderr, count):
    made = make_row(name, value, stderr, count, ess=7.0)
    return {**made, "seconds": 0.25}


def test_counts_of_seeds():
    """log Z = 3; 16 values give 2.13 standard errors for 95 %."""
    by_seed = {
        seed: [
            row("a", value, 0.1, 16),
            {**row("bound", value, 0.1, 16), "high": None, "low": value, "stderr": None},
            exact_row(3.0),
        ]
        for seed, value in enumerate((3.0, 3.2, 3.25, 3.31, 2.6), start=7)
    }
    kept = exactness.summarize(by_seed)
    assert json.loads(json.dumps(kept)) == kept and kept["seeds"] == 5
    a, bound = kept["estimators"]
    assert (a["estimator"], a["seeds"], a["inside_95"]) == ("a", 5, 2)
    assert a["mean_distance"] == pytest.approx(0.072)
    assert a["rms_distance"] == pytest.approx(0.2678, rel=1e-3)
    assert a["mean_margin"] == pytest.approx(0.2131, rel=1e-3)
    # A bound is right where it is not above: at 3 and at 2.6.
    assert bound["inside_95"] == 2 and bound["mean_margin"] is None
    text = pages.seeds_table(kept)
    assert "| a | +0.0720 | 0.2678 | 0.2131 | 2 of 5 |" in text
    assert "| bound | +0.0720 | 0.2678 |  | 2 of 5 |" in text and "\n| exact" not in text
    text = pages.misses_table({"tiny-5": kept})
    assert "| tiny | 5 | a | 9 (+2.5), 10 (+3.1), 11 (-4.0) |" in text
    assert "| tiny | 5 | bound | 8, 9, 10 |" in text
    assert "| tiny | a | +0.0720 | 0.2678 | 2 of 5 |" in pages.graphs_table({"tiny-5": kept})
