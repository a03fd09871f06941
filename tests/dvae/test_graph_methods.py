"""DVAE, DVAE++ and DVAE# with a prior of any graph, against enumeration and quadrature."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from configs.errors import UserError
from configs.registry import BASELINES, Structure, resolve
from dvae import graph_log_ratio, graph_relaxed_priors, log_ratio, posteriors
from dvae import smoothing as ours
from dvae.posteriors import PosteriorParams, Sample
from dvae.priors import Prior
from samplers import counter_random
from samplers.boltzmann import BoltzmannMachine, BoltzmannParameters
from samplers.rbm import RBM, RBMParameters
from tests.dvae.test_kl import NUM_BLOCKS, encode, flat
from tests.helpers import statistical
from tests.helpers.added_parts import IndependentBits
from tests.helpers.tiny_training import config_of, eager, make_program
from tests.reference import smoothing as reference
from tests.reference.graph import (
    ReferenceGraph,
    complete,
    gaussian_integral,
    log_sum,
    mean_field_bound,
    mean_field_means,
    random_graph,
)
from tests.reference.kl import joint_kl, table_posterior
from tests.reference.rbm import numerical_gradient
from tests.samplers.test_boltzmann import kernel  # noqa: F401

# Complete graphs in groups of one unit and of two.
THREE_GROUPS = (
    [np.array([c]) for c in (0.7, -0.9, -0.4)],
    [np.array(a)[:, None] for a in ([1.2], [-0.8, 1.5])],
)
TWO_GROUPS = ([np.array([0.7, -1.1]), np.array([-0.4, 0.9])], [np.array([[1.2, -0.8], [0.5, 1.4]])])
TABLES = {"1+1+1": THREE_GROUPS, "2+2": TWO_GROUPS}


def as_tensors(graph, dtype=tf.float32):
    return BoltzmannParameters(*(tf.constant(part, dtype) for part in graph.parameters))


def block_means(term, posterior, tables, graph, model, seed):
    """As that of tests/dvae/test_kl.py, log Z's exact share added to the gradient."""
    constants, weights = tables
    start = tuple(tf.constant(a, tf.float32) for a in (*constants, *weights, *graph.parameters))
    prior = Prior(model)

    @tf.function(autograph=False)
    def block(key):
        with tf.GradientTape() as tape:
            tape.watch(start)
            tensors = start[: len(constants)], start[len(constants) : -2]
            sample = encode(posterior, *tensors, key)
            value = tf.reduce_mean(term(prior, BoltzmannParameters(*start[-2:]), sample))
        found = tape.gradient(value, start)
        return value, tf.concat([tf.reshape(g, [-1]) for g in found], axis=0)

    keys = counter_random.split(statistical.key(seed), NUM_BLOCKS)
    values, found = zip(*(block(keys[index]) for index in range(NUM_BLOCKS)), strict=True)
    found = np.float64(found)
    found[:, -len(graph.moments()) :] += graph.moments()
    return np.float64(values) + graph.log_partition(), found


@pytest.mark.parametrize("name", TABLES)
class TestSeveralGroups:
    """On complete graphs: standard errors below 0.004 nats and 0.006."""

    def check(self, term, posterior, exact, name, seed, with_value):
        tables = TABLES[name]
        count = sum(map(len, tables[0]))
        graph, model = (
            random_graph(count, 6, graph=complete),
            BoltzmannMachine(count, complete(count)),
        )
        values, found = block_means(term, posterior, tables, graph, model, seed)

        def kl(arrays):
            groups = len(tables[0])
            table = table_posterior(arrays[:groups], arrays[groups:-2])
            return joint_kl(ReferenceGraph(arrays[-2], graph.edges, arrays[-1]), table, exact, 40)

        arrays = [*tables[0], *tables[1], *graph.parameters]
        if with_value:
            statistical.assert_mean(values, kl(arrays), largest_error=0.004, rounding=1e-4)
        expected = flat(numerical_gradient(kl, arrays, 1e-3))
        statistical.assert_mean(found, expected, largest_error=0.006, rounding=1e-4)

    def test_smoothed(self, name):
        """DVAE++: value and gradient of KL(q(z,ζ|x) || p(z) r(ζ|z))."""
        smoothing, size = ours.Exponential(6.0), len(TABLES[name][0][0])
        term = graph_log_ratio.SmoothedGroups(smoothing, size)
        posterior = posteriors.MixturePosterior(smoothing)
        self.check(term, posterior, reference.Exponential(6.0), name, 1, with_value=True)

    def test_spike(self, name):
        """DVAE: its gradient alone."""
        term = graph_log_ratio.SpikeGroups(len(TABLES[name][0][0]))
        posterior = posteriors.SpikeExponentialPosterior(4.0)
        self.check(term, posterior, reference.SpikeExponential(4.0), name, 2, with_value=False)


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


GRAPHS = {"strip": random_graph(8, 5, 2.0), "complete": random_graph(6, 7, 2.0, complete)}


@pytest.fixture(params=GRAPHS)
def graph(request):
    return GRAPHS[request.param]


def model_of(graph):
    return BoltzmannMachine(len(graph.bias), graph.edges)


@pytest.mark.usefixtures("kernel")
class TestMeanFieldOfGraphs:
    """Exponential smoothing; float32 of up to 20 nats."""

    smoothing, exact = ours.Exponential(6.0), reference.Exponential(6.0)

    def setting(self, graph):
        zeta = np.float32(np.random.default_rng(4).random((11, len(graph.bias))))
        prior = graph_relaxed_priors.GraphMeanFieldPrior(self.smoothing, model_of(graph))
        return zeta, prior, self.exact.log_odds(np.float64(zeta))

    def test_value_and_bound(self, graph):
        """Five iterations over the classes in turn, below log p(ζ) by a gap that shows."""
        zeta, prior, fields = self.setting(graph)
        found = prior.unnormalized_log_density(as_tensors(graph), tf.constant(zeta)).numpy()
        base = np.sum(self.smoothing.log_density_at_0(tf.constant(np.float64(zeta))), axis=1)
        means = mean_field_means(graph, model_of(graph).classes, fields)
        expected = base + mean_field_bound(graph, fields, means)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-4)
        gap = base + log_sum(graph, fields) - found
        assert np.all(gap > -2e-4) and gap.max() > 1e-3
        four = mean_field_means(graph, model_of(graph).classes, fields, 4)
        assert np.abs(mean_field_bound(graph, fields, four) + base - expected).max() > 1e-2

    def test_gradient_with_means_held(self, graph):
        zeta, prior, fields = self.setting(graph)
        means = mean_field_means(graph, model_of(graph).classes, fields)

        def bound(arrays):
            made = ReferenceGraph(arrays[0], graph.edges, arrays[1])
            base = np.sum(self.smoothing.log_density_at_0(tf.constant(arrays[2])))
            return base + np.sum(mean_field_bound(made, self.exact.log_odds(arrays[2]), means))

        arrays = [*graph.parameters, np.float64(zeta)]
        tensors = [tf.constant(array, tf.float32) for array in arrays]
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            value = prior.unnormalized_log_density(BoltzmannParameters(*tensors[:2]), tensors[2])
            value = tf.reduce_sum(value)
        for one, other in zip(
            tape.gradient(value, tensors), numerical_gradient(bound, arrays, 1e-4), strict=True
        ):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-3)

    def test_residual(self, graph):
        """The largest change of a mean that one more update of all would make."""
        _, prior, fields = self.setting(graph)
        means = mean_field_means(graph, model_of(graph).classes, fields)
        once = 1.0 / (1.0 + np.exp(-(means @ graph.matrix() + graph.bias + fields)))
        shown = prior.scalars(as_tensors(graph), {"b_zeta": np.float32(fields)})
        expected = np.abs(once - means).max()
        assert shown["mean_field_residual"] == pytest.approx(expected, abs=1e-5)
        assert expected > 1e-4 and "b_zeta_num" in shown


class TestGaussianIntegralOfGraphs:
    def prior(self, graph, sharpness=5.0):
        prior = graph_relaxed_priors.GraphGaussianIntegralPrior(sharpness, model_of(graph))
        matrix = tf.constant(graph.matrix(), tf.float32)
        return prior, float(prior.precision(*graph_relaxed_priors.shifted_powers(matrix)))

    @pytest.mark.parametrize("sharpness", [5.0, 30.0])
    @pytest.mark.parametrize("scale", [0.0, 1.0, 5.0])
    def test_value(self, graph, sharpness, scale):
        """The sum over all states; λ = max(-λ_min(J) + 5, β) but for 0.3 % of the spectrum."""
        graph = dataclasses.replace(graph, coupling=scale * graph.coupling)
        prior, strength = self.prior(graph, sharpness)
        zeta = np.float32(np.random.default_rng(5).normal(0.5, 0.7, (11, len(graph.bias))))
        found = prior.unnormalized_log_density(as_tensors(graph), tf.constant(zeta))
        expected = gaussian_integral(graph, np.float64(zeta), strength)
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-3)
        least, *_, most = np.linalg.eigvalsh(graph.matrix())
        assert strength > max(5.0 - least, sharpness) - 1e-4
        assert strength < max(5.0 - least + 0.003 * (most - least), sharpness) + 1e-4
        shown = prior.scalars(as_tensors(graph), {})
        assert shown["eigen/min_eigen_val"] == pytest.approx(strength + least, rel=1e-4)

    def test_the_spectrum_is_not_symmetric(self):
        """Equal couplings J > 0 of all pairs: -λ_min is J, where the spectral norm is (D - 1) J."""
        edges = complete(40)
        _, strength = self.prior(ReferenceGraph(np.zeros(40), edges, np.full(len(edges), 2.0)))
        assert strength == pytest.approx(7.0, abs=0.3)

    def test_gradient(self, graph):
        """Finite differences with λ held."""
        prior, strength = self.prior(graph)
        zeta = np.random.default_rng(5).normal(0.5, 0.7, (7, len(graph.bias)))

        def value(arrays):
            made = ReferenceGraph(arrays[0], graph.edges, arrays[1])
            return float(np.sum(gaussian_integral(made, arrays[2], strength)))

        arrays = [*graph.parameters, zeta]
        tensors = [tf.constant(array, tf.float32) for array in arrays]
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            found = prior.unnormalized_log_density(BoltzmannParameters(*tensors[:2]), tensors[2])
            found = tf.reduce_sum(found)
        for one, other in zip(
            tape.gradient(found, tensors), numerical_gradient(value, arrays), strict=True
        ):
            np.testing.assert_allclose(one, other, rtol=5e-4, atol=5e-3)


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
