"""docs/performance.md: the tables of what was timed, and of what was compiled for a GPU."""

import statistics
from collections.abc import Iterator
from typing import Any

from configs.registry import BASELINES
from tables.documents import markdown_table

FLOOR, OURS = "matrix products alone", "ours"

Record = dict[str, Any]


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
    yield markdown_table([*_KERNEL_HEADER, *names], rows)


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
    yield markdown_table(["RBM", *names, "ours / best"], rows)


def growth_lines(record: Record) -> Iterator[str]:
    """Ours alone over sizes and numbers of chains."""
    yield "### Growth with size and chains\n"
    sweeps = record["results"][0]["sweeps"]
    yield f"Milliseconds of {sweeps} sweeps (medians), and of a million draws.\n"
    rows = []
    for result in record["results"]:
        draws = 2e-6 * result["size"] * result["chains"] * sweeps
        rows.append([*_kernel_cells(result), f"{_ours_and_floor(result)[0] / draws:.1f}"])
    yield markdown_table([*_KERNEL_HEADER, "ms a million"], rows)


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
    yield markdown_table(header, rows)


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
    yield markdown_table(header, [row])


def start_lines(record: Record) -> Iterator[str]:
    """Seconds from the command to the first step."""
    yield "### Start to first step\n"
    rows = []
    for kind, values in record["seconds"].items():
        rows.append([kind, f"{statistics.median(values):.1f}", f"{len(values)}"])
    yield markdown_table([f"{record['struct']}, programs", "seconds (median)", "starts"], rows)


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
    yield markdown_table(header, rows)


def gpu_time_lines(record: Record) -> Iterator[str]:
    """What training steps took on a GPU, a column for each structure and k."""
    columns: dict[str, dict[str, float]] = {}
    for name, job in record["jobs"].items():
        if job["unit"] == "step":
            cell, k = name.rsplit("-k", 1)
            struct, method = cell.rsplit("-", 1)
            columns.setdefault(f"{struct}, k={k}", {})[method] = job["microseconds"]
    methods = [name for name in BASELINES if any(name in found for found in columns.values())]
    rows = [
        [method, *(f"{columns[c][method]:.0f}" if method in columns[c] else "" for c in columns)]
        for method in methods
    ]
    seconds = [job["compile_seconds"] for job in record["jobs"].values()]
    yield "### Training steps on a GPU\n"
    yield (
        "Microseconds of a step, median over calls of 100 steps, with the sampler's 40 sweeps. "
        f"Eight programs at a time were compiled in {min(seconds):.0f} to {max(seconds):.0f} s "
        "each.\n"
    )
    yield markdown_table(["method", *columns], rows)
    yield f"{record['device'].removeprefix('GPU: ')}; compiled by JAX {record['jax']}.\n"


_PARTS = {
    "sampler": sampler_lines,
    "floors": floor_lines,
    "growth": growth_lines,
    "train_step": step_lines,
    "evaluation": evaluation_lines,
    "start": start_lines,
    "gpu_times": gpu_time_lines,
    "gpu_programs": gpu_program_lines,
}


def measured(records: dict[str, Record]) -> str:
    """All tables, from whatever results there are."""
    lines = []
    for name, part in _PARTS.items():
        if name not in records:
            continue
        if name.startswith("gpu_"):  # not of the machine that compiled them
            lines += part(records[name])
            continue
        machine = records[name]["machine"]
        device = ", ".join(machine["gpus"]) or f"{machine['cpus']} cores, {machine['processor']}"
        lines += part(records[name])
        lines.append(f"TensorFlow {machine['tensorflow']}; {device}.\n")
    return "\n".join(lines)
