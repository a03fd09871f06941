"""Figures, table and plots of docs/long_runs.md from measured results; the words are the page's."""

import itertools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from scipy import stats

from benchmarks import methods
from configs.experiment import ExperimentConfig
from configs.tables import published_value
from dvae.runs.result import span
from tables.documents import insert, markdown_table
from tables.results import Result, read_tree

matplotlib.use("Agg")

from matplotlib import pyplot as plt

Record = dict[str, Any]

SIGMAS = 3.0  # from where on a deviation counts as seen
FAMILY_ERROR = 0.01  # chance that estimates of log Z that agree are said not to
SERIES_PER_TIME = 10  # a series must be so many correlation times long
MANY_STEPS = 10  # a correlation time of more steps than this is too slow
FEW_ARRIVALS = 100
SLOWEST = "slowest combination"


def best_estimates(model: Record) -> list[Record]:
    """Estimates of log Z by most temperatures, and by tempering."""
    most = max(row.get("temperatures", 0) for row in model["log_z"])
    return [row for row in model["log_z"] if row.get("temperatures", most) == most]


def worst_pair(rows: Sequence[Record]) -> tuple[float, float]:
    """(standard errors between the two estimates that agree least, how many are allowed)."""
    pairs = list(itertools.combinations(rows, 2))
    scores = (abs(a["value"] - b["value"]) / math.hypot(a["stderr"], b["stderr"]) for a, b in pairs)
    return max(scores), float(stats.norm.isf(0.5 * FAMILY_ERROR / len(pairs)))


def farthest(model: Record) -> float:
    """Distance of the population from independent samples, in their standard deviations."""
    return max(found["score"] for found in model["bias"]["distances"].values())


def cost_limit(model: Record) -> float:
    """Nats that a bias of the population costs at most, with 95 % confidence."""
    factor = stats.norm.ppf(0.95)
    costs = model["bias"]["costs"].values()
    return max(max(cost["value"], 0.0) + factor * cost["stderr"] for cost in costs)


def signs(model: Record) -> list[str]:
    """What speaks against the sampling of a model: names of the checks that fail."""
    time, best = model["correlations"]["times"][SLOWEST]["value"], best_estimates(model)
    score, allowed = worst_pair(best)
    costs = model["bias"]["costs"].values()
    failed = {
        "slow chains": time >= MANY_STEPS * model["num_sweeps"],
        "short series": model["recorded_sweeps"] < SERIES_PER_TIME * time,
        "distance": farthest(model) >= SIGMAS,
        "cost": any(cost["value"] > SIGMAS * cost["stderr"] for cost in costs),
        "log Z": score >= allowed,
        "few arrivals": min(row.get("arrivals", FEW_ARRIVALS) for row in best) < FEW_ARRIVALS,
    }
    return [name for name, fails in failed.items() if fails]


def run_name(record: Record) -> str:
    """A run in a few words; a remark, written by hand, tells it from one of the same protocol."""
    run = record["run"]
    dataset = "" if run["dataset"] == "binarized_mnist" else f"{run['dataset']}, "
    remark = f" ({run['remark']})" if "remark" in run else ""
    return f"{dataset}{run['baseline']}, {run['num_train_iter']:,} steps{remark}"


COLUMNS = (
    "run",
    "step",
    "KL weight",
    "validation NLL",
    "time, sweeps",
    "left after a step",
    "distance, sd",
    "costs at most",
    "log Z",
    "within",
    "worst pair, se",
    "signs against",
)


def _row(record: Record, model: Record) -> list[str]:
    time, estimates = model["correlations"]["times"][SLOWEST], best_estimates(model)
    values = [row["value"] for row in estimates]
    nll, weight = dict(record["validation"]).get(model["step"]), model["training"]["kl_coeff"]
    return [
        run_name(record),
        f"{model['step']:,}",
        "" if weight is None else f"{weight:.2f}",
        "" if nll is None else f"{nll:.2f}",
        f"{time['value']:.0f} ± {time['stderr']:.0f}",
        f"{100 * model['correlations']['after a step']:.0f} %",
        f"{farthest(model):.1f}",
        f"{cost_limit(model):.2f}",
        f"{values[0]:.2f}",
        f"{max(values) - min(values):.3f}",
        f"{worst_pair(estimates)[0]:.1f}",
        ", ".join(signs(model)) or "none",
    ]


def health_table(records: Sequence[Record]) -> str:
    """A row for each model that was measured."""
    rows = [_row(record, model) for record in records for model in record["models"]]
    return markdown_table(COLUMNS, rows, "---:")


def cell_text(result: Result) -> str:
    """The figures of a finished run and its command."""
    config, record, paper = result.config, result.record, published_value(result.setting)
    nll, z = record["nll_interval"], record["log_z_interval"]
    gap = record["test_nll"] - paper.mean
    names = ("dataset", "struct", "baseline", "k")
    flags = " ".join(f"--{name}={getattr(config, name)}" for name in names)
    return (
        f"**{config.baseline}, {config.struct}, k = {config.k}, {config.num_train_iter:,} steps, "
        f"seed {config.seed}: test NLL {record['test_nll']:.2f} nats, 95 % interval "
        f"{span(nll['low'], nll['high'])}**; with the finite test set "
        f"{span(nll['low_with_test_set'], nll['high_with_test_set'])}. The paper has "
        f"{paper.mean:.2f} ± {paper.deviation:.2f} (an unverified transcription): this run lies "
        f"{abs(gap):.2f} nats {'above' if gap > 0.0 else 'below'} that.\n\n"
        f"Validation NLL {record['val_nll']:.2f} (100 importance samples) at the best step, "
        f"{record['best_step']:,}; log Z {record['log_z']:.2f} {span(z['low'], z['high'])}; "
        f"{record['protocol']['importance_samples']:,} importance samples; "
        f"{result.hours:.1f} hours of training steps on a {record['device']}, "
        f"{result.ms_per_step:.1f} ms each; code {result.code}.\n\n"
        f"```\n.venv/bin/python run.py {flags} --data_dir=datasets\n```\n"
    )


def draw(records: Sequence[Record], path: Path) -> None:
    """Validation NLL, and the correlation time of the slowest combination, against steps."""
    figure, (curves, times) = plt.subplots(1, 2, figsize=(11.0, 4.2), layout="constrained")
    for number, record in enumerate(records):
        style = {"color": f"C{number}", "marker": ".", "label": run_name(record)}
        steps, values = zip(*record["validation"], strict=True)
        curves.plot(steps, values, **style)
        found = [model["correlations"]["times"][SLOWEST] for model in record["models"]]
        times.errorbar(
            [model["step"] for model in record["models"]],
            [time["value"] for time in found],
            [time["stderr"] for time in found],
            capsize=2,
            **style,
        )
    times.axhline(40, color="grey", linestyle="--", linewidth=1)
    curves.set(xscale="log", xlabel="step", ylabel="nats", title="validation NLL")
    times.set(xscale="log", yscale="log", xlabel="step", ylabel="sweeps", ylim=(15, 2000))
    times.set_title("autocorrelation time (dashed: the sweeps of a step)")
    times.legend(fontsize="small", loc="upper left")
    figure.savefig(path, dpi=80, metadata={"Software": None})
    plt.close(figure)


def finished() -> Result:
    """The kept result of the published length."""
    [result] = read_tree(methods.RESULTS / f"{ExperimentConfig.num_train_iter}-steps").results
    return result


def read(results: Path) -> list[Record]:
    """Measured runs but first attempts: the longest first, of equals that which went farthest."""
    records = [
        json.loads(path.read_text(encoding="utf-8"))
        for path in results.glob("*.json")
        if not path.stem.endswith("-first")
    ]

    def order(record: Record) -> tuple:
        return -record["run"]["num_train_iter"], -record["validation"][-1][0], run_name(record)

    return sorted(records, key=order)


def write(results: Path, root: Path) -> None:
    """Writes figures, table and plots."""
    records, text = read(results), cell_text(finished())
    page = root / "docs" / "long_runs.md"
    insert(page, text, "long runs")
    insert(page, health_table(records), "health")
    insert(root / "README.md", text, "long runs")
    plotted = [record for record in records if record["run"]["dataset"] == "binarized_mnist"]
    draw(plotted, page.with_suffix(".png"))
    print(f"wrote {page}")
