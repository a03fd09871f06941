"""Seeds and verdicts of the statistical tests, in one place.

A verdict is always 5 standard errors: about one false alarm in two million comparisons. Set
TEST_SEED_OFFSET to run every such test on other random numbers.
"""

import math
import os

import numpy as np
import tensorflow as tf

from samplers import counter_random

SIGMAS = 5.0


def seed(number: int) -> int:
    """The seed of a test, moved by the environment variable TEST_SEED_OFFSET."""
    return number + 1_000_003 * int(os.environ.get("TEST_SEED_OFFSET", "0"))


def key(number: int) -> tf.Tensor:
    """A key of the samplers from `seed`."""
    return counter_random.key(seed(number))


def assert_mean(samples, expected, largest_error=math.inf, rounding=1e-6) -> None:
    """The mean over the first axis lies within 5 standard errors of `expected`.

    Args:
      samples: independent repeats [n, ...], each perhaps a mean over a block of samples.
      expected: exact values, [...].
      largest_error: what the largest standard error must stay below, so that the test keeps the
        power its docstring states: it notices faults of 5 of them and more. Without it the test
        says in another way what it would notice.
      rounding: allowance for single precision.
    """
    samples = np.asarray(samples, np.float64)
    error = samples.std(axis=0, ddof=1) / np.sqrt(len(samples))
    assert np.max(error) < largest_error, f"standard error {np.max(error):.2g}"
    deviation = np.abs(samples.mean(axis=0) - expected)
    score = np.max(deviation / (error + rounding / SIGMAS))
    assert score < SIGMAS, f"{score:.1f} standard errors: {samples.mean(axis=0)} not {expected}"


def assert_fraction(hits: np.ndarray, probability: np.ndarray) -> None:
    """Fractions of n independent 0/1 hits [n, ...] lie within 5 standard errors, each."""
    error = np.sqrt(probability * (1.0 - probability) / len(hits))
    score = np.max(np.abs(np.mean(hits, axis=0) - probability) / error)
    assert score < SIGMAS, f"{score:.1f} standard errors"
