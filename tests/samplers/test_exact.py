"""Enumerated log Z, moments and samples against sums over all states in NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from samplers import counter_random, exact
from samplers.rbm import RBM, RBMParameters
from tests.helpers import statistical
from tests.helpers.compiled_samplers import both_of, exact_features, features
from tests.reference.rbm import ReferenceRBM, random_rbm

SHAPES = [(3, 5), (7, 5)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scale", [1.0, -32.0])
def test_log_partition(shape, scale):
    """To 1e-10 in nats, also where exp of an energy overflows (energies up to 580)."""
    reference = random_rbm(*shape, seed=11).scaled(scale)
    value = exact.log_partition(*both_of(reference))
    assert value.dtype == tf.float64
    assert np.isclose(value, reference.log_partition(), rtol=0, atol=1e-10)


@pytest.mark.parametrize("shape", SHAPES)
def test_moments(shape):
    reference = random_rbm(*shape, seed=13)
    moments = exact.moments(*both_of(reference))
    for value, expected in zip(moments, reference.log_partition_gradient(), strict=True):
        np.testing.assert_allclose(value, expected, rtol=0, atol=1e-10)


def block_diagonal(blocks: list[ReferenceRBM]) -> ReferenceRBM:
    """Independent RBMs as one: log Z adds up. Left units in reverse, so that blocks interleave."""
    shape = tuple(np.sum([block.coupling.shape for block in blocks], axis=0))
    coupling, at = np.zeros(shape), np.array([0, 0])
    for block in blocks:
        end = at + block.coupling.shape
        coupling[at[0] : end[0], at[1] : end[1]] = block.coupling
        at = end
    left = np.concatenate([block.left_bias for block in blocks])
    right = np.concatenate([block.right_bias for block in blocks])
    return ReferenceRBM(left[::-1], right, coupling[::-1])


def test_many_chunks():
    """15 x 17 units need two chunks of states; the reference adds up three small RBMs."""
    blocks = [random_rbm(*shape, seed=7) for shape in ((3, 5), (5, 5), (7, 7))]
    rbm = both_of(block_diagonal(blocks))
    expected = sum(block.log_partition() for block in blocks)
    assert np.isclose(exact.log_partition(*rbm), expected, rtol=0, atol=1e-10)
    moments = exact.moments(*rbm)
    right = np.concatenate([block.log_partition_gradient()[1] for block in blocks])
    np.testing.assert_allclose(moments.right_bias, right, rtol=0, atol=1e-10)
    np.testing.assert_allclose(
        moments.coupling[::-1][3:8, 5:10], blocks[1].left_right_moment(), rtol=0, atol=1e-10
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_samples(shape, seed=1):
    """Moments of 20,000 samples against enumeration.

    Standard error at most 0.0035: an error of 0.018 in any mean or product is noticed.
    """
    reference = random_rbm(*shape, seed=3 if shape == (7, 5) else 1)
    chains = exact.samples(*both_of(reference), counter_random.key(seed), 20_000)
    assert chains.left.shape == (20_000, shape[0]) and chains.left.dtype == tf.float32
    statistical.assert_mean(features(chains), exact_features(reference))


def test_too_large():
    rbm = RBMParameters(tf.zeros([21]), tf.zeros([23]), tf.zeros([21, 23]))
    assert not exact.is_enumerable(RBM(21, 23))
    for function in (exact.log_partition, exact.moments):
        with pytest.raises(ValueError, match="too many"):
            function(RBM(21, 23), rbm)
