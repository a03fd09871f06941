"""The flags that run_table.py has beside those of run.py."""

from pathlib import Path

from configs.registry import SAMPLERS
from configs.setting import Setting
from configs.settings import by_name

# Its ways of working: "local" and "ray" run what is missing.
_RUNNING = ("local", "ray")
_ALL = (*_RUNNING, "dry_run", "report_only")


def _axis(name: str, what: str, unset: str = "the table's") -> Setting:
    return Setting(name, None, f"{what}, with commas", list, _ALL, unset=unset)


TABLE_SETTINGS = by_name(
    Setting(
        "table",
        "1",
        "1: all baselines under population annealing; 2: population annealing "
        "against PCD; 3: methods beyond DVAE#",
        str,
        _ALL,
        choices=("1", "2", "3"),
    ),
    _axis("datasets", "data sets, as --dataset of run.py"),
    _axis("structs", "model structures"),
    _axis("ks", "samples per image in training"),
    _axis("baselines", "methods"),
    _axis("samplers", f"of {', '.join(SAMPLERS)}"),
    _axis("priors", "as --prior of run.py"),
    _axis("seeds", "seeds of each cell", "0,1,2,3,4; the one of table 3: 0"),
    Setting(
        "log_dir",
        ("./logs",),
        "where runs and report go; several with --report_only: the "
        "later ones are compared with the first",
        list,
        _ALL,
    ),
    Setting(
        "dry_run",
        False,
        "list the runs with their estimated time on this machine; each "
        "distinct program is timed once, with run.py --mode=time on a run's share of it",
        bool,
        ("dry_run",),
    ),
    Setting(
        "report_only",
        False,
        "run nothing: the report of what is there, or of what has the values given for axes",
        bool,
        ("report_only",),
    ),
    Setting(
        "report_dir",
        None,
        "where the report goes",
        Path,
        (*_RUNNING, "report_only"),
        unset="the first --log_dir",
    ),
    Setting(
        "insert_into",
        None,
        "a file whose lines between the markers <!-- table: begin --> and "
        "<!-- table: end --> become the tables; with --table=3 those between methods: begin and "
        "methods: end, a row for each method",
        Path,
        (*_RUNNING, "report_only"),
        unset="",
    ),
    Setting(
        "executor",
        "local",
        "local: this machine; ray: an existing Ray cluster",
        str,
        _RUNNING,
        choices=_RUNNING,
    ),
    Setting(
        "jobs",
        None,
        "runs at once on this machine: one for each core, as memory allows (2.5 "
        "GiB each); on GPUs up to four on each",
        int,
        ("local", "dry_run"),
        unset="as many as fit",
        least=1,
    ),
    Setting("ray_address", "auto", "address of the Ray cluster", str, ("ray",)),
    Setting(
        "run_cpus",
        1.0,
        "CPU cores that a run reserves on the Ray cluster",
        float,
        ("ray",),
        least=0,
    ),
    Setting(
        "run_gpus",
        0.0,
        "share of a GPU that a run reserves on the Ray cluster: 0.25 puts four runs on a GPU",
        float,
        ("ray",),
        least=0,
    ),
    Setting(
        "max_attempts",
        5,
        "starts of a run that is killed, with its node or alone, on the Ray cluster",
        int,
        ("ray",),
        least=1,
    ),
)
