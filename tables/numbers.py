"""Numbers as people read them in a table."""

import math

from tables.statistics import Difference, Sample


def nats(value: float) -> str:
    """Two decimals, or more where two would show nothing."""
    return f"{value:.2f}" if value >= 0.005 or value == 0 else f"{value:.1g}"


def signed(value: float) -> str:
    """Two decimals with a sign."""
    return f"{value:+.2f}"


def mean_and_deviation(sample: Sample) -> str:
    """ "93.82 ± 0.05", or the one value with what it is."""
    if sample.count == 1:
        return f"{sample.mean:.2f} (one seed)"
    return f"{sample.mean:.2f} ± {sample.deviation:.2f}"


def in_errors(gap: Difference) -> str:
    """A difference in standard errors, or why there is none."""
    value = gap.in_standard_errors
    return "one seed" if math.isnan(value) else f"{value:+.1f}"


def p_value(gap: Difference) -> str:
    """Two digits, or a dash."""
    if math.isnan(gap.p_value):
        return "–"
    return "< 0.001" if gap.p_value < 0.001 else f"{gap.p_value:.2g}"
