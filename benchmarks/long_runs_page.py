"""Tables and plot of docs/long_runs.md."""

import itertools
import math
from collections.abc import Sequence

from matplotlib.figure import Figure
from scipy import stats

from benchmarks import records
from benchmarks.records import Record, table
from configs.tables import published_value
from dvae.runs.result import span
from tables.results import read_tree

# Standard errors, correlation times, steps a time, tempered states, chance of a wrong alarm.
SIGMAS, SERIES_PER_TIME, MANY_STEPS, FEW_ARRIVALS, FALSE_ALARM = 3.0, 10, 10, 100, 0.01
SLOWEST = "slowest combination"


def best_estimates(model: Record) -> list[Record]:
    """Estimates of log Z by most temperatures, and by tempering."""
    most = max(row.get("temperatures", 0) for row in model["log_z"])
    return [row for row in model["log_z"] if row.get("temperatures", most) == most]


def worst_pair(rows: Sequence[Record]) -> tuple[float, float]:
    """(standard errors between the two estimates that agree least, how many are allowed)."""
    pairs = list(itertools.combinations(rows, 2))
    scores = (abs(a["value"] - b["value"]) / math.hypot(a["stderr"], b["stderr"]) for a, b in pairs)
    return max(scores), float(stats.norm.isf(0.5 * FALSE_ALARM / len(pairs)))


def farthest(model: Record) -> float:
    """Distance of the population from independent samples, in their standard deviations."""
    return max(found["score"] for found in model["bias"]["distances"].values())


def cost_limit(model: Record) -> float:
    """Nats that a bias of the population costs at most, with 95 % confidence."""
    factor, costs = stats.norm.ppf(0.95), model["bias"]["costs"].values()
    return max(max(cost["value"], 0.0) + factor * cost["stderr"] for cost in costs)


def failed_checks(model: Record) -> list[str]:
    """Names of the checks of a model's sampling that fail."""
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


def health_table(found: Sequence[Record]) -> str:
    """A row for each model that was measured."""
    rows = []
    for record in found:
        for model in record["models"]:
            time, best = model["correlations"]["times"][SLOWEST], best_estimates(model)
            values = [row["value"] for row in best]
            left = model["correlations"]["after a step"]
            row = [run_name(record), f"{model['step']:,}"]
            row += [f"{time['value']:.0f} ± {time['stderr']:.0f}", f"{100 * left:.0f} %"]
            row += [f"{farthest(model):.1f}", f"{cost_limit(model):.2f}", f"{values[0]:.2f}"]
            row += [f"{max(values) - min(values):.3f}", f"{worst_pair(best)[0]:.1f}"]
            rows.append([*row, ", ".join(failed_checks(model)) or "none"])
    header = ["run", "step", "time, sweeps", "left after a step", "distance, sd", "costs at most"]
    return table([*header, "log Z", "within", "worst pair, se", "failed checks"], rows)


def read() -> list[Record]:
    """Measured runs: the longest first, of equals that which went farthest."""

    def order(record: Record) -> tuple:
        return -record["run"]["num_train_iter"], -record["validation"][-1][0], run_name(record)

    return sorted(records.read("long_runs").values(), key=order)


def cells_table() -> str:
    """The finished cells of the published length beside the papers' values."""
    rows = []
    for result in read_tree(records.RESULTS / "methods" / "1000000-steps").results:
        config, record, paper = result.config, result.record, published_value(result.setting)
        nll = record["nll_interval"]
        with_set = span(nll["low_with_test_set"], nll["high_with_test_set"])
        row = [config.baseline, config.struct, f"{config.k}", f"{config.seed}"]
        row += [f"**{record['test_nll']:.2f}**", span(nll["low"], nll["high"]), with_set]
        row += [f"{paper.mean:.2f} ± {paper.deviation:.2f}", f"{record['best_step']:,}"]
        rows.append([*row, f"{record['log_z']:.2f}", f"{result.hours:.1f}"])
    header = ["method", "structure", "k", "seed", "test NLL", "95 % interval", "with test set"]
    return table([*header, "paper", "best step", "log Z", "hours"], rows)


def draw(found: Sequence[Record]) -> Figure:
    """Validation NLL, and the correlation time of the slowest combination, against steps."""
    figure = Figure(figsize=(11.0, 4.2), layout="constrained")
    curves, times = figure.subplots(1, 2)
    binarized = [run for run in found if run["run"]["dataset"] == "binarized_mnist"]
    for number, record in enumerate(binarized):
        style = {"color": f"C{number}", "marker": ".", "label": run_name(record)}
        curves.plot(*zip(*record["validation"], strict=True), **style)
        points = [
            (m["step"], *m["correlations"]["times"][SLOWEST].values()) for m in record["models"]
        ]
        steps, values, errors, _ = zip(*points, strict=True)
        times.errorbar(steps, values, errors, capsize=2, **style)
    times.axhline(40, color="grey", linestyle="--", linewidth=1)
    curves.set(xscale="log", xlabel="step", ylabel="nats", title="validation NLL")
    title = "autocorrelation time (dashed: the sweeps of a step)"
    times.set(xscale="log", yscale="log", xlabel="step", ylabel="sweeps", title=title)
    times.legend(fontsize="small", loc="upper left")
    return figure
