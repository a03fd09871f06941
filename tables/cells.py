"""Results gathered into cells: one setting under one protocol, over its seeds."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from configs.errors import UserError
from configs.paper import STRUCTURES
from configs.registry import BASELINES, SAMPLERS
from configs.tables import Setting
from tables.protocol import Protocol, protocol_of
from tables.results import Result
from tables.statistics import Sample, summarize


class Cell(NamedTuple):
    """One cell of a table, with its runs in the order of their seeds."""

    setting: Setting
    protocol: Protocol
    results: tuple[Result, ...]

    @property
    def sample(self) -> Sample:
        """Mean and standard deviation of the test NLL over seeds."""
        runs = self.results
        return summarize([run.nll for run in runs], [run.nll_error for run in runs])

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the finished runs."""
        return tuple(run.config.seed for run in self.results)

    @property
    def log_z_error(self) -> float:
        """Largest half-width of the 95 % interval of log Z over the seeds, in nats."""
        return max(run.log_z_error for run in self.results)

    @property
    def hours(self) -> float:
        """Mean hours of training steps of a run."""
        return sum(run.hours for run in self.results) / len(self.results)

    @property
    def data_note(self) -> str:
        """What the loader said of the data, without the paths; earlier ones knew no checksum."""
        note = self.results[0].record["protocol"]["data"].split("; from ")[0]
        published = dict(self.protocol.measurement)["published_data"]
        return note.replace(
            "the published counts (the published checksum is not known here)",
            "the published file" if published else "not the published file",
        )

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
    )


def gather(results: Iterable[Result]) -> list[Cell]:
    """Cells in the order of the published table, protocols of a setting after each other.

    Raises:
      UserError: two results of the same cell, protocol and seed.
    """
    groups: dict[tuple[Setting, Protocol], dict[int, Result]] = {}
    for result in results:
        seeds = groups.setdefault((result.setting, protocol_of(result)), {})
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
