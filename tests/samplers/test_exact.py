"""Enumerated log Z and moments of RBMs against sums over all states in NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from samplers import exact
from samplers.rbm import RBM, RBMParameters
from tests.helpers.compiled_samplers import both_of
from tests.reference.rbm import ReferenceRBM, random_rbm


@pytest.mark.parametrize("shape", [(3, 5), (7, 5)])
@pytest.mark.parametrize("scale", [1.0, -32.0])
def test_log_partition(shape, scale):
    """To 1e-10 in nats, also where exp of an energy overflows (energies up to 580)."""
    reference = random_rbm(*shape, seed=11).scaled(scale)
    value = exact.log_partition(*both_of(reference))
    assert value.dtype == tf.float64
    assert np.isclose(value, reference.log_partition(), rtol=0, atol=1e-10)
    moments = np.concatenate([np.ravel(part) for part in exact.moments(*both_of(reference))])
    np.testing.assert_allclose(moments, reference.moments(), rtol=0, atol=1e-10)


def test_many_chunks():
    """15 x 17 units need two chunks of states; the reference adds up three small RBMs.

    Independent RBMs as one: log Z adds up. Left units in reverse, so that blocks interleave.
    """
    blocks = [random_rbm(*shape, seed=7) for shape in ((3, 5), (5, 5), (7, 7))]
    coupling, at = np.zeros((15, 17)), [0, 0]
    for block in blocks:
        end = np.add(at, block.coupling.shape)
        coupling[at[0] : end[0], at[1] : end[1]], at = block.coupling, end
    left = np.concatenate([block.left_bias for block in blocks])
    right = np.concatenate([block.right_bias for block in blocks])
    rbm = both_of(ReferenceRBM(left[::-1], right, coupling[::-1]))
    expected = sum(block.log_partition() for block in blocks)
    assert np.isclose(exact.log_partition(*rbm), expected, rtol=0, atol=1e-10)
    moments = exact.moments(*rbm)
    right = np.concatenate([block.means()[block.num_left :] for block in blocks])
    np.testing.assert_allclose(moments.right_bias, right, rtol=0, atol=1e-10)
    found, products = np.ravel(moments.coupling[::-1][3:8, 5:10]), blocks[1].moments()[10:]
    np.testing.assert_allclose(found, products, rtol=0, atol=1e-10)


def test_too_large():
    rbm = RBMParameters(tf.zeros([21]), tf.zeros([23]), tf.zeros([21, 23]))
    assert not exact.is_enumerable(RBM(21, 23))
    for function in (exact.log_partition, exact.moments):
        with pytest.raises(ValueError, match="too many"):
            function(RBM(21, 23), rbm)
