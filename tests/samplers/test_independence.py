"""Every kernel that draws does so from numbers of its own, at the sizes of real models.

Halves are of equal size, so that numbers drawn twice would meet the same units: with unequal ones
they hardly line up, and what they spoil is not seen. At zero parameters every state is of fair
bits, whatever the kernel, so that halves and moments which share numbers show that too.
"""

import math
from itertools import combinations

import numpy as np
import pytest
import tensorflow as tf

from samplers import (
    ais,
    counter_random,
    exact,
    gibbs,
    log_partition,
    log_z_table,
    pcd,
    population_annealing,
    row_rbms,
    tempering,
)
from samplers.energy_model import uniform_base
from samplers.log_partition import Settings
from samplers.rbm import RBM, Halves, RBMParameters
from tests.helpers import statistical
from tests.helpers.recorded_draws import Draws, bits, words
from tests.helpers.tiny_training import eager

CHAINS, HALF, SWEEPS, ROWS = 8, 100, 3, 2
SWEPT = bits(SWEEPS, CHAINS, 2 * HALF)


MODEL = RBM(HALF, HALF)


def zero(half: int = HALF) -> RBMParameters:
    return RBMParameters(tf.zeros([half]), tf.zeros([half]), tf.zeros([half, half]))


def strong() -> RBMParameters:
    """Far enough from zero for several bridges."""
    return zero()._replace(left_bias=tf.fill([HALF], 0.6))


def rows() -> RBMParameters:
    return RBMParameters(*(tf.stack([parameter] * ROWS) for parameter in zero()))


BASE = uniform_base(MODEL)


def start(half: int = HALF) -> Halves:
    """Chains that take no number of the program's."""
    halves = np.random.default_rng(7).integers(0, 2, (2, CHAINS, half))
    return Halves(*(tf.constant(half, tf.float32) for half in halves))


def swept(key, **options):
    swept = gibbs.sweeps(MODEL.blocks(zero()), start(), key, SWEEPS, **options)
    return swept, SWEPT


def persistent(key):
    keys = counter_random.split(key, 3)
    first = pcd.init(MODEL, keys[0], CHAINS)
    second, _ = pcd.step(MODEL, zero(), first, keys[1], SWEEPS)
    third, _ = pcd.step(MODEL, zero(), second, keys[2], SWEEPS)
    chains = [half for state in (first, second, third) for half in state.chains]
    return chains, words(CHAINS, 2 * HALF) + 2 * SWEPT


def population(key, rbm, **options):
    """A step; resampling takes one number, and leaves states that are no fair bits."""
    keys = counter_random.split(key, 2)
    state = population_annealing.init(MODEL, keys[0], CHAINS)
    _, info = population_annealing.step(MODEL, rbm, state, keys[1], SWEEPS, **options)
    bridges = int(info.bridges)
    assert (bridges > 1) == bool(options)
    return state.chains, words(CHAINS, 2 * HALF) + bridges * (1 + SWEPT)


def annealed(key, temperatures):
    found = ais.run(MODEL, zero(), BASE, key, temperatures, CHAINS)
    return [found.state], bits(CHAINS, HALF) + bits(len(temperatures) - 1, CHAINS, 2 * HALF)


def annealed_back(key, temperatures):
    found = ais.run_reverse(MODEL, zero(), BASE, start(), key, temperatures)
    return [start().left, found.state], bits(len(temperatures) - 1, CHAINS, 2 * HALF)


RUNGS, LADDERS, ROUNDS, BURN_IN = 4, 2, 3, 2


def tempered(key):
    """Ladders: the state before and after a round."""
    path, temperatures = MODEL.path(zero(), BASE), ais.linear_temperatures(RUNGS - 1)
    keys = counter_random.split(key, 2)
    first = tempering.init(path, keys[0], LADDERS, RUNGS)
    second, _ = tempering.step(path, first, keys[1], temperatures)
    return [first.state, second.state], (
        bits(LADDERS, RUNGS, HALF) + bits(LADDERS, RUNGS, 2 * HALF) + words(LADDERS, RUNGS - 1)
    )


def _ladders(rungs, ladders, rounds):
    """Blocks of `tempering.run`."""
    of_a_round = bits(ladders, rungs, HALF) * 2 + words(ladders, rungs - 1)
    return bits(ladders, rungs, HALF) + rounds * of_a_round


def many_rounds(key):
    temperatures = ais.linear_temperatures(RUNGS - 1)
    tempering.run(MODEL, zero(), BASE, key, temperatures, LADDERS, ROUNDS, BURN_IN)
    return [], _ladders(RUNGS, LADDERS, ROUNDS + BURN_IN)


def rows_swept(key):
    left = tf.stack([start().left] * ROWS)
    found = row_rbms.sweeps(rows(), left, key, SWEEPS)
    return [left, found], bits(SWEEPS, ROWS, CHAINS, 2 * HALF)


def rows_annealed(key):
    found = row_rbms.anneal(rows(), key, CHAINS, SWEEPS)
    return found.chains, bits(SWEEPS + 1, ROWS, CHAINS, 2 * HALF)


def exactly(key):
    found = exact.samples(RBM(10, 10), zero(10), key, 50)
    return found, 50 + bits(50, 10)  # a number of 52 bits takes a block


SETTINGS = Settings(CHAINS, SWEEPS, "uniform", LADDERS, RUNGS - 1, 4)
AIS = bits(CHAINS, HALF) + bits(SWEEPS, CHAINS, 2 * HALF)


def estimated(key):
    log_partition.estimate(MODEL, zero(), start(), key, SETTINGS)
    return [], AIS


def measured(key):
    """Forward, and reverse from the chains."""
    log_partition.measure(MODEL, zero(), start(), key, SETTINGS)
    return [], AIS + SWEPT


def measured_exactly(key):
    """Forward, exact samples, and reverse from them."""
    log_partition.measure(RBM(10, 10), zero(10), start(10), key, SETTINGS)
    return [], bits(CHAINS, 10) * (1 + 2 * 2 * SWEEPS) + CHAINS + bits(CHAINS, 10)


def measured_in_all_ways(key):
    """Two bases forward, reverse, and tempering, whose burn-in is a quarter of its rounds."""
    log_z_table.measure_all(MODEL, zero(), start(), key, SETTINGS)
    return [], 2 * AIS + SWEPT + _ladders(RUNGS, LADDERS, 5)


TEMPERATURES = ais.linear_temperatures(SWEEPS)
KERNELS = {
    "sweeps": swept,
    "sweeps, not concurrent": lambda key: swept(key, concurrent=False),
    "sweeps, temperatures": lambda key: swept(key, inverse_temperature=tf.ones([CHAINS, 1])),
    "persistent chains": persistent,
    "population": lambda key: population(key, zero()),
    "population, bridged": lambda key: population(key, strong(), bridge_ess=0.8),
    "AIS": lambda key: annealed(key, TEMPERATURES),
    "AIS, more temperatures": lambda key: annealed(key, ais.linear_temperatures(7)),
    "reverse AIS": lambda key: annealed_back(key, TEMPERATURES),
    "tempering, a round": tempered,
    "tempering": many_rounds,
    "rows, sweeps": rows_swept,
    "rows, AIS": rows_annealed,
    "exact samples": exactly,
    "log Z, estimate": estimated,
    "log Z, measure": measured,
    "log Z, measure exactly": measured_exactly,
    "log Z, all": measured_in_all_ways,
}


@pytest.mark.parametrize("kernel", KERNELS)
def test_numbers_of_its_own(kernel, monkeypatch, seed=1):
    """No block twice, as many as the settings ask for, and states that do not agree.

    Of 800 to 1600 bits: standard errors of at most 0.018.
    """
    draws = Draws(monkeypatch)
    with eager():
        states, least = KERNELS[kernel](counter_random.key(statistical.seed(seed)))
    draws.assert_apart()
    assert draws.count() >= least
    for first, second in combinations([np.asarray(state) for state in states], 2):
        agree = np.mean(first == second)
        assert abs(agree - 0.5) < statistical.SIGMAS * 0.5 / math.sqrt(first.size)
