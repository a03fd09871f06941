"""Methods under each other, settings side by side: the short form of a report."""

from collections.abc import Sequence

from configs.registry import BASELINES
from tables import protocol as protocols
from tables.documents import Document, Table
from tables.protocol import Protocol
from tables.report import data_notes
from tables.results import Cell, by_protocol
from tables.statistics import nats

_NOTE = (
    "Test NLL in nats, with the standard deviation over seeds or, of one seed, ± the half-width of "
    "its 95 % interval from log Z and importance sampling (not from the choice of seed); then "
    "milliseconds of a training step, on a CPU unless a GPU is named. The lowest NLL of a column "
    "that is to be trusted is bold."
)


def _text(cell: Cell, best: bool) -> str:
    sample = cell.sample
    if sample.count > 1:
        error = f" ± {nats(sample.deviation)} ({sample.count} seeds)"
    else:
        error = ", error not known" if cell.nll_error is None else f" ± {nats(cell.nll_error)}"
    nll = f"**{sample.mean:.2f}**" if best else f"{sample.mean:.2f}"
    doubt = "" if sample.trusted else ", not to be trusted"
    times = []
    for device, ms in cell.by_device("ms_per_step").items():
        where = device.removeprefix("GPU: ").removeprefix("NVIDIA ")
        times.append(f"{ms:.3g} ms" + ("" if device == "CPU" else f" ({where})"))
    return f"{nll}{error}{doubt}; {', '.join(times) or 'time not known'}"


def _table(dataset: str, protocol: Protocol, cells: Sequence[Cell]) -> Table:
    def column(cell: Cell) -> str:
        s = cell.setting
        others = ((s.sampler, "pa"), (s.prior, "rbm"))
        return f"{s.struct}, k={s.k}" + "".join(f", {new}" for new, usual in others if new != usual)

    columns: dict[str, dict[str, Cell]] = {}
    for cell in cells:
        columns.setdefault(column(cell), {})[cell.setting.baseline] = cell
    best = {
        name: min((c.sample.mean for c in found.values() if c.trusted), default=None)
        for name, found in columns.items()
    }

    def text(method: str, name: str) -> str:
        cell = columns[name].get(method)
        return "" if cell is None else _text(cell, cell.sample.mean == best[name])

    methods = [name for name in BASELINES if any(name in found for found in columns.values())]
    return Table(
        title=protocols.title_of(dataset, protocol),
        notes=tuple(data_notes(cells, protocols.departures(protocol))),
        header=("method", *columns),
        rows=tuple((method, *(text(method, name) for name in columns)) for method in methods),
        commands=tuple(
            protocols.commands_for(
                cells[0].dataset, protocol, [(c.setting, c.seeds) for c in cells]
            )
        ),
    )


def side_by_side(cells: Sequence[Cell]) -> Document:
    """A table for each data set and protocol: a row for each method, a column for each setting."""
    groups = by_protocol(cells).items()
    tables = tuple(_table(dataset, protocol, group) for (dataset, protocol), group in groups)
    return Document("Methods", (_NOTE,), tables)
