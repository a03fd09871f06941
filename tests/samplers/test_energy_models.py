"""Every sampler and estimator on three models, against enumeration.

An RBM, a graph in four colour classes, and one that is made here, of nothing but its parameters,
its energy and its sweep.
"""

import dataclasses
import functools
import math
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from samplers import ais, counter_random, exact, pcd, population_annealing, tempering
from samplers.boltzmann import BoltzmannMachine, BoltzmannParameters
from samplers.energy_model import (
    EnergyModel,
    LinearPath,
    base_log_partition,
    fitted_base,
    uniform_base,
)
from samplers.log_partition import Settings, measure
from samplers.rbm import RBM
from tests.helpers import statistical
from tests.helpers.compiled_samplers import both_of
from tests.helpers.tiny_training import eager
from tests.reference.graph import ReferenceGraph, complete, random_graph
from tests.reference.rbm import random_rbm


class CurieWeissParameters(NamedTuple):
    """bias [D]; coupling, a scalar that all pairs of units share."""

    bias: tf.Tensor
    coupling: tf.Tensor


@dataclasses.dataclass(frozen=True)
class CurieWeiss(EnergyModel):
    """E(z) = -(b.z + w Σ_i<j z_i z_j), swept one unit after the other."""

    num_units: int

    def independent(self, logits):
        return CurieWeissParameters(logits, tf.zeros([], logits.dtype))

    def energy(self, params, state):
        total = tf.reduce_sum(state, axis=1)
        pairs = 0.5 * (total**2 - tf.reduce_sum(state**2, axis=1))
        return -(tf.linalg.matvec(state, params.bias) + params.coupling * pairs)

    def sweeps(self, params, state, key, num_sweeps, inverse_temperature=1.0, base=None):
        t = tf.cast(inverse_temperature, state.dtype) * tf.ones_like(state[:, :1])
        bias = t * params.bias + (0.0 if base is None else (1.0 - t) * base)

        def sweep(index, state):
            for unit in range(self.num_units):
                others = tf.reduce_sum(state, axis=1) - state[:, unit]
                logits = bias[:, unit] + t[:, 0] * params.coupling * others
                stream = self.num_units * index + unit
                drawn = counter_random.bernoulli_logits(key, logits, stream)
                parts = state[:, :unit], drawn[:, None], state[:, unit + 1 :]
                state = tf.concat(parts, axis=1)
            return index + 1, state

        start = (tf.constant(0), state)
        return tf.while_loop(lambda index, _: index < num_sweeps, sweep, start)[1]


class Case(NamedTuple):
    model: EnergyModel
    params: tuple
    reference: ReferenceGraph
    log_z: float

    def features(self, state):
        return self.reference.features(np.float64(self.model.units(state)))


@functools.cache
def case_of(name):
    if name == "rbm":
        reference = random_rbm(5, 7, 51, 1.5, 1.2)
        model, params = both_of(reference)
    elif name == "graph":
        reference = random_graph(8, seed=5)
        model, params = both_of(reference)
    else:
        bias = np.linspace(-1.5, 0.5, 5)
        reference = ReferenceGraph(bias, complete(5), np.full(10, 0.6))
        params = CurieWeissParameters(tf.constant(bias, tf.float32), tf.constant(0.6))
        model = CurieWeiss(5)
    return Case(model, params, reference, reference.log_partition())


OF_EACH = pytest.mark.parametrize("name", ["rbm", "graph", "made here"])


@pytest.fixture(autouse=True)
def op_by_op():
    """A few large operations each: compiling them would take longer."""
    with eager():
        yield


def base_of(case, name):
    if name == "uniform":
        return uniform_base(case.model)
    units = case.reference.sample(np.random.default_rng(1), 400)
    return fitted_base(tf.constant(units, tf.float32))


def test_a_path_weighs_each_state_anew(seed=1):
    """The same path, two states by turns: what paths of their own say."""
    model, ends = BoltzmannMachine(4, ((0, 1), (1, 2), (2, 3))), (tf.zeros([6, 1]), tf.ones([6, 1]))
    keys = counter_random.split(counter_random.key(seed), 3)
    params = BoltzmannParameters(tf.linspace(-1.0, 1.0, 4), tf.constant([2.0, -1.0, 0.5]))
    first, second = (model.start(6, key) for key in keys[:2])

    def path():
        return LinearPath(model, params, uniform_base(model))

    shared = path()
    found = [shared.log_ratio(state, *ends).numpy() for state in (first, second, second, first)]
    alone = [path().log_ratio(state, *ends).numpy() for state in (first, second)]
    assert np.array_equal(found, [alone[0], alone[1], alone[1], alone[0]])
    assert not np.array_equal(*alone)


def test_bases():
    """log Z of independent units, and the means of given ones; what never flips stays near it."""
    logits = np.linspace(-1.1, 0.9, 12)
    expected = np.sum(np.log1p(np.exp(logits)))
    found = base_log_partition(tf.constant(logits, tf.float32))
    assert np.isclose(found, expected, atol=1e-5)
    units = np.float32([[1, 0, 1, 1, 0], [1, 0, 0, 1, 1], [1, 0, 0, 0, 0], [1, 0, 1, 1, 1]])
    limit = math.log(49.0)  # of means of 0.02 and 0.98
    fitted = fitted_base(tf.constant(units))
    np.testing.assert_allclose(fitted, [limit, -limit, 0.0, math.log(3.0), 0.0], atol=1e-5)


@OF_EACH
def test_enumeration(name, seed=1):
    """Energies, log Z, its gradient and samples; by all states and their probabilities as well.

    Moments of 20,000 samples: standard error at most 0.0036.
    """
    case = case_of(name)
    reference, states = case.reference, case.reference.states()
    one_coupling = isinstance(case.model, CurieWeiss)  # and no numbers of single precision
    rounding = 1e-6 if one_coupling else 1e-10
    state, weights = case.model.state(tf.constant(states)), tf.constant(reference.probabilities())
    double = type(case.params)(*(tf.cast(part, tf.float64) for part in case.params))
    energy = case.model.energy(double, state)
    np.testing.assert_allclose(energy, reference.energy(states), atol=rounding)
    for found, expected in (
        (exact.moments(case.model, case.params), reference.moments()),
        (case.model.moments(state, weights), reference.moments()),
        (case.model.moments(state), reference.features(states).mean(axis=0)),
    ):
        if one_coupling:
            expected = np.append(expected[:5], expected[5:].sum())
        flat = np.concatenate([np.ravel(part) for part in found])
        np.testing.assert_allclose(flat, expected, atol=rounding)
    assert np.isclose(exact.log_partition(case.model, case.params), case.log_z, 0, rounding)
    drawn = exact.samples(case.model, case.params, statistical.key(seed), 20_000)
    statistical.assert_mean(case.features(drawn), reference.moments(), largest_error=0.0036)


@pytest.mark.parametrize("base", ["uniform", "fitted"])
@OF_EACH
def test_annealed_importance_sampling(name, base, seed=1):
    """Four temperatures, 8,192 chains: E[w] = Z forward, E[1/w] = 1/Z back; errors below 0.02.

    E[w] = Z holds for any number of temperatures; with many even wrong weights look right.
    """
    case, key = case_of(name), statistical.key(seed)
    of, temperatures = (case.model, case.params, base_of(case, base)), ais.linear_temperatures(4)
    forward = ais.run(*of, key, temperatures, 8192)
    weights = np.exp(forward.log_weights - case.log_z)
    statistical.assert_mean(weights, 1.0, largest_error=0.02)
    left_half = isinstance(case.model, RBM)  # the right one is summed out
    found = np.float64(forward.state) if left_half else case.features(forward.state)
    moments = case.reference.moments()[: found.shape[1]]
    statistical.assert_mean(weights[:, None] * found, moments, rounding=1e-5)
    start = exact.samples(case.model, case.params, key, 8192)
    back = ais.run_reverse(*of, start, key, temperatures)
    statistical.assert_mean(np.exp(case.log_z - back.log_weights), 1.0, largest_error=0.02)


@OF_EACH
def test_tempering_and_bridges(name, seed=1):
    """1,000 ladders of four rungs, 12 rounds: within 5 stated errors, which are below 0.02 nats."""
    case, sizes = case_of(name), (1000, 3, 12)
    of = case.model, case.params, base_of(case, "fitted"), statistical.key(seed)
    found = tempering.log_partition_estimate(*of, *sizes)
    assert found.stderr < 0.02 and int(found.arrivals) > 1000
    assert abs(found.value - case.log_z) < statistical.SIGMAS * found.stderr


@pytest.mark.parametrize("bridge_ess", [0.0, 0.7])
@pytest.mark.parametrize("name", ["graph", "made here"])  # of RBMs: test_population_annealing.py
def test_population_annealing(name, bridge_ess, seed=1):
    """32 populations of 500 in two steps, or in bridges: log Z within 5 errors of their spread.

    The error of their mean is below 0.02 nats, the bias of the logarithm a small part of it. Fewer
    populations would have a spread too uncertain for 5 errors to be rare.
    """
    tf.config.run_functions_eagerly(False)  # a graph serves all of them
    step, case = tf.function(population_annealing.step, autograph=False), case_of(name)
    values, members = [], []
    for key in counter_random.split(statistical.key(seed), 32):
        keys = counter_random.split(key, 3)
        state = population_annealing.init(case.model, keys[2], 500)
        for index, share in enumerate((1.0,) if bridge_ess else (0.5, 1.0)):
            params = type(case.params)(*(share * part for part in case.params))
            state, info = step(case.model, params, state, keys[index], 2, bridge_ess=bridge_ess)
        assert (info.bridges > 1) == bool(bridge_ess)
        values.append(float(state.log_partition))
        members.append(case.features(state.chains).mean(axis=0))
    statistical.assert_mean(np.array(values), case.log_z, largest_error=0.02, rounding=1e-3)
    statistical.assert_mean(np.array(members), case.reference.moments(), rounding=1e-3)


@OF_EACH
def test_persistent_chains(name, seed=1):
    """20,000 chains, 3 steps of 10 sweeps from fair bits: all moments, standard error 0.0036."""
    tf.config.run_functions_eagerly(False)  # a graph serves all of them
    step, case = tf.function(pcd.step, autograph=False), case_of(name)
    state = pcd.init(case.model, statistical.key(seed), 20_000)
    for key in counter_random.split(statistical.key(seed + 1), 3):
        state, info = step(case.model, case.params, state, key, 10)
    found = case.features(state.chains)
    statistical.assert_mean(found, case.reference.moments(), largest_error=0.0036)
    energies = case.reference.energy(np.float64(case.model.units(state.chains)))
    assert np.isclose(info.mean_energy, energies.mean(), rtol=1e-4)


@pytest.mark.parametrize("name", ["graph", "made here"])  # of RBMs: test_log_partition.py
def test_measure(name, monkeypatch, seed=1):
    """Where it cannot be enumerated: AIS and reverse AIS from chains, which agree."""
    case, settings = case_of(name), Settings(1000, 8, "fitted")
    chains = exact.samples(case.model, case.params, statistical.key(seed), settings.num_chains)
    of = case.model, case.params, chains, statistical.key(seed + 1), settings
    monkeypatch.setattr(exact, "MAX_ENUMERATED_UNITS", 0)
    found = measure(*of)
    assert found.status() == "checked" and found.stderr < 0.02
    assert abs(found.value - case.log_z) < statistical.SIGMAS * found.stderr
    assert abs(found.reverse - case.log_z) < statistical.SIGMAS * found.reverse_stderr
