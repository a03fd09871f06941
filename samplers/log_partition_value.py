"""log Z with what is known of its error, and when that is not to be trusted.

Forward AIS is low on average and reverse AIS high, each with an error that its own weights give. A
few weights that outweigh all others, or two estimates further apart than their errors, mean that
neither error is known: docs/exactness.md says how often that is found where nothing is wrong.
"""

import math
from typing import NamedTuple

from samplers.diagnostics import known, least_ess

# Two-sided 95 % of a normal error.
Z95 = 1.959963984540054
ALPHA = 0.05
# Forward and reverse AIS further apart than this many of their joint standard errors contradict
# each other.
MAX_GAP = 4.0
_ROUNDING = 1e-5  # of float32, relative to log Z
UNTRUSTED = "not to be trusted"


class LogPartition(NamedTuple):
    """log Z in nats and what is known of its error.

    value, stderr, ess, num_chains: forward AIS; low on average (Jensen), blind to modes no chain
      visits. The errors are NaN where there is one chain; 0 chains: an estimate of another kind.
    markov_lower: holds with probability 95 % whatever the weights look like.
    reverse, reverse_stderr, reverse_ess, num_reverse: reverse AIS, high on average.
    upper_status: "certified" when the reverse start was exact, else "checked": whatever came of it.
    exact: the enumerated value, or None.
    """

    value: float
    stderr: float
    ess: float
    markov_lower: float
    reverse: float
    reverse_stderr: float
    upper_status: str
    exact: float | None
    num_chains: int = 0
    reverse_ess: float = 0.0
    num_reverse: int = 0

    def doubts(self) -> tuple[str, ...]:
        """Why the value is not to be trusted, a clause each; () where nothing speaks against it."""
        if self.exact is not None:
            return ()
        return tuple(filter(None, (*self._errors_unknown(), self._gap())))

    def _errors_unknown(self) -> list[str]:
        if known(self.value) is None or known(self.reverse) is None:
            return [f"AIS is not finite: {self.value}, in reverse {self.reverse}"]
        sides = (
            ess_doubt("forward", self.ess, self.num_chains),
            ess_doubt("reverse", self.reverse_ess, self.num_reverse),
        )
        return [doubt for doubt in sides if doubt]

    def _gap(self) -> str | None:
        return gap_doubt(self.value, self.stderr, self.reverse, self.reverse_stderr)

    def status(self) -> str:
        """Of `value`: "exact", "not to be trusted", or as `upper_status` says."""
        if self.exact is not None:
            return "exact"
        return UNTRUSTED if self.doubts() else self.upper_status

    def interval(self) -> tuple[float | None, float | None]:
        """95 % interval: from AIS's standard error, widened to reach the reverse estimate.

        An exact value is its own interval. What is not known is None: of a single chain all; of a
        value that is not to be trusted all but Markov's bound, unless the doubt is that reverse AIS
        lies far above: between the two log Z is still.
        """
        if self.exact is not None:
            return self.exact, self.exact
        if known(self.stderr) is None:
            return None, None
        if self._errors_unknown() or (self._gap() and self.reverse < self.value):
            return known(min(self.markov_lower, self.value)), None
        margin = Z95 * self.stderr
        low = high = self.value
        if abs(self.reverse - self.value) > Z95 * math.hypot(self.stderr, self.reverse_stderr):
            low, high = min(low, self.reverse), max(high, self.reverse)
        return low - margin, high + margin

    def best(self) -> float:
        """The exact value where there is one, else forward AIS."""
        return self.value if self.exact is None else self.exact

    def best_stderr(self) -> float | None:
        """Standard error of `best`; None where it is not known."""
        return known(self.stderr) if self.exact is None else 0.0


def ess_doubt(direction: str, ess: float, count: int) -> str | None:
    """Why the error of AIS from so many weights is not known, or None."""
    if count == 1:
        return f"{direction} AIS has a single chain, whose error is not known"
    if ess >= least_ess(count):
        return None
    return (
        f"{direction} AIS has an effective sample size of {ess:.1f} of {count} chains, below "
        f"{least_ess(count):.0f}: its error is not known"
    )


def gap_doubt(
    forward: float, forward_stderr: float, reverse: float, reverse_stderr: float
) -> str | None:
    """How forward and reverse AIS contradict each other, or None: both are right on average."""
    gap, error = reverse - forward, math.hypot(forward_stderr, reverse_stderr)
    if not abs(gap) > MAX_GAP * error + _ROUNDING * max(1.0, abs(forward)):
        return None
    if gap < 0:
        return f"reverse AIS is {-gap:.2f} nats below forward AIS: the chains have not mixed"
    return f"reverse AIS is {gap:.2f} nats above forward AIS: log Z may lie anywhere between"
