"""What programs are laid out like for a GPU gives the numbers that the layout for a CPU gives.

The layout is asked for where no GPU is, by `samplers.hardware.use`.
"""

import numpy as np
import pytest
import tensorflow as tf

from samplers import ais, counter_random, diagnostics, gibbs, hardware, tempering
from samplers.rbm import RBM, RBMParameters, model_of
from tests.helpers.tiny_training import STRUCTURES, config_of, make_program, snapshot

STEPS = 20  # two trips of ten
KEY = counter_random.key(5)


def compare(function, check=np.testing.assert_array_equal, **tolerances):
    """The results of a function in the layout for a CPU and in that for a GPU."""
    results = []
    for layout in ("cpu", "gpu"):
        with hardware.use(layout):
            results.append(tf.nest.flatten(function()))
    for plain, laid_out in zip(*results, strict=True):
        check(plain, laid_out, **tolerances)


def assert_close(plain, laid_out, rtol=1e-5, atol=1e-5):
    np.testing.assert_allclose(plain, laid_out, rtol, atol)


def compiled(function):
    return tf.function(function, jit_compile=True, autograph=False)()


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
    rbm = random_rbm(7, 5, dtype)
    model = model_of(rbm)
    start = model.start(num_chains, KEY, dtype)
    temperatures = tf.random.stateless_uniform([num_chains, 1], (1, 2), dtype=dtype)

    def sweeps():
        cases = (num_sweeps, tf.constant(1.0, dtype)), (tf.constant(num_sweeps), temperatures)
        return [model.sweeps(rbm, start, KEY, *case) for case in cases]

    compare(lambda: compiled(sweeps))


def test_random_numbers_bit_for_bit():
    def numbers():
        keys = [counter_random.split(KEY, n) for n in (3, 11)]
        drawn = [counter_random.uniform(KEY, [4, 4]), counter_random.normal(KEY, [9])]
        bits = counter_random.bernoulli_logits(KEY, tf.linspace(-2.0, 2.0, 23), 4)
        words = counter_random.bits(KEY, [3, 5], 2)
        return keys, drawn, bits, words, counter_random.fold_in(KEY, 7)

    compare(numbers)


@pytest.mark.parametrize("num_right", [6, 9])
def test_energies(num_right):
    rbm, model = random_rbm(6, num_right), RBM(6, num_right)
    chains = model.start(50, KEY)
    compare(lambda: model.energy(rbm, chains), assert_close)


def test_weights_of_a_population():
    log_weights = tf.constant(np.random.default_rng(1).normal(size=200) * 3.0, tf.float32)
    compare(lambda: diagnostics.normalized(log_weights - 40.0), assert_close, atol=0.0)


@pytest.mark.parametrize("steps", [7, pytest.param(20, marks=pytest.mark.slow)])
def test_annealing_and_tempering(steps):
    """By single steps and by ten in a trip; the random bits are the same, so are the states."""
    rbm, chains, ladders = random_rbm(7, 5), 6, 3
    base = tf.concat([0.3 * rbm.left_bias, 0.2 * rbm.right_bias], axis=0)
    model, path = model_of(rbm), ais.linear_temperatures(steps)
    rounds = ladders, steps - steps // 4, steps // 4

    def run():
        forward = ais._run.python_function(model, rbm, base, KEY, path, chains)
        start = model.start(chains, KEY)
        backward = ais._run_reverse.python_function(model, rbm, base, start, KEY, path)
        rungs = ais.linear_temperatures(4)
        tempered = tempering._run.python_function(model, rbm, base, KEY, rungs, *rounds)
        return forward, backward, tempered

    compare(lambda: compiled(run), assert_close)


MANY_LAYERS = ("dvaes_gi", "pwl", "dvaes_power", "dvae_spike_exp", "disarm", "rodeo")


@pytest.mark.parametrize(
    "baseline, layers",
    [
        ("dvaes_gi", 1),  # no layout of the encoder depends on the number of its layers
        *(pytest.param(baseline, 2, marks=pytest.mark.slow) for baseline in MANY_LAYERS),
    ],
)
def test_training_steps(baseline, layers):
    """Chains bit for bit, weights, averages, slots and metrics to rounding, after 20 steps."""
    indices = np.random.default_rng(4).integers(0, 10, [STEPS, 3])
    structure = STRUCTURES[f"{layers}-layer-nonlin"]
    config = config_of(baseline=baseline, k=2, num_train_iter=100, structure=structure)

    def train():
        program = make_program(config, step=50)
        program.run(indices, STEPS)
        assert program.state.step == 50 + STEPS and program.state.skipped == 0
        chains = [half.numpy() for half in program.state.sampler.gradient.chains]
        return chains, snapshot(program), program.take_metrics()

    def check(plain, found):
        if np.ndim(plain) == 2:  # chains
            np.testing.assert_array_equal(plain, found)
        else:
            atol = 1e-3 if np.ndim(plain) == 0 else 1e-4
            np.testing.assert_allclose(plain, found, rtol=1e-3, atol=atol)

    compare(train, check)
