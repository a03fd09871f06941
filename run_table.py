"""Reproduces the tables of DVAE#: runs every missing cell with run.py and reports them together.

Every flag of run.py that is no axis of the table is passed on. See docs/tables.md.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from absl import flags

import run
from configs import command_line
from configs.command_line import given, value
from configs.errors import UserError
from configs.graphs import is_named
from configs.programs import as_started
from configs.registry import SAMPLERS
from configs.settings import SETTINGS
from configs.table_settings import TABLE_SETTINGS
from configs.tables import TABLES, Grid, Setting
from configs.text import printable
from tables import comparison, documents, driver
from tables.local import LocalExecutor, slots, this_machine
from tables.on_ray import RayExecutor
from tables.results import Result, Tree, gather, read_tree
from tables.runs import PlannedRun, training_program
from tables.side_by_side import side_by_side

FLAGS = flags.FLAGS
EXAMPLES = """Examples:

  python run_table.py --table=1 --data_dir=datasets --log_dir=logs/table1 --dry_run
  python run_table.py --table=1 --data_dir=datasets --log_dir=logs/table1
  python run_table.py --report_only --log_dir=logs/reference --log_dir=logs/variant
"""

command_line.define(s for s in TABLE_SETTINGS.values() if s.name != "log_dir")


def define_log_dirs() -> None:
    """Lets --log_dir be given several times; run.py takes one."""
    setting = TABLE_SETTINGS["log_dir"]
    flags.DEFINE_multi_string("log_dir", setting.default, setting.help, allow_override=True)


def _log(message: str) -> None:
    print(printable(message), flush=True)


def _check_flags() -> None:
    way = "report_only" if FLAGS.report_only else "dry_run" if FLAGS.dry_run else FLAGS.executor
    flag = f"--executor={way}" if way == FLAGS.executor else f"--{way}"
    command_line.check_known(TABLE_SETTINGS.values(), way, flag)
    for name, setting in SETTINGS.items():
        if name in TABLE_SETTINGS or not given(setting):
            continue
        if setting.axis:
            raise UserError(
                as_started(f"--{name} is of run.py: a table takes --{setting.axis}=...")
            )
        if "table" not in setting.known_by:
            raise UserError(as_started(f"--{name} is of run.py: it has no meaning for a table"))
        if way == "report_only":
            raise UserError(f"--report_only runs nothing: leave --{name} out")
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
        priors=tuple(FLAGS.priors or table.priors),
        seeds=_integers("seeds", table.seeds),
    )
    for name, values in grid._asdict().items():
        if not values or len(set(values)) < len(values):
            raise UserError(f"--{name} must name at least one value, and none twice")
    return grid


def _passed_on() -> list[str]:
    """Flags of run.py that were given, as they were given."""
    known = [setting for setting in SETTINGS.values() if "table" in setting.known_by]
    return [FLAGS[setting.name].serialize() for setting in known if given(setting)]


def _own_sha256(dataset: str) -> str | None:
    """The checksum of a user's own data file; None for a data set with a name."""
    if not dataset.endswith(".npz"):
        return None
    import data  # takes a moment, which checks of flags must not

    return data.load(os.path.expanduser(dataset), "").sha256


def _plan(setting: Setting, seed: int, log_dir: Path, passed: Sequence[str]) -> PlannedRun:
    config = run.config_from_flags(**setting._asdict(), seed=seed)
    flags_of_run = {**setting._asdict(), "seed": seed, "log_dir": log_dir}
    arguments = [f"--{name}={value}" for name, value in flags_of_run.items()]
    return PlannedRun(config, (*arguments, *passed), log_dir, Path.cwd())


def _planned(log_dir: Path) -> list[PlannedRun]:
    """Every run of the table: all cells with their first seed before any has its second."""
    grid, passed = _grid(), _passed_on()
    planned = [_plan(s, seed, log_dir, passed) for seed in grid.seeds for s in grid.settings()]
    owners: dict[Path, PlannedRun] = {}
    for one in planned:
        other = owners.setdefault(one.directory, one)
        if other is not one:
            raise UserError(
                f"{other.config.dataset} and {one.config.dataset} have one name, and so one run "
                "directory: rename one, or give each a table with a --log_dir of its own"
            )
    sha256 = {dataset: _own_sha256(dataset) for dataset in {one.config.dataset for one in planned}}
    return [one._replace(data_sha256=sha256[one.config.dataset]) for one in planned]


def _executor() -> driver.Executor:
    if FLAGS.executor == "ray":
        names = ("ray_address", "run_cpus", "run_gpus", "max_attempts")
        return RayExecutor(*(value(TABLE_SETTINGS[name]) for name in names))
    return LocalExecutor(slots(this_machine(), FLAGS.jobs), training_program())


def _is_chosen(result: Result) -> bool:
    """Whether a finished run has, on every axis that was given, one of the values given."""
    values = {**result.setting._asdict(), "seed": result.config.seed}
    asked = {name: FLAGS[SETTINGS[name].axis].value for name in values}
    if asked["dataset"]:  # a setting knows a data file by its name alone
        asked["dataset"] = [Path(dataset).name for dataset in asked["dataset"]]
    if asked["prior"] and any(is_named(values["prior"], name) for name in asked["prior"]):
        asked["prior"] = None  # a file of edges likewise
    return all(not chosen or str(values[name]) in chosen for name, chosen in asked.items())


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
    target = Path(value(TABLE_SETTINGS["insert_into"]))
    documents.insert(target, documents.markdown_tables(document), name)


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
    log_dirs = [Path(os.path.expanduser(path)) for path in FLAGS.log_dir]
    folder = Path(value(TABLE_SETTINGS["report_dir"]) or log_dirs[0])
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
    known = [s for s in SETTINGS.values() if "table" in s.known_by]
    command_line.start(main, f"{EXAMPLES}\n{__doc__}", [*TABLE_SETTINGS.values(), *known])


if __name__ == "__main__":
    program()
