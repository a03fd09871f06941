"""Puts measured results into docs/ and README.md: tables between markers, and plots.

python -m benchmarks.pages
"""

import statistics

from benchmarks import (
    estimators_page,
    long_runs_page,
    methods,
    records,
    training_samplers,
)
from benchmarks.gpu_programs import KERNEL
from benchmarks.records import ROOT, Record, table
from configs.setting import markdown_of
from configs.settings import SETTINGS
from configs.table_settings import TABLE_SETTINGS
from samplers.log_z_table import COLUMNS, cells
from tables.documents import insert


def seeds_table(record: Record) -> str:
    """Estimators of a known log Z over many seeds; a bound has no interval of its own."""
    rows, of = [], f"of {record['seeds']}"
    for found in record["estimators"]:
        numbers = [f"{found['mean_distance']:+.4f}", f"{found['rms_distance']:.4f}"]
        margin = found["mean_margin"]
        numbers.append("" if margin is None else f"{margin:.4f}")
        rows.append([found["estimator"], *numbers, f"{found['inside_95']} {of}"])
    header = ("estimator", "mean - exact", "rms distance", "95 % margin", "in 95 %")
    return table(header, rows)


def graphs_table(found: dict[str, Record]) -> str:
    """Estimators of a known log Z over many seeds, on several models."""
    rows = []
    for name, record in found.items():
        for of in record["estimators"]:
            distances = f"{of['mean_distance']:+.4f}", f"{of['rms_distance']:.4f}"
            share = f"{of['inside_95']} of {of['seeds']}"
            rows.append([name.rpartition("-")[0], of["estimator"], *distances, share])
    return table(["model", "estimator", "mean - exact", "rms distance", "in 95 %"], rows)


def misses_table(found: dict[str, Record]) -> str:
    """Every miss of a 95 % interval; a bound has no standard error."""
    rows = []
    for name, record in found.items():
        for kind in (of["estimator"] for of in record["estimators"]):
            here = [miss for miss in record["misses"] if miss["estimator"] == kind]
            errors = ["" if m["errors"] is None else f" ({m['errors']:+.1f})" for m in here]
            seeds = ", ".join(f"{m['seed']}{e}" for m, e in zip(here, errors, strict=True))
            rows.append([*name.rsplit("-", 1), kind, seeds or "none"])
    return table(["model", "seeds", "estimator", "seed (standard errors)"], rows)


def priors_table(found: dict[str, Record]) -> str:
    """Estimators of log Z of trained priors, whose log Z nobody knows."""
    rows = []
    for record in sorted(found.values(), key=lambda record: record["shape"]):
        size = "x".join(map(str, record["shape"]))
        rows += [[size, *cells(row)[:5]] for row in record["rows"]]
    return table(("prior", *COLUMNS[:5]), rows)


def sampler_table(record: Record) -> str:
    """The sampling kernel and its floor, over sizes and numbers of chains."""
    rows = []
    for result in record["results"]:
        floor, ours = result["rows"]
        draws = 2e-6 * result["size"] * result["chains"] * result["sweeps"]
        about = [f"{result['size']}x{result['size']}", f"{result['chains']:,}"]
        times = [f"{row['median_ms']:.1f}" for row in (floor, ours)]
        times += [f"{ours['median_ratio']:.2f}", f"{ours['median_ms'] / draws:.1f}"]
        rows.append([*about, *times])
    header = ("RBM", "chains", "floor, ms", "ours, ms", "ours / floor", "ms a million draws")
    return table(header, rows)


def step_table(record: Record) -> str:
    """Training steps beside the floor of their sampler."""
    rows = []
    for result in record["results"]:
        [floor] = (row for row in result["rows"] if row["program"] == "matrix products alone")
        for row in result["rows"]:
            if row is not floor:
                times = [f"{of['median_ms']:.1f}" for of in (floor, row)]
                times.append(f"{row['median_ratio']:.2f}")
                rows.append([result["struct"], row["program"], *times])
    return table(("structure", "method", "floor, ms", "step, ms", "step / floor"), rows)


def start_table(record: Record) -> str:
    """Seconds from the command to the first step."""
    columns = record["seconds"], record["processor_seconds"]
    rows = [[k, *(f"{statistics.median(c[k]):.1f}" for c in columns)] for k in columns[0]]
    return table(("programs", "seconds", "processor seconds"), rows)


def gpu_programs_table(record: Record) -> str:
    """What compiled programs for an H100 are made of, and operations with kernels of ours."""
    found = {(row["program"], row["gpu"]): row for row in record["programs"]}
    rows = []
    for (name, gpu), row in found.items():
        if gpu != "h100" or name.endswith(KERNEL):
            continue
        counts = (row[key] for key in ("operations", "graph_launches", "host_round_trips"))
        cells = [name, row["unit"], *(f"{count:.4g}" for count in counts)]
        cells.append(f"{row['microseconds']:.0f}")
        for other in ((name + KERNEL, "h100"), (name, "a100"), (name + KERNEL, "a100")):
            cells.append(f"{found[other]['operations']:.4g}" if other in found else "")
        rows.append(cells)
    header = ("program", "unit", "operations", "graphs", "round trips", "us, estimated")
    return table((*header, "operations with kernels", "A100", "A100 with kernels"), rows)


def tables() -> dict[tuple[str, str], str]:
    """Every generated table, by its file and the name of its markers."""
    speed, known = map(records.read, ("performance", "known_log_z"))
    digits = known.pop("digits-12x12-100")
    gradients, runs = records.read("estimators"), long_runs_page.read()
    cells = methods.kept("methods")
    timed = {"sampler": sampler_table, "train_step": step_table, "start": start_table}
    timed["gpu_programs"], steps = gpu_programs_table, speed["step_methods"]
    return {
        ("docs/running.md", "flags"): markdown_of(SETTINGS.values(), "modes"),
        ("docs/tables.md", "flags"): markdown_of(TABLE_SETTINGS.values(), "ways of working"),
        ("README.md", "headline"): methods.headline(cells),
        **{("docs/results.md", name): text for name, text in methods.tables(cells).items()},
        ("docs/results.md", "equal time"): methods.equal_time(cells, speed["step_long"]),
        ("docs/long_runs.md", "long runs"): long_runs_page.cells_table(),
        ("docs/long_runs.md", "health"): long_runs_page.health_table(runs),
        ("docs/exactness.md", "seeds"): seeds_table(digits),
        ("docs/exactness.md", "priors"): priors_table(records.read("exactness")),
        ("docs/exactness.md", "graphs"): graphs_table(known),
        ("docs/exactness.md", "misses on graphs"): misses_table(known),
        ("docs/priors.md", "priors"): methods.priors(methods.kept("priors")),
        ("docs/tempering.md", "samplers"): training_samplers.kept_table(),
        ("docs/estimators.md", "bias"): estimators_page.bias_table(gradients),
        ("docs/estimators.md", "variance"): estimators_page.variance_table(gradients, steps),
        ("docs/estimators.md", "unbiased"): estimators_page.unbiased_table(gradients),
        **{("docs/performance.md", name): text(speed[name]) for name, text in timed.items()},
    }


def main() -> None:
    """Writes all tables and plots again."""
    for (file, name), text in tables().items():
        insert(ROOT / file, text, name)
    figures = {
        "estimators": estimators_page.draw(records.read("estimators")),
        "long_runs": long_runs_page.draw(long_runs_page.read()),
    }
    for name, figure in figures.items():
        figure.savefig(ROOT / "docs" / f"{name}.png", dpi=80, metadata={"Software": None})


if __name__ == "__main__":
    main()
