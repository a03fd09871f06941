"""log Z of an RBM with every bound there is: one estimate for a result, or all of them in a table.

They fail in different ways. Forward AIS is low on average and reverse AIS high; Markov's bound
holds whatever the weights look like; tempering shares none of their weights; and a population
that followed the training has seen every temperature in between. Agreement is evidence.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf
from scipy import stats

from samplers import ais, counter_random, diagnostics, exact, tempering
from samplers.diagnostics import known
from samplers.log_partition_value import (
    ALPHA,
    UNTRUSTED,
    LogPartition,
    ess_doubt,
    gap_doubt,
)
from samplers.rbm import RBM, Chains

MARKOV_GROUPS = 32
_FORWARD, _REVERSE, _START = range(3)


class Settings(NamedTuple):
    """What log Z is measured with.

    num_chains, num_temperatures, base ("uniform" or "fitted"): of annealed importance sampling.
    num_ladders, num_rungs, num_rounds: of parallel tempering.
    """

    num_chains: int = 1024
    num_temperatures: int = 1000
    base: str = "uniform"
    num_ladders: int = 32
    num_rungs: int = 32
    num_rounds: int = 1000


def make_base(name: str, rbm: RBM, chains: Chains) -> ais.Base:
    """The AIS base of a name: "uniform" as published, or "fitted" to the chains' means."""
    if name not in ("uniform", "fitted"):
        raise ValueError(f"an AIS base is uniform or fitted, not {name!r}")
    return ais.fitted_base(chains) if name == "fitted" else ais.uniform_base(rbm)


class Forward(NamedTuple):
    """Forward AIS and, from the same weights, a lower bound with nothing to believe."""

    estimate: diagnostics.LogMeanEstimate
    markov_lower: tf.Tensor


def forward(rbm: RBM, base: ais.Base, key: tf.Tensor, settings: Settings, alpha: float) -> Forward:
    """log Z by forward AIS, low on average; its bound is above log Z with probability alpha."""
    temperatures = ais.linear_temperatures(settings.num_temperatures, rbm.coupling.dtype)
    log_weights = ais.run(rbm, base, key, temperatures, settings.num_chains).log_weights
    groups = min(MARKOV_GROUPS, settings.num_chains)
    return Forward(
        diagnostics.log_mean_estimate(log_weights),
        diagnostics.markov_lower_bound(log_weights, groups, alpha),
    )


def reverse(
    rbm: RBM, base: ais.Base, left: tf.Tensor, key: tf.Tensor, settings: Settings
) -> diagnostics.LogMeanEstimate:
    """log Z by reverse AIS from left halves [C, L]; high on average when they are samples."""
    temperatures = ais.linear_temperatures(settings.num_temperatures, rbm.coupling.dtype)
    log_weights = ais.run_reverse(rbm, base, left, key, temperatures).log_weights
    result = diagnostics.log_mean_estimate(-log_weights)
    return result._replace(value=-result.value)


def estimate(
    rbm: RBM, chains: Chains, key: tf.Tensor, settings: Settings
) -> diagnostics.LogMeanEstimate:
    """Forward AIS alone: quick. chains: samples of the RBM, for the fitted base."""
    base = make_base(settings.base, rbm, chains)
    return ais.log_partition_estimate(
        rbm, base, key, settings.num_chains, settings.num_temperatures
    )


def measure(rbm: RBM, chains: Chains, key: tf.Tensor, settings: Settings) -> LogPartition:
    """log Z with every bound: forward and reverse AIS, Markov's bound, enumeration if small.

    Reverse AIS starts from exact samples where the RBM can be enumerated, else from the chains.
    """
    keys = counter_random.split(key, 3)
    small = exact.is_enumerable(rbm)
    base = make_base(settings.base, rbm, chains)
    found = forward(rbm, base, keys[_FORWARD], settings, ALPHA)
    start = exact.samples(rbm, keys[_START], settings.num_chains) if small else chains
    backward = reverse(rbm, base, start.left, keys[_REVERSE], settings)
    return LogPartition(
        value=float(found.estimate.value),
        stderr=float(found.estimate.stderr),
        ess=float(found.estimate.ess),
        markov_lower=float(found.markov_lower),
        reverse=float(backward.value),
        reverse_stderr=float(backward.stderr),
        upper_status="certified" if small else "checked",
        exact=float(exact.log_partition(rbm)) if small else None,
        num_chains=settings.num_chains,
        reverse_ess=float(backward.ess),
        num_reverse=int(start.left.shape[0]),
    )


CONFIDENCE = 0.99
NORMAL = 10**6  # so many independent values that Student is normal
_TABLE_UNIFORM, _TABLE_FITTED, _TABLE_REVERSE, _TABLE_START, _TABLE_TEMPERING = range(5)

Row = dict[str, Any]
COLUMNS = ("estimator", "log Z", "99 % interval", "std. error", "ESS", "seconds", "- exact", "note")


def student_factor(num_independent: int, confidence: float = CONFIDENCE) -> float:
    """Half width of an interval in standard errors that come from so many values."""
    return float(stats.t.ppf(0.5 + 0.5 * confidence, num_independent - 1))


def make_row(
    estimator: str, value: Any, stderr: Any, num_independent: int, ess: Any, note: str = ""
) -> Row:
    """A row whose interval is `student_factor` standard errors to both sides, where it has one."""
    error = known(stderr)
    margin = None if error is None else student_factor(num_independent) * error
    return {
        "estimator": estimator,
        "value": float(value),
        "low": None if margin is None else float(value) - margin,
        "high": None if margin is None else float(value) + margin,
        "stderr": error,
        "independent": num_independent,
        "ess": float(ess),
        "note": note,
    }


def _ais_row(label: str, result: diagnostics.LogMeanEstimate, count: int, note: str = "") -> Row:
    """A row of AIS, without an interval where its effective sample size says nothing of it."""
    row = make_row(label, result.value, result.stderr, count, result.ess, note)
    doubt = ess_doubt(label.split()[0], float(result.ess), count)
    return _doubted(row, doubt) | {"low": None, "high": None} if doubt else row


def _doubted(row: Row, doubt: str) -> Row:
    return row | {"note": f"{UNTRUSTED}: {doubt}"}


def with_contradictions(rows: Sequence[Row]) -> list[Row]:
    """Notes in the row of reverse AIS where a forward one contradicts it."""
    forward = [row for row in rows if row["estimator"].startswith("forward AIS")]

    def noted(row: Row) -> Row:
        if row["estimator"] != "reverse AIS" or row["low"] is None:
            return row
        doubts = [
            gap_doubt(found["value"], found["stderr"], row["value"], row["stderr"])
            for found in forward
            if found["low"] is not None
        ]
        doubt = next(filter(None, doubts), None)
        return row if doubt is None else _doubted(row, doubt)

    return [noted(row) for row in rows]


def forward_ais(
    settings: Settings, rbm: RBM, base: ais.Base, name: str, key: tf.Tensor
) -> list[Row]:
    """Rows of `forward`: the estimate, and Markov's bound from the same weights."""
    found = forward(rbm, base, key, settings, 1.0 - CONFIDENCE)
    result, bound = found.estimate, float(found.markov_lower)
    label = f"forward AIS, {name} base"
    return [
        _ais_row(label, result, settings.num_chains),
        {
            "estimator": f"Markov lower bound, {name} base",
            "value": bound,
            "low": bound,
            "high": None,
            "stderr": None,
            "ess": None,
            "note": "a bound; from the weights above",
        },
    ]


def reverse_ais(
    settings: Settings, rbm: RBM, base: ais.Base, start: tf.Tensor, key: tf.Tensor, note: str
) -> list[Row]:
    """The row of `reverse`."""
    result = reverse(rbm, base, start, key, settings)
    return [_ais_row("reverse AIS", result, start.shape[0], note)]


def parallel_tempering(settings: Settings, rbm: RBM, base: ais.Base, key: tf.Tensor) -> list[Row]:
    """Tempering and Bennett's ratio; its "ESS" is the number of arrivals from the base."""
    result = tempering.log_partition_estimate(
        rbm, base, key, settings.num_ladders, settings.num_rungs, settings.num_rounds
    )
    least = float(tf.reduce_min(result.acceptance))
    note = f"ESS: arrivals from the base; least swap rate {least:.2f}"
    ladders, arrivals = settings.num_ladders, result.arrivals
    return [make_row("tempering and BAR", result.value, result.stderr, ladders, arrivals, note)]


def exact_row(value: float) -> Row:
    """An enumerated value."""
    return {
        "estimator": "exact",
        "value": value,
        "low": value,
        "high": value,
        "stderr": 0.0,
        "ess": None,
        "note": "enumerated",
    }


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
    rbm: RBM, chains: Chains, key: tf.Tensor, settings: Settings
) -> list[Callable[[], list[Row]]]:
    """What `measure_all` runs, one after the other; each call gives the same numbers again."""
    keys = counter_random.split(key, 5)
    uniform, fitted = ais.uniform_base(rbm), ais.fitted_base(chains)
    small = exact.is_enumerable(rbm)

    def backward() -> list[Row]:
        start = chains.left
        if small:
            start = exact.samples(rbm, keys[_TABLE_START], settings.num_chains).left
        note = "certified: exact start" if small else "checked: starts from the run's chains"
        return reverse_ais(settings, rbm, fitted, start, keys[_TABLE_REVERSE], note)

    measures = [
        lambda: forward_ais(settings, rbm, uniform, "uniform", keys[_TABLE_UNIFORM]),
        lambda: forward_ais(settings, rbm, fitted, "fitted", keys[_TABLE_FITTED]),
        backward,
        lambda: parallel_tempering(settings, rbm, fitted, keys[_TABLE_TEMPERING]),
    ]
    return measures + ([lambda: [exact_row(float(exact.log_partition(rbm)))]] if small else [])


def with_distance(rows: Sequence[Row]) -> list[Row]:
    """Adds to each row how far it lies from the exact value; None where there is none."""
    truth = next((row["value"] for row in rows if row["estimator"] == "exact"), None)
    return [{**row, "distance": None if truth is None else row["value"] - truth} for row in rows]


def measure_all(
    rbm: RBM, chains: Chains, key: tf.Tensor, settings: Settings, warm: bool = False
) -> list[Row]:
    """Runs every estimator that the RBM allows.

    Args:
      rbm: the prior, [L], [R], [L, R].
      chains: samples of it, left [C, L] and right [C, R]: for the fitted base and, where nothing
        exact can be had, for the start of reverse AIS.
      key: int32 [2].
      settings: of AIS; its base is not used, as both are shown.
      warm: leave compilation out of the seconds, by measuring twice.

    Returns:
      Rows ready for JSON: estimator, value, low and high (99 % interval; None = open), stderr (and
      from how many independent values, where it is an estimate), ess, seconds (0 for a by-product
      of the row above), distance (value less exact, or None), note.
    """
    measures = estimators(rbm, chains, key, settings)
    rows = [row for measure in measures for row in timed(measure, warm)]
    return with_distance(with_contradictions(rows))


def rows_of(found: LogPartition) -> list[Row]:
    """A `LogPartition` as rows: for priors that have one way to their log Z."""
    if found.exact is not None:
        return with_distance([{**exact_row(found.exact), "seconds": None}])
    row = make_row("forward AIS", found.value, found.stderr, NORMAL, found.ess)
    doubts = found.doubts()
    if doubts:
        row = _doubted(row, "; ".join(doubts)) | {"low": None, "high": None}
    return with_distance([{**row, "seconds": None}])


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
