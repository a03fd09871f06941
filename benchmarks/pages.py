"""Puts measured results into docs/ and README.md: tables between markers, and plots.

python -m benchmarks.pages
"""

import statistics

from benchmarks import (
    estimators_page,
    graph_exactness,
    long_runs_page,
    methods,
    records,
    training_samplers,
)
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


def priors_table(found: dict[str, Record]) -> str:
    """Estimators of log Z of trained priors, whose log Z nobody knows."""
    rows = []
    for record in sorted(found.values(), key=lambda record: record.get("shape", [])):
        if record["kind"] == "one seed":
            size = "x".join(map(str, record["shape"]))
            rows += [[size, *cells(row)[:5]] for row in record["rows"]]
    return table(("prior", *COLUMNS[:5]), rows)


def deviations_table(found: dict[str, Record]) -> str:
    """What differences from the published method do, a column for each run."""
    columns = []
    for record in found.values():
        bound, bases = record["largest_singular_value"], record["ais"]["bases"]
        log_z = bases["uniform"]["right half summed out"]["value"]
        column = {
            "log Z tracked, by AIS": f"{record['tracked']:.1f}, {log_z:.1f}",
            "λ, by the exact σ_max": f"{bound['lambda']:.3f}, {bound['lambda_exact']:.3f}",
        }
        for base, kinds in bases.items():
            errors = (f"{kind['stderr']:.4f}" for kind in kinds.values())
            column[f"AIS, {base} base: error, with both halves"] = ", ".join(errors)
        columns.append(column | {"updates skipped": f"{record['run']['skipped_updates']}"})
    rows = [[name, *(column[name] for column in columns)] for name in columns[0]]
    return table(["measured", *(name.replace("-dvaes", ", dvaes") for name in found)], rows)


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
    """What compiled programs for an H100 are made of."""
    rows = []
    for row in (row for row in record["programs"] if row["gpu"] == "h100"):
        counts = (row[name] for name in ("operations", "graph_launches", "host_round_trips"))
        cells = [row["program"], row["unit"], *(f"{count:.4g}" for count in counts)]
        rows.append([*cells, f"{row['microseconds']:.0f}"])
    header = ("program", "unit", "operations", "graphs", "round trips", "us, estimated")
    return table(header, rows)


def tables() -> dict[tuple[str, str], str]:
    """Every generated table, by its file and the name of its markers."""
    exactness, speed = map(records.read, ("exactness", "performance"))
    gradients, runs = records.read("estimators"), long_runs_page.read()
    cells = methods.kept("methods")
    timed = {"sampler": sampler_table, "train_step": step_table, "start": start_table}
    timed["gpu_programs"], steps = gpu_programs_table, speed["step_methods"]
    return {
        ("docs/running.md", "flags"): markdown_of(SETTINGS.values(), "modes"),
        ("docs/tables.md", "flags"): markdown_of(TABLE_SETTINGS.values(), "ways of working"),
        ("README.md", "headline"): methods.headline(cells),
        **{("docs/results.md", name): text for name, text in methods.tables(cells).items()},
        ("docs/long_runs.md", "long runs"): long_runs_page.cells_table(),
        ("docs/long_runs.md", "health"): long_runs_page.health_table(runs),
        ("docs/exactness.md", "seeds"): seeds_table(exactness["prior-12x12"]),
        ("docs/exactness.md", "priors"): priors_table(exactness),
        ("docs/exactness.md", "graphs"): graph_exactness.table(),
        ("docs/exactness.md", "misses on graphs"): graph_exactness.misses_table(),
        ("docs/priors.md", "priors"): methods.priors(methods.kept("priors")),
        ("docs/tempering.md", "samplers"): training_samplers.kept_table(),
        ("docs/deviations.md", "measured"): deviations_table(records.read("deviations")),
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
