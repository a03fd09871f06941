"""The results behind README's table of methods, kept so that it can grow from machine to machine.

python -m benchmarks.methods LOG_DIR ...    keeps config.json and result.json of finished runs
"""

from pathlib import Path

from benchmarks import records
from dvae.runs.export import copy_result
from tables.documents import markdown_tables
from tables.results import gather, read_tree
from tables.side_by_side import side_by_side

RESULTS = records.RESULTS / "methods"


def keep(log_dir: Path) -> None:
    """Keeps the finished runs of a directory, each in place of an earlier one like it."""
    for result in read_tree(log_dir).results:
        steps = RESULTS / f"{result.config.num_train_iter}-steps"
        target = result.config.run_directory(steps)
        target.mkdir(parents=True, exist_ok=True)
        copy_result(result.directory, target)
        print(f"kept {target.relative_to(RESULTS)}")


def text() -> str:
    """The table, or one for each number of steps."""
    return markdown_tables(side_by_side(gather(read_tree(RESULTS).results)))


def main() -> None:
    """Keeps what is given."""
    parser = records.parser(__doc__)
    parser.add_argument("log_dirs", type=Path, nargs="+")
    for log_dir in parser.parse_args().log_dirs:
        keep(log_dir)


if __name__ == "__main__":
    main()
