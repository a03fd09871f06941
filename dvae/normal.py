"""Normal distributions, for the methods that have any."""

from typing import Any

import tensorflow as tf


def normal(mean: float | tf.Tensor, scale: float | tf.Tensor) -> Any:
    """N(mean, scale²), a `tfp.distributions.Normal`."""
    import tensorflow_probability as tfp  # two seconds of a start, which other methods do without

    return tfp.distributions.Normal(mean, scale)
