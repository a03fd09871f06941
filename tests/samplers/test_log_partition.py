"""Estimators of log Z by their settings, and the table of all of them, on an RBM of known log Z."""

import json

import numpy as np
import tensorflow as tf

from samplers import ais, counter_random, log_partition, log_z_table
from samplers.rbm import Halves
from tests.helpers.compiled_samplers import both_of, exact_chains
from tests.reference.rbm import random_rbm

REFERENCE = random_rbm(5, 7, seed=51, bias_scale=1.5, coupling_scale=1.2)
# Tempering of the size of test_tempering.py, whose compiled program then serves here too.
SETTINGS = log_partition.Settings(
    num_chains=997, num_temperatures=16, num_ladders=64, num_rungs=5, num_rounds=200
)


def measure(seed):
    args = *both_of(REFERENCE), exact_chains(REFERENCE, seed, 997), counter_random.key(seed)
    return log_z_table.measure_all(*args, SETTINGS)


def test_linear_temperatures():
    temperatures = ais.linear_temperatures(5).numpy()
    np.testing.assert_allclose(temperatures, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0], atol=1e-7)
    assert temperatures[0] == 0.0 and temperatures[-1] == 1.0


def test_bases_go_by_name():
    """ "fitted" has the means of the chains, "uniform" fair bits."""
    model, _ = both_of(REFERENCE)
    ones = Halves(*(tf.ones((4, size)) for size in (5, 7)))
    fitted, uniform = (log_partition.make_base(n, model, ones) for n in ("fitted", "uniform"))
    np.testing.assert_allclose(fitted, np.full(12, np.log(0.98 / 0.02)), rtol=1e-5)
    np.testing.assert_array_equal(uniform, np.zeros(12))


def test_the_base_that_is_asked_for_is_used():
    """In the quick estimate and in the full measure: a fitted base has the smaller errors.

    The quick one is within five of them: a mean over the number of temperatures and not of chains
    is off by log(997 / 16) = 4.1 nats. Other parameters and bases run the same program.
    """
    (model, params), chains = both_of(REFERENCE), exact_chains(REFERENCE, 3, 997)
    errors, programs = {}, []
    for name in ("uniform", "fitted"):
        settings, of = SETTINGS._replace(base=name), (model, params, chains)
        quick = log_partition.estimate(*of, counter_random.key(1), settings)
        base = log_partition.make_base(name, model, chains)
        direct = ais.log_partition_estimate(model, params, base, counter_random.key(1), 997, 16)
        assert float(quick.value) == float(direct.value)
        assert abs(quick.value - REFERENCE.log_partition()) < 5 * quick.stderr < 0.5
        found = log_partition.measure(*of, counter_random.key(2), settings)
        errors[name] = np.array([float(quick.stderr), found.stderr, found.reverse_stderr])
        programs.append(ais._run.experimental_get_tracing_count())
    assert np.all(errors["fitted"] < 0.8 * errors["uniform"]), errors
    assert programs[0] == programs[1] > 0


def test_every_estimator_is_there_and_near():
    """Stated errors of 0.005 to 0.02 nats; each within five of them, and bounds on their side."""
    rows = {row["estimator"]: row for row in measure(seed=1)}
    exact = REFERENCE.log_partition()
    assert np.isclose(rows.pop("exact")["value"], exact, rtol=0, atol=1e-10)
    for base in ("uniform", "fitted"):
        bound = rows.pop(f"Markov lower bound, {base} base")
        assert exact - 0.5 < bound["low"] < exact and bound["high"] is None
    names = "forward AIS, uniform base", "forward AIS, fitted base", "reverse AIS"
    assert set(rows) == {*names, "tempering and BAR"}
    for row in rows.values():
        assert 0 < row["stderr"] < 0.1 and row["ess"] > 1 and row["seconds"] > 0
        assert abs(row["value"] - exact) < 5 * row["stderr"]
        assert np.isclose(row["distance"], row["value"] - exact)
        # Student's t: 2.58 standard errors for many values, 2.66 for 64 ladders.
        margins = [(row["high"] - row["value"]), (row["value"] - row["low"])]
        np.testing.assert_allclose(margins, 1.98 * row["stderr"], rtol=0.03)
    json.dumps(list(rows.values()), allow_nan=False)


def test_large_rbm_has_no_exact_row(monkeypatch):
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
    assert "[11.019, 12.981]" in first


def test_a_tracked_value_says_when_it_is_not_trusted():
    shared, own = (log_z_table.tracked_row(12.0, shared=shared) for shared in (True, False))
    assert shared["note"].startswith("not trusted") and "no error" in own["note"]
    [row] = log_z_table.with_distance([shared])
    assert row["value"] == 12.0 and row["distance"] is None
