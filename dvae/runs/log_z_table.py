"""Every estimator of a prior's log Z side by side: value, stated error, cost, distance to exact.

They fail in different ways. Forward AIS is low on average and reverse AIS high; Markov's bound
holds whatever the weights look like; tempering shares none of their weights; and a population
that followed the training has seen every temperature in between. Agreement is evidence.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
from scipy import stats

from configs.paper import ExperimentConfig
from samplers import ais, counter_random, diagnostics, exact, tempering
from samplers.rbm import RBM, Chains

CONFIDENCE = 0.99
MARKOV_GROUPS = 32
TEMPERING_LADDERS, TEMPERING_TEMPERATURES, TEMPERING_ROUNDS = 32, 32, 1000
_UNIFORM, _FITTED, _REVERSE, _START, _TEMPERING = range(5)

Row = dict[str, Any]
COLUMNS = ("estimator", "log Z", "99 % interval", "std. error", "ESS", "seconds", "- exact", "note")


def student_factor(num_independent: int, confidence: float = CONFIDENCE) -> float:
    """Half width of an interval in standard errors that come from so many values."""
    return float(stats.t.ppf(0.5 + 0.5 * confidence, num_independent - 1))


def make_row(
    estimator: str, value: Any, stderr: Any, num_independent: int, ess: Any, note: str = ""
) -> Row:
    """A row whose interval is `student_factor` standard errors to both sides."""
    margin = student_factor(num_independent) * float(stderr)
    return {
        "estimator": estimator,
        "value": float(value),
        "low": float(value) - margin,
        "high": float(value) + margin,
        "stderr": float(stderr),
        "independent": num_independent,
        "ess": float(ess),
        "note": note,
    }


def forward_ais(
    config: ExperimentConfig, rbm: RBM, base: ais.Base, name: str, key: tf.Tensor
) -> list[Row]:
    """Forward AIS, and Markov's bound from the same weights.

    The first is low on average (Jensen) by about half its squared error; the second is below log Z
    with probability 99 %, with nothing to believe.
    """
    temperatures = ais.linear_temperatures(config.ais_temperatures, rbm.coupling.dtype)
    log_weights = ais.run(rbm, base, key, temperatures, config.ais_chains).log_weights
    result = diagnostics.log_mean_estimate(log_weights)
    groups = min(MARKOV_GROUPS, config.ais_chains)
    bound = diagnostics.markov_lower_bound(log_weights, groups, 1.0 - CONFIDENCE)
    label = f"forward AIS, {name} base"
    return [
        make_row(label, result.value, result.stderr, config.ais_chains, result.ess),
        {
            "estimator": f"Markov lower bound, {name} base",
            "value": float(bound),
            "low": float(bound),
            "high": None,
            "stderr": None,
            "ess": None,
            "note": "a bound; from the weights above",
        },
    ]


def reverse_ais(
    config: ExperimentConfig, rbm: RBM, base: ais.Base, start: tf.Tensor, key: tf.Tensor, note: str
) -> list[Row]:
    """Reverse AIS from left halves [C, L]; high on average when they are samples of the RBM."""
    temperatures = ais.linear_temperatures(config.ais_temperatures, rbm.coupling.dtype)
    log_weights = ais.run_reverse(rbm, base, start, key, temperatures).log_weights
    result = diagnostics.log_mean_estimate(-log_weights)
    count = start.shape[0]
    return [make_row("reverse AIS", -result.value, result.stderr, count, result.ess, note)]


def parallel_tempering(rbm: RBM, base: ais.Base, key: tf.Tensor) -> list[Row]:
    """Tempering and Bennett's ratio; its "ESS" is the number of arrivals from the base."""
    result = tempering.log_partition_estimate(
        rbm, base, key, TEMPERING_LADDERS, TEMPERING_TEMPERATURES, TEMPERING_ROUNDS
    )
    least = float(tf.reduce_min(result.acceptance))
    note = f"ESS: arrivals from the base; least swap rate {least:.2f}"
    name = "tempering and BAR"
    return [make_row(name, result.value, result.stderr, TEMPERING_LADDERS, result.arrivals, note)]


def enumeration(rbm: RBM) -> list[Row]:
    """The exact value."""
    value = float(exact.log_partition(rbm))
    return [
        {
            "estimator": "exact",
            "value": value,
            "low": value,
            "high": value,
            "stderr": 0.0,
            "ess": None,
            "note": "enumerated",
        }
    ]


def tracked_row(value: float, shared: bool) -> Row:
    """The population that followed the training, which knows no error of its own.

    shared: it fed the gradient as well, and each update raised the energy of just its members.
    """
    note = "not trusted: fed the gradient, hence low" if shared else "no error of its own"
    return {
        "estimator": "population annealing along training",
        "value": value,
        "low": None,
        "high": None,
        "stderr": None,
        "ess": None,
        "seconds": None,
        "note": note,
    }


def timed(measure: Callable[[], list[Row]], warm: bool) -> list[Row]:
    """Adds seconds to rows: to the first, the others being by-products of it.

    With `warm` it is measured twice, so that compilation is left out.
    """
    if warm:
        measure()
    start = time.perf_counter()
    rows = measure()
    seconds = time.perf_counter() - start
    return [{**row, "seconds": 0.0 if index else seconds} for index, row in enumerate(rows)]


def estimators(
    config: ExperimentConfig, rbm: RBM, chains: Chains, key: tf.Tensor
) -> list[Callable[[], list[Row]]]:
    """What `measure_all` runs, one after the other; each call gives the same numbers again."""
    keys = counter_random.split(key, 5)
    uniform, fitted = ais.uniform_base(rbm), ais.fitted_base(chains)
    small = exact.is_enumerable(rbm)

    def reverse() -> list[Row]:
        start = chains.left
        if small:
            start = exact.samples(rbm, keys[_START], config.ais_chains).left
        note = "certified: exact start" if small else "checked: starts from the run's chains"
        return reverse_ais(config, rbm, fitted, start, keys[_REVERSE], note)

    measures = [
        lambda: forward_ais(config, rbm, uniform, "uniform", keys[_UNIFORM]),
        lambda: forward_ais(config, rbm, fitted, "fitted", keys[_FITTED]),
        reverse,
        lambda: parallel_tempering(rbm, fitted, keys[_TEMPERING]),
    ]
    return measures + ([lambda: enumeration(rbm)] if small else [])


def measure_all(
    config: ExperimentConfig,
    rbm: RBM,
    chains: Chains,
    key: tf.Tensor,
    tracked: float | None = None,
    warm: bool = False,
) -> list[Row]:
    """Runs every estimator that the RBM allows.

    Args:
      config: its ais_chains and ais_temperatures are used.
      rbm: the prior, [L], [R], [L, R].
      chains: samples of it, left [C, L] and right [C, R]: for the fitted base and, where nothing
        exact can be had, for the start of reverse AIS.
      key: int32 [2].
      tracked: log Z of a population that followed the training, or None.
      warm: leave compilation out of the seconds, by measuring twice.

    Returns:
      Rows ready for JSON: estimator, value, low and high (99 % interval; None = open), stderr (and
      from how many independent values, where it is an estimate), ess, seconds (0 for a by-product
      of the row above), distance (value less exact, or None), note.
    """
    rows = [row for measure in estimators(config, rbm, chains, key) for row in timed(measure, warm)]
    if tracked is not None:
        rows.append(tracked_row(tracked, config.log_z_population == "shared"))
    truth = next((row["value"] for row in rows if row["estimator"] == "exact"), None)
    return [{**row, "distance": None if truth is None else row["value"] - truth} for row in rows]


def _number(value: float | None, digits: int = 3) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def cells(row: Row) -> list[str]:
    """A row as text, in the order of COLUMNS."""
    interval = ""
    if row["low"] is not None:
        interval = f"[{row['low']:.3f}, {_number(row['high']) or 'inf'}]"
    distance = "" if row["distance"] is None else f"{row['distance']:+.4f}"
    return [
        row["estimator"],
        _number(row["value"]),
        interval,
        _number(row["stderr"], 4),
        _number(row["ess"], 0),
        _number(row["seconds"], 2),
        distance,
        row["note"],
    ]


def format_table(rows: Sequence[Row]) -> str:
    """An aligned text table with a header line."""
    lines = [list(COLUMNS), *(cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(COLUMNS))]
    left_aligned = {0, len(COLUMNS) - 1}
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column in left_aligned else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
