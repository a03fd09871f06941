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
    row_rbms,
    tempering,
)
from samplers import population_annealing as pa
from samplers.energy_model import uniform_base
from samplers.rbm import RBM, Halves, RBMParameters
from tests.helpers import statistical
from tests.helpers.recorded_draws import Draws, bits, words
from tests.helpers.tiny_training import eager

CHAINS, HALF, SWEEPS, ROWS = 8, 100, 3, 2
RUNGS, LADDERS, ROUNDS = 4, 2, 3
MODEL, SMALL = RBM(HALF, HALF), RBM(10, 10)
BASE = uniform_base(MODEL)
SETTINGS = log_partition.Settings(CHAINS, SWEEPS, "uniform", LADDERS, RUNGS - 1, 4)
# Blocks of sweeps, of AIS forward and of so many rounds of tempering.
SWEPT = bits(SWEEPS, CHAINS, 2 * HALF)
AIS = bits(CHAINS, HALF) + SWEPT
START = bits(LADDERS, RUNGS, HALF)
ROUND = 2 * START + words(LADDERS, RUNGS - 1)


def zero(half: int = HALF) -> RBMParameters:
    return RBMParameters(tf.zeros([half]), tf.zeros([half]), tf.zeros([half, half]))


ZERO, ROW_ZERO = zero(), RBMParameters(*(tf.stack([parameter] * ROWS) for parameter in zero()))
STRONG = ZERO._replace(left_bias=tf.fill([HALF], 0.6))  # far enough from zero for several bridges


def start(half: int = HALF) -> Halves:
    """Chains that take no number of the program's."""
    halves = np.random.default_rng(7).integers(0, 2, (2, CHAINS, half))
    return Halves(*(tf.constant(half, tf.float32) for half in halves))


def swept(key, **options):
    return gibbs.sweeps(MODEL.blocks(ZERO), start(), key, SWEEPS, **options), SWEPT


def persistent(key):
    keys = counter_random.split(key, 3)
    states = [pcd.init(MODEL, keys[0], CHAINS)]
    for step_key in keys[1:]:
        states.append(pcd.step(MODEL, ZERO, states[-1], step_key, SWEEPS)[0])
    return [half for state in states for half in state.chains], words(CHAINS, 2 * HALF) + 2 * SWEPT


def population(key, rbm, **options):
    """A step; resampling takes one number, and leaves states that are no fair bits."""
    keys = counter_random.split(key, 2)
    state = pa.init(MODEL, keys[0], CHAINS)
    _, info = pa.step(MODEL, rbm, state, keys[1], SWEEPS, **options)
    assert (info.bridges > 1) == bool(options)
    return state.chains, words(CHAINS, 2 * HALF) + int(info.bridges) * (1 + SWEPT)


def annealed(key, number):
    found = ais.run(MODEL, ZERO, BASE, key, ais.linear_temperatures(number), CHAINS)
    return [found.state], bits(CHAINS, HALF) + bits(number, CHAINS, 2 * HALF)


def annealed_back(key):
    temperatures = ais.linear_temperatures(SWEEPS)
    found = ais.run_reverse(MODEL, ZERO, BASE, start(), key, temperatures)
    return [start().left, found.state], SWEPT


def tempered(key):
    """Ladders: the state before and after a round."""
    path, keys = MODEL.path(ZERO, BASE), counter_random.split(key, 2)
    first = tempering.init(path, keys[0], LADDERS, RUNGS)
    second, _ = tempering.step(path, first, keys[1], ais.linear_temperatures(RUNGS - 1))
    return [first.state, second.state], START + ROUND


def many_rounds(key):
    temperatures = ais.linear_temperatures(RUNGS - 1)
    tempering.run(MODEL, ZERO, BASE, key, temperatures, LADDERS, ROUNDS, 2)
    return [], START + (ROUNDS + 2) * ROUND


def rows_swept(key):
    left = tf.stack([start().left] * ROWS)
    found = row_rbms.sweeps(ROW_ZERO, left, key, SWEEPS)
    return [left, found], bits(SWEEPS, ROWS, CHAINS, 2 * HALF)


def rows_annealed(key):
    found = row_rbms.anneal(ROW_ZERO, key, CHAINS, SWEEPS)
    return found.chains, bits(SWEEPS + 1, ROWS, CHAINS, 2 * HALF)


def exactly(key):  # a number of 52 bits takes a block
    return exact.samples(SMALL, zero(10), key, 50), 50 + bits(50, 10)


def measured(measure, blocks, half=HALF):
    """An estimate of log Z: forward; and reverse from chains; in all ways."""

    def measured(key):
        measure(RBM(half, half), zero(half), start(half), key, SETTINGS)
        return [], blocks

    return measured


KERNELS = {
    "sweeps": swept,
    "sweeps, not concurrent": lambda key: swept(key, concurrent=False),
    "sweeps, temperatures": lambda key: swept(key, inverse_temperature=tf.ones([CHAINS, 1])),
    "persistent chains": persistent,
    "population": lambda key: population(key, ZERO),
    "population, bridged": lambda key: population(key, STRONG, bridge_ess=0.8),
    "AIS": lambda key: annealed(key, SWEEPS),
    "AIS, more temperatures": lambda key: annealed(key, 7),
    "reverse AIS": annealed_back,
    "tempering, a round": tempered,
    "tempering": many_rounds,
    "rows, sweeps": rows_swept,
    "rows, AIS": rows_annealed,
    "exact samples": exactly,
    "log Z, estimate": measured(log_partition.estimate, AIS),
    "log Z, measure": measured(log_partition.measure, AIS + SWEPT),
    # Forward, exact samples, and reverse from them.
    "log Z, measure exactly": measured(
        log_partition.measure, bits(CHAINS, 10) * (2 + 4 * SWEEPS) + CHAINS, half=10
    ),
    # Two bases forward, reverse, and tempering, whose burn-in is a quarter of its rounds.
    "log Z, all": measured(log_z_table.measure_all, 2 * AIS + SWEPT + START + 5 * ROUND),
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
