"""On a GPU, where there is one: kernels give what XLA gives without them. To be run by itself."""

import numpy as np
import pytest
import tensorflow as tf

from dvae.relaxed_priors import mean_field_bound
from samplers import counter_random, hardware
from samplers.gpu_kernels import mean_field as mean_field_kernel
from samplers.gpu_kernels import sweeps as sweeps_kernel
from samplers.rbm import RBM, MarginalPath, RBMParameters

GPU = hardware.found_gpu()
pytestmark = pytest.mark.skipif(GPU is None, reason="no GPU is seen here")


def both(function, *arguments):
    """What a program returns with kernels and without."""
    found = []
    for gpu in (GPU, None):
        with hardware.use("gpu"), hardware.use_kernels(gpu):
            found.append(tf.nest.flatten(hardware.Program(function)(*arguments)))
    return found


def differing(with_kernel, without):
    """Share of units that differ."""
    pairs = zip(with_kernel, without, strict=True)
    return np.mean(np.concatenate([np.ravel(one != other) for one, other in pairs]))


@pytest.mark.parametrize("size", [100, 128, 200, 256])
def test_chains(size):
    """One sweep but for roundings on a threshold (one draw in 10^7); their effect in forty."""
    with hardware.use("gpu"), hardware.use_kernels(GPU):
        if not sweeps_kernel.holds(size, 1000, 2):
            pytest.skip("this GPU cannot hold it")
    model, keys = RBM(size, size), counter_random.split(counter_random.key(3), 3)
    bias = 0.5 * counter_random.normal(keys[0], [2 * size])
    coupling = counter_random.normal(keys[1], [size, size]) / np.sqrt(size)
    params = RBMParameters(bias[:size], bias[size:], coupling)
    start = model.start(1000, keys[2])
    for num_sweeps, bound in ((1, 1e-4), (40, 1e-2)):
        swept = both(lambda *a, n=num_sweeps: model.sweeps(*a, n), params, start, keys[0])
        assert differing(*swept) < bound
    path = MarginalPath(params, 0.1 * bias)
    for t in (tf.constant(0.7), tf.linspace(0.0, 1.0, 1000)[:, None]):
        swept = both(lambda *a: path.sweep(*a), start.left, keys[1], t)
        assert differing(*swept) < 1e-4


@pytest.mark.parametrize("size", [100, 128, 200, 256])
def test_mean_field(size):
    """To rounding: sums are taken in another order."""
    with hardware.use("gpu"), hardware.use_kernels(GPU):
        if mean_field_kernel._form(size) is None:
            pytest.skip("this GPU cannot hold it")
    keys = counter_random.split(counter_random.key(5), 3)
    coupling = counter_random.normal(keys[0], [size, size]) / np.sqrt(size)
    fields = [5.0 * counter_random.normal(key, [100, size]) for key in keys[1:]]
    found = both(mean_field_bound, coupling, *fields, tf.zeros([100]))
    for with_kernel, without in zip(*found, strict=True):
        np.testing.assert_allclose(with_kernel, without, rtol=1e-5)
