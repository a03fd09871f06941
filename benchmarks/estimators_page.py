"""The measured part of docs/estimators.md: no figure and no verdict is typed."""

import math
import re
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from scipy import stats

from tables.documents import markdown_table

Record = dict[str, Any]

PARTS = ("encoder", "prior", "decoder")
# Methods whose gradient is said to have no bias at all.
UNBIASED = ("loo", "vimco", "disarm", "rodeo", "exact")
LIMIT = 4.0  # standard errors from which on a bias counts as seen
LEAST = 1e-3  # relative biases and variances below it are rounding, or as good as none
FALSE_ALARM = 0.01  # chance of one in the pooled verdict, were nothing biased
GROUPS = {1: "One group", 2: "Two groups", 4: "Four groups"}


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return markdown_table(header, rows, "---:")


def relative_bias(found: Record) -> tuple[float, float | None]:
    """‖E g - g*‖ / ‖g*‖ and its standard error; where none is seen, a 95 % bound and None."""
    squared, stderr = found["squared_bias"], found["stderr"]
    if squared > max(LIMIT * stderr, LEAST**2):
        return math.sqrt(squared), stderr / (2.0 * math.sqrt(squared))
    bound = math.sqrt(max(squared, 0.0) + stats.norm.ppf(0.95) * stderr)
    return max(bound, LEAST), None


def _bias_text(found: Record) -> str:
    value, stderr = relative_bias(found)
    if stderr is None:
        return f"< {100 * value:.1f} %"
    digits = 1 if stderr >= 5e-4 else 2
    return f"{100 * value:.{digits}f} ± {100 * stderr:.{digits}f} %"


def _number(value: float) -> str:
    if value < LEAST:
        return f"< {LEAST:g}"
    if value >= 1e4:
        return f"{value:.0e}"
    return f"{value:.0f}" if value >= 100 else f"{value:#.2g}".rstrip(".")


Times = dict[tuple[str, int], float]


def _row_cells(row: Record, times: Times) -> list[str]:
    parts = [row["parts"][name] for name in PARTS]
    milliseconds = times.get((row["baseline"], row["k"]))
    cost = ["", "", ""]
    if milliseconds is not None:
        products = (milliseconds * part["variance"] for part in parts[:2])
        cost = [f"{milliseconds:.1f}", *map(_number, products)]
    variances = [_number(part["variance"]) for part in parts]
    return [row["baseline"], *map(_bias_text, parts), *variances, *cost]


_HEADER = (
    "method",
    *(f"bias, {part}" for part in PARTS),
    *(f"variance, {part}" for part in PARTS),
    "ms",
    "variance × ms, encoder",
    "variance × ms, prior",
)


def _one_k(rows: Sequence[Record], k: int, times: Times) -> str:
    """The tables of one k, one for each exact gradient, and who is not in them."""
    tables: dict[tuple[str, ...], list[Record]] = {}
    for row in rows:
        if "left_out" not in row:
            norms = (f"{part} {row['parts'][part]['norm']:.2f}" for part in PARTS)
            tables.setdefault((row["objective"], *norms), []).append(row)
    text = ""
    for (objective, *norms), chosen in sorted(tables.items()):
        names = ", ".join(row["baseline"] for row in chosen)
        own = f" of their own posterior ({names})" if chosen[0]["own_posterior"] else ""
        text += f"\n**k = {k}, methods that train the {objective}{own}**; norms of its exact "
        text += f"gradient in nats: {', '.join(norms)}\n\n"
        text += _table(_HEADER, [_row_cells(row, times) for row in chosen])
    reasons: dict[str, list[str]] = {}
    for row in rows:
        if "left_out" in row:
            reason = re.sub(rf"(?<![=\w]){row['baseline']}\b", "it", row["left_out"])
            reasons.setdefault(reason, []).append(row["baseline"])
    for reason, names in reasons.items():
        text += f"\nLeft out: {', '.join(names)} ({reason}).\n"
    return text


def _section(record: Record, times: Times) -> str:
    rows = record["rows"]
    text = f"\n## {GROUPS[record['groups']]}\n"
    for k in sorted({row["k"] for row in rows}):
        text += _one_k([row for row in rows if row["k"] == k], k, times)
    return text


def _chance(count: int, limit: float, blocks: int) -> float:
    """Of one of `count` components beyond `limit` standard errors, at most."""
    return min(1.0, count * 2.0 * stats.t.sf(limit, blocks - 1))


def _verdict_cells(row: Record) -> list[str]:
    parts = [row["parts"][name] for name in PARTS]
    count = sum(part["components"] for part in parts)
    return [
        f"{row['baseline']}, k = {row['k']}, {GROUPS[row['groups']].lower()}",
        f"{count}",
        f"{max(part['largest'] for part in parts):.1f}",
        f"{sum(part['beyond'] for part in parts)}",
        f"{100 * _chance(count, LIMIT, row['blocks']):.1f} %",
        *(f"{100 * part['seen']:.1f} %" for part in parts),
    ]


def pooled(rows: Sequence[Record]) -> Record:
    """The verdict over all components of all sampled rows of methods without bias."""
    parts = [part for row in rows for part in row["parts"].values()]
    count, blocks = sum(part["components"] for part in parts), min(row["blocks"] for row in rows)
    largest = max(part["largest"] for part in parts)
    limit = float(stats.t.isf(FALSE_ALARM / (2 * count), blocks - 1))
    return {
        "components": count,
        "beyond": sum(part["beyond"] for part in parts),
        "expected": count * 2.0 * float(stats.t.sf(LIMIT, blocks - 1)),
        "largest": largest,
        "limit": limit,
        "unbiased": largest < limit,
        "seen": {part: max(row["parts"][part]["seen"] for row in rows) for part in PARTS},
    }


def verdict(rows: Sequence[Record]) -> str:
    """One sentence on all methods without bias together."""
    found = pooled(rows)
    names = ", ".join(dict.fromkeys(row["baseline"] for row in rows))
    seen = ", ".join(f"{part} {100 * value:.1f} %" for part, value in found["seen"].items())
    judged = (
        f"No bias is seen in the methods that have none ({names})"
        if found["unbiased"]
        else f"**A bias is seen in a method that should have none ({names})**"
    )
    return (
        f"{judged}: the largest of {found['components']:,} components of {len(rows)} settings lies "
        f"{found['largest']:.1f} standard errors from the exact gradient, where "
        f"{found['limit']:.1f} are passed with a chance of {FALSE_ALARM:.0%}; "
        f"{found['beyond']} lie beyond {LIMIT:g}, "
        f"{found['expected']:.1f} are to be expected. Gradients too long or too short by this much "
        f"would have passed {LIMIT:g} in each setting, with 95 % probability: {seen}."
    )


def _rounding(rows: Sequence[Record]) -> str:
    """What methods that sample nothing are off by."""
    parts = [part for row in rows for part in row["parts"].values()]
    worst = max(abs(part["squared_bias"]) ** 0.5 for part in parts)
    names = ", ".join(dict.fromkeys(row["baseline"] for row in rows))
    return f"{names} samples nothing: its gradient is the exact one to {worst:.0e} of its norm."


def _unbiased_section(rows: Sequence[Record]) -> str:
    sampled = [row for row in rows if row["sampled"]]
    if not sampled:
        return ""
    header = ("setting", "components", "largest", f"beyond {LIMIT:g}", "chance of one")
    header += tuple(f"would be seen, {part}" for part in PARTS)
    return (
        "\n## Methods without bias\n\n"
        "Distance of the mean gradient from the exact one in standard errors, component by "
        f"component: the largest, and how many are beyond {LIMIT:g} (with the chance of at least "
        "one, were there no bias). Would be seen: the relative bias of a gradient that is too "
        f"long or too short by it in all components, which passes {LIMIT:g} standard errors with "
        "95 % probability.\n\n"
        + _table(header, [_verdict_cells(row) for row in sampled])
        + f"\n{verdict(sampled)}\n"
    )


def _medians(
    rows: Sequence[Record], value: Callable[[Record], float | None]
) -> list[tuple[float, str]]:
    """(median over settings, method), the smallest first; None of a setting leaves it out."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if (number := value(row)) is not None:
            found.setdefault(row["baseline"], []).append(number)
    return sorted((statistics.median(values), name) for name, values in found.items())


def _extremes(what: str, found: list[tuple[float, str]]) -> str:
    (least, first), (most, last) = found[0], found[-1]
    return f"{what}: {_number(least)} for {first} up to {_number(most)} for {last}"


def findings(rows: Sequence[Record], times: Times) -> list[str]:
    """What the numbers say, of the encoder's gradient; medians over groups and k."""

    def variance(row: Record) -> float:
        return row["parts"]["encoder"]["variance"]

    def cost(row: Record) -> float | None:
        milliseconds = times.get((row["baseline"], row["k"]))
        return None if milliseconds is None else milliseconds * variance(row)

    biased = [row for row in rows if row["baseline"] not in UNBIASED]
    sampled = [row for row in rows if row["baseline"] in UNBIASED and variance(row) > LEAST]
    found = []
    if biased:
        bias = _medians(biased, lambda row: relative_bias(row["parts"]["encoder"])[0])
        (least, first), (most, last) = bias[0], bias[-1]
        found.append(
            f"Methods with a bias, relative bias: {100 * least:.1f} % or less for {first}, up to "
            f"{100 * most:.1f} % for {last}."
        )
    for kind, chosen in (("with a bias", biased), ("without one", sampled)):
        if chosen:
            texts = [_extremes("variance", _medians(chosen, variance))]
            if costs := _medians(chosen, cost):
                texts.append(_extremes("variance × ms", costs))
            found.append(f"Methods {kind}, {'; '.join(texts)}.")
    if growth := _growth(biased):
        found.append(growth)
    return found


def _growth(rows: Sequence[Record]) -> str:
    """How the encoder's bias goes with k, for methods that train L_K."""
    ks = sorted({row["k"] for row in rows})
    if len(ks) < 2:
        return ""
    by_setting = {(row["baseline"], row["groups"], row["k"]): row for row in rows}
    ratios = []
    for (baseline, groups, k), row in by_setting.items():
        first = by_setting.get((baseline, groups, ks[0]))
        if k == ks[-1] and row["objective"] != "ELBO" and first is not None:
            pair = [relative_bias(r["parts"]["encoder"]) for r in (row, first)]
            if all(stderr is not None for _, stderr in pair):
                ratios.append(pair[0][0] / pair[1][0])
    if not ratios:
        return ""
    rising = sum(ratio > 1.0 for ratio in ratios)
    return (
        f"From k = {ks[0]} (ELBO) to k = {ks[-1]} (L_{ks[-1]}) the relative bias is larger in "
        f"{rising} of {len(ratios)} settings of methods that train L_K where both are seen, by a "
        f"factor of {statistics.median(ratios):.1f} in the median."
    )


def rows_of(record: Record) -> list[Record]:
    """The rows that have been measured."""
    return [row for row in record["rows"] if "left_out" not in row]


def by_groups(records: dict[str, Record]) -> list[Record]:
    """The records of small models, fewest groups first."""
    found = [record for record in records.values() if "groups" in record]
    return sorted(found, key=lambda record: record["groups"])


def _settings(records: Sequence[Record], timed: Record | None) -> str:
    row = next(row for record in records for row in rows_of(record))
    gradients = row["blocks"] * row["copies"]
    text = (
        f"{row['images']} images of {row['pixels']} pixels; {gradients:,} independent gradients a "
        f"setting, in {row['blocks']} means of {row['copies']}. A step is one gradient on all "
        f"{row['images']} images."
    )
    if timed is not None:
        machine = timed["machine"]
        where = ", ".join(machine["gpus"]) or f"{machine['cpus']} cores, {machine['processor']}"
        text += f" ms: of a whole training step of {timed['struct']} on {where}."
    return text


def measured(records: dict[str, Record]) -> str:
    """What stands between the markers of the page."""
    timed = records.get("times")
    times = {(row["baseline"], row["k"]): row["ms"] for row in (timed or {"rows": []})["rows"]}
    found = by_groups(records)
    rows = [row for record in found for row in rows_of(record)]
    unbiased = [row for row in rows if row["baseline"] in UNBIASED]
    short = findings(rows, times)
    for sampled, line in ((True, verdict), (False, _rounding)):
        if chosen := [row for row in unbiased if row["sampled"] is sampled]:
            short.append(line(chosen))
    return (
        "## In short\n\nBiases and variances here are those of the encoder's gradient, medians "
        "over groups and k.\n\n"
        + "".join(f"- {line}\n" for line in short)
        + "\n![relative bias against variance](estimators.png)\n\n"
        + "Relative bias of a step's gradient against its variance; larger marks: larger k; "
        + f"hollow: no bias seen, the mark is its 95 % bound; both axes begin at {LEAST:g}.\n\n"
        + _settings(found, timed)
        + "\n"
        + _unbiased_section(unbiased)
        + "".join(_section(record, times) for record in found)
    )
