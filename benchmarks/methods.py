"""The results of all methods, kept so that they can grow from machine to machine.

python -m benchmarks.methods LOG_DIR ...                   keeps config.json and result.json of runs
python -m benchmarks.methods LOG_DIR ... --page=priors     those that docs/priors.md compares
"""

import math
from collections.abc import Sequence
from pathlib import Path

from benchmarks import records
from benchmarks.records import Record
from configs.tables import PUBLISHED_BASELINES, Setting
from dvae.priors import energy_model
from dvae.runs.export import copy_result
from dvae.runs.result import span
from samplers.energy_model import parameter_shapes
from tables.documents import markdown_table, markdown_tables
from tables.report import build_report
from tables.results import Cell, gather, read_tree
from tables.side_by_side import side_by_side

PAGES = ("methods", "priors")


def keep(log_dir: Path, page: str) -> None:
    """Keeps the finished runs of a directory, each in place of an earlier one like it."""
    for result in read_tree(log_dir).results:
        steps = records.RESULTS / page / f"{result.config.num_train_iter}-steps"
        target = result.config.run_directory(steps)
        target.mkdir(parents=True, exist_ok=True)
        copy_result(result.directory, target)
        print(f"kept {target.relative_to(records.RESULTS)}")


def kept(page: str) -> list[Cell]:
    """All that is kept of a page."""
    return gather(read_tree(records.RESULTS / page).results)


def best_of_each(cells: Sequence[Cell]) -> list[Cell]:
    """Of binarized MNIST the lowest NLL of each method at each length: the longest first."""
    best: dict[tuple[int, str], Cell] = {}
    for cell in sorted(cells, key=lambda cell: cell.sample.mean):
        if cell.trusted and cell.setting.dataset == "binarized_mnist":
            steps = cell.results[0].config.num_train_iter
            best.setdefault((-steps, cell.setting.baseline), cell)
    return [best[key] for key in sorted(best, key=lambda key: (key[0], best[key].sample.mean))]


def headline(cells: Sequence[Cell]) -> str:
    """README's table: the best of each method."""
    rows = []
    for cell in best_of_each(cells):
        run, setting = cell.results[0], cell.setting
        interval = run.record["nll_interval"]
        spread = span(interval["low"], interval["high"])
        if len(cell.results) > 1:
            spread = f"± {cell.sample.deviation:.2f} ({len(cell.results)} seeds)"
        times = cell.by_device("ms_per_step").items()
        ms = [f"{ms:.3g} ({device.removeprefix('GPU: NVIDIA ')})" for device, ms in times]
        row = [f"`{setting.baseline}`", f"{run.config.num_train_iter:,}", setting.struct]
        rows.append(
            [*row, f"{setting.k}", f"{cell.sample.mean:.2f} {spread}", ", ".join(ms) or "not known"]
        )
    header = ("method", "steps", "structure", "k", "test NLL, 95 % interval", "ms a step")
    return markdown_table(header, rows)


def equal_time(cells: Sequence[Cell], timed: Record) -> str:
    """Cells of 100,000 steps, and what each gives in the time that the fastest takes for them.

    timed: of `speed.time_step`. A shorter time is a shorter schedule: the NLL between the cells of
    10,000 and 100,000 steps is taken for linear in the logarithm of the steps.
    """
    times = {}
    for result in timed["results"]:
        for row in result["rows"]:
            about = (result["struct"], row.get("k"), row.get("baseline"), row.get("sampler"))
            times[Setting("binarized_mnist", *about)] = row["median_ms"]
    short, long = (
        {c.setting: c.sample.mean for c in cells if c.results[0].config.num_train_iter == steps}
        for steps in (10_000, 100_000)
    )
    ms = {setting: times[setting] for setting in long if setting in times and setting in short}
    rows = []
    for setting in sorted(ms, key=long.__getitem__):
        slower = math.log10(ms[setting] / min(ms.values()))
        then = long[setting] + (short[setting] - long[setting]) * slower
        row = [setting.baseline, f"{short[setting]:.2f}", f"{long[setting]:.2f}"]
        rows.append([*row, f"{ms[setting]:.1f}", f"{ms[setting] / 36:.2f}", f"{then:.2f}"])
    header = ("method", "NLL, 10,000 steps", "NLL, 100,000 steps", "ms a step", "hours")
    return markdown_table((*header, "NLL in the least of these hours"), rows)


def tables(cells: Sequence[Cell]) -> dict[str, str]:
    """The tables of docs/results.md by their markers."""
    published = [cell for cell in cells if cell.setting.baseline in PUBLISHED_BASELINES]
    documents = {"methods": side_by_side(cells), "table": build_report(published)}
    return {name: markdown_tables(document) for name, document in documents.items()}


def priors(cells: Sequence[Cell]) -> str:
    """Priors beside each other: the lowest NLL of a method first."""
    rows = []
    for cell in sorted(cells, key=lambda cell: (cell.setting.baseline, cell.sample.mean)):
        run = cell.results[0]
        couplings = parameter_shapes(energy_model(run.config.structure))[-1].num_elements()
        interval, setting = run.record["nll_interval"], cell.setting
        nll = f"{cell.sample.mean:.2f} {span(interval['low'], interval['high'])}"
        row = [setting.baseline, setting.prior, f"{run.config.structure.num_latents}"]
        row += [f"{run.config.num_train_iter:,}", f"{couplings:,}", nll, f"{cell.log_z_error:.3f}"]
        times = cell.by_device("ms_per_step").values()
        rows.append([*row, ", ".join(f"{ms:.0f}" for ms in times)])
    header = ("method", "prior", "latents", "steps", "couplings", "test NLL, 95 % interval")
    return markdown_table((*header, "log Z ±", "ms a step"), rows)


def main() -> None:
    """Keeps what is given."""
    parser = records.parser(__doc__)
    parser.add_argument("log_dirs", type=Path, nargs="+")
    parser.add_argument("--page", choices=PAGES, default=PAGES[0])
    options = parser.parse_args()
    for log_dir in options.log_dirs:
        keep(log_dir, options.page)


if __name__ == "__main__":
    main()
