"""docs/exactness.md from measured results: nothing here is typed by hand."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from samplers.log_partition import COLUMNS, CONFIDENCE, cells, student_factor

Record = dict[str, Any]

_INTRODUCTION = """# How exact is log Z?

A test likelihood of a model with an RBM prior is only as good as its log Z. This page holds every
estimator of this repository against the enumerated value, where there is one, and against each
other, where there is none. It is written by `python -m benchmarks.exactness` from the results in
`benchmarks/results/exactness/`; all values are in nats.

The stated error of an estimator is its {confidence:.0%} interval: {normal:.2f} standard errors for
weights of many chains, {ladders:.2f} for the spread of 32 ladders and {populations:.2f} for that of
16 populations (Student's t).
"""

_ESTIMATORS = """
What the estimators are:

- **forward AIS**: Neal 2001, the right half summed out; unbiased for Z, so log Z is low on average.
- **Markov lower bound**: of the same weights in 32 groups; below log Z with probability 99 %.
- **reverse AIS**: from exact samples where they can be drawn (certified: high on average), else
  from long-run chains (a check, no certificate).
- **tempering and BAR**: parallel tempering between a factorised base and the RBM, Bennett's
  acceptance ratio between neighbours; the error is the spread of independent ladders. Its column
  ESS counts the states that travelled from the base to the RBM.
- **population annealing along training**: separate populations that followed the parameters from
  zero; the error is their spread.
"""


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; all but the first column are numbers or short."""
    rule = ["---"] + ["---:"] * (len(header) - 1)
    return "\n".join("| " + " | ".join(line) + " |" for line in (header, rule, *rows)) + "\n"


def inside(row: Record) -> bool:
    """Whether the exact value lies in the stated interval."""
    truth = row["value"] - row["distance"]
    return row["low"] <= truth and (row["high"] is None or truth <= row["high"])


def inside_95(row: Record) -> bool:
    """Whether it lies in the 95 % interval of the same standard error."""
    return abs(row["distance"]) <= student_factor(row["independent"], 0.95) * row["stderr"]


def summary(name: str, rows: list[Record]) -> list[str]:
    """One estimator over all seeds."""
    distances = np.array([row["distance"] for row in rows])
    bound = rows[0]["high"] is None
    stated = np.mean([row["value"] - row["low"] for row in rows])
    return [
        name,
        f"{distances.mean():+.4f}",
        f"{math.sqrt(np.mean(distances**2)):.4f}",
        "" if bound else f"{stated:.4f}",
        "" if bound else f"{sum(inside_95(row) for row in rows)} of {len(rows)}",
        f"{sum(inside(row) for row in rows)} of {len(rows)}",
        f"{np.median([row['seconds'] for row in rows]):.2f}" if rows[0]["seconds"] else "",
    ]


def many_seeds(record: Record) -> str:
    """The section of the small prior."""
    seeds, settings = record["seeds"], record["settings"]
    names = [row["estimator"] for row in seeds[0] if row["estimator"] != "exact"]
    by_name = {row["estimator"]: [] for row in seeds[0]}
    for rows in seeds:
        for row in rows:
            by_name[row["estimator"]].append(row)
    header = (
        "estimator",
        "mean - exact",
        "rms distance",
        "mean stated error",
        "exact within 95 % interval",
        "exact within stated error",
        "seconds",
    )
    exact_seconds = np.median([row["seconds"] for row in by_name["exact"]])
    listed = ", ".join(
        f"{key.replace('_', ' ')} {value:.3g}"
        if isinstance(value, float)
        else f"{key.replace('_', ' ')} {value}"
        for key, value in settings.items()
        if key != "training"
    )
    return (
        f"\n## A trained prior of 12x12 units, {len(seeds)} seeds\n\n"
        f"Training: {settings['training']}. log Z = {record['log_z']:.6f} by enumeration "
        f"({exact_seconds:.3f} s). Each seed has chains of its own. Settings: {listed}; "
        f"{record['machine']['cores']} cores ({record['machine']['machine']}), compilation left "
        "out. For a lower bound, within means below the exact value.\n\n"
        + table(header, [summary(name, by_name[name]) for name in names])
    )


def one_seed(record: Record) -> str:
    """The section of one trained prior."""
    left, right = record["shape"]
    listed = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in record["settings"].items())
    return (
        f"\n## {record['name']}: a trained prior of {left}x{right} units\n\n"
        f"Run: {listed}; {record['machine']['cores']} cores ({record['machine']['machine']}), "
        "compiling, or reading compiled programs from disk, included.\n\n"
        + table(COLUMNS, [cells(row) for row in record["rows"]])
    )


def page(records: Sequence[Record]) -> str:
    """The whole page."""
    text = _INTRODUCTION.format(
        confidence=CONFIDENCE,
        normal=student_factor(10**6),
        ladders=student_factor(32),
        populations=student_factor(16),
    )
    sections = {"many seeds": many_seeds, "one seed": one_seed}
    ordered = sorted(
        records, key=lambda r: (r["kind"] != "many seeds", r.get("shape", []), r["name"])
    )
    return text + "".join(sections[r["kind"]](r) for r in ordered) + _ESTIMATORS
