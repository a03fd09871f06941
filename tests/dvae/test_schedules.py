"""The schedules against the published tables, on every side of every boundary."""

import numpy as np
import pytest
import tensorflow as tf

from dvae import schedules

STEPS = 1000
BOUNDARIES = [(0, 10), (20, 1), (600, 3), (750, 10), (950, 33)]


@pytest.mark.parametrize("num_train_iter", [1_000_000, 100_000, STEPS, 400])
def test_boundaries_fall_on_their_step(num_train_iter):
    """Base/10 until 2 %, base until 60 %, /3 until 75 %, /10 until 95 %, /33 to the end.

    The first step of a stage is the first whose fraction of the run has reached it.
    """
    ends = [-(-end * num_train_iter // STEPS) for end, _ in BOUNDARIES[1:]] + [num_train_iter]
    starts = [0, *ends[:-1]]
    for start, end, (_, divisor) in zip(starts, ends, BOUNDARIES, strict=True):
        for step in (start, (start + end) // 2, end - 1):
            found = schedules.learning_rate(tf.constant(step, tf.int64), num_train_iter, 3e-3)
            assert np.isclose(float(found), 3e-3 / divisor, rtol=1e-6)


def test_kl_weight():
    """Linear from 0 to 1 over the first 30 %, then 1."""
    for step in range(0, STEPS, 25):
        found = float(schedules.kl_weight(tf.constant(step, tf.int64), STEPS))
        assert np.isclose(found, min(step / 300, 1.0), rtol=1e-6)
