"""What a running table says of its progress and of the time left."""

import json
import os
import time

import pytest

from tables import progress
from tests.helpers import stand_in_table


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Two runs of which neither has begun, and a clock that the test sets."""
    clock = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    runs = stand_in_table.plan(tmp_path, stand_in_table.SMALL_GRID)
    for run in runs:
        run.directory.mkdir(parents=True)
    return runs, clock


def _note(run, *steps):
    lines = [json.dumps({"kind": "train", "step": step}) for step in steps]
    (run.directory / "metrics.jsonl").write_text("\n".join(lines) + "\n")


def test_steps_and_the_time_left(table):
    """A quarter of one of two runs took ten minutes: seventy are left."""
    runs, clock = table
    total = runs[0].config.num_train_iter
    found = progress.Progress(runs)
    assert found.text() == "0 of 2 runs done"
    clock[0] += 600.0
    _note(runs[0], 1, total // 4)
    at = f"{runs[0].name} at step {total // 4} of {total}"
    assert found.text() == f"0 of 2 runs done; {at}; about 70 min left"


def test_what_was_done_before_takes_no_time(table):
    runs, clock = table
    total = runs[0].config.num_train_iter
    _note(runs[0], total // 2)
    found = progress.Progress(runs)
    clock[0] += 3600.0
    _note(runs[0], 3 * total // 4)
    assert found.text().endswith("; about 5.0 h left")


@pytest.mark.parametrize(
    "made", [b'{"step": 5}\n{"step": ', b'{"step": "many"}\n', b"\xff\n", os.mkdir, os.mkfifo]
)
def test_odd_files_count_as_nothing(table, made):
    runs, _ = table
    path = runs[0].directory / "metrics.jsonl"
    made(path) if callable(made) else path.write_bytes(made)
    assert progress.Progress(runs).text() == "0 of 2 runs done"


def test_it_is_said_now_and_then_and_no_more_at_the_end(table, monkeypatch):
    runs, _ = table
    monkeypatch.setattr(progress, "_SECONDS", 0.01)
    lines, end = [], time.perf_counter() + 60.0
    with progress.reported(runs, lines.append):
        while len(lines) < 2:
            assert time.perf_counter() < end
            time.sleep(0.01)
    count = len(lines)
    time.sleep(0.05)
    assert set(lines) == {"0 of 2 runs done"} and len(lines) == count
