"""Puts measured results into docs/: exactness, performance, deviations and estimators; and flags.

    python -m benchmarks.pages

The results are what the other programs here keep in benchmarks/results/ as JSON; nobody types a
number. Each page has its own text around its markers. The tables of flags in docs/running.md and
docs/tables.md are made from `configs.settings`.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import estimators_page, estimators_plot, performance_page
from configs.setting import markdown_of
from configs.settings import SETTINGS
from configs.table_settings import TABLE_SETTINGS
from samplers.log_z_table import COLUMNS, CONFIDENCE, NORMAL, cells, student_factor
from tables.documents import insert, markdown_table, write_text

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
DOCS = ROOT / "docs"

Record = dict[str, Any]


def keep(page: str, name: str, record: Record) -> None:
    """Keeps a result for a page. Raises UserError when it cannot be written."""
    write_text(
        RESULTS / page / f"{name}.json", json.dumps(record, indent=1, allow_nan=False) + "\n"
    )
    print(f"kept {name}; python -m benchmarks.pages puts it into docs/{page}.md")


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
        "below the exact value.\n\n" + markdown_table(header, rows, "---:")
    )


def trained_prior_section(record: Record) -> str:
    """One trained prior, each estimator once."""
    left, right = record["shape"]
    return (
        f"## {record['name']}: a trained prior of {left}x{right} units\n\n"
        f"Run: {_listed(record['settings'])}; {record['machine']['cores']} cores "
        f"({record['machine']['machine']}), compiling, or reading compiled programs from disk, "
        "included.\n\n" + markdown_table(COLUMNS, [cells(row) for row in record["rows"]], "---:")
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
        + markdown_table(("difference", "measured"), deviation_rows(record))
    )


def read(page: str) -> dict[str, Record]:
    """The kept results of a page, by name."""
    paths = sorted((RESULTS / page).glob("*.json"))
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths}


def write_flags() -> None:
    """Writes the tables of flags."""
    insert(DOCS / "running.md", markdown_of(SETTINGS.values(), "modes"), "flags")
    insert(DOCS / "tables.md", markdown_of(TABLE_SETTINGS.values(), "ways of working"), "flags")


def main() -> None:
    """Writes all pages again."""
    write_flags()
    measured = {
        "exactness": exactness(list(read("exactness").values())),
        "performance": performance_page.measured(read("performance")),
        "deviations": "\n".join(map(deviation_section, read("deviations").values())),
        "estimators": estimators_page.measured(read("estimators")),
    }
    for page, text in measured.items():
        insert(DOCS / f"{page}.md", text, "measured")
        print(f"wrote {DOCS / page}.md")
    estimators_plot.draw(read("estimators"), DOCS / "estimators.png")


if __name__ == "__main__":
    main()
