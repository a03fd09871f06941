"""The table of all estimators on an RBM whose log Z is known."""

import dataclasses
import json

import numpy as np
import pytest

from configs.paper import ExperimentConfig
from dvae.runs import log_z_table
from samplers import counter_random
from tests.helpers.compiled_samplers import exact_chains, rbm_of
from tests.reference.rbm import random_rbm

REFERENCE = random_rbm(5, 7, seed=51, bias_scale=1.5, coupling_scale=1.2)
CONFIG = dataclasses.replace(ExperimentConfig(), ais_chains=997, ais_temperatures=16)


@pytest.fixture
def small_tempering(monkeypatch):
    """The sizes of tests/test_tempering.py, whose compiled program then serves here too."""
    monkeypatch.setattr(log_z_table, "TEMPERING_LADDERS", 64)
    monkeypatch.setattr(log_z_table, "TEMPERING_TEMPERATURES", 5)
    monkeypatch.setattr(log_z_table, "TEMPERING_ROUNDS", 200)


def measure(seed, **options):
    chains = exact_chains(REFERENCE, seed, 997)
    key = counter_random.key(seed)
    return log_z_table.measure_all(CONFIG, rbm_of(REFERENCE), chains, key, **options)


def test_every_estimator_is_there_and_near(small_tempering):
    """Stated errors of 0.005 to 0.02 nats; each within five of them, and bounds on their side."""
    rows = {row["estimator"]: row for row in measure(seed=1, tracked=12.0)}
    exact = REFERENCE.log_partition()
    assert np.isclose(rows["exact"]["value"], exact, rtol=0, atol=1e-10)
    for name in (
        "forward AIS, uniform base",
        "forward AIS, fitted base",
        "reverse AIS",
        "tempering and BAR",
    ):
        row = rows.pop(name)
        assert 0 < row["stderr"] < 0.1 and row["ess"] > 1 and row["seconds"] > 0
        assert abs(row["value"] - exact) < 5 * row["stderr"]
        assert np.isclose(row["distance"], row["value"] - exact)
        # Student's t: 2.58 standard errors for many values, 2.66 for 64 ladders.
        margins = [(row["high"] - row["value"]), (row["value"] - row["low"])]
        np.testing.assert_allclose(margins, 2.6 * row["stderr"], rtol=0.03)
    for base in ("uniform", "fitted"):
        bound = rows.pop(f"Markov lower bound, {base} base")
        assert exact - 0.5 < bound["low"] < exact and bound["high"] is None
    tracked = rows.pop("population annealing along training")
    assert tracked["note"].startswith("not trusted")  # the default population feeds the gradient
    assert tracked["value"] == 12.0 and np.isclose(tracked["distance"], 12.0 - exact)
    assert set(rows) == {"exact"}
    json.dumps(list(rows.values()), allow_nan=False)


def test_large_rbm_has_no_exact_row(small_tempering, monkeypatch):
    monkeypatch.setattr("samplers.exact.MAX_ENUMERATED_UNITS", 3)
    rows = measure(seed=2)
    assert [row["distance"] for row in rows] == [None] * 6
    assert all(row["estimator"] != "exact" for row in rows)
    assert rows[4]["note"].startswith("checked")


def test_format_is_aligned():
    """Columns of numbers end at the same place in every line."""
    rows = [
        {**log_z_table.make_row("a", 12.0, 0.5, 997, 35.0), "seconds": 1.0, "distance": None},
        {**log_z_table.tracked_row(-1.25, shared=False), "distance": -0.5},
    ]
    header, first, second = log_z_table.format_table(rows).split("\n")
    end = header.index("log Z") + len("log Z")
    assert first[:end].endswith(" 12.000") and second[:end].endswith(" -1.250")
    end = header.index("- exact") + len("- exact")
    assert second[:end].endswith(" -0.5000")
    assert "[10.710, 13.290]" in first
