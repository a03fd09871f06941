"""What is reported of steps: sums over a window of them, and log Z put where it belongs."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf


class Share(NamedTuple):
    """How often a step's metric lacks log Z: constant + weighted * the step's KL weight."""

    constant: float = 0.0
    weighted: float = 0.0


def add_log_partition(value: Any, share: float, log_z: float) -> Any:
    """A number that lacks `share` times log Z, completed; all that is reported passes here.

    value: in nats, a number or an array. log_z: in nats, exact or an estimate.
    """
    return value + share * log_z


class Window(NamedTuple):
    """What is added up beside the metrics over a window of steps, for log Z to be put into them.

    Of each step that was taken, with its KL weight w and its place t in the window from 0 on: w,
    w t and t. steps: of the window, skipped ones too. taken: steps that were taken.
    """

    weight: Any
    weighted_place: Any
    place: Any
    steps: Any
    taken: Any


_NUM_WINDOW_SUMS = len(Window._fields)
_STEPS = Window._fields.index("steps")


class MetricSums:
    """Names and meaning of the vector of sums that steps add their metrics to."""

    def __init__(self, shares: Mapping[str, Share], others: tuple[str, ...]) -> None:
        """shares: of the metrics that lack log Z or not; others: names of metrics that do not."""
        self.names = (*shares, *others)
        self.size = len(self.names) + _NUM_WINDOW_SUMS
        self._shares = dict(shares)

    def add(
        self, sums: tf.Tensor, metrics: dict[str, tf.Tensor], kl_weight: tf.Tensor, ok: tf.Tensor
    ) -> tf.Tensor:
        """The sums [size] one step later; of a skipped step (not ok) only the step is counted."""
        steps = len(self.names) + _STEPS
        place = sums[steps]
        window = Window(kl_weight, kl_weight * place, place, 1.0, 1.0)
        values = tf.stack([*(metrics[name] for name in self.names), *window])
        always = np.arange(self.size) == steps
        return sums + tf.where(ok | always, values, tf.zeros_like(values))

    def means(self, sums: list[float], log_z: tuple[float, float]) -> dict[str, float]:
        """Means over the steps that were taken, with log Z; {} if there was none.

        Args:
          sums: of `add`.
          log_z: its values in nats at the parameters before the first step and after the last,
            between which it is taken for linear in the steps, skipped ones included.
        """
        window = Window(*sums[-_NUM_WINDOW_SUMS:])
        if not window.taken:
            return {}
        means = {n: v / window.taken for n, v in zip(self.names, sums, strict=False)}
        first, slope = log_z[0], (log_z[1] - log_z[0]) / window.steps
        for name, (constant, weighted) in self._shares.items():
            share = constant + weighted * window.weight / window.taken
            place = (constant * window.place + weighted * window.weighted_place) / window.taken
            if constant or weighted:  # log Z may be no number
                start = add_log_partition(means[name], share, first)
                means[name] = add_log_partition(start, place, slope)
        return means
