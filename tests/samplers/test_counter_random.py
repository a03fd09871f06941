"""Random numbers: published vectors, the reference, and statistics of what is made of words.

The words are Threefry's, whose independence is published: along a tensor, streams and keys. A
statistical test holds its figures to 5 standard errors, or a chi-square to the same probability.
"""

import math

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from samplers import counter_random
from tests.helpers.statistical import SIGMAS
from tests.reference import counter_random as reference

TINY_PROBABILITY = 2 * scipy.stats.norm.sf(SIGMAS)  # 5.7e-7
MANY = 1_000_000


def uint32(values):
    return tf.constant(values, tf.uint32)


ONES = (0xFFFFFFFF, 0xFFFFFFFF)
PI_COUNTER, PI_KEY = (0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344)
PUBLISHED = [  # kat_vectors of Random123
    (13, (0, 0), (0, 0), (0x9D1C5EC6, 0x8BD50731)),
    (13, ONES, ONES, (0xFD36D048, 0x2D17272C)),
    (13, PI_COUNTER, PI_KEY, (0xBA3E4725, 0xF27D669E)),
    (20, (0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    (20, ONES, ONES, (0x1CB996FC, 0xBB002BE7)),
    (20, PI_COUNTER, PI_KEY, (0xC4923A9C, 0x483DF7A0)),
]


@pytest.mark.parametrize("rounds, counter, key, expected", PUBLISHED)
def test_published_vectors(rounds, counter, key, expected):
    assert tuple(reference.threefry(key, *counter, rounds)) == expected
    words = counter_random.threefry_2x32(uint32(key), *map(uint32, counter), rounds)
    assert tuple(int(word) for word in words) == expected


def test_fold_in_and_split_use_streams_of_their_own():
    key = counter_random.key(5)
    folded = tf.bitcast(counter_random.fold_in(key, -7), tf.uint32).numpy()
    np.testing.assert_array_equal(folded, reference.fold_in((5, 0), 2**32 - 7))
    keys = tf.bitcast(counter_random.split(key, 3), tf.uint32).numpy()
    np.testing.assert_array_equal(keys, reference.split((5, 0), 3))
    many = counter_random.split(key, 100_000).numpy()
    assert len(np.unique(many, axis=0)) == 100_000
    assert not np.any(np.all(counter_random.key(-1).numpy() == counter_random.key(0).numpy()))


def everything(key, step, logits):
    folded = counter_random.fold_in(key, step)
    keys = counter_random.split(folded, 4)
    uniform = counter_random.uniform(keys[1], [3])
    double = counter_random.uniform(keys[1], [3], tf.float64, stream=step)
    drawn = counter_random.bernoulli_logits(keys[2], logits, stream=step)
    return folded, keys, counter_random.bits(keys[0], [5, 7]), uniform, double, drawn


def test_eager_graph_and_compiled_agree_bit_for_bit():
    key, step = counter_random.key(3), tf.constant(11)
    logits = 4 * counter_random.normal(key, [9, 13])
    eager = everything(key, step, logits)
    for jit_compile in (False, True):
        program = tf.function(everything, jit_compile=jit_compile, autograph=False)
        for left, right in zip(eager, program(key, step, logits), strict=True):
            np.testing.assert_array_equal(left, right)


def test_ends_of_the_unit_interval():
    """The smallest and the largest words give numbers strictly inside (0, 1)."""
    ends = uint32([0, 0xFFFFFFFF])
    unit = counter_random._unit_interval(ends).numpy()
    assert 0 < unit[0] < 2**-24 and 1 - 2**-22 < unit[1] < 1
    for draw in counter_random._four_draws(ends, ends):
        assert draw.numpy().tolist() == [1, 2**25 - 1]


def test_bits_of_a_block_shared_out():
    """13 bits belong to each of four numbers alone (ranks 12 to 24), 11 to all (1 to 11)."""
    words = np.zeros((64, 2), np.uint32)
    words[np.arange(64), np.arange(64) // 32] = 1 << (np.arange(64) % 32)
    draws = counter_random._four_draws(uint32(words[:, 0]), uint32(words[:, 1]))
    flipped = np.stack([draw.numpy() ^ 1 for draw in draws], axis=1)  # [64, 4]
    touched = np.sum(flipped != 0, axis=1)
    assert np.bincount(touched, minlength=5).tolist() == [1, 52, 0, 0, 11]
    for draw in range(4):
        own = flipped[(touched == 1) & (flipped[:, draw] != 0), draw]
        assert sorted(own.tolist()) == [1 << bit for bit in range(12, 25)]
    shared = flipped[touched == 4]
    assert np.all(shared == shared[:, :1])
    assert sorted(shared[:, 0].tolist()) == [1 << bit for bit in range(1, 12)]


def test_power_of_two():
    """Relative error below 3e-7 on the whole range, and clipped beyond it."""
    x = np.linspace(-126, 126, 100_001).astype(np.float32)
    exact = 2.0 ** x.astype(np.float64)
    compiled = tf.function(counter_random._exp2, jit_compile=True, autograph=False)
    for function in (counter_random._exp2, compiled):
        value = function(tf.constant(x)).numpy().astype(np.float64)
        assert np.max(np.abs(value / exact - 1)) < 3e-7
        clipped = function(tf.constant([-1e4, -np.inf, 1e4, np.inf], tf.float32)).numpy()
        assert clipped[0] == clipped[1] < 2.0**-125 and clipped[2] == clipped[3] > 2.0**125


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_extreme_logits_are_certain(dtype):
    """|logit| up to 1e4 and infinity: no NaN, and not one wrong draw among 100,000 each."""
    logits = tf.constant([30.0, 90.0, 1e4, np.inf], dtype)
    logits = tf.concat([logits, -logits], axis=0) * tf.ones([100_000, 1], dtype)
    draws = counter_random.bernoulli_logits(counter_random.key(1), logits)
    assert draws.dtype == dtype
    assert np.all(draws[:, :4] == 1) and np.all(draws[:, 4:] == 0)


SHAPES = [[], [1], [3], [2, 3, 5], [11, 13], [0, 4], [1001, 101]]


@pytest.mark.parametrize(
    "seed, stream, shape", [*((2, 3, shape) for shape in SHAPES), (0xFEDCBA9876543210, -5, [7, 3])]
)
def test_numbers_are_those_of_the_reference(seed, stream, shape):
    """Words; uniform, normal and binary ones of any shape, under a key and a stream."""
    key = counter_random.fold_in(counter_random.key(seed), 7)
    plain, uniform = reference.fold_in(reference.key_of(seed), 7), counter_random.uniform
    words, stream = counter_random.bits(key, shape, stream), stream % 2**32
    np.testing.assert_array_equal(words, reference.bits(plain, shape, stream))
    expected = reference.uniform(plain, shape, stream)
    np.testing.assert_array_equal(uniform(key, shape, stream=stream), expected)
    upper, lower = reference.threefry(plain, np.arange(words.numpy().size), stream)
    double = (upper + ((lower >> np.uint64(12)) + 0.5) * 2.0**-20) * 2.0**-32
    found = uniform(key, shape, tf.float64, stream)
    np.testing.assert_array_equal(found, double.reshape(shape))
    normal = counter_random.normal(key, shape)
    np.testing.assert_allclose(normal, reference.normal(plain, shape), atol=2e-5)
    bits = counter_random.bernoulli_logits(key, tf.fill(shape, 0.3), stream)
    np.testing.assert_array_equal(bits, reference.bernoulli(plain, np.full(shape, 0.3), stream))


def assert_chi_square(counts, expected):
    """Neither too far from the expected counts nor too close to them."""
    statistic = np.sum((counts - expected) ** 2 / expected)
    tails = scipy.stats.chi2.cdf(statistic, counts.size - 1)
    assert TINY_PROBABILITY / 2 < tails < 1 - TINY_PROBABILITY / 2, statistic


def test_bernoulli_frequencies(seed=1):
    """Logits from -20 to 20: the number of ones among 100,000 has the binomial distribution."""
    count = 100_000
    logits = np.linspace(-20, 20, 41).astype(np.float32)
    field = tf.constant(np.tile(logits, (count, 1)))
    ones = counter_random.bernoulli_logits(counter_random.key(seed), field).numpy().sum(axis=0)
    probability = scipy.special.expit(logits.astype(np.float64))
    at_most = scipy.stats.binom.cdf(ones, count, probability)
    at_least = scipy.stats.binom.sf(ones - 1, count, probability)
    assert np.min(at_most) > TINY_PROBABILITY / 2 and np.min(at_least) > TINY_PROBABILITY / 2


def test_draws_of_a_block_are_independent(seed=1):
    """The 16 patterns of the four units of one block, at four different probabilities."""
    logits = np.array([-1.5, 0.0, 0.7, 2.0])
    field = tf.constant(np.repeat(logits, MANY // 4), tf.float32)  # quarter q is unit q of a block
    draws = counter_random.bernoulli_logits(counter_random.key(seed), field).numpy()
    cells = np.ones(1)
    for p in scipy.special.expit(logits):
        cells = np.concatenate([cells * (1 - p), cells * p])
    counts = np.bincount((1 << np.arange(4)) @ draws.reshape(4, -1).astype(int), minlength=16)
    assert_chi_square(counts, cells * MANY / 4)


def test_draws_along_units_chains_and_sweeps(seed=1):
    """Products of draws at all lags up to 7 along both axes and along streams, 300 x 300 x 8."""
    key = counter_random.key(seed)
    streams = [counter_random.bernoulli_logits(key, tf.zeros([300, 300]), s) for s in range(8)]
    signs = 2.0 * np.stack(streams) - 1.0
    for axis in range(3):
        for lag in range(1, 8):
            ahead = np.take(signs, np.arange(lag, signs.shape[axis]), axis)
            behind = np.take(signs, np.arange(signs.shape[axis] - lag), axis)
            assert abs(np.mean(ahead * behind)) < SIGMAS / math.sqrt(ahead.size)
