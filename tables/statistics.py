"""Means over seeds, and the significance of their differences. Everything in nats."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

_Z95 = float(stats.norm.ppf(0.975))
SEEDS_ALONE = "seeds"  # the spread over seeds gives the error
MEASUREMENT_ONLY = "one seed: error of measurement only"
UNKNOWN = "one seed: error unknown"


class Sample(NamedTuple):
    """Mean of a cell over its seeds.

    Attributes:
      mean: in nats.
      deviation: standard deviation over seeds (n - 1), NaN for one seed.
      count: of seeds.
      measurement_error: standard error of the mean from log Z and importance sampling alone, or
        None where it is not known (published values).
    """

    mean: float
    deviation: float
    count: int
    measurement_error: float | None = None


class Difference(NamedTuple):
    """A difference of two means.

    Attributes:
      value: in nats.
      standard_error: in nats, NaN where `basis` is UNKNOWN.
      p_value: two-sided, of Welch's t-test, or of a normal error of measurement.
      basis: where the error comes from: SEEDS_ALONE, MEASUREMENT_ONLY or UNKNOWN.
    """

    value: float
    standard_error: float
    p_value: float
    basis: str

    @property
    def in_standard_errors(self) -> float:
        """The difference over its standard error."""
        return self.value / self.standard_error if self.standard_error > 0 else math.nan


def summarize(nlls: Sequence[float], half_widths: Sequence[float]) -> Sample:
    """Mean and standard deviation over seeds.

    Args:
      nlls: of each seed.
      half_widths: of the 95 % interval of each.
    """
    values, errors = np.asarray(nlls, float), np.asarray(half_widths, float) / _Z95
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
    measurement = float(np.sqrt(np.sum(errors**2)) / len(errors))
    return Sample(float(np.mean(values)), deviation, len(values), measurement)


def difference(ours: Sample, theirs: Sample) -> Difference:
    """ours - theirs, by Welch's t-test where both have two seeds or more.

    With fewer, the error of measurement stands in: it says nothing of other seeds.
    """
    value = ours.mean - theirs.mean
    if ours.count > 1 and theirs.count > 1:
        error = math.hypot(
            ours.deviation / math.sqrt(ours.count), theirs.deviation / math.sqrt(theirs.count)
        )
        if error == 0.0:
            return Difference(value, 0.0, math.nan, SEEDS_ALONE)
        test = stats.ttest_ind_from_stats(*ours[:3], *theirs[:3], equal_var=False)
        return Difference(value, error, float(test.pvalue), SEEDS_ALONE)
    if ours.measurement_error is None or theirs.measurement_error is None:
        return Difference(value, math.nan, math.nan, UNKNOWN)
    error = math.hypot(ours.measurement_error, theirs.measurement_error)
    p_value = float(2.0 * stats.norm.sf(abs(value) / error)) if error > 0 else math.nan
    return Difference(value, error, p_value, MEASUREMENT_ONLY)
