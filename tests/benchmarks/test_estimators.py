"""Bias and variance of gradients: the exact gradient, the statistics, and what the page says."""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import special

from benchmarks import estimators, estimators_page, records, small_models
from configs import registry
from configs.registry import Baseline
from dvae.estimators.base import Estimator, Step
from tests.helpers import added_parts, statistical, tiny_models
from tests.reference.enumeration import objective

PARTS = estimators_page.PARTS


def reference_objective(small, k, kl_weight):
    """The mean over images of E log mean_K w over all K-tuples of states, by NumPy."""
    images = tiny_models.reference_images(small.model, small.images, small.train_mean, kl_weight)
    states, log_z = images[0].rbm.states(), images[0].rbm.log_partition()
    values = [
        objective(image.log_q(states), image.value(states) - kl_weight * log_z, k)[0]
        for image in images
    ]
    return np.mean(values)


@pytest.mark.parametrize(
    "baseline, groups, k, kl_weight",
    [
        ("dvaes_power", 1, 3, 1.0),
        ("dvaes_gauss", 2, 2, 0.5),
        ("dvaes_exp", 4, 1, 0.5),
        ("dvaepp_exp", 2, 3, 1.0),
    ],
)
def test_exact_gradient(baseline, groups, k, kl_weight):
    """It is what finite differences of an enumeration in NumPy give, part by part."""
    small = small_models.small_model(baseline, groups, k)
    tuples = k if small.estimator.objective.importance_weighted else 1
    gradient, rng = small_models.exact_gradient(small, kl_weight), np.random.default_rng(1)
    for part, variables in small_models.part_variables(small.model).items():
        middle = [variable.numpy() for variable in variables]
        ways = [1e-3 * np.float32(rng.standard_normal(value.shape)) for value in middle]
        values, ends = [], []
        for sign in (1.0, -1.0):
            for variable, value, way in zip(variables, middle, ways, strict=True):
                variable.assign(value + sign * way)
            values.append(reference_objective(small, tuples, kl_weight))
            ends.append(np.concatenate([np.float64(v.numpy()).ravel() for v in variables]))
        for variable, value in zip(variables, middle, strict=True):
            variable.assign(value)
        expected = gradient[part] @ (ends[0] - ends[1])
        assert values[0] - values[1] == pytest.approx(expected, rel=1e-4, abs=1e-8)
        assert abs(expected) > 1e-4


def test_many_samples_by_one_integral():
    """L_K of two states in closed form, with weights that differ by e^60."""
    log_q = np.log([[0.3, 0.7]])
    log_w = np.array([[2.0, -58.0]])
    for k in (1, 2, 5, 40):
        counts = np.arange(k + 1)
        ways, few = special.comb(k, counts), np.log(np.maximum(counts, 1e-300))
        bounds = np.logaddexp(few + 2.0, np.log(k - counts + 1e-300) - 58)
        expected = np.sum(ways * 0.3**counts * 0.7 ** (k - counts) * (bounds - np.log(k)))
        found = small_models.importance_weighted(tf.constant(log_q), tf.constant(log_w), k)
        np.testing.assert_allclose(found, [expected], rtol=1e-12)


def test_all_methods_meet_the_same_model():
    first, second = (
        small_models.exact_gradient(small_models.small_model(name, 2, 1))
        for name in ("dvaes_power", "dvaes_gi")
    )
    for part in PARTS:
        used = second[part][second[part] != 0.0]
        np.testing.assert_allclose(used, first[part], rtol=1e-5, atol=1e-7)


def test_rows_are_independent():
    model = small_models.small_model("dvaes_power", 2, 1).model
    before = [variable.numpy() for variable in model.non_trainable_variables]
    for network in small_models.networks(model):
        rows = tf.constant(np.random.default_rng(1).normal(size=[5, 4]), tf.float32)
        together = network.finish(rows, training=True)
        np.testing.assert_allclose(together[:1], network.finish(rows[:1], training=True), rtol=1e-5)
    for variable, value in zip(model.non_trainable_variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_posteriors_are_neither_flat_nor_sure():
    for groups in small_models.STRUCTURES:
        small = small_models.small_model("dvaes_power", groups, 1)
        states = small_models.all_states(small.config.structure.num_latents)
        log_q = small_models.log_posterior(small, states).numpy()
        np.testing.assert_allclose(np.exp(log_q).sum(axis=1), 1.0, rtol=1e-5)
        entropy = -np.sum(np.exp(log_q) * log_q, axis=1) / np.log(len(states))
        assert np.all((entropy > 0.15) & (entropy < 0.95))


@contextlib.contextmanager
def made_of(estimator):
    """A baseline of binary latents, by the name "made", with this estimator."""

    def method(*given):
        return added_parts.reinforce(*given)._replace(estimator=estimator)

    registry.BASELINES["made"] = Baseline(method, added_parts.SHARPNESS)
    try:
        yield
    finally:
        del registry.BASELINES["made"]


class TooLong(added_parts.Reinforce):
    """1.5 times the gradient."""

    def step(self, *arguments):
        found = super().step(*arguments)
        return found._replace(surrogate=1.5 * found.surrogate)


def statistics_of(small, seed, kl_weight):
    blocks = estimators.gradient_blocks(small, 64, 128, seed, kl_weight)
    exact = small_models.exact_gradient(small, kl_weight)
    return {part: estimators.statistics_of(blocks[part], exact[part], 128) for part in PARTS}


def test_reinforce_has_no_bias(seed=1):
    """All parts within the limits; one of 20 % in the encoder, 5 % elsewhere would be seen."""
    with made_of(added_parts.Reinforce):
        small = small_models.small_model("made", 2, 1)
    found = statistics_of(small, statistical.seed(seed), kl_weight=0.5)
    for part, most in (("encoder", 0.2), ("prior", 0.05), ("decoder", 0.05)):
        assert found[part]["largest"] < statistical.SIGMAS
        assert abs(found[part]["squared_bias"]) < statistical.SIGMAS * found[part]["stderr"]
        assert found[part]["seen"] < most
    assert found["encoder"]["variance"] > 20.0  # no baseline


def test_a_bias_is_what_it_must_be(seed=1):
    """A gradient 1.5 times too long (log Z's excepted, which is the sampler's) is found so."""
    with made_of(TooLong):
        small = small_models.small_model("made", 2, 1)
    found = statistics_of(small, statistical.seed(seed), kl_weight=1.0)
    exact = small_models.exact_gradient(small)
    prior = small.model.prior
    moments = estimators.exact.moments(prior.energy_model, prior.parameters())
    log_z = np.concatenate([m.numpy().ravel() for m in moments])
    exact_without = {**exact, "prior": exact["prior"] + log_z}
    for part in PARTS:
        expected = 0.25 * np.sum(exact_without[part] ** 2) / np.sum(exact[part] ** 2)
        error = found[part]["stderr"]
        assert abs(found[part]["squared_bias"] - expected) < statistical.SIGMAS * error
        assert error < 0.1 * expected
    assert found["prior"]["largest"] > estimators.LIMIT


def test_statistics(seed=1):
    """Of Gaussian blocks: bias, its error over repeats, variance, and a bias that is just seen."""
    rng, repeats = np.random.default_rng(statistical.seed(seed)), 400
    exact = np.append(rng.standard_normal(20), 0.0)
    scale, copies = rng.uniform(0.5, 2.0, 21), 8
    bias = np.append(0.3 * rng.standard_normal(20), 3.0)  # the last component does not count
    norm = np.sum(exact**2)
    rows = []
    for _ in range(repeats):
        blocks = exact + bias + scale * rng.standard_normal([40, 21])
        rows.append(estimators.statistics_of(blocks, exact, copies))
    squared = np.array([row["squared_bias"] for row in rows])
    statistical.assert_mean(squared, np.sum(bias[:20] ** 2) / norm, largest_error=0.01)
    stated = np.sqrt(np.mean([row["stderr"] ** 2 for row in rows]))
    assert 0.9 < stated / squared.std() < 1.5  # 1.4 where there is no bias
    variances = [row["variance"] for row in rows]
    statistical.assert_mean(variances, copies * np.sum(scale[:20] ** 2) / norm, largest_error=0.2)
    assert {row["components"] for row in rows} == {20}

    seen = np.mean([row["seen"] for row in rows])
    hits = []
    for _ in range(repeats):
        blocks = (1.0 + seen) * exact + scale * rng.standard_normal([40, 21])
        hits.append(estimators.statistics_of(blocks, exact, copies)["beyond"] > 0)
    assert np.mean(hits) > 0.9


class WithChains(Estimator):
    """Counts the steps of each image's state, and learns numbers of its own; samples nothing."""

    def __init__(self, *given):
        super().__init__(*given)
        self.trainable_variables = [keras.Variable(tf.zeros([2]), name="own")]

    def init(self, model, num_images, key):
        del model, key
        return tf.zeros([num_images])

    def step(self, model, inputs, state):
        del inputs
        own = tf.convert_to_tensor(self.trainable_variables[0])
        bias = tf.reduce_sum(tf.convert_to_tensor(model.decoder.network.bias))
        surrogate = tf.reduce_mean(state) * bias - tf.reduce_sum((own - 1.0) ** 2)
        return Step(surrogate, {}, state + 1.0)


def test_chains_are_warm_and_estimators_tuned(monkeypatch):
    monkeypatch.setattr(estimators, "TUNING_RATE", 0.1)
    monkeypatch.setattr(estimators, "TUNING_STEPS", 60)
    with made_of(WithChains):
        small = small_models.small_model("made", 2, 1)
    estimators.tune(small)
    [own] = small.estimator.trainable_variables
    np.testing.assert_allclose(own.numpy(), 1.0, atol=0.1)
    blocks = estimators.gradient_blocks(small, num_blocks=3, copies=2)
    steps = estimators.WARM_STEPS + estimators.STEPS_BETWEEN
    biases = small_models.NUM_PIXELS
    np.testing.assert_array_equal(blocks["decoder"].sum(axis=1), 3 * [steps * biases])


def test_what_samples_and_what_does_not(monkeypatch):
    monkeypatch.setattr(estimators, "COPIES", 2)
    for baseline, sampled, copies in (("loo", True, 2), ("exact", False, 1)):
        row = estimators.measure(baseline, 1, 1, num_blocks=4)
        assert (row["sampled"], row["copies"]) == (sampled, copies)
        assert row["parts"]["encoder"]["largest"] < (0.1 if baseline == "exact" else 1e3)


def test_a_method_that_is_not_made_for_it_is_left_out(monkeypatch):
    entry = Baseline("dvae.methods:dvae", added_parts.SHARPNESS, least_k=2)
    monkeypatch.setitem(registry.BASELINES, "two", entry)
    row = estimators.measure("two", 1, 1, num_blocks=4)
    assert row == {
        "baseline": "two",
        "groups": 1,
        "k": 1,
        "left_out": "k=1 must be at least 2 for two",
    }


def test_rows_take_the_place_of_older_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    rows = [{"baseline": "dvaes_exp", "groups": 1, "k": k, "old": True} for k in (5, 1)]
    estimators.keep(1, rows)
    new = [{"baseline": name, "groups": 1, "k": 5} for name in ("dvaes_power", "dvaes_exp")]
    estimators.keep(1, new)
    assert records.read("estimators")["groups-1"]["rows"] == [rows[1], new[1], new[0]]


def kept(*rows):
    """Rows of two groups whose parts are alike."""
    part = {"squared_bias": 0.04, "stderr": 0.004, "variance": 2.5, "components": 100}
    part |= {"beyond": 0, "largest": 3.0, "seen": 0.02, "norm": 1.25}
    about = {"groups": 2, "blocks": 256, "sampled": True}
    found = [
        {**about, "baseline": name, "k": k, "parts": dict.fromkeys(PARTS, p)}
        for name, k, p in ((name, k, {**part, **changed}) for name, k, changed in rows)
    ]
    found.append({"baseline": "vimco", "k": 1, "groups": 2, "left_out": "k is too small"})
    return {"groups-2": {"groups": 2, "rows": found}}


def test_page_shows_bias_variance_and_time():
    none = {"squared_bias": -0.001, "stderr": 0.01, "variance": 300.0}
    found = kept(("dvaes_exp", 1, {}), ("dvaes_power", 1, none))
    text = estimators_page.bias_table(found)
    assert "| dvaes_exp | 20.0 | 20.0 | 20.0 |" in text and "vimco" not in text
    assert "| dvaes_power | <12.8 | <12.8 | <12.8 |" in text
    timed = {"results": [{"rows": [{"baseline": "dvaes_exp", "k": 1, "median_ms": 8.0}]}]}
    text = estimators_page.variance_table(found, timed)
    assert "| dvaes_exp | 2.5 | 8.0 |  |" in text
    assert "| dvaes_power | 300 |  |  |" in text


def test_page_judges_methods_without_bias():
    good = {"squared_bias": 0.0, "largest": 4.2, "beyond": 1}
    bad = {"squared_bias": 0.0, "largest": 6.0, "beyond": 2}
    found = kept(("dvaes_exp", 1, {"largest": 50.0}), ("loo", 1, good), ("disarm", 1, bad))
    text = estimators_page.unbiased_table(found)
    assert "| loo | 1 | 300 | 4.2 | 4.2 | yes | 3 | 0.0 | 2.0 % |" in text
    assert "| disarm | 1 | 300 | 6.0 | 4.2 | **NO** | 6 |" in text
    assert "| all | 2 | 600 | 6.0 | 4.4 | **NO** | 9 |" in text and "dvaes_exp" not in text
