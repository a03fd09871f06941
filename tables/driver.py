"""Runs what is missing of a table, keeps its report up to date, and estimates how long it takes."""

import dataclasses
import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from configs.errors import UserError
from configs.experiment import ExperimentConfig
from dvae.runs.process import SignalWatch
from tables import progress, report
from tables.documents import Document, write_all
from tables.pictures import draw_all
from tables.results import Tree, gather, read_tree
from tables.runs import Outcome, PlannedRun

Log = Callable[[str], None]
_MEASURED = "measured: "  # before what run.py --mode=time prints last


class Executor(Protocol):
    """Where runs go: `tables.local` or `tables.on_ray`."""

    def describe(self) -> str:
        """Where the runs go, for people."""

    def outcomes(self, runs: Sequence[PlannedRun], stop: SignalWatch) -> Iterator[Outcome]:
        """Runs them; yields how each ended."""


def write_report(
    log_dir: Path, folder: Path, tree: Tree | None = None, planned: Sequence[PlannedRun] = ()
) -> Document:
    """Writes the report of everything finished under a directory.

    Args:
      log_dir: what `read_tree` reads.
      folder: where report.* and plots/ go.
      tree: what was read of `log_dir`; None: all of it, read now.
      planned: runs of the table, so that the report can name those that are not finished.
    """
    tree = read_tree(log_dir) if tree is None else tree
    cells = gather(tree.results)
    unfinished = [run.name for run in planned if not run.is_finished()]
    try:
        not_shown = draw_all(cells, folder / "plots")
    except OSError as error:
        raise UserError(f"cannot write to {folder} ({error.strerror})") from None

    def within(lines: Sequence[str]) -> list[str]:
        """Paths start at the tree, so that copies report alike."""
        return [line.replace(f"{log_dir}/", "") for line in lines]

    document = report.build_report(cells, within(tree.problems), unfinished, within(not_shown))
    write_all(document, report.records(cells), folder, "report")
    return document


def run_missing(
    planned: Sequence[PlannedRun], executor: Executor, log_dir: Path, folder: Path, log: Log
) -> int:
    """Runs what has no result, writing the report after each run that ends.

    Returns:
      The exit code: 0, 1 when a run failed, 128 + the number of the signal that stopped it.
    """
    missing = [run for run in planned if not run.is_finished()]
    log(f"{len(planned) - len(missing)} of {len(planned)} runs are finished")
    failed: list[Outcome] = []
    with SignalWatch() as stop, progress.reported(missing, log) as how_far:
        if missing:
            log(f"{len(missing)} to do, {executor.describe()}")
        for number, ended in enumerate(executor.outcomes(missing, stop), start=1):
            log(f"[{number}/{len(missing)}] {_line(ended)}; {how_far.text()}")
            if ended.status == "failed":
                failed.append(ended)
            try:
                write_report(log_dir, folder, planned=planned)
            except UserError as error:  # days of training do not end for a full disk
                log(f"no report yet: {error}")
    for ended in failed:
        log(f"failed: {ended.run.name}: {ended.message}")
    if failed:
        log(f"{len(failed)} runs failed; the same command tries them again")
    if stop.requested:
        log("stopped; the same command goes on from there, begun runs from their checkpoints")
    write_report(log_dir, folder, planned=planned)
    if stop.requested:
        return 128 + stop.number
    return 1 if failed else 0


def _line(ended: Outcome) -> str:
    text = f"{ended.run.name}: {ended.status}"
    if ended.attempts > 1:
        text += f" after {ended.attempts} attempts"
    return f"{text}: {ended.message}" if ended.message else text


def program_of(config: ExperimentConfig) -> ExperimentConfig:
    """The same for all runs that take the same time: those that differ by their seed alone."""
    return dataclasses.replace(config, seed=0)


def measure(
    run: PlannedRun, program: list[str], environment: Mapping[str, str]
) -> dict[str, float]:
    """What `run.py --mode=time` says of a run. Raises UserError when it fails."""
    done = subprocess.run(
        [*program, *run.arguments, "--mode=time"],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, **environment},
        cwd=run.start_in,
    )
    lines = done.stdout.strip().splitlines()
    if done.returncode != 0 or not lines or not lines[-1].startswith(_MEASURED):
        reason = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
        raise UserError(f"{run.name} could not be timed: {reason.removeprefix('error: ')}")
    return json.loads(lines[-1].removeprefix(_MEASURED))


class Estimates:
    """Hours of runs, each distinct program measured once.

    Args:
      program: the command that takes run.py's flags.
      environment: of the slot that a run gets, which ties it to its share of the machine.
    """

    def __init__(self, program: list[str], environment: Mapping[str, str]) -> None:
        self._program, self._environment = program, environment
        self._known: dict[ExperimentConfig, dict[str, float]] = {}

    def hours(self, run: PlannedRun) -> float:
        """Hours of a whole run on its share, with nothing beside it. Raises UserError."""
        key = program_of(run.config)
        if key not in self._known:
            self._known[key] = measure(run, self._program, self._environment)
        return self._known[key]["hours"]


def total_text(hours: Sequence[float], at_once: int) -> str:
    """The sum, and what several at once can make of it at best."""
    total = sum(hours)
    text = f"{len(hours)} runs to do: {total:.2f} h one after another"
    return text + (f", at best {total / at_once:.2f} h with {at_once} at once" if hours else "")


def list_runs(planned: Sequence[PlannedRun], estimates: Estimates, at_once: int, log: Log) -> int:
    """Lists the runs, with the estimated time of those to do; returns 1 when one has none."""
    hours, failed = [], 0
    for run in planned:
        if run.is_finished():
            log(f"{run.name}: finished")
            continue
        try:
            hours.append(estimates.hours(run))
        except UserError as error:
            failed += 1
            log(f"{run.name}: no estimate: {error}")
        else:
            log(f"{run.name}: {hours[-1]:.2f} h")
    log(total_text(hours, at_once))
    return 1 if failed else 0
