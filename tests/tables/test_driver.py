"""Tables on one machine: interrupted, failing and abandoned, with runs that start at once."""

import signal

import pytest

from configs.errors import UserError
from tables import driver
from tables.local import LocalExecutor
from tests.helpers import hand_made_results, stand_in_program, stand_in_table
from tests.helpers.odd_names import ODD_NAME
from tests.helpers.stand_in_table import wait_until
from tests.helpers.table_process import finish, start


def _start(log_dir, *arguments, **environment):
    program = ["-m", "tests.helpers.stand_in_table"]
    return start([log_dir, *arguments], program, **environment)


def _files(log_dir, pattern):
    return sorted(log_dir.glob(f"**/{pattern}"))


def _report(log_dir):
    names = [log_dir / f"report.{kind}" for kind in ("md", "csv", "tex", "html")]
    pictures = sorted((log_dir / "plots").iterdir())
    assert len(pictures) == 4
    return {path.name: path.read_bytes() for path in names + pictures}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The report of a table that nothing interrupted."""
    log_dir = tmp_path_factory.mktemp("whole") / ODD_NAME
    code, out = finish(_start(log_dir))
    assert code == 0, out
    return _report(log_dir)


def test_every_run_is_in_the_report(whole):
    for run in stand_in_table.plan(stand_in_table.ROOT):
        assert f"{stand_in_program.expected_nll(run.config)!r}".encode() in whole["report.csv"]
    assert b"Not finished" not in whole["report.md"]


def test_a_table_interrupted_twice_gives_the_same_report(tmp_path, whole):
    for number, code in ((signal.SIGHUP, 129), (signal.SIGUSR2, 140)):
        done = len(_files(tmp_path, "result.json"))
        process = _start(tmp_path, stand_in_seconds=2)
        # In the middle of a run: one has ended since, and another has begun.
        wait_until(
            lambda done=done: (
                len(_files(tmp_path, "result.json")) > done
                and len(_files(tmp_path, "checkpoint.json")) > done + 2
            )
        )
        process.send_signal(number)
        ended, out = finish(process)
        assert ended == code, out
        assert "the same command goes on from there" in out
        assert not _files(tmp_path, "lock.json")
        begun = [path.parent for path in _files(tmp_path, "checkpoint.json")]
        assert not all((path / "result.json").exists() for path in begun)
        assert "Not finished" in (tmp_path / "report.md").read_text()
    code, out = finish(_start(tmp_path))
    assert code == 0, out
    assert any("resumed at step" in path.read_text() for path in _files(tmp_path, "*.txt"))
    assert _report(tmp_path) == whole


def test_a_failed_run_is_reported_and_stops_no_other(tmp_path):
    power, other = stand_in_table.plan(tmp_path, stand_in_table.SMALL_GRID)
    code, out = finish(_start(tmp_path, "small", stand_in_failing="dvaes_exp"))
    assert code == 1
    assert f"failed: {other.name}: exit code 2: made to fail" in out
    assert power.is_finished() and not other.is_finished()
    assert f"| {other.name} |" in (tmp_path / "report.md").read_text()
    code, out = finish(_start(tmp_path, "small"))
    assert code == 0, out
    assert "1 of 2 runs are finished" in out
    assert other.is_finished()
    assert "Not finished" not in (tmp_path / "report.md").read_text()


def test_runs_of_a_killed_table_end_in_good_order(tmp_path):
    process = _start(tmp_path, "small", stand_in_seconds=60)
    wait_until(lambda: len(_files(tmp_path, "checkpoint.json")) == 2)
    process.kill()
    finish(process)
    wait_until(lambda: not _files(tmp_path, "lock.json"))
    assert not _files(tmp_path, "result.json")


def test_a_report_that_cannot_be_written_stops_no_run(tmp_path):
    (tmp_path / "file").write_text("in the way")
    runs, lines = stand_in_table.plan(tmp_path, stand_in_table.SMALL_GRID), []
    executor = LocalExecutor([{}], stand_in_table.PROGRAM)
    with pytest.raises(UserError, match="cannot write"):
        driver.run_missing(runs, executor, tmp_path, tmp_path / "file" / "x", lines.append)
    assert all(run.is_finished() for run in runs)
    assert sum(line.startswith("no report yet: cannot write") for line in lines) == 2


def test_runs_that_share_a_program_share_its_measurement(tmp_path, monkeypatch):
    measured, lines, measure = [], [], driver.measure

    def counted(run, program, environment):
        measured.append(run.config.k)
        return measure(run, program, environment)

    monkeypatch.setattr(driver, "measure", counted)
    runs = stand_in_table.plan(tmp_path, stand_in_table.GRID._replace(baselines=("dvaes_power",)))
    hand_made_results.write(tmp_path, 90.0, k=5, seed=1)
    known = driver.Estimates(stand_in_table.PROGRAM, {})
    assert driver.list_runs(runs, known, 2, lines.append) == 0
    assert measured == [1, 5]
    hours = [line.rpartition(": ")[2] for line in lines[:4]]
    assert hours == ["1.00 h", "5.00 h", "1.00 h", "finished"]
    assert lines[-1] == "3 runs to do: 7.00 h one after another, at best 3.50 h with 2 at once"


def test_a_run_that_cannot_be_timed_is_named(tmp_path):
    """The environment of a slot reaches what is timed: here it makes one baseline fail."""
    lines = []
    runs = stand_in_table.plan(tmp_path, stand_in_table.SMALL_GRID)
    known = driver.Estimates(stand_in_table.PROGRAM, {"STAND_IN_FAILING": "dvaes_exp"})
    assert driver.list_runs(runs, known, 1, lines.append) == 1
    assert lines[0].endswith(": 1.00 h")
    assert "no estimate" in lines[1] and "made to fail" in lines[1]
