"""Runs what is missing of a table and keeps its report up to date."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from configs.errors import UserError
from tables import plots, report, writing
from tables.cells import gather
from tables.documents import Document
from tables.estimates import Estimates, total_text
from tables.planned import Outcome, PlannedRun
from tables.results import read_tree
from tables.stop import StopRequest

Say = Callable[[str], None]


class Executor(Protocol):
    """Where runs go: see `tables.local` and `tables.on_ray`."""

    def describe(self) -> str:
        """Where the runs go, for people."""

    def outcomes(self, runs: Sequence[PlannedRun], stop: StopRequest) -> Iterator[Outcome]:
        """Runs them; yields how each ended."""


def write_report(log_dir: Path, folder: Path, planned: Sequence[PlannedRun] = ()) -> Document:
    """Writes the report of everything finished under a directory.

    Args:
      log_dir: what `read_tree` reads.
      folder: where report.* and plots/ go.
      planned: runs of the table, so that the report can name those that are not finished.
    """
    tree = read_tree(log_dir)
    cells = gather(tree.results)
    unfinished = [run.name for run in planned if not run.is_finished()]
    # Paths in what could not be read start at the tree, so that copies report alike.
    problems = [line.replace(f"{log_dir}/", "") for line in tree.problems]
    document = report.build_report(cells, problems, unfinished)
    try:
        plots.draw_all(cells, folder / "plots")
    except OSError as error:
        raise UserError(f"cannot write to {folder} ({error.strerror})") from None
    writing.write_all(document, report.records(cells), folder, "report")
    return document


def run_missing(
    planned: Sequence[PlannedRun], executor: Executor, log_dir: Path, folder: Path, say: Say
) -> int:
    """Runs what has no result, writing the report after each run that ends.

    Returns:
      The exit code: 0, 1 when a run failed, 128 + the number of the signal that stopped it.
    """
    missing = [run for run in planned if not run.is_finished()]
    say(f"{len(planned) - len(missing)} of {len(planned)} runs are finished")
    failed: list[Outcome] = []
    with StopRequest() as stop:
        if missing:
            say(f"{len(missing)} to do, {executor.describe()}")
        for number, ended in enumerate(executor.outcomes(missing, stop), start=1):
            say(f"[{number}/{len(missing)}] {_line(ended)}")
            if ended.status == "failed":
                failed.append(ended)
            write_report(log_dir, folder, planned)
        write_report(log_dir, folder, planned)
    if stop.requested:
        say("stopped; every run wrote a checkpoint, and the same command goes on from there")
        return 128 + stop.number
    for ended in failed:
        say(f"failed: {ended.run.name}: {ended.message}")
    if failed:
        say(f"{len(failed)} runs failed; the same command tries them again")
    return 1 if failed else 0


def _line(ended: Outcome) -> str:
    text = f"{ended.run.name}: {ended.status}"
    if ended.attempts > 1:
        text += f" after {ended.attempts} attempts"
    return f"{text}: {ended.message}" if ended.message else text


def list_runs(planned: Sequence[PlannedRun], estimates: Estimates, at_once: int, say: Say) -> int:
    """Lists the runs, with the estimated time of those to do; returns 1 when one has none."""
    hours, failed = [], 0
    for run in planned:
        if run.is_finished():
            say(f"{run.name}: finished")
            continue
        try:
            hours.append(estimates.hours(run))
        except UserError as error:
            failed += 1
            say(f"{run.name}: no estimate: {error}")
        else:
            say(f"{run.name}: {hours[-1]:.2f} h")
    say(total_text(hours, at_once))
    return 1 if failed else 0
