"""A training step of each straight-energy method against `tests.reference.training_step`.

All weights, slots and batch-norm averages after one step, with one, two and four groups, one and
five samples, at kl_weight 1/15, 299/300 and 1; the gradient of the reference is a complex step in
which log q, decoder and prior of the encoder's term stand still.
"""

import itertools

import numpy as np
import pytest

from tests.dvae.test_reference_step import (
    TOLERANCE,
    check_that_every_term_is_seen,
    compare,
    make,
)
from tests.helpers.tiny_training import config_of, eager, make_program, snapshot
from tests.reference.straight import ALL

STEPS = (20, 299, 600)
CASES = list(itertools.product(ALL, (1, 2, 4), (1, 5)))


@pytest.mark.parametrize(
    "number, case", list(enumerate(CASES)), ids=["-".join(map(str, case)) for case in CASES]
)
def test_a_step_of_each_kind(number, case):
    found = compare(*make(number, *case), STEPS[(number // 2 + number // 6) % 3])
    assert max(found.values()) < TOLERANCE, found


@pytest.mark.slow
@pytest.mark.parametrize("number, case", list(enumerate(CASES)))
def test_every_step(number, case):
    made = make(number, *case)
    for step in STEPS:
        found = compare(*made, step)
        assert max(found.values()) < TOLERANCE, (step, found)


@pytest.mark.parametrize("baseline", ALL)
def test_what_the_comparison_would_see(baseline, monkeypatch):
    """A relative error of 1e-3 in any one term is beyond the tolerance, twice at least."""
    check_that_every_term_is_seen(baseline, 2, monkeypatch)


def test_compiled_equals_eager():
    """Two steps in one compiled call, two groups and five samples; batch norm included."""
    results = []
    for run_eagerly in (False, True):
        program = make_program(config_of(baseline="pwl", k=5, beta=1.5), step=2)
        if run_eagerly:
            with eager():
                program.run(np.array([[1, 5, 8], [2, 0, 9]]), 2)
        else:
            program.run(np.array([[1, 5, 8], [2, 0, 9]]), 2)
        assert program.state.skipped == 0
        results.append((snapshot(program), program.take_metrics()))
    (weights, metrics), (eager_weights, eager_metrics) = results
    for found, expected in zip(weights, eager_weights, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert metrics == pytest.approx(eager_metrics, rel=1e-5)
