"""What programs are laid out like for a GPU gives the numbers that the layout for a CPU gives.

The layout is asked for where no GPU is: `samplers.hardware.on_gpu` is the only switch.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dvae import networks, relaxed_priors
from dvae.priors import log_partition_surrogate
from dvae.relaxed_priors import gram_powers, log_det_identity_minus_gram
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

STEPS = 12  # one group of ten, and two alone


def both(monkeypatch, function):
    """The results of a function in the layout for a CPU and in that for a GPU."""
    results = []
    for gpu in (False, True):
        monkeypatch.setattr(hardware, "on_gpu", lambda gpu=gpu: gpu)
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

    for plain, laid_out in zip(*both(monkeypatch, sweeps), strict=True):
        np.testing.assert_array_equal(plain, laid_out)


def test_random_numbers_bit_for_bit(monkeypatch):
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

    for plain, laid_out in zip(*both(monkeypatch, numbers), strict=True):
        np.testing.assert_array_equal(plain, laid_out)


@pytest.mark.parametrize("num_right", [6, 9])
@pytest.mark.parametrize("weighted", [False, True])
def test_energies_and_their_gradient(num_right, weighted, monkeypatch):
    rbm, model = random_rbm(6, num_right), RBM(6, num_right)
    chains = model.start(50, counter_random.key(1))
    weights = tf.nn.softmax(tf.linspace(-1.0, 1.0, 50)) if weighted else None

    def numbers():
        with tf.GradientTape() as tape:
            tape.watch(rbm)
            value = log_partition_surrogate(model, rbm, chains, weights)
        return [*tape.gradient(value, rbm), model.energy(rbm, chains)]

    for plain, laid_out in zip(*both(monkeypatch, numbers), strict=True):
        np.testing.assert_allclose(plain, laid_out, rtol=1e-5, atol=1e-5)


def test_weights_of_a_population(monkeypatch):
    log_weights = tf.constant(np.random.default_rng(1).normal(size=200) * 3.0, tf.float32)

    def numbers():
        return diagnostics.normalized(log_weights - 40.0)

    for plain, laid_out in zip(*both(monkeypatch, numbers), strict=True):
        np.testing.assert_allclose(plain, laid_out, rtol=1e-5)


@pytest.mark.parametrize("steps", [7, pytest.param(20, marks=pytest.mark.slow)])
def test_annealing_and_tempering(steps, monkeypatch):
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

    for plain, laid_out in zip(*both(monkeypatch, numbers), strict=True):
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


def test_batch_norm_in_one_pass():
    """Outputs, averages and gradients of Keras's own, at a mean far from the moving one."""
    values = tf.constant(np.random.default_rng(2).normal(5.0, 0.5, [100, 8]), tf.float32)
    results = []
    for one_pass in (False, True):
        norm = networks.Network._norm(8)
        norm.gamma.assign(tf.linspace(0.5, 2.0, 8))
        with tf.GradientTape() as tape:
            tape.watch(values)
            if one_pass:
                outputs = networks._one_pass_norm(norm, values)
            else:
                outputs = norm(values, training=True)
            loss = tf.reduce_sum(outputs**3)
        sources = [values, norm.gamma.value, norm.beta.value]
        gradients = tape.gradient(loss, sources)
        results.append([outputs, norm.moving_mean, norm.moving_variance, *gradients])
    for keras_own, found in zip(*results, strict=True):
        expected = keras.ops.convert_to_numpy(keras_own)
        np.testing.assert_allclose(keras.ops.convert_to_numpy(found), expected, 1e-3, 1e-3)


@pytest.mark.parametrize("scale", [0.1, 3.0, 25.0])
def test_log_determinant_by_powers(scale, monkeypatch):
    """Against float64, for largest singular values from 1 to 290."""
    coupling = scale * np.random.default_rng(3).normal(size=[40, 30])
    largest = np.linalg.svd(coupling, compute_uv=False)[0]
    precision = largest + 5.0
    gram = np.eye(30) - coupling.T @ coupling / precision**2
    expected = np.linalg.slogdet(gram)[1]
    monkeypatch.setattr(hardware, "on_gpu", lambda: True)
    single = tf.constant(coupling, tf.float32)
    found = log_det_identity_minus_gram(
        single, tf.constant(precision, tf.float32), gram_powers(single)
    )
    assert abs(float(found) - expected) < 2e-5 * abs(expected) + 1e-5


def test_mean_field(monkeypatch):
    rbm = random_rbm(6, 5)
    fields = tf.random.stateless_normal([4, 11], (1, 2))
    fields = fields[:, :6], fields[:, 6:]
    found = both(monkeypatch, lambda: relaxed_priors.mean_field(rbm.coupling, *fields))
    for plain, laid_out in zip(*found, strict=True):
        np.testing.assert_allclose(plain, laid_out, rtol=1e-5)


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
def test_training_steps(baseline, layers, monkeypatch):
    """States bit for bit, weights, averages, slots and metrics to rounding, after 12 steps."""
    indices = np.random.default_rng(4).integers(0, 10, [STEPS, 3])

    structure = STRUCTURES[f"{layers}-layer-nonlin"]
    config = config_of(baseline=baseline, k=2, num_train_iter=100, structure=structure)

    def train():
        program = make_program(config, step=50)
        program.run(indices, STEPS)
        assert program.state.step == 50 + STEPS and program.state.skipped == 0
        chains = program.state.sampler.gradient.chains
        return snapshot(program), program.take_metrics(), [half.numpy() for half in chains]

    (weights, metrics, chains), (laid_out, its_metrics, its_chains) = both(monkeypatch, train)
    for plain, found in zip(chains, its_chains, strict=True):
        np.testing.assert_array_equal(plain, found)
    for plain, found in zip(weights, laid_out, strict=True):
        np.testing.assert_allclose(plain, found, rtol=1e-3, atol=1e-4)
    for name, value in metrics.items():
        np.testing.assert_allclose(its_metrics[name], value, rtol=1e-3, atol=1e-3, err_msg=name)
