"""Means over seeds and the significance of their differences, in nats, and as text of a table."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_Z95 = 1.959963984540054  # 97.5 % of a normal distribution lie below
SEEDS_ALONE = "seeds"  # the spread over seeds gives the error
MEASUREMENT_FLOOR = "measurement: seeds agree better than that"
MEASUREMENT_ONLY = "one seed: error of measurement only"
UNKNOWN = "one seed: error unknown"
UNTRUSTED = "a log Z that is not to be trusted"


class Sample(NamedTuple):
    """Mean of a cell over its seeds.

    Attributes:
      mean: in nats.
      deviation: standard deviation over seeds (n - 1), NaN for one seed.
      count: of seeds.
      measurement_error: standard error of the mean from log Z and importance sampling alone, or
        None where it is not known (published values, a single draw, a log Z not to be trusted).
      trusted: whether nothing speaks against the log Z of any seed.
    """

    mean: float
    deviation: float
    count: int
    measurement_error: float | None = None
    trusted: bool = True


class Difference(NamedTuple):
    """A difference of two means.

    Attributes:
      value: in nats.
      standard_error: in nats, NaN where `basis` is UNKNOWN or UNTRUSTED.
      half_width: of its 95 % interval, in nats, NaN there too.
      p_value: two-sided, of Welch's t-test, or of a normal error of measurement.
      basis: where the error comes from: SEEDS_ALONE, MEASUREMENT_FLOOR, MEASUREMENT_ONLY, or why
        there is none: UNKNOWN, UNTRUSTED.
    """

    value: float
    standard_error: float
    half_width: float
    p_value: float
    basis: str

    @property
    def in_standard_errors(self) -> float:
        """The difference over its standard error."""
        return self.value / self.standard_error if self.standard_error > 0 else math.nan


def summarize(
    nlls: Sequence[float], half_widths: Sequence[float | None], trusted: bool = True
) -> Sample:
    """Mean and standard deviation over seeds.

    Args:
      nlls: of each seed.
      half_widths: of the 95 % interval of each; None: not known.
      trusted: whether nothing speaks against any of them.
    """
    values = np.asarray(nlls, float)
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
    measurement = None
    if None not in half_widths:
        errors = np.asarray(half_widths, float) / _Z95
        measurement = float(np.sqrt(np.sum(errors**2)) / len(errors))
    return Sample(float(np.mean(values)), deviation, len(values), measurement, trusted)


def difference(ours: Sample, theirs: Sample) -> Difference:
    """ours - theirs, by Welch's t-test where both have two seeds or more.

    A few seeds may agree by chance better than each was measured: the standard error is never
    taken for smaller than that of measurement. With one seed the error of measurement stands
    alone: it says nothing of other seeds.
    """
    from scipy import stats  # takes seconds, which the command line must not

    value = ours.mean - theirs.mean
    if not (ours.trusted and theirs.trusted):
        return Difference(value, math.nan, math.nan, math.nan, UNTRUSTED)
    known = [s.measurement_error for s in (ours, theirs) if s.measurement_error is not None]
    measured = math.hypot(*known)
    if ours.count > 1 and theirs.count > 1:
        variances = [sample.deviation**2 / sample.count for sample in (ours, theirs)]
        freedom = _welch_freedom(variances, (ours.count, theirs.count))
        error, basis = math.sqrt(sum(variances)), SEEDS_ALONE
        if error < measured:
            error, basis = measured, MEASUREMENT_FLOOR
        p_value = 2.0 * stats.t.sf(abs(value) / error, freedom) if error > 0 else math.nan
        half_width = float(stats.t.isf(0.025, freedom)) * error
        return Difference(value, error, half_width, float(p_value), basis)
    if len(known) < 2:
        return Difference(value, math.nan, math.nan, math.nan, UNKNOWN)
    p_value = 2.0 * stats.norm.sf(abs(value) / measured) if measured > 0 else math.nan
    return Difference(value, measured, _Z95 * measured, float(p_value), MEASUREMENT_ONLY)


def _welch_freedom(variances: Sequence[float], counts: Sequence[int]) -> float:
    """Degrees of freedom (Welch 1947) of a difference of means with these variances."""
    parts = sum(v**2 / (n - 1) for v, n in zip(variances, counts, strict=True))
    return sum(variances) ** 2 / parts if parts > 0 else float(sum(counts) - len(counts))


def nats(value: float | None) -> str:
    """Two decimals, or more where two would show nothing; "not known" for None."""
    if value is None:
        return "not known"
    return f"{value:.2f}" if value >= 0.005 or value == 0 else f"{value:.1g}"


def signed(value: float) -> str:
    """Two decimals with a sign."""
    return f"{value:+.2f}"


def mean_and_deviation(sample: Sample) -> str:
    """ "93.82 ± 0.05", or the one value with what it is."""
    doubt = "" if sample.trusted else ", not to be trusted"
    if sample.count == 1:
        return f"{sample.mean:.2f} (one seed{doubt})"
    return f"{sample.mean:.2f} ± {sample.deviation:.2f}" + (doubt and f" ({doubt[2:]})")


def in_errors(gap: Difference) -> str:
    """A difference in standard errors, or why there is none."""
    value = gap.in_standard_errors
    if gap.basis == UNTRUSTED:
        return "not to be trusted"
    return "one seed" if math.isnan(value) else f"{value:+.1f}"


def with_interval(gap: Difference) -> str:
    """ "+0.52 [+0.31, +0.73]": a difference with its 95 % interval."""
    ends = (gap.value - gap.half_width, gap.value + gap.half_width)
    return f"{signed(gap.value)} [{', '.join(map(signed, ends))}]"


def p_value(gap: Difference) -> str:
    """Two digits, or a dash."""
    if math.isnan(gap.p_value):
        return "–"
    return "< 0.001" if gap.p_value < 0.001 else f"{gap.p_value:.2g}"
