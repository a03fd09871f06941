"""Relaxed priors of RBMs and of graphs by sums over all states: mean field, Gaussian integral.

Their values and gradients in a training step of an RBM are those of test_reference_step.py.
"""

import math
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from dvae import graph_relaxed_priors, relaxed_priors
from dvae import smoothing as ours
from samplers.rbm import RBM
from tests.helpers.compiled_samplers import KERNELS, both_of, choose, params_of
from tests.reference import prior as reference
from tests.reference import smoothing
from tests.reference.graph import ReferenceGraph, complete, random_graph
from tests.reference.rbm import ReferenceModel, numerical_gradient, random_rbm

PAIRS = {
    "exp": (ours.Exponential(6.0), smoothing.Exponential(6.0)),
    "power": (ours.Power(30.0), smoothing.Power(30.0, 1e-7)),
    "unexp": (ours.UniformExponential(16.0), smoothing.UniformExponential(16.0)),
    "gauss": (ours.Gaussian(10.0), smoothing.Gaussian(10.0)),
}
EXACT_RBM = random_rbm(3, 5, seed=1)
GRAPHS = {"strip": random_graph(8, 5, 2.0), "complete": random_graph(6, 7, 2.0, complete)}


class Case(NamedTuple):
    """A prior, its smoothing, what iterations and their order make of the value, and a kernel."""

    exact: ReferenceModel
    smoothing: str
    seen: float = 0.0
    kernel: str | None = None

    def zeta(self):
        return np.float32(np.random.default_rng(4).random((11, len(self.exact.bias))))

    def made(self):
        """The program's relaxed prior, and its classes in the order of their updates."""
        model, smooth = both_of(self.exact)[0], PAIRS[self.smoothing][0]
        if isinstance(model, RBM):
            return relaxed_priors.MeanFieldPrior(smooth), self.exact.classes
        return graph_relaxed_priors.GraphMeanFieldPrior(smooth, model), model.classes


CASES = {f"rbm-{name}": Case(EXACT_RBM, name) for name in PAIRS}
CASES["rbm-strong"] = Case(random_rbm(3, 5, seed=4, coupling_scale=4.0), "gauss", 5e-3)
CASES |= {
    f"{name}-{kernel}": Case(graph, "exp", 1e-2, kernel)
    for name, graph in GRAPHS.items()
    for kernel in KERNELS
}


class TestMeanField:
    @pytest.fixture(params=CASES)
    def case(self, request, monkeypatch):
        case = CASES[request.param]
        if case.kernel:
            choose(case.kernel, monkeypatch)
        return case

    def test_value_and_bound(self, case):
        """Five iterations over the classes in turn, below log p(ζ) by a gap that shows."""
        zeta, (prior, classes), exact = case.zeta(), case.made(), PAIRS[case.smoothing][1]
        args = exact, np.float64(zeta), np.float64(np.float32(1) - zeta)
        log_z = case.exact.log_partition()
        found = prior.unnormalized_log_density(params_of(case.exact), tf.constant(zeta)).numpy()

        def bound(order, iterations):
            fields = exact.log_odds(*args[1:])
            means = reference.mean_field_means(case.exact, order, fields, iterations)
            smooth, zeta, complement = args
            return log_z + reference.mean_field_value(case.exact, smooth, zeta, means, complement)

        np.testing.assert_allclose(found, bound(classes, 5), rtol=1e-5, atol=2e-4)
        gap = log_z + reference.overlap_log_prior(case.exact, *args) - found
        assert np.all(gap > -2e-4) and gap.max() > 1e-3
        for other in (bound(classes, 4), bound(classes[::-1], 5)):
            assert np.abs(other - found).max() > case.seen

    def test_exact_without_coupling(self, case):
        """Equal to log p(ζ)."""
        *biases, coupling = case.exact.parameters
        free = case.exact.replaced([*biases, 0.0 * coupling])
        zeta, (prior, _), (_, exact) = case.zeta(), case.made(), PAIRS[case.smoothing]
        args = exact, np.float64(zeta), np.float64(np.float32(1) - zeta)
        found = prior.unnormalized_log_density(params_of(free), tf.constant(zeta))
        expected = free.log_partition() + reference.overlap_log_prior(free, *args)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-4)

    def test_gradient_with_means_held(self, case):
        zeta, (prior, classes), exact = case.zeta(), case.made(), PAIRS[case.smoothing][1]
        fields = exact.log_odds(np.float64(zeta))
        means = reference.mean_field_means(case.exact, classes, fields)

        def bound(model, zeta):
            values = reference.mean_field_value(model, exact, zeta, means)
            return np.sum(values + model.log_partition())

        assert_gradient(prior, case.exact, zeta, bound, rtol=1e-4, atol=1e-3)

    @pytest.mark.parametrize("case", [n for n, case in CASES.items() if case.kernel], indirect=True)
    def test_residual(self, case):
        """The largest change of a mean that one more update of all would make."""
        (prior, classes), exact = case.made(), PAIRS[case.smoothing][1]
        fields = exact.log_odds(np.float64(case.zeta()))
        means = reference.mean_field_means(case.exact, classes, fields)
        once = 1 / (1 + np.exp(-(means @ case.exact.matrix() + case.exact.bias + fields)))
        shown = prior.scalars(params_of(case.exact), {"b_zeta": np.float32(fields)})
        expected = np.abs(once - means).max()
        assert shown["mean_field_residual"] == pytest.approx(expected, abs=1e-5)
        assert expected > 1e-4 and "b_zeta_num" in shown


def assert_gradient(prior, exact, zeta, value, **tolerances):
    """Of the sum over rows by parameters and ζ, against differences of value(model, ζ)."""
    arrays = [*exact.parameters, np.float64(zeta)]
    tensors = [tf.constant(array, tf.float32) for array in arrays]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        params = type(params_of(exact))(*tensors[:-1])
        total = tf.reduce_sum(prior.unnormalized_log_density(params, tensors[-1]))
    found = tape.gradient(total, tensors)
    expected = numerical_gradient(lambda a: value(exact.replaced(a[:-1]), a[-1]), arrays, 1e-4)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, **tolerances)


def test_entropy_of_means():
    """Zero at 0 and 1, log 2 at one half, summed over the last axis only."""
    means = tf.constant([[0.0, 1.0, 0.5], [0.5, 0.5, 0.25]])
    quarter = -0.25 * math.log(0.25) - 0.75 * math.log(0.75)
    expected = [math.log(2), 2 * math.log(2) + quarter]
    assert np.allclose(relaxed_priors.entropy_of_means(means), expected, atol=1e-6)


MODELS = {"rbm": random_rbm(3, 5, seed=6), **GRAPHS}


class TestGaussianIntegral:
    """λ = max(5 - λ_min, β) of the matrix of couplings, whose ends of an RBM are ± its norm."""

    @pytest.fixture(params=MODELS)
    def name(self, request):
        return request.param

    def made(self, exact, sharpness=5.0):
        """The prior, and what is shown of its matrix."""
        model, params = both_of(exact)
        prior = relaxed_priors.GaussianIntegralPrior(sharpness)
        if not isinstance(model, RBM):
            prior = graph_relaxed_priors.GraphGaussianIntegralPrior(sharpness, model)
        return prior, prior.scalars(params, {})

    def zeta(self, exact):
        values = np.random.default_rng(5).normal(0.5, 0.7, (11, len(exact.bias)))
        return np.float32(values)

    @pytest.mark.parametrize("sharpness", [5.0, 30.0])
    @pytest.mark.parametrize("scale", [0.0, 0.2, 1.0, 5.0])
    def test_value(self, name, scale, sharpness):
        """The sum over all states; λ is too large by 1 % of the spectrum, of a graph by 0.3 %."""
        *biases, coupling = MODELS[name].parameters
        exact = MODELS[name].replaced([*biases, scale * coupling])
        (prior, shown), zeta = self.made(exact, sharpness), self.zeta(exact)
        strength = shown["eigen/lambda"]
        found = prior.unnormalized_log_density(params_of(exact), tf.constant(zeta))
        expected = reference.gaussian_integral_log_prior(exact, np.float64(zeta), strength)
        expected += exact.log_partition()
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=5e-4)
        least, *_, most = np.linalg.eigvalsh(exact.matrix())
        margin = (0.01 if name == "rbm" else 0.003) * (most - least)
        assert strength * (1 + 1e-6) > max(5.0 - least, sharpness) - 1e-6
        assert strength * (1 - 1e-6) < max(5.0 - least + margin, sharpness) + 1e-6
        assert shown["eigen/min_eigen_val"] == pytest.approx(strength + least, rel=1e-4)
        assert strength + least > 4.999

    def test_gradient(self, name):
        """Finite differences with λ held."""
        exact = MODELS[name]
        prior, shown = self.made(exact)

        def value(model, zeta):
            strength = shown["eigen/lambda"]
            values = reference.gaussian_integral_log_prior(model, zeta, strength)
            return np.sum(values + model.log_partition())

        assert_gradient(prior, exact, self.zeta(exact), value, rtol=2e-4, atol=2e-3)

    def test_the_spectrum_is_not_symmetric(self):
        """Equal couplings J > 0 of all pairs: -λ_min is J, where the spectral norm is (D - 1) J."""
        edges = complete(40)
        _, shown = self.made(ReferenceGraph(np.zeros(40), edges, np.full(len(edges), 2.0)))
        assert shown["eigen/lambda"] == pytest.approx(7.0, abs=0.3)


def gram_powers(matrix):
    return relaxed_priors.gram_powers(tf.constant(matrix, tf.float32))


def coupling_of_norm(shape, norm, rank=None):
    """A dense matrix with the given largest singular value."""
    matrix = np.random.default_rng(7).standard_normal(shape)
    if rank == 1:
        matrix = np.outer(matrix[:, 0], matrix[0])
    elif rank == "equal":
        matrix = np.linalg.qr(matrix)[0]
    return np.float32(matrix * norm / np.linalg.norm(matrix, 2))


class TestSpectrum:
    @pytest.mark.parametrize("norm", [1e-6, 0.3, 17.0, 300.0])
    @pytest.mark.parametrize("rank", [1, None, "equal"])
    def test_largest_singular_value(self, norm, rank):
        """Between σ_max and n^(1/2^8) σ_max; "equal" singular values are the worst case."""
        for shape in ((3, 5), (53, 53)):
            powers = gram_powers(coupling_of_norm(shape, norm, rank))
            ratio = float(relaxed_priors.largest_singular_value(powers)) / norm
            assert 1 - 1e-5 < ratio < min(shape) ** (1 / 256) + 1e-5
        zero = relaxed_priors.largest_singular_value(gram_powers(np.zeros([3, 5])))
        assert 0 <= float(zero) < 1e-20

    @pytest.mark.parametrize("norm", [0.0, 0.3, 17.0, 300.0])
    @pytest.mark.parametrize("shape", [(3, 5), (5, 3), (53, 53)])
    def test_log_det(self, norm, shape):
        """Value and gradient from singular values s: Σ log(1 - s²/λ²), U diag(-2s/(λ²-s²)) V'."""
        matrix = coupling_of_norm(shape, norm)
        coupling, powers = tf.constant(matrix), gram_powers(matrix)
        scale = relaxed_priors.largest_singular_value(powers) + 5.0
        with tf.GradientTape() as tape:
            tape.watch(coupling)
            value = 3.0 * relaxed_priors.log_det_identity_minus_gram(coupling, scale, powers)
        found = tape.gradient(value, coupling).numpy()
        left, singular, right = np.linalg.svd(np.float64(matrix), full_matrices=False)
        square = float(scale) ** 2
        expected = 3 * np.sum(np.log1p(-(singular**2) / square))
        assert np.isclose(value, expected, rtol=2e-5, atol=3e-5)
        slope = (left * (-6 * singular / (square - singular**2))) @ right
        assert np.allclose(found, slope, rtol=1e-3, atol=1e-3 * np.abs(slope).max())
