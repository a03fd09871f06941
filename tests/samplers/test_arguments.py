"""Arguments that mean nothing are refused by name, and float64 is as good as float32.

Nothing is compiled: what is wrong is said before, and the sound calls run eagerly.
"""

import numpy as np
import pytest
import tensorflow as tf

from samplers import (
    ais,
    counter_random,
    diagnostics,
    exact,
    log_partition,
    pcd,
    row_rbms,
    tempering,
)
from samplers import population_annealing as pa
from samplers.boltzmann import BoltzmannMachine
from samplers.bridge_sampling import bennett_acceptance_ratio as bennett
from samplers.energy_model import fitted_base, uniform_base
from samplers.log_partition import Settings
from samplers.rbm import RBM, Halves, RBMParameters, halves, left_log_marginal
from tests.helpers.compiled_samplers import params_of
from tests.helpers.tiny_training import eager
from tests.reference.rbm import random_rbm

REFERENCE = random_rbm(3, 5, seed=23)
REFERENCE64 = params_of(REFERENCE, tf.float64)
SMALL = params_of(REFERENCE)
OTHER = params_of(random_rbm(2, 5, seed=23))
MODEL = RBM(3, 5)
KEY = counter_random.key(1)
NOT_COUNTS = (0, -1, True, 2.0, "2", None, np.float32(3.0))


def chains(num_left=3, num_right=5, dtype=tf.float32):
    return pcd.init(RBM(num_left, num_right), KEY, 4, dtype).chains


def population(**changed):
    return pa.init(MODEL, KEY, 4)._replace(**changed)


BASE, PATH = uniform_base(MODEL), MODEL.path(SMALL, uniform_base(MODEL))
ROWS, LEFT_ROWS = RBMParameters(*(tf.stack([part, part]) for part in SMALL)), tf.zeros([2, 4, 3])


def path(*temperatures):
    return tf.constant(temperatures, tf.float32)


def ais_of(num_chains=4, num_temperatures=2):
    return ais.log_partition_estimate(MODEL, SMALL, BASE, KEY, num_chains, num_temperatures)


def tempered(num_temperatures=2, num_rounds=2, num_burn_in=1):
    counts = 2, num_temperatures, num_rounds, num_burn_in
    return tempering.log_partition_estimate(MODEL, SMALL, BASE, KEY, *counts)


def step(chains, *options):
    return pcd.step(MODEL, SMALL, pcd.PCDState(chains), *options)


def population_step(rbm=SMALL, state=None, num_sweeps=1, *options):
    return pa.step(MODEL, rbm, state or population(), KEY, num_sweeps, *options)


# By the name of what is counted, and of where.
COUNTS = {
    "num_chains-ais": lambda n: ais_of(num_chains=n),
    "num_chains-pcd": lambda n: pcd.init(MODEL, KEY, n),
    "num_chains-population": lambda n: pa.init(MODEL, KEY, n),
    "num_chains-rows": lambda n: row_rbms.anneal(ROWS, KEY, n, 2),
    "num_temperatures-ais": lambda n: ais_of(num_temperatures=n),
    "num_temperatures-linear": ais.linear_temperatures,
    "num_temperatures-rows": lambda n: row_rbms.anneal(ROWS, KEY, 2, n),
    "num_temperatures-tempering": lambda n: tempered(num_temperatures=n),
    "num_temperatures-init": lambda n: tempering.init(PATH, KEY, 2, n),
    "num_sweeps-pcd": lambda n: step(chains(), KEY, n),
    "num_sweeps-population": lambda n: population_step(num_sweeps=n),
    "num_ladders-tempering": lambda n: tempering.init(PATH, KEY, n, 3),
    "num_rounds-tempering": lambda n: tempered(num_rounds=n),
    "num_left-RBM": lambda n: RBM(n, 5),
    "num_right-RBM": lambda n: RBM(3, n),
    "num_units-graph": lambda n: BoltzmannMachine(n, ()),
    "num_samples-exact": lambda n: exact.samples(MODEL, SMALL, KEY, n),
    "num_groups-markov": lambda n: diagnostics.markov_lower_bound(tf.zeros([8]), n),
    "num-split": lambda n: counter_random.split(KEY, n),
}


@pytest.mark.parametrize("place", COUNTS)
def test_what_is_counted_is_a_whole_number_from_one(place):
    """An AIS of no temperatures had log Z of fair bits, without an error bar."""
    for value in NOT_COUNTS:
        with pytest.raises(ValueError, match=f"^{place.split('-')[0]}\\b"):
            COUNTS[place](value)


@pytest.mark.parametrize("value", [-1, True, 2.0])
def test_no_negative_sweeps(value):
    calls = (
        lambda: MODEL.sweeps(SMALL, chains(), KEY, value),
        lambda: row_rbms.sweeps(ROWS, LEFT_ROWS, KEY, value),
        lambda: row_rbms.mean_field(ROWS, LEFT_ROWS, value),
        lambda: tempered(num_burn_in=value),
    )
    for call in calls:
        with pytest.raises(ValueError, match=r"^num_"):
            call()


NOT_PATHS = [(0.0, 0.5), (0.5, 1.0), (0.0, 1.0, 2.0), (1.0, 0.0), (0.0, 0.7, 0.3, 1.0)]
NOT_PATHS += [(0.0, float("nan"), 1.0), (0.0,), ()]


@pytest.mark.parametrize("temperatures", NOT_PATHS, ids=str)
def test_temperatures_rise_from_0_to_1(temperatures):
    calls = (
        lambda t: ais.run(MODEL, SMALL, BASE, KEY, t, 4),
        lambda t: ais.run_reverse(MODEL, SMALL, BASE, chains(), KEY, t),
        lambda t: tempering.run(MODEL, SMALL, BASE, KEY, t, 2, 2, 1),
    )
    for call in calls:
        with pytest.raises(ValueError, match=r"^temperatures"):
            call(path(*temperatures))


LINE, UNEQUAL = path(0.0, 1.0), Halves(tf.zeros([1, 3]), tf.zeros([4, 5]))
NO_CHAINS, ONE = Halves(tf.zeros([0, 3]), tf.zeros([0, 5])), tf.zeros([1])


def reverse(chains):
    return ais.run_reverse(MODEL, SMALL, BASE, chains, KEY, LINE)


MISFITS = {
    "a bias of one": lambda: exact.log_partition(MODEL, SMALL._replace(left_bias=tf.zeros([1]))),
    "couplings across": lambda: exact.moments(MODEL, SMALL._replace(coupling=tf.zeros([5, 3]))),
    "whole numbers": lambda: exact.log_partition(MODEL, params_of(REFERENCE, tf.int32)),
    "half precision": lambda: pcd.init(MODEL, KEY, 4, tf.float16),
    "another RBM": lambda: exact.log_partition(MODEL, OTHER),
    "no RBM": lambda: exact.log_partition(MODEL, tuple(SMALL)),
    "a base of another RBM": lambda: ais.run(MODEL, SMALL, uniform_base(RBM(2, 5)), KEY, LINE, 4),
    "a base of one bias": lambda: ais.run(MODEL, SMALL, tf.zeros([1]), KEY, LINE, 4),
    "two types": lambda: ais.run(MODEL, REFERENCE64, BASE, KEY, LINE, 4),
    "reverse from other states": lambda: reverse(chains(2)),
    "reverse from none": lambda: reverse(NO_CHAINS),
    "reverse from units": lambda: reverse(tf.zeros([4, 8])),
    "chains of another RBM": lambda: MODEL.sweeps(SMALL, chains(2), KEY, 1),
    "chains of another type": lambda: MODEL.sweeps(SMALL, chains(dtype=tf.float64), KEY, 1),
    "halves of two sizes": lambda: step(UNEQUAL, KEY, 1),
    "an energy across": lambda: MODEL.energy(SMALL, UNEQUAL),
    "too few latents": lambda: halves(SMALL, tf.zeros([4, 7])),
    "a marginal of one unit": lambda: left_log_marginal(SMALL, tf.zeros([4, 1])),
    "an edge to itself": lambda: BoltzmannMachine(3, ((1, 1),)),
    "an edge beyond the units": lambda: BoltzmannMachine(3, ((1, 3),)),
    "an edge twice": lambda: BoltzmannMachine(3, ((0, 1), (0, 1))),
    "an edge within a class": lambda: BoltzmannMachine(3, ((0, 1),), ((0, 1), (2,))),
    "a unit in no class": lambda: BoltzmannMachine(3, ((0, 1),), ((0,), (1,))),
    "a population of another RBM": lambda: population_step(OTHER),
    "a population of another type": lambda: population_step(REFERENCE64),
    "weights of other members": lambda: population_step(SMALL, population(log_weights=ONE)),
    "families of other members": lambda: population_step(SMALL, population(family=tf.range(3))),
    "rows of other chains": lambda: row_rbms.sweeps(ROWS, tf.zeros([3, 4, 3]), KEY, 1),
    "rows of one": lambda: row_rbms.anneal(SMALL, KEY, 4, 2),
    "a temperature per other chain": lambda: MODEL.sweeps(SMALL, chains(), KEY, 1, tf.ones([3, 1])),
    "a temperature of NaN": lambda: MODEL.sweeps(SMALL, chains(), KEY, 1, float("nan")),
    "a threshold of two": lambda: population_step(SMALL, None, 1, 2.0),
    "a negative threshold": lambda: population_step(SMALL, None, 1, -0.5),
    "no threshold": lambda: population_step(SMALL, None, 1, None),
    "bridges without end": lambda: population_step(SMALL, None, 1, 1.0, 1.0),
    "bridges of NaN": lambda: population_step(SMALL, None, 1, 1.0, float("nan")),
    "a bound without doubt": lambda: diagnostics.markov_lower_bound(tf.zeros([8]), 4, 0.0),
    "the mean of nothing": lambda: diagnostics.log_mean_estimate(tf.zeros([0])),
    "a base fitted to nothing": lambda: fitted_base(tf.zeros([0, 8])),
    "a base of no name": lambda: log_partition.make_base("uniforn", MODEL, chains()),
    "differences of other pairs": lambda: bennett(tf.zeros([3, 4, 2]), tf.zeros([3, 4, 1])),
    "no differences": lambda: bennett(tf.zeros([0, 4, 2]), tf.zeros([0, 4, 2])),
    "whole logits": lambda: counter_random.bernoulli_logits(KEY, tf.zeros([3], tf.int32)),
    "a key of three words": lambda: step(chains(), tf.zeros([3], tf.int32), 1),
    "a key of fractions": lambda: counter_random.fold_in(tf.zeros([2]), 1),
    "a seed for a key": lambda: counter_random.split(7, 2),
    "a seed beyond 64 bits": lambda: counter_random.key(2**64 + 1),
    "half a seed": lambda: counter_random.key(0.5),
    "a negative shape": lambda: counter_random.uniform(KEY, [-3]),
    "numbers of half precision": lambda: counter_random.uniform(KEY, [2], tf.float16),
}


@pytest.mark.parametrize("call", MISFITS.values(), ids=MISFITS)
def test_what_does_not_fit_is_said_in_one_line(call):
    with pytest.raises(ValueError) as raised:
        call()
    text = str(raised.value)
    assert type(raised.value) is ValueError and "\n" not in text and 10 < len(text) < 160
    assert "tf." not in text and "{{" not in text


def test_numpy_numbers_count():
    """int64 made keys of another shape, and AIS ended in TensorFlow's words."""
    keys = counter_random.split(KEY, np.int64(2))
    np.testing.assert_array_equal(keys, counter_random.split(KEY, 2))
    assert pa.init(MODEL, KEY, np.int64(4)).family.dtype == tf.int32


def test_nan_stays_nan():
    """Values are not judged: whoever trains must see that its RBM is lost."""
    lost = SMALL._replace(left_bias=SMALL.left_bias * float("nan"))
    state, _ = population_step(lost)
    assert np.isnan(state.log_partition)
    assert np.isnan(MODEL.energy(lost, chains())[0])


def numbers_of(dtype):
    """Every sampler at parameters of a type: states and values, by name."""
    rbm, start = (MODEL, params_of(REFERENCE, dtype)), pcd.init(MODEL, KEY, 8, dtype).chains
    line, ends = ais.linear_temperatures(3, dtype), fitted_base(MODEL.units(start))
    threshold = tf.constant(0.5)  # as a program is given it, whatever the type of its RBM
    state = pa.init(MODEL, KEY, 8, dtype)
    found = {
        "pcd": pcd.step(*rbm, pcd.PCDState(start), KEY, 2),
        "population": pa.step(*rbm, state, KEY, 1),
        "population by ESS": pa.step(*rbm, state, KEY, 1, threshold),
        "population in bridges": pa.step(*rbm, state, KEY, 1, threshold, 0.6),
        "ais": ais.run(*rbm, ends, KEY, line, 4),
        "reverse": ais.run_reverse(*rbm, ends, start, KEY, line),
        "tempering": tempering.run(*rbm, ends, KEY, line, 2, 2, 1),
        "exact": (exact.log_partition(*rbm), exact.samples(*rbm, KEY, 4)),
        "estimate": log_partition.estimate(*rbm, start, KEY, Settings(4, 3, "fitted")),
    }
    return {name: tf.nest.flatten(values) for name, values in found.items()}


def test_float64_is_as_good_as_float32():
    """The same bits are drawn, so that states agree and values do but for rounding."""
    with eager():
        single, double = numbers_of(tf.float32), numbers_of(tf.float64)
    for name, values in double.items():
        for one, two in zip(single[name], values, strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5, err_msg=name)
        assert any(value.dtype == tf.float64 for value in values)
    assert double["population"][0].dtype == tf.float64
