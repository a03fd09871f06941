"""The schedules against the published tables, on every side of every boundary."""

import numpy as np
import pytest
import tensorflow as tf

from dvae import schedules

STEPS = 1000
BOUNDARIES = [(0, 10), (20, 1), (600, 3), (750, 10), (950, 33)]


def test_learning_rate():
    """Base/10 until 2 %, base until 60 %, /3 until 75 %, /10 until 95 %, /33 to the end."""
    expected = np.zeros(STEPS)
    for start, divisor in BOUNDARIES:
        expected[start:] = 3e-3 / divisor
    around = {step + shift for step, _ in BOUNDARIES for shift in (-1, 0)} - {-1}
    for step in sorted(around | set(range(15, STEPS, 55)) | {STEPS - 1}):
        found = float(schedules.learning_rate(tf.constant(step, tf.int64), STEPS, 3e-3))
        assert np.isclose(found, expected[step], rtol=1e-6)


@pytest.mark.parametrize("num_train_iter", [1_000_000, 100_000, 400])
def test_boundaries_fall_on_their_step(num_train_iter):
    """The first step of a stage is the first whose fraction of the run has reached it."""
    for (start, divisor), (_, before) in zip(BOUNDARIES[1:], BOUNDARIES, strict=False):
        step = -(-start * num_train_iter // STEPS)
        for at, expected in ((step, divisor), (step - 1, before)):
            found = float(schedules.learning_rate(tf.constant(at), num_train_iter, 1.0))
            assert np.isclose(found, 1 / expected, rtol=1e-6)


def test_kl_weight():
    """Linear from 0 to 1 over the first 30 %, then 1."""
    for step in range(0, STEPS, 25):
        found = float(schedules.kl_weight(tf.constant(step, tf.int64), STEPS))
        assert np.isclose(found, min(step / 300, 1.0), rtol=1e-6)
