"""Puts measured results into docs/: exactness, performance, deviations and estimators.

    python -m benchmarks.pages

The results are what the other programs here keep in benchmarks/results/ as JSON; nobody types a
number. Each page has its own text around its markers.
"""

import json
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import estimators_page, estimators_plot
from samplers.log_partition import COLUMNS, CONFIDENCE, NORMAL, cells, student_factor
from tables.documents import insert, markdown_rows, write_text

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
DOCS = ROOT / "docs"
FLOOR, OURS = "matrix products alone", "ours"

Record = dict[str, Any]


def keep(page: str, name: str, record: Record) -> None:
    """Keeps a result for a page. Raises UserError when it cannot be written."""
    write_text(RESULTS / page / f"{name}.json", json.dumps(record, indent=1) + "\n")
    print(f"kept {name}; python -m benchmarks.pages puts it into docs/{page}.md")


def table(header: Sequence[str], rows: Sequence[Sequence[str]], rule: str = "---") -> str:
    """A Markdown table; `rule` stands under every column but the first."""
    return "\n".join(markdown_rows(header, rows, rule)) + "\n"


def _listed(settings: Record) -> str:
    def text(value: Any) -> str:
        return f"{value:.3g}" if isinstance(value, float) else f"{value}"

    return ", ".join(f"{name.replace('_', ' ')} {text(v)}" for name, v in settings.items())


# docs/exactness.md


def _small_prior_row(found: Record) -> list[str]:
    """One estimator over all seeds; a bound has no interval of its own."""
    stated, count = found["mean_stated_error"], found["seeds"]
    return [
        found["estimator"],
        f"{found['mean_distance']:+.4f}",
        f"{found['rms_distance']:.4f}",
        "" if stated is None else f"{stated:.4f}",
        "" if stated is None else f"{found['inside_95']} of {count}",
        f"{found['inside_stated']} of {count}",
        f"{found['median_seconds']:.2f}" if found["median_seconds"] else "",
    ]


def small_prior_section(record: Record) -> str:
    """The prior whose log Z is known, over many seeds."""
    settings = dict(record["settings"])
    training = settings.pop("training")
    header = (
        "estimator",
        "mean - exact",
        "rms distance",
        "mean stated error",
        "exact within 95 % interval",
        "exact within stated error",
        "seconds",
    )
    rows = [_small_prior_row(found) for found in record["estimators"]]
    return (
        f"## A trained prior of 12x12 units, {record['seeds']} seeds\n\n"
        f"Training: {training}. log Z = {record['log_z']:.6f} by enumeration "
        f"({record['exact_seconds']:.3f} s). Each seed has chains of its own. Settings: "
        f"{_listed(settings)}; {record['machine']['cores']} cores "
        f"({record['machine']['machine']}), compilation left out. For a lower bound, within means "
        "below the exact value.\n\n" + table(header, rows, "---:")
    )


def trained_prior_section(record: Record) -> str:
    """One trained prior, each estimator once."""
    left, right = record["shape"]
    return (
        f"## {record['name']}: a trained prior of {left}x{right} units\n\n"
        f"Run: {_listed(record['settings'])}; {record['machine']['cores']} cores "
        f"({record['machine']['machine']}), compiling, or reading compiled programs from disk, "
        "included.\n\n" + table(COLUMNS, [cells(row) for row in record["rows"]], "---:")
    )


def exactness(records: Sequence[Record]) -> str:
    """Sections of all priors, the small one first."""
    errors = (
        f"The stated error of an estimator is its {CONFIDENCE:.0%} interval: "
        f"{student_factor(NORMAL):.2f} standard errors for\nweights of many chains, "
        f"{student_factor(32):.2f} for the spread of 32 ladders and {student_factor(16):.2f} for "
        "that of\n16 populations (Student's t).\n"
    )
    small = [small_prior_section(r) for r in records if r["kind"] == "many seeds"]
    trained = [r for r in records if r["kind"] == "one seed"]
    trained.sort(key=lambda record: (record["shape"], record["name"]))
    return "\n".join([errors, *small, *map(trained_prior_section, trained)])


# docs/performance.md


def _times(result: Record) -> dict[str, Record]:
    return {row["program"]: row for row in result["rows"]}


def _milliseconds(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _ours_and_floor(result: Record) -> tuple[float, float]:
    times = _times(result)
    return times[OURS]["median_ms"], times[FLOOR]["median_ms"]


_FLOORS = (
    "Floor: the matrix products in one XLA loop, each on one core; best floor: the quickest of it, "
    "of XLA's with the halves of the chains on a core each, and of OpenBLAS's on all cores, where "
    "they were measured."
)


def _best_floor(result: Record) -> float:
    """The quickest of all loops of the products: XLA's, and OpenBLAS's on all cores."""
    return min(row["median_ms"] for row in result["rows"] if row["program"].startswith(FLOOR))


def _kernel_cells(result: Record) -> list[str]:
    ours, floor = _ours_and_floor(result)
    best = _best_floor(result)
    size = f"{result['size']}x{result['size']}"
    cells = [size, f"{result['chains']:,}", _milliseconds(floor), _milliseconds(best)]
    return [*cells, _milliseconds(ours), f"{ours / floor:.2f}", f"{ours / best:.2f}"]


_KERNEL_HEADER = ("RBM", "chains", "floor", "best floor", "ours", "ours / floor", "ours / best")


def sampler_lines(record: Record) -> Iterator[str]:
    """One row per problem; programs beside ours as multiples of ours."""
    yield "### Sampling kernel\n"
    sweeps = record["results"][0]["sweeps"]
    yield f"Milliseconds of {sweeps} sweeps (medians); other programs as multiples of ours.\n"
    yield f"{_FLOORS}\n"
    names: list[str] = []
    for result in record["results"]:
        names += [
            name
            for name in _times(result)
            if name not in (*names, OURS) and not name.startswith(FLOOR)
        ]
    rows = []
    for result in record["results"]:
        times, (ours, _) = _times(result), _ours_and_floor(result)
        others = (times.get(name) for name in names)
        multiples = [f"{other['median_ms'] / ours:.1f}" if other else "" for other in others]
        rows.append([*_kernel_cells(result), *multiples])
    yield table([*_KERNEL_HEADER, *names], rows)


def floor_lines(record: Record) -> Iterator[str]:
    """Every loop of the products alone beside ours."""
    yield "### Sampling kernel beside the best products there are\n"
    yield f"Milliseconds of {record['results'][0]['sweeps']} sweeps (medians). {_FLOORS}\n"
    names = [row["program"] for row in record["results"][0]["rows"]]
    rows = [
        [
            f"{result['size']}x{result['size']}",
            *(_milliseconds(_times(result)[name]["median_ms"]) for name in names),
            f"{_ours_and_floor(result)[0] / _best_floor(result):.2f}",
        ]
        for result in record["results"]
    ]
    yield table(["RBM", *names, "ours / best"], rows)


def growth_lines(record: Record) -> Iterator[str]:
    """Ours alone over sizes and numbers of chains."""
    yield "### Growth with size and chains\n"
    sweeps = record["results"][0]["sweeps"]
    yield f"Milliseconds of {sweeps} sweeps (medians), and of a million draws.\n"
    rows = []
    for result in record["results"]:
        draws = 2e-6 * result["size"] * result["chains"] * sweeps
        rows.append([*_kernel_cells(result), f"{_ours_and_floor(result)[0] / draws:.1f}"])
    yield table([*_KERNEL_HEADER, "ms a million"], rows)


def step_lines(record: Record) -> Iterator[str]:
    """One row per structure and program."""
    yield "### Training step\n"
    yield f"Milliseconds of a whole step (medians); floors are those of its sampler. {_FLOORS}\n"
    rows = []
    for result in record["results"]:
        times = _times(result)
        floor, best = times[FLOOR]["median_ms"], _best_floor(result)
        for name, row in times.items():
            if name.startswith(FLOOR):
                continue
            step = row["median_ms"]
            medians = [_milliseconds(value) for value in (floor, best, step)]
            ratios = [f"{step / floor:.2f}", f"{step / best:.2f}"]
            rows.append([result["struct"], name, *medians, *ratios])
    header = ["structure", "program", "floor", "best floor", "step", "step / floor", "step / best"]
    yield table(header, rows)


def evaluation_lines(record: Record) -> Iterator[str]:
    """One evaluation."""
    yield "### Final evaluation\n"
    floor = statistics.mean(record["matrix_products_alone"])
    row = [
        f"{record['images']:,} x {record['samples']:,}",
        f"{floor:.0f}",
        f"{record['seconds']:.0f}",
        f"{record['seconds'] / floor:.2f}",
        f"{record['peak_memory_gb']:.2f}",
    ]
    header = ["images x samples", "floor, s", "evaluation, s", "evaluation / floor", "memory, GB"]
    yield f"{record['struct']}; the floor is the decoder's matrix products in one XLA loop.\n"
    yield table(header, [row])


def start_lines(record: Record) -> Iterator[str]:
    """Seconds from the command to the first step."""
    yield "### Start to first step\n"
    rows = []
    for kind, values in record["seconds"].items():
        rows.append([kind, f"{statistics.median(values):.1f}", f"{len(values)}"])
    yield table([f"{record['struct']}, programs", "seconds (median)", "starts"], rows)


def gpu_program_lines(record: Record) -> Iterator[str]:
    """What compiled programs for a GPU are made of."""
    header = ["program", "GPU", "unit", "operations", "kernels", "products", "copies"]
    header += ["graph launches", "host round trips", "random blocks / least", "spills, bytes", "us"]
    names = ("operations", "kernels", "products", "copies", "graph_launches", "host_round_trips")
    rows = [
        [
            *(row[name] for name in ("program", "gpu", "unit")),
            *(f"{row[name]:.4g}" for name in names),
            f"{row['random_blocks'] / row['random_blocks_needed']:.1f}",
            "not counted" if row["spill_bytes"] is None else f"{row['spill_bytes']}",
            f"{row['microseconds']:.0f}",
        ]
        for row in record["programs"]
    ]
    assumed = ", ".join(
        f"{value:g} {name.replace('_', ' ')}" for name, value in record["assumptions"].items()
    )
    yield "### Programs for a GPU\n"
    yield (
        "What XLA would tell a GPU to do; nothing was run. Operations: kernels, products and "
        f"copies. The last column is an estimate: {assumed}.\n"
    )
    yield table(header, rows)


_PERFORMANCE = {
    "sampler": sampler_lines,
    "floors": floor_lines,
    "growth": growth_lines,
    "train_step": step_lines,
    "evaluation": evaluation_lines,
    "start": start_lines,
    "gpu_programs": gpu_program_lines,
}


def performance(records: dict[str, Record]) -> str:
    """All tables, from whatever results there are."""
    lines = []
    for name, part in _PERFORMANCE.items():
        if name not in records:
            continue
        if name == "gpu_programs":  # compiled, not measured: no machine's name belongs to it
            lines += part(records[name])
            continue
        machine = records[name]["machine"]
        device = ", ".join(machine["gpus"]) or f"{machine['cpus']} cores, {machine['processor']}"
        lines += part(records[name])
        lines.append(f"TensorFlow {machine['tensorflow']}; {device}.\n")
    return "\n".join(lines)


# docs/deviations.md


def deviation_rows(record: Record) -> list[tuple[str, str]]:
    """(difference, measured effect) of one run."""
    bound, gradient = record["largest_singular_value"], record["log_det_gradient"]
    found = [
        (
            "first group computed once",
            f"logits of {record['equal_rows']} equal rows differ by {record['first_group']:.1e} "
            "at most",
        ),
        (
            "bound of σ_max(W)",
            f"{bound['bound']:.3f} for {bound['exact']:.3f}: λ would be {bound['lambda']:.3f} for "
            f"{bound['lambda_exact']:.3f}",
        ),
        (
            "gradient of log det by products",
            f"relative error {gradient['products']:.1e}; "
            f"of a float32 solve {gradient['solve']:.1e}",
        ),
    ]
    tracked = record["tracked"]
    if tracked is not None:
        by_ais = record["ais"]["bases"]["uniform"]["right half summed out"]["value"]
        text = f"{tracked:.1f} nats, AIS {by_ais:.1f}"
        found.append(("tracked log Z of the population that feeds the gradient", text))
    for base, kinds in record["ais"]["bases"].items():
        summed, both = kinds["right half summed out"], kinds["both halves"]
        text = f"standard error {summed['stderr']:.4f} (ESS {summed['ess']:.0f}), "
        text += f"of both halves {both['stderr']:.4f} (ESS {both['ess']:.0f})"
        found.append((f"weights of AIS, {base} base: right half summed out", text))
    found.append(("updates skipped", str(record["run"]["skipped_updates"])))
    return found


def deviation_section(record: Record) -> str:
    """The table of one run."""
    run, half, ais_used = record["run"], record["half"], record["ais"]
    return (
        f"**{run['dataset']}, {run['struct']}, {run['baseline']}, k={run['k']}, "
        f"{run['num_train_iter']:,} steps** (prior {half}x{half}; AIS with {ais_used['chains']} "
        f"chains and {ais_used['temperatures']} temperatures)\n\n"
        + table(("difference", "measured"), deviation_rows(record))
    )


def read(page: str) -> dict[str, Record]:
    """The kept results of a page, by name."""
    paths = sorted((RESULTS / page).glob("*.json"))
    return {path.stem: json.loads(path.read_text()) for path in paths}


def main() -> None:
    """Writes all pages again."""
    measured = {
        "exactness": exactness(list(read("exactness").values())),
        "performance": performance(read("performance")),
        "deviations": "\n".join(map(deviation_section, read("deviations").values())),
        "estimators": estimators_page.measured(read("estimators")),
    }
    for page, text in measured.items():
        insert(DOCS / f"{page}.md", text, "measured")
        print(f"wrote {DOCS / page}.md")
    estimators_plot.draw(read("estimators"), DOCS / "estimators.png")


if __name__ == "__main__":
    main()
