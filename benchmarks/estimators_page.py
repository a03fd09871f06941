"""Tables and plot of docs/estimators.md."""

import math
from collections.abc import Callable

from matplotlib.figure import Figure
from scipy import stats

from benchmarks.records import Record, table
from configs.registry import BASELINES

PARTS = ("encoder", "prior", "decoder")
UNBIASED = ("loo", "vimco", "disarm", "rodeo")  # as docs/estimators.md says
LIMIT, LEAST = 4.0, 1e-3  # standard errors of a bias that is seen; what is as good as none
FALSE_ALARM = 0.01  # chance that a bias is seen where there is none


def relative_bias(found: Record) -> tuple[float, float | None]:
    """‖E g - g*‖ / ‖g*‖ and its standard error; where none is seen, a 95 % bound and None."""
    squared, stderr = found["squared_bias"], found["stderr"]
    if squared > max(LIMIT * stderr, LEAST**2):
        return math.sqrt(squared), stderr / (2.0 * math.sqrt(squared))
    bound = math.sqrt(max(squared, 0.0) + stats.norm.ppf(0.95) * stderr)
    return max(bound, LEAST), None


def _number(value: float) -> str:
    if value < LEAST:
        return f"<{LEAST:g}"
    return f"{value:.0f}" if value >= 100 else f"{value:#.2g}".rstrip(".")


def _measured(found: dict[str, Record]) -> dict[tuple[str, int, int], Record]:
    """Rows of methods that sample, by method, number of groups and k."""
    rows = [row for record in found.values() for row in record["rows"] if row.get("sampled")]
    return {(row["baseline"], row["groups"], row["k"]): row for row in rows}


def _by_method(found: dict[str, Record], size: Callable, text: Callable) -> tuple[list, list]:
    """Header and rows: the encoder's gradient by setting, other parts where they are largest."""
    rows, measured = [], _measured(found)
    settings = sorted({(k, groups) for _, groups, k in measured if k in (1, 5)})
    for method in BASELINES:
        own = {key[1:]: row["parts"] for key, row in measured.items() if key[0] == method}
        if own:
            shown = (own.get((groups, k)) for k, groups in settings)
            cells = ["" if parts is None else text(parts["encoder"]) for parts in shown]
            others = (max((p[part] for p in own.values()), key=size) for part in PARTS[1:])
            rows.append([method, *cells, *map(text, others)])
    header = [f"k={k},G={groups}" for k, groups in settings]
    return ["method", *header, "prior, most", "decoder, most"], rows


def _percent(part: Record) -> str:
    value, stderr = relative_bias(part)
    return f"<{100 * value:.1f}" if stderr is None else f"{100 * value:.1f}"


def bias_table(found: dict[str, Record]) -> str:
    """Relative bias of the encoder's gradient, in percent; <: none is seen, a 95 % bound."""
    return table(*_by_method(found, lambda part: relative_bias(part)[0], _percent))


def variance_table(found: dict[str, Record], timed: Record) -> str:
    """Relative variance of the encoder's gradient, and milliseconds of a training step."""
    rows = [row for result in timed["results"] for row in result["rows"] if "baseline" in row]
    times = {(row["baseline"], row["k"]): f"{row['median_ms']:.1f}" for row in rows}
    size = lambda part: part["variance"]  # noqa: E731
    header, rows = _by_method(found, size, lambda part: _number(part["variance"]))
    rows = [[*row[:-2], *(times.get((row[0], k), "") for k in (1, 5))] for row in rows]
    return table([*header[:-2], "ms, k=1", "ms, k=5"], rows)


def unbiased_table(found: dict[str, Record]) -> str:
    """Distances of methods without bias from the exact gradient, each and all together.

    allowed: what the largest passes with a chance of `FALSE_ALARM`. seen: the relative bias that
    would pass `LIMIT` with 95 % probability in each setting.
    """
    rows = []
    for method in (*UNBIASED, "all"):
        chosen = UNBIASED if method == "all" else (method,)
        own = [row for row in _measured(found).values() if row["baseline"] in chosen]
        parts = [part for row in own for part in row["parts"].values()]
        if own:
            count, free = sum(p["components"] for p in parts), min(r["blocks"] for r in own) - 1
            allowed = stats.t.isf(FALSE_ALARM / (2 * count), free)
            largest, beyond = max(p["largest"] for p in parts), sum(p["beyond"] for p in parts)
            row = [method, f"{len(own)}", f"{count:,}", f"{largest:.1f}", f"{allowed:.1f}"]
            row += ["yes" if largest < allowed else "**NO**", f"{beyond}"]
            row.append(f"{2 * count * stats.t.sf(LIMIT, free):.1f}")
            seen = (max(row["parts"][part]["seen"] for row in own) for part in PARTS)
            rows.append([*row, *(f"{100 * value:.1f} %" for value in seen)])
    header = ["method", "settings", "components", "largest, se", "allowed", "passed"]
    header += ["beyond 4", "expected", *(f"seen, {part}" for part in PARTS)]
    return table(header, rows)


def draw(found: dict[str, Record]) -> Figure:
    """Bias and variance of the encoder's gradient at k = 1, a row for each method."""
    figure = Figure(figsize=(11.0, 6.0), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    rows = _measured(found).items()
    measured = {key: row["parts"]["encoder"] for key, row in rows if key[2] == 1}
    names = [name for name in BASELINES if any(key[0] == name for key in measured)]
    for place, groups in enumerate(sorted({key[1] for key in measured})):
        panels[1].scatter([], [], s=24, c=f"C{place}", label=f"groups: {groups}")
        found = {name: part for (name, own, _), part in measured.items() if own == groups}
        for name, part in found.items():
            at, style = len(names) - names.index(name) + 0.25 * (1 - place), {"s": 24}
            (value, stderr), style["edgecolors"] = relative_bias(part), f"C{place}"
            face = "none" if stderr is None else f"C{place}"
            panels[0].scatter(value, at, facecolors=face, **style)
            panels[1].scatter(max(part["variance"], LEAST), at, facecolors=f"C{place}", **style)
    panels[0].set_yticks(range(len(names), 0, -1), names)
    panels[0].set(xscale="log", xlabel="relative bias (hollow: none seen, 95 % bound)")
    panels[1].set(xscale="log", xlabel="variance of a step over the squared norm")
    panels[1].legend(loc="upper left")
    for panel in panels:
        panel.grid(axis="x", alpha=0.3)
    return figure
