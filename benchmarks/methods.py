"""The results of all methods, kept so that they can grow from machine to machine.

    python -m benchmarks.methods LOG_DIR ...    keeps every finished run, and writes the tables
    python -m benchmarks.methods                only writes the tables again

Of a run config.json and result.json are kept, in benchmarks/results/methods/. docs/results.md has
all of them, README.md the best of each method.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from configs.tables import PUBLISHED_BASELINES
from dvae.runs.export import copy_result
from dvae.runs.result import span
from tables.documents import insert, markdown_table, markdown_tables
from tables.report import build_report
from tables.results import Cell, gather, read_tree
from tables.side_by_side import side_by_side

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "methods"
_COLUMNS = ("method", "steps", "structure", "k", "test NLL, 95 % interval", "ms a step")


def keep(log_dir: Path) -> None:
    """Keeps the finished runs of a directory, each in place of an earlier one like it."""
    for result in read_tree(log_dir).results:
        steps = RESULTS / f"{result.config.num_train_iter}-steps"
        target = result.config.run_directory(steps)
        target.mkdir(parents=True, exist_ok=True)
        copy_result(result.directory, target)
        print(f"kept {target.relative_to(RESULTS)}")


def kept() -> list[Cell]:
    """All that is kept."""
    return gather(read_tree(RESULTS).results)


def best_of_each(cells: Sequence[Cell]) -> list[Cell]:
    """The lowest NLL of each method at each number of steps: most steps first, then the lowest."""

    def steps(cell: Cell) -> int:
        return cell.results[0].config.num_train_iter

    best: dict[tuple[int, str], Cell] = {}
    for cell in sorted(cells, key=lambda cell: cell.sample.mean):
        if cell.trusted:
            best.setdefault((steps(cell), cell.setting.baseline), cell)
    return sorted(best.values(), key=lambda cell: (-steps(cell), cell.sample.mean))


def _row(cell: Cell) -> tuple[str, ...]:
    run, setting = cell.results[0], cell.setting
    interval = run.record["nll_interval"]
    spread = span(interval["low"], interval["high"])
    if len(cell.results) > 1:
        spread = f"± {cell.sample.deviation:.2f} ({len(cell.results)} seeds)"
    where = cell.all_of("device").removeprefix("GPU: NVIDIA ")
    ms = "not known" if cell.ms_per_step is None else f"{cell.ms_per_step:.3g} ({where})"
    steps = f"{run.config.num_train_iter:,}"
    nll = f"{cell.sample.mean:.2f} {spread}"
    return f"`{setting.baseline}`", steps, setting.struct, str(setting.k), nll, ms


def headline(cells: Sequence[Cell]) -> str:
    """README's table: the best of each method."""
    return markdown_table(_COLUMNS, [_row(cell) for cell in best_of_each(cells)])


def tables(cells: Sequence[Cell]) -> dict[str, str]:
    """The tables of docs/results.md by their markers."""
    published = [cell for cell in cells if cell.setting.baseline in PUBLISHED_BASELINES]
    return {
        "methods": markdown_tables(side_by_side(cells)),
        "table": markdown_tables(build_report(published)),
    }


def main() -> None:
    """Keeps what is given, and writes the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("log_dirs", type=Path, nargs="*")
    for log_dir in parser.parse_args().log_dirs:
        keep(log_dir)
    cells = kept()
    insert(ROOT / "README.md", headline(cells), "headline")
    for name, text in tables(cells).items():
        insert(ROOT / "docs" / "results.md", text, name)


if __name__ == "__main__":
    main()
