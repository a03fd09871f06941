"""Boltzmann machines on graphs: against enumeration, and as RBMs where they are some."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import logsumexp

from samplers import class_loop, counter_random, exact
from samplers.boltzmann import (
    BoltzmannMachine,
    BoltzmannParameters,
    bits,
    greedy_colouring,
    spins,
)
from samplers.rbm import RBM, RBMParameters
from tests.helpers import statistical
from tests.helpers.compiled_samplers import KERNELS, both_of, choose, params_of
from tests.reference.graph import complete, king_moves, random_graph

REFERENCE = random_graph(8, seed=3)
MODEL, PARAMS = both_of(REFERENCE)


def features(model, state):
    return REFERENCE.features(np.float64(model.units(state)))


def test_four_classes():
    """Of two by two units all are joined; classes have no edge inside and each unit once."""
    assert MODEL.num_enumerated == 6  # the largest class is summed out
    assert [len(units) for units in MODEL.classes] == [2, 2, 2, 2]
    color = {unit: c for c, units in enumerate(MODEL.classes) for unit in units}
    assert sorted(color) == list(range(8))
    assert all(color[i] != color[j] for i, j in MODEL.edges)
    assert greedy_colouring(3, ()) == ((0, 1, 2),)


def test_units_and_states():
    units = tf.constant(np.random.default_rng(1).random((5, 8)), tf.float32)
    state = MODEL.state(units)
    assert [part.shape for part in state] == [(5, 2)] * 4
    np.testing.assert_array_equal(MODEL.units(state), units)


def test_bits_and_spins():
    """Both ways: energies of all states, log Z with the offset, and back where it began."""
    params, states = params_of(REFERENCE, tf.float64), REFERENCE.states()
    found = spins(MODEL, params)
    s, pairs = 2.0 * states - 1.0, np.array(MODEL.edges)
    products = s[:, pairs[:, 0]] * s[:, pairs[:, 1]]
    plain = -(s @ found.field.numpy() + products @ found.coupling.numpy())
    np.testing.assert_allclose(plain + float(found.offset), REFERENCE.energy(states), atol=1e-12)
    log_z = logsumexp(-plain) - float(found.offset)
    assert np.isclose(log_z, REFERENCE.log_partition(), atol=1e-12)
    back, above = bits(MODEL, found._replace(offset=found.offset + 0.75))
    assert np.isclose(above, 0.75, atol=1e-12)
    for one, other in zip(back, params, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)


def test_the_kernel_is_chosen_by_density():
    """Products for few dense classes, lists where they are long enough, rows for many classes."""
    strip, layouts = BoltzmannMachine(200, king_moves(200)), class_loop.layout_of
    layouts.cache_clear()
    assert MODEL.layout is None
    assert strip.layout.neighbours.shape == (4, 50, 5) and strip.layout.units.shape == (4, 50)
    dense = BoltzmannMachine(9, complete(9)).layout
    assert dense.neighbours is None and dense.edges.shape == (9, 1, 10)


@pytest.mark.parametrize("kernel", KERNELS)
def test_fields_of_classes(kernel, monkeypatch):
    """Of each class, against the dense product; pads count for nothing, whatever unit 0 is."""
    choose(kernel, monkeypatch)
    rng = np.random.default_rng(4)
    bias, edges = rng.normal(size=9), ((0, 1), (0, 2), (0, 3), (4, 5), (2, 6), (6, 7))  # 8: alone
    model = BoltzmannMachine(9, edges)
    if model.layout is None:
        pytest.skip("the products are those of gibbs")
    coupling, units = rng.normal(size=len(edges)), np.float64(rng.random((5, 9)) < 0.7)
    dense = np.zeros([9, 9])
    for (i, j), value in zip(edges, coupling, strict=True):
        dense[i, j] = dense[j, i] = value
    layout = model.layout
    state = class_loop.state_of(layout, tf.constant(units))
    np.testing.assert_array_equal(class_loop.units_of(layout, state), units)
    weights = class_loop.weights_of(layout, tf.constant(coupling))
    for index, members in enumerate(model.classes):
        found = class_loop.field(layout, weights, state, tf.constant(index))[: len(members)]
        np.testing.assert_allclose(found, (units @ dense)[:, members].T, atol=1e-12)
    assert class_loop.spread(layout, tf.constant(bias)).shape == (*layout.units.shape, 1)


@pytest.mark.parametrize("kernel", KERNELS)
def test_sweeps(kernel, monkeypatch, seed=1):
    """Two sweeps from exact samples of the path at 0.4 and 1, alternating: each stays its own.

    Standard error 0.005. Units drawn from old ones of another class would spoil the products.
    """
    choose(kernel, monkeypatch)
    base = np.float64(np.float32(np.linspace(-1.0, 1.0, 8)))
    rng, at = np.random.default_rng(statistical.seed(seed)), np.array([0.4, 1.0])
    ends = [REFERENCE.between(base, t) for t in at]
    start = np.stack([end.sample(rng, 10_000) for end in ends], axis=1).reshape(-1, 8)
    temperatures = tf.constant(np.tile(at, 10_000)[:, None], tf.float32)
    state = MODEL.state(tf.constant(start, tf.float32))
    path = temperatures, tf.constant(base, tf.float32)
    swept = MODEL.sweeps(PARAMS, state, statistical.key(seed), 2, *path)
    for which, end in enumerate(ends):
        found = features(MODEL, tf.nest.map_structure(lambda part, w=which: part[w::2], swept))
        statistical.assert_mean(found, end.moments(), largest_error=0.0052)
    assert np.mean(np.concatenate(swept, 1) != np.concatenate(state, 1)) > 0.2


def test_a_loop_of_one_temperature(seed=2):
    """Of all chains, with a base: as with a temperature for each, bit for bit."""
    model = BoltzmannMachine(9, complete(9))
    params = BoltzmannParameters(tf.linspace(-1.0, 1.0, 9), tf.linspace(-0.5, 0.5, 36))
    base, key = tf.linspace(1.0, -1.0, 9), statistical.key(seed)
    start = model.start(6, key)
    one = model.sweeps(params, start, key, 2, 0.3, base)
    each = model.sweeps(params, start, key, 2, tf.fill([6, 1], 0.3), base)
    np.testing.assert_array_equal(model.units(one), model.units(each))
    fair, zero = model.independent(tf.zeros([9])), model.state(tf.zeros([6, 9]))
    drawn = model.units(model.sweeps(fair, zero, key, 1))
    assert np.any(drawn[:3] != drawn[3:])  # the two halves have numbers of their own


@pytest.mark.parametrize("num_chains", [13, 14])
def test_a_bipartite_graph_is_an_rbm(num_chains):
    """The same bits, the same energies, whichever of the two it is called."""
    rng, rbm = np.random.default_rng(2), RBM(3, 5)
    left, right, coupling = (np.float32(rng.normal(size=n)) for n in (3, 5, (3, 5)))
    graph = BoltzmannMachine(8, tuple((i, j) for i in range(3) for j in range(3, 8)))
    assert graph.classes == ((0, 1, 2), (3, 4, 5, 6, 7))
    both = (
        (rbm, RBMParameters(*map(tf.constant, (left, right, coupling)))),
        (graph, BoltzmannParameters(tf.constant([*left, *right]), tf.constant(coupling.ravel()))),
    )
    key, ends = counter_random.key(5), []
    for model, params in both:
        state = model.sweeps(params, model.start(num_chains, key), key, 3)
        ends.append((model.units(state), model.energy(params, state)))
    np.testing.assert_array_equal(ends[0][0], ends[1][0])
    np.testing.assert_allclose(ends[0][1], ends[1][1], rtol=1e-5)


def test_units_without_edges(seed=1):
    """One class, and a class beside joined ones: independent units of their biases."""
    bias = tf.constant([-1.0, 0.3, 2.0])
    expected = 1 / (1 + np.exp(-bias.numpy()))
    for edges, coupling in (((), []), (((0, 1),), [0.0])):
        model = BoltzmannMachine(3, edges)
        params = BoltzmannParameters(bias, tf.constant(coupling, tf.float32))
        start = model.start(20_000, statistical.key(seed))
        swept = model.units(model.sweeps(params, start, statistical.key(seed + 1), 1))
        statistical.assert_fraction(swept.numpy(), expected)
        assert np.isclose(exact.log_partition(model, params), np.sum(np.log1p(np.exp(bias))))


def test_without_edges_one_sweep_is_all():
    """And none is none."""
    model, key = BoltzmannMachine(8, ()), counter_random.key(1)
    params, start = model.independent(tf.linspace(-2.0, 2.0, 8)), model.start(50, key)
    swept = [model.units(model.sweeps(params, start, key, n)) for n in (0, 1, 40, tf.constant(40))]
    assert np.array_equal(swept[0], model.units(start))
    assert all(np.array_equal(swept[1], units) for units in swept[2:])
    assert not np.array_equal(swept[0], swept[1])


def test_equal_models_share_a_program():
    """As an argument a model is known by its value, even after the first one is gone."""
    traces = []

    @tf.function(autograph=False)
    def energy(model, params, state):
        traces.append(model)
        return model.energy(params, state)

    for _ in range(3):
        model = BoltzmannMachine(8, tuple(REFERENCE.edges))
        energy(model, PARAMS, model.state(tf.zeros([5, 8])))
        del model
    assert len(traces) == 1
    other = BoltzmannMachine(8, REFERENCE.edges[1:])
    energy(other, PARAMS._replace(coupling=PARAMS.coupling[1:]), other.state(tf.zeros([5, 8])))
    assert len(traces) == 2
