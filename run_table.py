"""Reproduces the tables of DVAE#: runs every missing cell with run.py and reports them together.

Every flag of run.py that is no axis of the table is passed on. See docs/tables.md.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from absl import flags

import run
from configs import command_line
from configs.errors import UserError
from configs.registry import SAMPLERS
from configs.tables import TABLES, Grid, Setting
from configs.text import printable
from tables import comparison, documents, driver
from tables.local import LocalExecutor, slots, this_machine
from tables.on_ray import RayExecutor
from tables.results import Result, Tree, gather, read_tree
from tables.runs import PlannedRun, training_program
from tables.side_by_side import side_by_side

FLAGS = flags.FLAGS

flags.DEFINE_enum(
    "table",
    "1",
    [str(number) for number in TABLES],
    "1: baselines; 2: samplers; 3: methods beyond DVAE#",
)
flags.DEFINE_list("datasets", None, "data sets, as --dataset of run.py; default: the table's")
flags.DEFINE_list("structs", None, "model structures; default: the table's")
flags.DEFINE_list("ks", None, "samples per image in training; default: the table's")
flags.DEFINE_list("baselines", None, "methods; default: the table's")
flags.DEFINE_list("samplers", None, f"of {', '.join(SAMPLERS)}; default: the table's")
flags.DEFINE_list("seeds", None, "seeds of each cell; default: 0,1,2,3,4")

flags.DEFINE_bool("dry_run", False, "list the runs with their estimated time on this machine")
flags.DEFINE_bool("report_only", False, "run nothing; several --log_dir are compared")
flags.DEFINE_string("report_dir", None, "where the report goes; default: the (first) --log_dir")
flags.DEFINE_string("insert_into", None, "put the tables between the markers of this file, too")

flags.DEFINE_enum("executor", "local", ["local", "ray"], "this machine, or an existing Ray cluster")
flags.DEFINE_integer("jobs", None, "runs at once on this machine; default: as many as fit")
flags.DEFINE_string("ray_address", "auto", "address of the Ray cluster")
flags.DEFINE_float("run_cpus", 1.0, "CPU cores that a run reserves on the Ray cluster", 0.0)
flags.DEFINE_float("run_gpus", 0.0, "share of a GPU that a run reserves on the Ray cluster", 0.0)
flags.DEFINE_integer("max_attempts", 5, "starts of a run that is killed, on the Ray cluster")

# Flags of run.py that the axes of a table take the place of.
_AXES = {
    "dataset": "datasets",
    "struct": "structs",
    "k": "ks",
    "baseline": "baselines",
    "sampler": "samplers",
    "qupa": "samplers",
    "seed": "seeds",
}
_NOT_FOR_TABLES = ("mode", "run", "fresh", "step", "num_images")


def define_log_dirs() -> None:
    """Lets --log_dir be given several times; run.py takes one."""
    flags.DEFINE_multi_string(
        "log_dir", ["./logs"], "where runs and reports go", allow_override=True
    )


def _log(message: str) -> None:
    print(printable(message), flush=True)


def _check_flags() -> None:
    for name, axis in _AXES.items():
        if FLAGS[name].present:
            raise UserError(f"--{name} is of run.py: a table takes --{axis}=...")
    for name in _NOT_FOR_TABLES:
        if FLAGS[name].present:
            raise UserError(f"--{name} is of run.py: it has no meaning for a table")
    if len(FLAGS.log_dir) > 1 and not FLAGS.report_only:
        raise UserError("runs go to one --log_dir; several are for --report_only")


def _integers(name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    given = getattr(FLAGS, name)
    try:
        return default if given is None else tuple(int(text) for text in given)
    except ValueError:
        raise UserError(f"--{name}={','.join(given)} must be whole numbers") from None


def _grid() -> Grid:
    table = TABLES[int(FLAGS.table)]
    unknown = [name for name in FLAGS.samplers or () if name not in SAMPLERS]
    if unknown:
        raise UserError(f"--samplers={unknown[0]} is unknown; choose of: {', '.join(SAMPLERS)}")
    grid = Grid(
        datasets=tuple(FLAGS.datasets or table.datasets),
        structs=tuple(FLAGS.structs or table.structs),
        ks=_integers("ks", table.ks),
        baselines=tuple(FLAGS.baselines or table.baselines),
        samplers=tuple(FLAGS.samplers or table.samplers),
        seeds=_integers("seeds", table.seeds),
    )
    for name, values in grid._asdict().items():
        if not values or len(set(values)) < len(values):
            raise UserError(f"--{name} must name at least one value, and none twice")
    return grid


def _passed_on() -> list[str]:
    """Flags of run.py that were given, as they were given."""
    module = FLAGS.flags_by_module_dict()[run.__name__]
    return [flag.serialize() for flag in module if flag.present and flag.name != "log_dir"]


def _plan(setting: Setting, seed: int, log_dir: Path, passed: Sequence[str]) -> PlannedRun:
    config = run.config_from_flags(**setting._asdict(), seed=seed)
    flags_of_run = {**setting._asdict(), "seed": seed, "log_dir": log_dir}
    arguments = [f"--{name}={value}" for name, value in flags_of_run.items()]
    return PlannedRun(config, (*arguments, *passed), log_dir, Path.cwd())


def _planned(log_dir: Path) -> list[PlannedRun]:
    """Every run of the table: all cells with their first seed before any has its second."""
    grid, passed = _grid(), _passed_on()
    return [_plan(s, seed, log_dir, passed) for seed in grid.seeds for s in grid.settings()]


def _executor() -> driver.Executor:
    if FLAGS.executor == "ray":
        return RayExecutor(FLAGS.ray_address, FLAGS.run_cpus, FLAGS.run_gpus, FLAGS.max_attempts)
    return LocalExecutor(slots(this_machine(), FLAGS.jobs), training_program())


def _is_chosen(result: Result) -> bool:
    """Whether a finished run has, on every axis that was given, one of the values given."""
    values = {**result.setting._asdict(), "seed": result.config.seed}
    given = {name: FLAGS[axis].value for name, axis in _AXES.items() if name in values}
    if given["dataset"]:  # a setting knows a data file by its name alone
        given["dataset"] = [Path(dataset).name for dataset in given["dataset"]]
    return all(not chosen or str(values[name]) in chosen for name, chosen in given.items())


def _read_chosen(log_dir: Path) -> Tree:
    tree = read_tree(log_dir, _is_chosen)
    if not tree.results:
        raise UserError(f"{log_dir} holds no finished run of the settings asked for")
    return tree


def _compare(trees: Mapping[Path, Tree], folder: Path) -> documents.Document:
    for tree in trees.values():
        for problem in tree.problems:
            _log(f"not counted: {problem}")
    document, records = comparison.compare([(path, tree.results) for path, tree in trees.items()])
    documents.write_all(document, records, folder, "comparison")
    return document


def _insert(document: documents.Document, trees: Sequence[Tree]) -> None:
    """Puts the tables where --insert_into asks for them; table 3 in its short form."""
    name = "table"
    if int(FLAGS.table) == 3 and len(trees) == 1:
        document, name = side_by_side(gather(trees[0].results)), "methods"
    documents.insert(Path(FLAGS.insert_into), documents.markdown_tables(document), name)


def _report_only(log_dirs: Sequence[Path], folder: Path) -> int:
    trees = {path: _read_chosen(path) for path in log_dirs}
    if len(trees) > 1:
        document, name = _compare(trees, folder), "comparison"
    else:
        [(log_dir, tree)] = trees.items()
        document, name = driver.write_report(log_dir, folder, tree), "report"
    if FLAGS.insert_into:
        _insert(document, list(trees.values()))
    _log(documents.markdown_tables(document))
    _log(f"report: {folder / name}.md, .csv, .tex, .html")
    return 0


def _command() -> int:
    log_dirs = [Path(path) for path in FLAGS.log_dir]
    folder = Path(FLAGS.report_dir) if FLAGS.report_dir else log_dirs[0]
    if FLAGS.report_only:
        return _report_only(log_dirs, folder)
    log_dir = log_dirs[0].absolute()
    planned = _planned(log_dir)
    if FLAGS.dry_run:
        shares = slots(this_machine(), FLAGS.jobs)
        estimates = driver.Estimates(training_program(), shares[0])
        return driver.list_runs(planned, estimates, len(shares), _log)
    executor = _executor()
    documents.write_text(log_dir / "output" / "command.txt", " ".join(sys.argv) + "\n")
    code = driver.run_missing(planned, executor, log_dir, folder, _log)
    if FLAGS.insert_into:
        _insert(driver.write_report(log_dir, folder, planned=planned), [read_tree(log_dir)])
    _log(f"report: {folder / 'report'}.md, .csv, .tex, .html")
    return code


def main() -> int:
    """Does what the flags ask for; returns the exit code."""
    _check_flags()
    return _command()


def program() -> None:
    """run_table.py, and the console script dvae-table."""
    define_log_dirs()
    command_line.start(main)


if __name__ == "__main__":
    program()
