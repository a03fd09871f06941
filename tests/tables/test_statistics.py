"""Means over seeds and their differences: Welch's test, and no more certainty than was measured."""

import numpy as np
import pytest
from scipy import stats

from tables.statistics import (
    MEASUREMENT_FLOOR,
    MEASUREMENT_ONLY,
    SEEDS_ALONE,
    UNKNOWN,
    Sample,
    difference,
    summarize,
)


def test_welch_is_scipys_on_the_runs_themselves():
    ours, theirs = [1.0, 2.0, 4.0], [3.0, 3.5, 5.5, 9.0]
    ours_sample, theirs_sample = (summarize(x, [0.1] * len(x)) for x in (ours, theirs))
    found = difference(ours_sample, theirs_sample)
    wanted = stats.ttest_ind(ours, theirs, equal_var=False)
    assert found.basis == SEEDS_ALONE
    assert found.in_standard_errors == pytest.approx(wanted.statistic)
    assert found.p_value == pytest.approx(wanted.pvalue)
    low, high = wanted.confidence_interval(0.95)
    assert found.half_width == pytest.approx(high - found.value) == pytest.approx(found.value - low)


@pytest.mark.parametrize("ours", [[90.0, 90.001], [90.0, 90.0]])
def test_seeds_that_agree_by_chance_claim_no_more_than_was_measured(ours):
    theirs = [90.1, 90.1005]
    found = difference(*(summarize(x, [0.196] * 2) for x in (ours, theirs)))
    assert found.basis == MEASUREMENT_FLOOR
    assert found.standard_error == pytest.approx(0.1, rel=1e-3)  # two means of two, 0.1 each run
    assert found.p_value > 0.4
    exact = difference(Sample(1.0, 0.0, 2), Sample(1.0, 0.0, 2))
    assert (exact.standard_error, exact.basis) == (0.0, SEEDS_ALONE)
    assert np.isnan(exact.p_value) and np.isnan(exact.in_standard_errors)


def test_one_seed_falls_back_on_the_error_of_measurement_and_says_so():
    one = summarize([90.0], [0.196])
    many = summarize([91.0, 91.4], [0.196, 0.196])
    found = difference(many, one)
    assert found.basis == MEASUREMENT_ONLY
    assert found.standard_error == pytest.approx(np.hypot(0.1, 0.1 / np.sqrt(2)), rel=1e-3)
    assert difference(one, Sample(84.0, 0.1, 5)).basis == UNKNOWN
