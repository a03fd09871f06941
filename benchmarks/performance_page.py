"""Puts measured times into docs/performance.md, between its markers.

    python -m benchmarks.performance_page

The times are what `benchmarks.sampler`, `train_step`, `evaluation` and `start` wrote with --json
into benchmarks/results/performance/; nobody types a number. The text around them is the page's.
"""

import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tables import writing

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "performance"
PAGE = ROOT / "docs" / "performance.md"
FLOOR, OURS = "matrix products alone", "ours"

Record = dict[str, Any]


def _table(header: list[str], rows: list[list[str]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield "|" + "---|" * len(header)
    yield from (f"| {' | '.join(row)} |" for row in rows)
    yield ""


def _times(result: Record) -> dict[str, Record]:
    return {row["program"]: row for row in result["rows"]}


def _milliseconds(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


def sampler_lines(record: Record) -> Iterator[str]:
    """One row per problem; programs beside ours as multiples of ours."""
    yield "### Sampling kernel\n"
    sweeps = record["results"][0]["sweeps"]
    yield f"Milliseconds of {sweeps} sweeps (medians); other programs as multiples of ours.\n"
    names: list[str] = []
    for result in record["results"]:
        names += [name for name in _times(result) if name not in (*names, FLOOR, OURS)]
    rows = []
    for result in record["results"]:
        times = _times(result)
        ours, floor = (times[name]["median_ms"] for name in (OURS, FLOOR))
        others = (times.get(name) for name in names)
        rows.append(
            [
                f"{result['size']}x{result['size']}",
                f"{result['chains']:,}",
                _milliseconds(floor),
                _milliseconds(ours),
                f"{ours / floor:.2f}",
                *(f"{other['median_ms'] / ours:.1f}" if other else "" for other in others),
            ]
        )
    yield from _table(["RBM", "chains", "floor", "ours", "ours / floor", *names], rows)


def step_lines(record: Record) -> Iterator[str]:
    """One row per structure and program."""
    yield "### Training step\n"
    yield "Milliseconds of a whole step (medians); the floor is that of its sampler.\n"
    rows = []
    for result in record["results"]:
        times = _times(result)
        floor = times.pop(FLOOR)["median_ms"]
        for name, row in times.items():
            ratio = f"{row['median_ms'] / floor:.2f}"
            cells = [_milliseconds(floor), _milliseconds(row["median_ms"]), ratio]
            rows.append([result["struct"], name, *cells])
    yield from _table(["structure", "program", "floor", "step", "step / floor"], rows)


def evaluation_lines(record: Record) -> Iterator[str]:
    """One evaluation."""
    yield "### Final evaluation\n"
    floor = statistics.mean(record["matrix_products_alone"])
    cells = [
        f"{record['images']:,} x {record['samples']:,}",
        f"{floor:.0f}",
        f"{record['seconds']:.0f}",
        f"{record['seconds'] / floor:.2f}",
        f"{record['peak_memory_gb']:.2f}",
    ]
    header = ["images x samples", "floor, s", "evaluation, s", "evaluation / floor", "memory, GB"]
    yield f"{record['struct']}; the floor is the decoder's matrix products in one XLA loop.\n"
    yield from _table(header, [cells])


def start_lines(record: Record) -> Iterator[str]:
    """Seconds from the command to the first step."""
    yield "### Start to first step\n"
    rows = []
    for kind, values in record["seconds"].items():
        rows.append([kind, f"{statistics.median(values):.1f}", f"{len(values)}"])
    yield from _table([f"{record['struct']}, programs", "seconds (median)", "starts"], rows)


def growth_lines(record: Record) -> Iterator[str]:
    """Ours alone over sizes and numbers of chains."""
    yield "### Growth with size and chains\n"
    sweeps = record["results"][0]["sweeps"]
    yield f"Milliseconds of {sweeps} sweeps (medians), and of a million draws.\n"
    rows = []
    for result in record["results"]:
        times = _times(result)
        ours, floor = (times[name]["median_ms"] for name in (OURS, FLOOR))
        draws = 2e-6 * result["size"] * result["chains"] * sweeps
        cells = [f"{result['size']}x{result['size']}", f"{result['chains']:,}"]
        cells += [_milliseconds(floor), _milliseconds(ours), f"{ours / floor:.2f}"]
        rows.append([*cells, f"{ours / draws:.1f}"])
    yield from _table(["RBM", "chains", "floor", "ours", "ours / floor", "ms a million"], rows)


PARTS = {
    "sampler": sampler_lines,
    "growth": growth_lines,
    "train_step": step_lines,
    "evaluation": evaluation_lines,
    "start": start_lines,
}


def measured() -> str:
    """All tables, from whatever results there are."""
    lines = []
    for name, part in PARTS.items():
        path = RESULTS / f"{name}.json"
        if not path.exists():
            continue
        record = json.loads(path.read_text())
        machine = record["machine"]
        device = ", ".join(machine["gpus"]) or f"{machine['cpus']} cores, {machine['processor']}"
        lines += part(record)
        lines.append(f"TensorFlow {machine['tensorflow']}; {device}.\n")
    return "\n".join(lines)


def main() -> None:
    """Writes the page again."""
    writing.insert(PAGE, measured(), "measured")
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
