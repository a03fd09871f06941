"""Methods with a prior of any graph: as those of RBMs, trained, or refused.

Their KL terms and relaxed priors are held against sums in test_kl.py and test_relaxed_priors.py.
"""

import numpy as np
import pytest
import tensorflow as tf

from configs.errors import UserError
from configs.registry import BASELINES, Structure, resolve
from dvae import graph_log_ratio, log_ratio
from dvae import smoothing as ours
from dvae.posteriors import PosteriorParams, Sample
from dvae.priors import Prior
from samplers.rbm import RBM, RBMParameters
from tests.helpers.added_parts import IndependentBits
from tests.helpers.tiny_training import config_of, eager, make_program


@pytest.mark.parametrize("kind", ["smoothed", "spike"])
def test_of_an_rbm_they_are_its_own(kind):
    """Four groups of two: values of DVAE++ and all gradients, of 5 rows with certain units too."""
    rng, smoothing = np.random.default_rng(3), ours.Exponential(6.0)
    start = [tf.constant(rng.normal(size=s), tf.float32) for s in ([5, 8], [4], [4], [4, 4])]
    start[0] += tf.constant([[8.0] + [0.0] * 7, *[[0.0] * 8] * 4])  # beyond the clip of q
    relaxed = tf.constant(rng.random((5, 8)) * (rng.random((5, 8)) < 0.6), tf.float32)
    pair = {
        "smoothed": (log_ratio.Smoothed(smoothing), graph_log_ratio.SmoothedGroups(smoothing, 2)),
        "spike": (log_ratio.SpikeGradient(2), graph_log_ratio.SpikeGroups(2)),
    }[kind]
    results = []
    for term in pair:
        with tf.GradientTape() as tape:
            tape.watch([*start, relaxed])
            sample = Sample(relaxed, PosteriorParams(start[0]))
            value = term(Prior(RBM(4, 4)), RBMParameters(*start[1:]), sample)
        zero = tf.UnconnectedGradients.ZERO
        found = tape.gradient(value, [*start, relaxed], unconnected_gradients=zero)
        results.append((value, *found) if kind == "smoothed" else found)
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5)


@pytest.mark.parametrize("baseline", ["dvae_spike_exp", "dvaepp_exp", "dvaes_power", "dvaes_gi"])
def test_graphs_are_trained(baseline):
    """Two steps, eagerly: parameters move and stay finite, in one loop over nine classes."""
    structure = Structure(3, 3, 1, 5, prior="complete")
    with eager():
        program = make_program(config_of(baseline=baseline, structure=structure, num_chains=4))
        before = program.parameters()
        program.run(np.array([[1, 5, 8], [2, 0, 9]]), 2)
    after = program.parameters()
    assert program.state.skipped == 0 and after.coupling.shape == (36,)
    assert all(
        np.all(np.isfinite(a)) and np.any(a != b) for a, b in zip(after, before, strict=True)
    )


def test_what_is_no_graph_is_refused():
    """In one line: a relaxed prior is made of couplings of pairs."""
    for baseline in ("dvaes_power", "dvaes_gi"):
        entry = BASELINES[baseline]
        with pytest.raises(UserError, match="made for a Boltzmann machine") as raised:
            resolve(entry.method)(Structure(2, 4, 1, 20), 5.0, IndependentBits(8), **entry.options)
        assert "\n" not in str(raised.value)
