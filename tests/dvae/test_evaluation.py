"""Test likelihood against the enumerated -log p(x) of a tiny VAE with random weights."""

import math
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import logsumexp

from dvae import evaluation
from dvae.evaluation import Evaluator, PerImage, reduce_images
from tests.helpers import statistical, tiny_models, undirected_models

IMAGES = tiny_models.images()


class Exact(NamedTuple):
    """An evaluator, and what it estimates of each of the 11 images, without log Z; neg_elbo and
    the variance of one sample of it where the networks put out logits alone."""

    evaluator: Evaluator
    nll: np.ndarray
    neg_elbo: np.ndarray | None
    variance: np.ndarray | None


def exact_of(model, logits_alone=True):
    images = tiny_models.reference_images(model, IMAGES)
    log_z = images[0].rbm.log_partition()
    nll = np.array([-image.log_likelihood() - log_z for image in images])
    evaluator = tiny_models.graph_evaluator(model)
    if not logits_alone:
        return Exact(evaluator, nll, None, None)
    elbo, variance = np.transpose([image.elbo() for image in images])
    return Exact(evaluator, nll, -elbo - log_z, variance)


@pytest.fixture(scope="module")
def exact():
    return exact_of(tiny_models.make_model(scale=0.25))


def undirected(num_temperatures=1):
    """So few temperatures that the weights of chains matter."""
    model = undirected_models.make(structure=undirected_models.DEEP, scale=0.18).model
    model.encoder.num_temperatures = num_temperatures
    return exact_of(model, logits_alone=False)


KINDS = {
    "directed": lambda: exact_of(tiny_models.make_model(scale=0.25)),
    # Its networks put out shifts as well; evaluation uses the logits alone.
    "dvaes_gi": lambda: exact_of(tiny_models.make_model(scale=0.25, baseline="dvaes_gi"), False),
    "undirected-1": undirected,
    "undirected-3": lambda: undirected(3),
}


class TestAgainstEnumeration:
    @pytest.mark.parametrize("kind", KINDS)
    def test_per_image(self, kind):
        """Each image on its own, within 5 of its own errors of 0.01 to 0.02 nats."""
        exact = KINDS[kind]()
        found = exact.evaluator.per_image(IMAGES, 20_000, 11, statistical.key(2))
        assert found.nll.dtype == np.float64 and found.variance.max() < 0.02**2
        assert np.all(np.abs(found.nll - exact.nll) < 5 * np.sqrt(found.variance))
        assert np.ptp(exact.nll) > 1  # far more than the errors
        if exact.neg_elbo is not None:
            error = np.sqrt(exact.variance / 20_000)
            assert np.all(np.abs(found.neg_elbo - exact.neg_elbo) < 5 * error)
            assert exact.neg_elbo.mean() - exact.nll.mean() > 0.1

    def test_stated_error_is_calibrated(self, exact):
        """300 repeats of 500 samples: squared errors in units of the stated variance average 1.

        Standard error 0.025 over 11 images, and the delta method is off by up to 0.05 here: a
        stated error wrong by 10 % would show.
        """
        tiled = np.tile(IMAGES, (300, 1))
        found = exact.evaluator.per_image(tiled, 500, 1100, statistical.key(6))
        squares = (found.nll.reshape(300, 11) - exact.nll) ** 2 / found.variance.reshape(300, 11)
        statistical.assert_mean(squares.mean(axis=1), np.array(1.0), 0.03, rounding=0.05)


class TestDeterministic:
    """Saturated posteriors: every sample is the same, so no number may depend on how many."""

    @pytest.fixture(scope="class")
    def certain(self):
        """Large biases of the last layers make every latent certain."""
        model = tiny_models.make_model(scale=0.25)
        for index, network in enumerate(model.encoder.networks):
            signs = np.where(np.arange(len(network.bias.numpy())) % (2 + index), 1.0, -1.0)
            network.bias.assign(200.0 * signs)
        return exact_of(model)

    @pytest.mark.parametrize(("num_samples", "batch"), [(1, 11), (700, 11), (700, 4), (700, 100)])
    def test_batches(self, certain, num_samples, batch):
        """11 images by 4 (the last batch is short) = by 11 = by 100 = the reference, to 1e-5."""
        evaluator, expected, done = certain.evaluator, certain.neg_elbo, []
        found = evaluator.per_image(IMAGES, num_samples, batch, statistical.key(4), done.append)
        assert found.nll.shape == expected.shape
        total = evaluator.likelihood(IMAGES, num_samples, batch, statistical.key(4))
        for name in ("nll", "neg_elbo"):
            assert np.allclose(getattr(found, name), expected, atol=2e-5)
            assert math.isclose(getattr(total, name), expected.mean(), abs_tol=2e-5)
        error = math.nan if num_samples == 1 else 0.0  # not known of a single sample
        assert np.allclose(found.variance, error, atol=1e-6, equal_nan=True)
        assert total.num_images == 11
        assert done == ([4, 8, 11] if batch == 4 else [11])
        assert np.ptp(expected) > 1  # so that a wrong share of an image shows


def test_streaming_sums():
    """Chunks of weights at levels hundreds of nats apart = NumPy's logsumexp of all at once."""
    rng = np.random.default_rng(6)
    levels = np.array([-700.0, -90.0, -400.0, 0.0, 30.0])
    chunks = np.float32(levels[:, None, None] + 3 * rng.standard_normal((5, 7, 13)))
    zero = tf.zeros([7])
    sums = evaluation._Sums(zero - math.inf, zero, zero, zero)
    valid = rng.random((5, 13)) < 0.7
    for chunk, mask in zip(chunks, valid, strict=True):
        sums = evaluation._add(sums, tf.constant(chunk), tf.constant(mask))
    stored = np.float64(np.concatenate([c[:, m] for c, m in zip(chunks, valid, strict=True)], 1))
    assert np.allclose(sums.high + np.log(sums.first), logsumexp(stored, axis=1), rtol=1e-6)
    second = 2 * np.float64(sums.high) + np.log(np.float64(sums.second))
    assert np.allclose(second, logsumexp(2 * stored, axis=1), rtol=1e-6)
    assert np.allclose(sums.log_weights, stored.sum(axis=1), rtol=1e-6)


def test_reduce_images_divides_by_the_count():
    """Against loops over 7 images; a single image has no test-set error."""
    rng = np.random.default_rng(7)
    nll, neg_elbo, variance = rng.normal(90, 5, 7), rng.normal(95, 5, 7), rng.random(7)
    found = reduce_images(PerImage(nll, neg_elbo, variance))
    assert math.isclose(found.nll, sum(nll) / 7)
    assert math.isclose(found.neg_elbo, sum(neg_elbo) / 7)
    assert math.isclose(found.sampling_stderr, math.sqrt(sum(variance)) / 7)
    spread = sum((value - sum(nll) / 7) ** 2 for value in nll) / 6
    assert math.isclose(found.test_set_stderr, math.sqrt(spread / 7))
    assert found.num_images == 7
    alone = reduce_images(PerImage(nll[:1], neg_elbo[:1], variance[:1]))
    assert math.isnan(alone.test_set_stderr) and alone.nll == nll[0]


def test_memory_does_not_grow_with_samples(exact):
    """Rows of one pass of the networks stay below the stated number, whatever K."""
    seen = []

    def batch(images, _key, _first, _num_samples, per_pass):
        seen.append(per_pass * images.shape[0])
        return evaluation._Sums(*(tf.ones([images.shape[0]]) for _ in range(4)))

    patched = Evaluator(exact.evaluator.model)
    patched._compiled = batch
    for batch_size in (4, 11):
        patched.per_image(IMAGES, 100_000, batch_size, statistical.key(8))
    assert len(seen) == 4 and max(seen) <= evaluation._ROWS_PER_PASS_CPU


CUTS = [(4, 800), (5, 12), (11, 22), (100, 800)]


@pytest.mark.parametrize(
    ("kind", "batch", "rows"), [*(("directed", *cut) for cut in CUTS), ("undirected-1", 4, 12)]
)
def test_batches_and_passes_change_no_number(kind, batch, rows, monkeypatch):
    """7 samples of 11 images by any batch, short last ones too, and any number of rows a pass."""
    evaluator = KINDS[kind]().evaluator
    monkeypatch.setattr(type(evaluator), "images_per_call", lambda _, batch, __: batch)
    one_by_one = evaluator.per_image(IMAGES, 7, 1, statistical.key(10))
    monkeypatch.setattr(evaluation, "_ROWS_PER_PASS_CPU", rows)
    found = evaluator.per_image(IMAGES, 7, batch, statistical.key(10))
    for ours, theirs in zip(found, one_by_one, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    part = evaluator.per_image(IMAGES[:3], 7, batch, statistical.key(10))
    np.testing.assert_allclose(part.nll, one_by_one.nll[:3], rtol=1e-4, atol=1e-5)


class TestWorkers:
    """Batches are evaluated by several threads, in any order, with keys of their own."""

    def test_number_does_not_matter(self, exact, monkeypatch):
        results = []
        for count in (1, 2, 5):
            monkeypatch.setattr(evaluation, "num_workers", lambda count=count: count)
            done = []
            key = statistical.key(8)
            results.append(exact.evaluator.per_image(IMAGES, 30, 2, key, done.append))
            assert done == [2, 4, 6, 8, 10, 11]
        for columns in zip(*results, strict=True):
            assert np.array_equal(columns[1], columns[0])
            assert np.array_equal(columns[2], columns[0])

    def test_threads_given_to_tensorflow_bound_it(self, monkeypatch):
        monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
        cores = evaluation.num_workers()
        assert cores >= 1
        for text, expected in (("3", 3), ("0", cores), ("", cores), ("all", cores)):
            monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", text)
            assert evaluation.num_workers() == expected

    def test_a_stop_ends_all(self, exact, monkeypatch):
        """What `progress` raises reaches the caller, and batches not begun never are."""
        evaluator, begun = exact.evaluator, []
        compiled = evaluator._compiled
        monkeypatch.setattr(
            evaluator, "_compiled", lambda *arguments: (begun.append(1), compiled(*arguments))[1]
        )
        monkeypatch.setattr(evaluation, "num_workers", lambda: 1)

        def stop(done):
            if done > 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            evaluator.per_image(np.tile(IMAGES, (50, 1)), 30, 2, statistical.key(8), stop)
        assert len(begun) < 100
