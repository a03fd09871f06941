"""The page of docs/exactness.md counts what it says it counts."""

from benchmarks import exactness_page
from dvae.runs import log_z_table


def row(name, value, stderr, count):
    made = log_z_table.make_row(name, value, stderr, count, ess=7.0)
    return {**made, "seconds": 0.25, "distance": value - 3.0}


def test_counts_of_seeds():
    """log Z = 3; 16 values give 2.13 and 2.95 standard errors for 95 % and 99 %."""
    values = [3.0, 3.2, 3.25, 3.31, 2.6]
    seeds = [
        [
            row("a", value, 0.1, 16),
            {**row("bound", value, 0.1, 16), "high": None, "low": value},
            {**row("exact", 3.0, 0.0, 16), "high": 3.0, "low": 3.0},
        ]
        for value in values
    ]
    record = {
        "kind": "many seeds",
        "name": "small",
        "log_z": 3.0,
        "settings": {"training": "none", "chains": 16},
        "machine": {"cores": 2, "machine": "x"},
        "seeds": seeds,
    }
    lines = exactness_page.page([record]).split("\n")
    cells = {line.split(" | ")[0]: line.strip("| ").split(" | ") for line in lines}
    assert cells["| a"][1:6] == ["+0.0720", "0.2678", "0.2947", "2 of 5", "3 of 5"]
    # A bound is right where it is not above: at 3 and at 2.6.
    assert cells["| bound"][3:6] == ["", "", "2 of 5"]
    assert "| exact" not in cells and "log Z = 3.000000" in "".join(lines)
