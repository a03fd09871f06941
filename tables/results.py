"""Finished runs, read back and gathered into cells: one setting under one protocol, over seeds."""

import os
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from configs.errors import UserError
from configs.experiment import ExperimentConfig
from configs.files import one_line
from configs.registry import BASELINES, SAMPLERS, STRUCTURES
from configs.tables import Setting
from dvae.runs.code_version import version_name
from dvae.runs.records import read_config, read_result
from tables.protocol import Protocol, protocol_of
from tables.statistics import Sample, summarize

_MOVED_ASIDE = ".old-"  # what run.py --fresh puts into a directory's name


def _largest(values: Iterable[float | None]) -> float | None:
    """The largest; None where one of them is not known."""
    values = list(values)
    return None if None in values else max(values)


class Result(NamedTuple):
    """One finished run.

    Attributes:
      directory: of the run.
      config: its configuration, from config.json.
      record: its result.json.
    """

    directory: Path
    config: ExperimentConfig
    record: dict[str, Any]

    @property
    def setting(self) -> Setting:
        """The cell of the table that it belongs to; a data file goes by its name alone."""
        c = self.config
        return Setting(c.dataset_name, c.struct, c.k, c.baseline, c.sampler, c.prior)

    @property
    def protocol(self) -> Protocol:
        """How it was trained and measured."""
        return protocol_of(self.config, self.record["protocol"])

    @property
    def nll(self) -> float:
        """Test NLL in nats."""
        return self.record["test_nll"]

    @property
    def trusted(self) -> bool:
        """Whether nothing speaks against log Z and the test NLL."""
        intervals = (self.record["log_z_interval"], self.record["nll_interval"])
        return all(interval["trusted"] for interval in intervals)

    @property
    def nll_error(self) -> float | None:
        """Half-width of the 95 % interval of the test NLL for this model and test set, in nats.

        None, as all errors here, where it is not known.
        """
        interval = self.record["nll_interval"]
        ends = [interval["low"], interval["high"]]
        return _largest(None if end is None else abs(end - self.nll) for end in ends)

    @property
    def log_z_error(self) -> float | None:
        """Half-width of the 95 % interval of log Z, in nats."""
        sides = self.record["nll_interval"]["log_z"]
        return _largest(None if side is None else abs(side) for side in sides)

    @property
    def ms_per_step(self) -> float | None:
        """Milliseconds of a training step, without compiling and evaluation."""
        return self.record["ms_per_step"]

    @property
    def hours(self) -> float | None:
        """Hours of training steps, without compiling and evaluation."""
        ms = self.ms_per_step
        return None if ms is None else ms * self.config.num_train_iter / 3.6e6

    @property
    def code(self) -> str:
        """Every version that trained the run, the first one first."""
        versions = [*self.record["earlier_code"], self.record["code"]]
        return " then ".join(map(version_name, versions))


class Tree(NamedTuple):
    """Everything finished under a directory, and what could not be read: one line each."""

    results: tuple[Result, ...]
    problems: tuple[str, ...]


def _run_directories(root: Path, problems: list[str]) -> Iterator[Path]:
    """Directories of finished runs; what cannot be looked into becomes a problem."""
    for place, folders, files in os.walk(root, onerror=lambda error: problems.append(str(error))):
        names = {*folders, *files}
        folders[:] = sorted(name for name in folders if _MOVED_ASIDE not in name)
        if "config.json" in names:
            folders.clear()
            if "result.json" in names:
                yield Path(place)


def _read(directory: Path) -> Result:
    record = read_result(directory / "result.json")
    return Result(directory, read_config(directory).config, record)


def read_tree(root: Path, wanted: Callable[[Result], bool] = lambda result: True) -> Tree:
    """Reads every finished run under `root` that is wanted, but those that --fresh moved aside.

    Of the same run twice, the first by its path is counted.

    Raises:
      UserError: there is no such directory.
    """
    if not root.is_dir():
        raise UserError(f"there is no directory {root}: give the --log_dir of a table")
    results: dict[Any, Result] = {}
    problems: list[str] = []
    for directory in _run_directories(root, problems):
        try:
            result = _read(directory)
        except UserError as error:
            problems.append(one_line(error))
            continue
        twin = results.setdefault((result.setting, result.protocol, result.config.seed), result)
        if twin is not result:
            problems.append(one_line(f"{directory} is the same run as {twin.directory}"))
    return Tree(tuple(filter(wanted, results.values())), tuple(problems))


class Cell(NamedTuple):
    """One cell of a table, with its runs in the order of their seeds."""

    setting: Setting
    protocol: Protocol
    results: tuple[Result, ...]

    @property
    def sample(self) -> Sample:
        """Mean and standard deviation of the test NLL over seeds."""
        runs = self.results
        errors = [run.nll_error for run in runs]
        return summarize([run.nll for run in runs], errors, self.trusted)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the finished runs."""
        return tuple(run.config.seed for run in self.results)

    @property
    def dataset(self) -> str:
        """The data set as --datasets takes it: of a data file the path, where it lies still."""
        places = [run.config.dataset for run in self.results]
        return next((place for place in places if os.path.exists(place)), places[0])

    @property
    def trusted(self) -> bool:
        """Whether nothing speaks against the numbers of any seed."""
        return all(run.trusted for run in self.results)

    @property
    def log_z_error(self) -> float | None:
        """Largest half-width of the 95 % interval of log Z over the seeds, in nats."""
        return _largest(run.log_z_error for run in self.results)

    @property
    def nll_error(self) -> float | None:
        """Largest half-width of the 95 % interval of the test NLL over the seeds, in nats."""
        return _largest(run.nll_error for run in self.results)

    def by_device(self, attribute: str) -> dict[str, float]:
        """Mean of `ms_per_step` or `hours` over the runs of each device, where it is known."""
        found: dict[str, list[float]] = {}
        for run in sorted(self.results, key=lambda run: run.record["device"]):
            if (value := getattr(run, attribute)) is not None:
                found.setdefault(run.record["device"], []).append(value)
        return {device: statistics.mean(values) for device, values in found.items()}

    @property
    def data_note(self) -> str:
        """What the loader reported of the data, without paths."""
        return self.results[0].record["protocol"]["data"].split("; from ")[0]

    def all_of(self, attribute: str) -> str:
        """The distinct values of a field of result.json, or of `Result.code`, over the seeds."""
        if attribute == "code":
            return ", ".join(sorted({run.code for run in self.results}))
        return ", ".join(sorted({str(run.record[attribute]) for run in self.results}))


def order_of(setting: Setting) -> tuple:
    """Sorts settings as the published table does."""
    return (
        setting.dataset,
        tuple(STRUCTURES).index(setting.struct),
        setting.k,
        list(BASELINES).index(setting.baseline),
        list(SAMPLERS).index(setting.sampler),
        setting.prior != "rbm",
        setting.prior,
    )


def gather(results: Iterable[Result]) -> list[Cell]:
    """Cells in the order of the published table, protocols of a setting after each other.

    Raises:
      UserError: two results of the same cell, protocol and seed.
    """
    groups: dict[tuple[Setting, Protocol], dict[int, Result]] = {}
    for result in results:
        seeds = groups.setdefault((result.setting, result.protocol), {})
        twin = seeds.setdefault(result.config.seed, result)
        if twin is not result:
            raise UserError(
                f"{twin.directory} and {result.directory} are the same run: give a directory that "
                "holds one of them"
            )
    cells = [
        Cell(setting, protocol, tuple(seeds[seed] for seed in sorted(seeds)))
        for (setting, protocol), seeds in groups.items()
    ]
    return sorted(cells, key=lambda cell: (order_of(cell.setting), repr(cell.protocol)))


def by_protocol(cells: Sequence[Cell]) -> dict[tuple[str, Protocol], list[Cell]]:
    """Cells of each data set and protocol, the longest training first."""
    groups: dict[tuple[str, Protocol], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.setting.dataset, cell.protocol), []).append(cell)

    def key(item: tuple[str, Protocol]) -> tuple:
        dataset, protocol = item
        return dataset, -dict(protocol.training)["num_train_iter"], repr(protocol)

    return {group: groups[group] for group in sorted(groups, key=key)}
