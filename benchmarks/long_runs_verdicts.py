"""What the measurements of long runs say of the sampling, in words, with the thresholds."""

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

from scipy import stats

Record = dict[str, Any]

SIGMAS = 3.0  # from where on a deviation counts as seen
FAMILY_ERROR = 0.01  # chance that estimates of log Z that agree are said not to
SERIES_PER_TIME = 10  # a series must be so many correlation times long
MANY_STEPS = 10  # a correlation time of more steps than this is called far too slow
FEW_ARRIVALS = 100
SLOWEST = "slowest combination"


def run_name(record: Record) -> str:
    """A run in a few words; a remark, written by hand, tells it from one of the same protocol."""
    run = record["run"]
    steps = f"schedule of {run['num_train_iter']:,} steps"
    return f"{run['dataset']}, {run['baseline']}, {steps}, seed {run['seed']}{_remark(run)}"


def legend(record: Record) -> str:
    """A run in fewer words, for the legend of one data set's picture."""
    run = record["run"]
    return f"{run['baseline']}, {run['num_train_iter']:,} steps{_remark(run)}"


def _remark(run: Record) -> str:
    return f" ({run['remark']})" if "remark" in run else ""


def models(records: Iterable[Record]) -> list[tuple[str, Record]]:
    """(name of the run, model) of all kept models."""
    return [(run_name(record), model) for record in records for model in record["models"]]


def with_error(value: float, stderr: float, digits: int = 1) -> str:
    """A value and its standard error."""
    return f"{value:.{digits}f} ± {stderr:.{digits}f}"


def time_text(found: Record) -> str:
    """A correlation time and its standard error."""
    return with_error(found["value"], found["stderr"])


def forgetting(model: Record) -> tuple[bool, str]:
    """Whether the slowest combination of units forgets within few steps, and the sentence."""
    found, sweeps = model["correlations"]["times"][SLOWEST], model["num_sweeps"]
    recorded, left = model["recorded_sweeps"], model["correlations"]["after a step"]
    text = (
        f"the slowest combination of units has an autocorrelation time of {time_text(found)} "
        f"sweeps, and {left:.3f} of its correlation is left after the {sweeps} sweeps of a step"
    )
    if recorded < SERIES_PER_TIME * found["value"]:
        return False, f"{text}: more than {recorded:,} recorded sweeps can resolve"
    if found["value"] + SIGMAS * found["stderr"] < sweeps:
        return True, f"{text}: a step forgets the one before"
    steps = found["value"] / sweeps
    if steps < MANY_STEPS:
        return True, f"{text}: it lasts {steps:.1f} steps, which the population has to remember"
    return False, f"{text}: it lasts {steps:.1f} steps, far too slow"


def distance(model: Record) -> tuple[bool, str]:
    """Whether the population cannot be told from independent samples, and the sentence."""
    bias, parts, fine = model["bias"], [], True
    for name, found in bias["distances"].items():
        fine = fine and found["score"] < SIGMAS
        parts.append(
            f"{name} differ by {found['value']:.4f} (independent samples: {found['floor']:.4f} ± "
            f"{found['spread']:.4f})"
        )
    verdict = "no more than chance" if fine else "more than chance"
    return fine, f"in root mean square its {' and its '.join(parts)}: {verdict}"


def cost(model: Record) -> tuple[bool, str]:
    """Whether no cost of a bias is seen, and the sentence."""
    costs = model["bias"]["costs"]
    seen = [c for c in costs.values() if c["value"] > SIGMAS * c["stderr"]]
    if seen:
        worst = max(seen, key=lambda c: c["value"])
        return False, (
            f"the difference costs at least {with_error(worst['value'], worst['stderr'], 3)} nats "
            f"(in {worst['dimension']} statistics)"
        )
    limits = [
        f"{max(c['value'], 0.0) + stats.norm.ppf(0.95) * c['stderr']:.3f} nats in {c['dimension']}"
        for c in costs.values()
    ]
    return True, f"no cost is seen: with 95 % confidence below {', '.join(limits)} statistics"


def agreement(model: Record) -> tuple[bool, str]:
    """Whether the best estimates of log Z agree, and the sentence."""
    most = max(row.get("temperatures", 0) for row in model["log_z"])
    rows = [row for row in model["log_z"] if row.get("temperatures", most) == most]
    pairs = list(itertools.combinations(rows, 2))
    allowed = float(stats.norm.isf(0.5 * FAMILY_ERROR / len(pairs)))

    def score(pair: tuple[Record, Record]) -> float:
        one, other = pair
        return abs(one["value"] - other["value"]) / math.hypot(one["stderr"], other["stderr"])

    worst = max(pairs, key=score)
    values = [row["value"] for row in rows]
    few = min(row["arrivals"] for row in rows if "arrivals" in row) < FEW_ARRIVALS
    fine = score(worst) < allowed and not few
    verdict = "agree" if score(worst) < allowed else "do not agree"
    text = (
        f"the {len(rows)} estimates of log Z ({most:,} temperatures, and tempering) {verdict}: "
        f"they lie within {max(values) - min(values):.3f} nats, the worst pair {score(worst):.1f} "
        f"standard errors apart ({allowed:.1f} allowed)"
    )
    return fine, text + (", but few tempered states arrived from the base" if few else "")


CHECKS = {"Correlation": forgetting, "Distance": distance, "Cost": cost, "log Z": agreement}


def verdict(model: Record) -> tuple[bool, list[str]]:
    """Whether no check fails, and a line for each."""
    found = {name: check(model) for name, check in CHECKS.items()}
    lines = [
        f"{name}: {text}" if fine else f"**{name}**: {text}" for name, (fine, text) in found.items()
    ]
    return all(fine for fine, _ in found.values()), lines


def _trend(record: Record) -> str:
    """The slowest correlation times of one run, step by step."""
    times = [(m["step"], m["correlations"]["times"][SLOWEST]) for m in record["models"]]
    listed = ", ".join(f"{time_text(found)} at {step:,}" for step, found in times)
    return f"{run_name(record)}: {listed}"


def in_short(records: Sequence[Record]) -> str:
    """The verdicts on all models, and how far they reach."""
    found = [(name, model, *verdict(model)) for name, model in models(records)]
    fine = sum(holds for _, _, holds, _ in found)
    text = (
        f"In {fine} of {len(found)} models nothing is found that speaks against the sampling. The "
        "autocorrelation time of the slowest combination of units, in sweeps, is "
        f"{'; '.join(map(_trend, records))}.\n\n"
    )
    for name, model, holds, lines in found:
        head = "no sign of failing" if holds else "**not all checks are passed**"
        text += f"- {name}, step {model['step']:,}: {head}\n"
        text += "".join(f"  - {line}\n" for line in lines)
    return text + _open_end(records)


def _open_end(records: Sequence[Record]) -> str:
    """What has not been looked at yet."""
    unfinished = []
    for record in records:
        last, total = record["models"][-1]["step"], record["run"]["num_train_iter"]
        if record["last_step"] < total:
            unfinished.append(f"{last:,} of {total:,} ({run_name(record)})")
    if not unfinished:
        return ""
    return (
        f"\nNot yet at their end: the last step looked at is {'; '.join(unfinished)}. "
        f"Nothing is said here of later ones. {_warm_up([model for _, model in models(records)])}\n"
    )


def _warm_up(found: Sequence[Record]) -> str:
    weights = [model["training"].get("kl_coeff") for model in found]
    weights = [weight for weight in weights if weight is not None and weight < 1.0]
    if not weights:
        return ""
    return (
        f"{len(weights)} of the {len(found)} models are of the KL term's warm-up (weight "
        f"{min(weights):.2f} to {max(weights):.2f} of 1), where the prior may be easier to sample "
        "than later."
    )
