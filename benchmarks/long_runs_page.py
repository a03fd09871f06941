"""docs/long_runs.md and its picture from measured results: no figure and no verdict is typed."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

from benchmarks.long_runs_text import END, INTRODUCTION, METHOD
from benchmarks.long_runs_verdicts import (
    SLOWEST,
    in_short,
    legend,
    models,
    run_name,
    time_text,
    with_error,
)
from configs.paper import ExperimentConfig
from tables.documents import insert, markdown_table

matplotlib.use("Agg")

from matplotlib import pyplot as plt

Record = dict[str, Any]

BETTER = 0.9  # a base is better when its standard error is below this share of the other's


def runs_table(records: Sequence[Record]) -> str:
    """How far the runs are, and their validation NLL."""
    rows = []
    for record in records:
        run, points = record["run"], record["validation"]
        values = ", ".join(f"{value:.2f} at {step:,}" for step, value in points) or "none yet"
        steps = f"{record['last_step']:,} of {run['num_train_iter']:,}"
        rows.append([run_name(record), run["struct"], str(run["k"]), steps, values])
    header = ("run", "structure", "k", "steps logged", "validation NLL (nats) at step")
    return markdown_table(header, rows, "---:")


def chains_table(records: Sequence[Record]) -> str:
    """Correlation times, and the health of the population in training."""
    rows = []
    for name, model in models(records):
        times, training = model["correlations"]["times"], model["training"]
        rows.append(
            [
                f"{name}, {model['step']:,}",
                time_text(times["energy"]),
                f"{model['correlations']['median unit']:.1f}",
                time_text(times["slowest unit"]),
                time_text(times[SLOWEST]),
                f"{model['correlations']['after a step']:.3f}",
                *(
                    "" if training[key] is None else f"{training[key]:.{digits}f}"
                    for key, digits in (
                        ("kl_coeff", 2),
                        ("sampler/ess", 0),
                        ("sampler/surviving_families", 0),
                    )
                ),
            ]
        )
    header = (
        "model",
        "energy",
        "median unit",
        "slowest unit",
        SLOWEST,
        "its correlation after a step",
        "KL weight",
        "ESS",
        "families",
    )
    return markdown_table(header, rows, "---:")


def bias_table(records: Sequence[Record]) -> str:
    """Distances and costs, each beside what sampling noise gives."""
    rows = []
    for name, model in models(records):
        bias = model["bias"]
        row = [f"{name}, {model['step']:,}"]
        for found in bias["distances"].values():
            row.append(f"{found['value']:.4f}")
            row.append(with_error(found["floor"], found["spread"], 4))
        for found in bias["costs"].values():
            row.append(with_error(found["value"], found["stderr"], 3))
            row.append(f"{found['floor']:.3f}")
        rows.append(row)
    header = ["model", "unit means", "noise", "pair covariances", "noise"]
    for found in models(records)[0][1]["bias"]["costs"].values():
        header += [f"cost in {found['dimension']}", "floor"]
    return markdown_table(header, rows, "---:")


def log_z_table(model: Record) -> str:
    """Every estimate of one model."""
    rows = []
    for row in model["log_z"]:
        tempered = "arrivals" in row
        rows.append(
            [
                row["by"],
                row["base"],
                "" if tempered else f"{row['temperatures']:,}",
                with_error(row["value"], row["stderr"], 4),
                f"{row['markov_lower']:.3f}" if "markov_lower" in row else "",
                "" if tempered else f"{row['ess']:.0f}",
                f"{row['swap_rate']:.2f}" if tempered else "",
                f"{row['arrivals']}" if tempered else "",
            ]
        )
    header = (
        "estimator",
        "base",
        "temperatures",
        "log Z",
        "at least (95 %)",
        "ESS",
        "least swap rate",
        "arrivals",
    )
    return markdown_table(header, rows, "---:")


def base_ratios(model: Record) -> dict[int, float]:
    """Standard error of forward AIS from the fitted base over that from the uniform one."""
    found = {
        (row["base"], row["temperatures"]): row["stderr"]
        for row in model["log_z"]
        if row["by"] == "forward AIS"
    }
    counts = sorted({count for _, count in found})
    return {count: found["fitted", count] / found["uniform", count] for count in counts}


def preferred_base(records: Sequence[Record]) -> str:
    """The published base, unless the fitted one is clearly better on every model."""
    ratios = [ratio for _, model in models(records) for ratio in base_ratios(model).values()]
    return "fitted" if all(ratio < BETTER for ratio in ratios) else "uniform"


def base_section(records: Sequence[Record]) -> str:
    """Standard errors of both bases, and which is to be preferred."""
    found = models(records)
    ratios = [base_ratios(model) for _, model in found]
    header = ["model", *(f"{count:,} temperatures" for count in ratios[0])]
    rows = [
        [f"{name}, {model['step']:,}", *(f"{value:.2f}" for value in ratio.values())]
        for (name, model), ratio in zip(found, ratios, strict=True)
    ]
    values = [value for ratio in ratios for value in ratio.values()]
    smaller = sum(value < BETTER for value in values)
    larger = sum(value > 1.0 / BETTER for value in values)
    least = min(count for ratio in ratios for count in ratio)
    errors = [
        row["stderr"]
        for _, model in found
        for row in model["log_z"]
        if (row["by"], row["base"], row.get("temperatures")) == ("forward AIS", "uniform", least)
    ]
    return (
        "Standard error of forward AIS from the fitted base over that from the uniform base:\n\n"
        + markdown_table(header, rows, "---:")
        + f"\nThe fitted base is clearly better (ratio below {BETTER:.2f}) in {smaller} of "
        f"{len(values)} cases and clearly worse (above {1.0 / BETTER:.2f}) in {larger}; the ratio "
        f"runs from {min(values):.2f} to {max(values):.2f}. [deviations.md](deviations.md) and "
        "[exactness.md](exactness.md) have other trained priors. The fitted base takes its means "
        "from the run's own chains, which are what is in question, and is not the published one: "
        "for that it would have to be better on every model. By this rule the base is "
        f"`{preferred_base(records)}`; the default of `--ais_base` is "
        f"`{ExperimentConfig.ais_base}`. With {least:,} temperatures the uniform base's standard "
        f"error is {max(errors):.3f} nats at most on the models of this page; where the ratio is "
        "small, `--ais_base=fitted` does better.\n"
    )


def draw(records: Sequence[Record], path: Path) -> None:
    """Validation NLL against steps; correlation of the slowest combination against sweeps."""
    longest = sorted(records, key=lambda record: -record["run"]["num_train_iter"])
    datasets = list(dict.fromkeys(r["run"]["dataset"] for r in longest if r["validation"]))
    count = len(datasets) + 1
    size = (4.8 * count, 6.0)
    figure, [axes] = plt.subplots(1, count, figsize=size, layout="constrained", squeeze=False)
    for dataset, curves in zip(datasets, axes, strict=False):
        for record in records:
            if record["run"]["dataset"] == dataset and record["validation"]:
                points = zip(*record["validation"], strict=True)
                curves.plot(*points, marker=".", label=legend(record))
        curves.set(xscale="log", xlabel="step", title=f"{dataset}: validation NLL (nats)")
        _legend_below(curves)
    _draw_forgetting(records, axes[-1])
    figure.savefig(path, dpi=80, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)


def _legend_below(axes: plt.Axes) -> None:
    axes.legend(fontsize="x-small", loc="upper center", bbox_to_anchor=(0.5, -0.18))


def _draw_forgetting(records: Sequence[Record], axes: plt.Axes) -> None:
    axes.set_prop_cycle(color=plt.get_cmap("tab20").colors)
    for record in records:
        for model in record["models"]:
            found = model["correlations"]
            points = zip(found["lags"], found["correlation"][SLOWEST], strict=True)
            label = f"{record['run']['dataset']}, {legend(record)}: {model['step']:,}"
            axes.plot(*zip(*points, strict=True), marker=".", label=label)
    for number in {model["num_sweeps"] for _, model in models(records)}:
        axes.axvline(number, color="grey", linestyle="--", linewidth=1)
    axes.set(
        xscale="log", xlabel="sweeps (dashed: a step)", title="correlation, slowest combination"
    )
    _legend_below(axes)


def page(records: Sequence[Record]) -> str:
    """The whole page."""
    parts = [
        INTRODUCTION,
        in_short(records),
        "\n## The runs\n\n",
        METHOD["runs"],
        runs_table(records),
    ]
    parts += ["\n![validation NLL and correlations](long_runs.png)\n"]
    parts += ["\n## How fast the chains forget\n\n", METHOD["chains"], chains_table(records)]
    parts += ["\n## The population that feeds the gradient\n\n", METHOD["bias"]]
    parts += [bias_table(records), "\n## log Z\n\n", METHOD["log_z"]]
    for name, model in models(records):
        parts += [f"\n**{name}, step {model['step']:,}**\n\n", log_z_table(model)]
    parts += ["\n## The base of AIS\n\n", base_section(records), END]
    return "".join(parts)


def progress_text(records: Sequence[Record]) -> str:
    """How far the runs are that are not at their end, by the last kept model that was evaluated."""
    rows, protocols, machines = [], set(), set()
    for record in records:
        run, evaluated = record["run"], [m for m in record["models"] if "evaluation" in m]
        if not evaluated or evaluated[-1]["step"] >= run["num_train_iter"]:
            continue
        step, found = evaluated[-1]["step"], evaluated[-1]["evaluation"]
        machines.add(f"{found['machine']['processor']}, {found['machine']['cpus']} core(s)")
        published = "the published file" if found["protocol"]["published_data"] else "another draw"
        protocols.add(
            f"{published} of {run['dataset']}, {found['eval_iw_samples']:,} importance samples, "
            f"AIS with {found['protocol']['ais_temperatures']:,} temperatures"
        )
        low, high = (found["nll_interval"][end] for end in ("low", "high"))
        z = found["log_z_interval"]
        rows.append(
            [
                f"{run['struct']}, {run['baseline']}, k = {run['k']}, seed {run['seed']}",
                f"{step:,} of {run['num_train_iter']:,}",
                f"{found['test_nll']:.2f} [{low:.2f}, {high:.2f}]",
                f"{found['val_nll']:.2f}",
                f"{found['log_z']:.2f} [{z['low']:.2f}, {z['high']:.2f}]",
                f"{found['train_seconds'] / 3600:.1f}",
                ", ".join(code["commit"] or code["sources"] for code in found["code"]),
            ]
        )
    if not rows:
        return ""
    header = ("cell", "steps", "test NLL", "validation NLL", "log Z", "hours of training", "code")
    return (
        "**Cells of the published length that are not at their end: not results of Table 1.** "
        f"Data and protocol: {'; '.join(sorted(protocols))}. Brackets: 95 % intervals, without the "
        f"choice of seed and test set. Machine: {'; '.join(sorted(machines))}; hours include "
        "those in which other work had the core.\n\n" + markdown_table(header, rows, "---:")
    )


def write(results: Path, root: Path) -> None:
    """Writes page, picture and README's table from the kept results."""
    records = [
        json.loads(path.read_text(encoding="utf-8")) for path in sorted(results.glob("*.json"))
    ]
    docs = root / "docs"
    (docs / "long_runs.md").write_text(page(records), encoding="utf-8")
    draw(records, docs / "long_runs.png")
    insert(root / "README.md", progress_text(records), "long runs")
    print(f"wrote {docs / 'long_runs.md'}")
