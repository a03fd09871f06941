"""What programs are laid out like for a GPU gives the numbers that the layout for a CPU gives.

The layout is asked for where no GPU is, by `samplers.hardware.use`.
"""

import numpy as np
import pytest
import tensorflow as tf

from samplers import (
    ais,
    counter_random,
    diagnostics,
    gibbs,
    hardware,
    population_annealing,
    tempering,
)
from samplers.rbm import RBM, RBMParameters, model_of
from tests.helpers.tiny_training import STRUCTURES, config_of, make_program, snapshot

STEPS = 20  # two trips of ten


def both(function):
    """The results of a function in the layout for a CPU and in that for a GPU."""
    results = []
    for layout in ("cpu", "gpu"):
        with hardware.use(layout):
            results.append(function())
    return results


def random_rbm(num_left, num_right, dtype=tf.float32):
    generator = np.random.default_rng(num_left)
    shapes = [num_left], [num_right], [num_left, num_right]
    return RBMParameters(*(tf.constant(generator.normal(size=shape), dtype) for shape in shapes))


@pytest.mark.parametrize(
    "num_sweeps, num_chains, dtype",
    [(1, 14, tf.float32), (5, 14, tf.float32), (7, 13, tf.float64)],
)
def test_sweeps_bit_for_bit(num_sweeps, num_chains, dtype, monkeypatch):
    """Of known and unknown number, of one temperature and of one for each chain.

    With three sweeps in a trip: 5 are two and a trip, 7 are one and two trips.
    """
    monkeypatch.setattr(gibbs, "_UNROLLED", 3)
    rbm, key = random_rbm(7, 5, dtype), counter_random.key(3)
    model = model_of(rbm)
    start = model.start(num_chains, key, dtype)
    temperatures = tf.random.stateless_uniform([num_chains, 1], (1, 2), dtype=dtype)

    def sweeps():
        runs = [
            tf.function(
                lambda t, n=n: model.sweeps(rbm, start, key, n, t),
                jit_compile=True,
                autograph=False,
            )(tf.constant(t, dtype))
            for n, t in ((num_sweeps, 1.0), (tf.constant(num_sweeps), temperatures))
        ]
        return [half for chains in runs for half in chains]

    for plain, laid_out in zip(*both(sweeps), strict=True):
        np.testing.assert_array_equal(plain, laid_out)


def test_random_numbers_bit_for_bit():
    key = counter_random.key(5)

    def numbers():
        return [
            counter_random.split(key, 3),
            counter_random.split(key, 11),
            counter_random.fold_in(key, 7),
            counter_random.bits(key, [3, 5], 2),
            counter_random.uniform(key, [4, 4]),
            counter_random.normal(key, [9]),
            counter_random.bernoulli_logits(key, tf.linspace(-2.0, 2.0, 23), 4),
        ]

    for plain, laid_out in zip(*both(numbers), strict=True):
        np.testing.assert_array_equal(plain, laid_out)


@pytest.mark.parametrize("num_right", [6, 9])
def test_energies(num_right):
    rbm, model = random_rbm(6, num_right), RBM(6, num_right)
    chains = model.start(50, counter_random.key(1))
    plain, laid_out = both(lambda: model.energy(rbm, chains))
    np.testing.assert_allclose(plain, laid_out, rtol=1e-5, atol=1e-5)


def test_weights_of_a_population():
    log_weights = tf.constant(np.random.default_rng(1).normal(size=200) * 3.0, tf.float32)

    def numbers():
        return diagnostics.normalized(log_weights - 40.0)

    for plain, laid_out in zip(*both(numbers), strict=True):
        np.testing.assert_allclose(plain, laid_out, rtol=1e-5)


@pytest.mark.parametrize("steps", [7, pytest.param(20, marks=pytest.mark.slow)])
def test_annealing_and_tempering(steps):
    """By single steps and by ten in a trip; the random bits are the same, so are the states."""
    rbm, key, chains, ladders = random_rbm(7, 5), counter_random.key(4), 6, 3
    base = tf.concat([0.3 * rbm.left_bias, 0.2 * rbm.right_bias], axis=0)
    model = model_of(rbm)
    path, rungs = ais.linear_temperatures(steps), ais.linear_temperatures(4)

    def numbers():
        def run():
            forward = ais._run.python_function(model, rbm, base, key, path, chains)
            start = model.start(chains, key)
            backward = ais._run_reverse.python_function(model, rbm, base, start, key, path)
            burn_in = steps // 4
            rounds = (ladders, steps - burn_in, burn_in)
            ladders_ = tempering._run.python_function(model, rbm, base, key, rungs, *rounds)
            return forward, backward, ladders_

        return tf.nest.flatten(tf.function(run, jit_compile=True, autograph=False)())

    for plain, laid_out in zip(*both(numbers), strict=True):
        np.testing.assert_allclose(plain, laid_out, rtol=1e-5, atol=1e-5)


def test_families_stay_in_order():
    """What `count_families` counts by."""
    model = RBM(5, 7)
    state = population_annealing.init(model, counter_random.key(1), 29)
    for step in range(1, 5):
        rbm = RBMParameters(*(0.2 * step * p for p in random_rbm(5, 7)))
        state, info = population_annealing.step(model, rbm, state, counter_random.key(step), 1)
        family = state.family.numpy()
        assert np.all(np.diff(family) >= 0)
        assert info.surviving_families == len(np.unique(family))
    assert len(np.unique(family)) < 29


@pytest.mark.parametrize(
    "baseline, layers",
    [
        ("dvaes_gi", 1),  # no layout of the encoder depends on the number of its layers
        pytest.param("dvaes_gi", 2, marks=pytest.mark.slow),
        pytest.param("pwl", 2, marks=pytest.mark.slow),
        pytest.param("dvaes_power", 2, marks=pytest.mark.slow),
        pytest.param("dvae_spike_exp", 2, marks=pytest.mark.slow),
        pytest.param("disarm", 2, marks=pytest.mark.slow),
        pytest.param("rodeo", 2, marks=pytest.mark.slow),
    ],
)
def test_training_steps(baseline, layers):
    """States bit for bit, weights, averages, slots and metrics to rounding, after 20 steps."""
    indices = np.random.default_rng(4).integers(0, 10, [STEPS, 3])

    structure = STRUCTURES[f"{layers}-layer-nonlin"]
    config = config_of(baseline=baseline, k=2, num_train_iter=100, structure=structure)

    def train():
        program = make_program(config, step=50)
        program.run(indices, STEPS)
        assert program.state.step == 50 + STEPS and program.state.skipped == 0
        chains = program.state.sampler.gradient.chains
        return snapshot(program), program.take_metrics(), [half.numpy() for half in chains]

    (weights, metrics, chains), (laid_out, its_metrics, its_chains) = both(train)
    for plain, found in zip(chains, its_chains, strict=True):
        np.testing.assert_array_equal(plain, found)
    for plain, found in zip(weights, laid_out, strict=True):
        np.testing.assert_allclose(plain, found, rtol=1e-3, atol=1e-4)
    for name, value in metrics.items():
        np.testing.assert_allclose(its_metrics[name], value, rtol=1e-3, atol=1e-3, err_msg=name)
