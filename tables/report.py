"""From cells to a report: one table for each data set and protocol."""

from collections.abc import Sequence
from pathlib import Path

from configs.registry import STRUCTURES
from configs.tables import (
    PUBLISHED_RUNS,
    PUBLISHED_STATUS,
    UNVERIFIED,
    Setting,
    published_value,
)
from tables import protocol as protocols
from tables.documents import Document, Picture, Table, without_constant_columns
from tables.pictures import picture_name, picture_title
from tables.protocol import Protocol
from tables.results import Cell, by_protocol
from tables.statistics import (
    Difference,
    Sample,
    difference,
    in_errors,
    mean_and_deviation,
    nats,
    p_value,
    signed,
    with_interval,
)

_ABOVE_BEST = "above the best, 95 %"
_KEEP = ("struct", "k", "baseline", "test NLL", "seeds", _ABOVE_BEST, "log Z error")
_KEEP += ("from published",)
_UNITS = (
    "Test NLL in nats: mean ± standard deviation over seeds. log Z error: largest half-width of "
    "its 95 % interval over seeds, in nats. Hours: of training steps, mean over the seeds of each "
    "device."
)
_OF_THE_BEST = (
    "Above the best: the difference to the lowest mean of the same struct and k, of two seeds or "
    "more, with the 95 % interval of Welch's t for this one comparison."
)


def published_difference(cell: Cell) -> Difference | None:
    """Ours - published, or None where there is none or the protocols differ."""
    value = published_value(cell.setting)
    if value is None or protocols.departures(cell.protocol):
        return None
    return difference(cell.sample, Sample(value.mean, value.deviation, PUBLISHED_RUNS))


def _above_best(cells: Sequence[Cell]) -> dict[Setting, str]:
    """How far cells lie above the lowest mean of their structure and K.

    Only where both have several seeds and can be trusted.
    """
    groups: dict[tuple, list[Cell]] = {}
    for cell in cells:
        if cell.sample.count > 1 and cell.trusted:
            groups.setdefault((cell.setting.struct, cell.setting.k), []).append(cell)
    found = {}
    for group in groups.values():
        best, *others = sorted(group, key=lambda cell: cell.sample.mean)
        for cell in others:
            found[best.setting] = "best"
            found[cell.setting] = with_interval(difference(cell.sample, best.sample))
    return found


def _published_text(cell: Cell) -> str:
    value = published_value(cell.setting)
    return "–" if value is None else f"{value.mean:.2f} ± {value.deviation:.2f} ({UNVERIFIED})"


def _row(cell: Cell, comparable: bool, above_best: str) -> tuple[str, ...]:
    setting = cell.setting
    row = [setting.struct, str(setting.k), setting.baseline, setting.prior, setting.sampler]
    row += [mean_and_deviation(cell.sample), str(len(cell.seeds)), above_best]
    row += [nats(cell.log_z_error), _published_text(cell)]
    if comparable:
        gap = published_difference(cell)
        row += ["–", "–"] if gap is None else [signed(gap.value), in_errors(gap)]
    steps = f"{cell.results[0].config.num_train_iter:,}"
    row += [steps, _hours(cell), cell.all_of("device"), cell.all_of("code")]
    return tuple(row)


def _hours(cell: Cell) -> str:
    return ", ".join(f"{h:.2f}" for h in cell.by_device("hours").values()) or "not known"


def data_notes(cells: Sequence[Cell], departures: Sequence[str]) -> list[str]:
    """Sentences on the data and the protocol of cells that are alike in both."""
    notes = [f"Data: {cells[0].data_note} (sha256 {_sha(cells[0])[:12]}…)."]
    if departures:
        notes.append(f"Differs from the published protocol: {'; '.join(departures)}.")
    return notes


def _notes(cells: Sequence[Cell], departures: Sequence[str]) -> list[str]:
    notes = data_notes(cells, departures)
    if any(published_value(cell.setting) for cell in cells):
        notes.append(f"Published values: {PUBLISHED_STATUS}.")
        if departures:
            notes.append(
                "They stand here for orientation only: they belong to another protocol, so no "
                "difference is given."
            )
    return notes


def _sha(cell: Cell) -> str:
    return dict(cell.protocol.measurement)["data_sha256"]


def _section(dataset: str, protocol: Protocol, cells: Sequence[Cell]) -> Table:
    departures = protocols.departures(protocol)
    has_published = any(published_value(cell.setting) for cell in cells)
    above_best = _above_best(cells)
    comparable = has_published and not departures
    published = "published" if comparable else "published, another protocol"
    header = ["struct", "k", "baseline", "prior", "sampler"]
    header += ["test NLL", "seeds", _ABOVE_BEST, "log Z error", published]
    header += ["from published", "in standard errors"] if comparable else []
    header += ["steps", "hours", "device", "code"]
    table = Table(
        title=protocols.title_of(dataset, protocol),
        notes=(*_notes(cells, departures), *([_OF_THE_BEST] if above_best else [])),
        header=tuple(header),
        rows=tuple(_row(cell, comparable, above_best.get(cell.setting, "–")) for cell in cells),
        commands=tuple(
            protocols.commands_for(
                cells[0].dataset, protocol, [(c.setting, c.seeds) for c in cells]
            )
        ),
    )
    if not has_published:
        table = _without(table, published)
    if not above_best:
        table = _without(table, _ABOVE_BEST)
    return without_constant_columns(_priors_if_several(table), _KEEP)


def _priors_if_several(table: Table) -> Table:
    """Without the column of priors where all are RBMs, as in the papers."""
    column = table.header.index("prior")
    return _without(table, "prior") if {row[column] for row in table.rows} == {"rbm"} else table


def _without(table: Table, column: str) -> Table:
    index = table.header.index(column)
    return table._replace(
        header=table.header[:index] + table.header[index + 1 :],
        rows=tuple(row[:index] + row[index + 1 :] for row in table.rows),
    )


def _sampler_table(dataset: str, protocol: Protocol, cells: Sequence[Cell]) -> Table | None:
    """Population annealing against PCD, where both were run."""
    by_setting = {cell.setting: cell for cell in cells}
    rows = []
    for setting, annealed in by_setting.items():
        chains = by_setting.get(setting._replace(sampler="pcd"))
        if setting.sampler != "pa" or chains is None:
            continue
        gap = difference(chains.sample, annealed.sample)
        row = [setting.struct, str(setting.k), setting.baseline, setting.prior]
        row += [mean_and_deviation(annealed.sample), mean_and_deviation(chains.sample)]
        rows.append((*row, signed(gap.value), in_errors(gap), p_value(gap), gap.basis))
    if not rows:
        return None
    header = ("struct", "k", "baseline", "prior", "population annealing", "PCD", "PCD - annealing")
    table = Table(
        title=f"Population annealing against PCD: {protocols.title_of(dataset, protocol)}",
        notes=("Test NLL in nats; p of Welch's t-test; the error comes from what is named last.",),
        header=(*header, "in standard errors", "p", "error from"),
        rows=tuple(rows),
    )
    return _priors_if_several(table)


def build_report(
    cells: Sequence[Cell],
    problems: Sequence[str] = (),
    unfinished: Sequence[str] = (),
    not_shown: Sequence[str] = (),
    picture_folder: Path = Path("plots"),
) -> Document:
    """The report of one tree of results.

    Args:
      problems: results that could not be read, a line each.
      unfinished: runs of the table that have no result yet, a line each.
      not_shown: files that the pictures do without, a line each.
      picture_folder: relative to the report.
    """
    tables = []
    for (dataset, protocol), group in by_protocol(cells).items():
        tables.append(_section(dataset, protocol, group))
        samplers = _sampler_table(dataset, protocol, group)
        tables += [samplers] if samplers else []
    for title, word, lines in (
        ("Not finished", "run", unfinished),
        ("Not counted", "file, and why", problems),
        ("Not shown", "file, and why", not_shown),
    ):
        if lines:
            tables.append(Table(title, (), (word,), tuple((line,) for line in lines)))
    pictures = [Picture(picture_title(c), str(picture_folder / picture_name(c))) for c in cells]
    return Document("Test likelihoods", (_UNITS,), tuple(tables), tuple(pictures))


def records(cells: Sequence[Cell]) -> list[dict[str, object]]:
    """One flat record for each cell, with unrounded numbers, for report.csv."""
    return [_record(cell) for cell in cells]


def _record(cell: Cell) -> dict[str, object]:
    value, gap = published_value(cell.setting), published_difference(cell)
    sample, hours = cell.sample, list(cell.by_device("hours").values())
    departures = protocols.departures(cell.protocol)
    return {
        **cell.setting._asdict(),
        "num_groups": STRUCTURES[cell.setting.struct].num_groups,
        "test_nll_mean": sample.mean,
        "test_nll_deviation": sample.deviation,
        "trusted": sample.trusted,
        "num_seeds": sample.count,
        "seeds": " ".join(map(str, cell.seeds)),
        "test_nlls": " ".join(repr(run.nll) for run in cell.results),
        "measurement_stderr": sample.measurement_error,
        "log_z_error": cell.log_z_error,
        "published_mean": value and value.mean,
        "published_deviation": value and value.deviation,
        "published_status": UNVERIFIED if value else None,
        "difference": gap and gap.value,
        "difference_in_standard_errors": gap and gap.in_standard_errors,
        "steps": cell.results[0].config.num_train_iter,
        "hours": hours[0] if len(hours) == 1 else None,  # of one device
        "device": cell.all_of("device"),
        "code": cell.all_of("code"),
        "data_sha256": _sha(cell),
        "departures_from_published": "; ".join(departures),
    }
