"""What several estimators say of log Z: rows for a table, timed, and the table as text."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from samplers import counter_random, diagnostics, exact, tempering
from samplers.diagnostics import known
from samplers.energy_model import EnergyModel, Parameters, State, fitted_base, uniform_base
from samplers.log_partition import Settings, forward, reverse
from samplers.log_partition_value import UNTRUSTED, ess_doubt, gap_doubt

CONFIDENCE = 0.95
NORMAL = 10**6  # so many independent values that Student is normal
_TABLE_UNIFORM, _TABLE_FITTED, _TABLE_REVERSE, _TABLE_START, _TABLE_TEMPERING = range(5)

Row = dict[str, Any]
COLUMNS = ("estimator", "log Z", "95 % interval", "std. error", "ESS", "seconds", "- exact", "note")


def student_factor(num_independent: int) -> float:
    """Half width of an interval in standard errors that come from so many values."""
    from scipy import stats  # half a second, and no other mode needs it

    return float(stats.t.ppf(0.5 + 0.5 * CONFIDENCE, num_independent - 1))


def _row(
    estimator: str,
    value: float,
    low: float | None,
    high: float | None,
    note: str,
    stderr: float | None = None,
    ess: float | None = None,
    **more: Any,
) -> Row:
    """One estimator's log Z and interval (None: open, or not known)."""
    found = {"estimator": estimator, "value": value, "low": low, "high": high}
    return {**found, "stderr": stderr, "ess": ess, **more, "note": note}


def make_row(
    estimator: str, value: Any, stderr: Any, num_independent: int, ess: Any, note: str = ""
) -> Row:
    """A row whose interval is `student_factor` standard errors to both sides, where it has one."""
    value, error = float(value), known(stderr)
    low = high = None
    if error is not None:
        margin = student_factor(num_independent) * error
        low, high = value - margin, value + margin
    return _row(estimator, value, low, high, note, error, float(ess), independent=num_independent)


def exact_row(value: float) -> Row:
    """An enumerated value."""
    return _row("exact", value, value, value, "enumerated", stderr=0.0)


def tracked_row(value: float, shared: bool) -> Row:
    """The population that followed the training, which knows no error of its own.

    shared: it fed the gradient as well, and each update raised the energy of just its members.
    """
    note = "not trusted: fed the gradient, hence low" if shared else "no error of its own"
    name = "population annealing along training"
    return _row(name, value, None, None, note, seconds=None)


def _doubted(row: Row, doubt: str) -> Row:
    return row | {"note": f"{UNTRUSTED}: {doubt}"}


def _ais_row(label: str, result: diagnostics.LogMeanEstimate, count: int, note: str = "") -> Row:
    """A row of AIS, without an interval where its effective sample size says nothing of it."""
    row = make_row(label, result.value, result.stderr, count, result.ess, note)
    doubt = ess_doubt(label.split()[0], float(result.ess), count)
    return _doubted(row, doubt) | {"low": None, "high": None} if doubt else row


def with_contradictions(rows: Sequence[Row]) -> list[Row]:
    """Notes in the row of reverse AIS where a forward one contradicts it."""
    forward = [
        row for row in rows if row["estimator"].startswith("forward AIS") and row["low"] is not None
    ]

    def noted(row: Row) -> Row:
        if row["estimator"] != "reverse AIS" or row["low"] is None:
            return row
        ours = row["value"], row["stderr"]
        doubts = (gap_doubt(found["value"], found["stderr"], *ours) for found in forward)
        doubt = next(filter(None, doubts), None)
        return row if doubt is None else _doubted(row, doubt)

    return [noted(row) for row in rows]


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


def reverse_ais(
    settings: Settings,
    model: EnergyModel,
    params: Parameters,
    base: tf.Tensor,
    start: State,
    key: tf.Tensor,
    note: str,
) -> list[Row]:
    """The row of `reverse`."""
    result = reverse(model, params, base, start, key, settings)
    return [_ais_row("reverse AIS", result, tf.nest.flatten(start)[0].shape[0], note)]


def estimators(
    model: EnergyModel, params: Parameters, chains: State, key: tf.Tensor, settings: Settings
) -> list[Callable[[], list[Row]]]:
    """What `measure_all` runs, one after the other; each call gives the same numbers again."""
    keys = counter_random.split(key, 5)
    units = model.units(chains)
    uniform, fitted = uniform_base(model, units.dtype), fitted_base(units)
    small, of = exact.is_enumerable(model), (model, params)

    def forwards(name: str, base: tf.Tensor, purpose: int) -> list[Row]:
        """The estimate, and Markov's bound from the same weights."""
        found = forward(*of, base, keys[purpose], settings, 1.0 - CONFIDENCE)
        row = _ais_row(f"forward AIS, {name} base", found.estimate, settings.num_chains)
        bound, note = float(found.markov_lower), "a bound; from the weights above"
        return [row, _row(f"Markov lower bound, {name} base", bound, bound, None, note)]

    def backward() -> list[Row]:
        start = chains
        if small:
            start = exact.samples(*of, keys[_TABLE_START], settings.num_chains)
        note = "certified: exact start" if small else "checked: starts from the run's chains"
        return reverse_ais(settings, *of, fitted, start, keys[_TABLE_REVERSE], note)

    def parallel_tempering() -> list[Row]:
        """Tempering and Bennett's ratio; its "ESS" is the number of arrivals from the base."""
        ladders, sizes = settings.num_ladders, (settings.num_rungs, settings.num_rounds)
        result = tempering.log_partition_estimate(
            *of, fitted, keys[_TABLE_TEMPERING], ladders, *sizes
        )
        least = float(tf.reduce_min(result.acceptance))
        note = f"ESS: arrivals from the base; least swap rate {least:.2f}"
        found = result.value, result.stderr, ladders, result.arrivals
        return [make_row("tempering and BAR", *found, note)]

    measures = [
        lambda: forwards("uniform", uniform, _TABLE_UNIFORM),
        lambda: forwards("fitted", fitted, _TABLE_FITTED),
        backward,
        parallel_tempering,
    ]
    return measures + ([lambda: [exact_row(float(exact.log_partition(*of)))]] if small else [])


def with_distance(rows: Sequence[Row]) -> list[Row]:
    """Adds to each row how far it lies from the exact value; None where there is none."""
    truth = next((row["value"] for row in rows if row["estimator"] == "exact"), None)
    return [{**row, "distance": None if truth is None else row["value"] - truth} for row in rows]


def measure_all(
    model: EnergyModel,
    params: Parameters,
    chains: State,
    key: tf.Tensor,
    settings: Settings,
    warm: bool = False,
) -> list[Row]:
    """Runs every estimator that the model allows.

    Args:
      model, params: the prior.
      chains: samples of it: for the fitted base and, where nothing exact can be had, for the start
        of reverse AIS.
      key: int32 [2].
      settings: of AIS; its base is not used, as both are shown.
      warm: leave compilation out of the seconds, by measuring twice.

    Returns:
      Rows ready for JSON: estimator, value, low and high (95 % interval; None = open), stderr (and
      from how many independent values, where it is an estimate), ess, seconds (0 for a by-product
      of the row above), distance (value less exact, or None), note.
    """
    measures = estimators(model, params, chains, key, settings)
    rows = [row for measure in measures for row in timed(measure, warm)]
    return with_distance(with_contradictions(rows))


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
