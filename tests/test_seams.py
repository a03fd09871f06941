"""Each seam takes a new part by one entry in one place: those of docs/extending.md and others.

They train, are evaluated against enumeration, logged and loaded like those of the papers.
"""

import dataclasses
import json
import math

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit, logsumexp

import data
from configs import registry
from configs.errors import UserError
from configs.experiment import build_config
from configs.registry import Structure
from configs.tables import TABLES
from dvae.adam import unflatten
from dvae.build import build
from dvae.encoder import Batch
from dvae.posteriors import MixturePosterior, PosteriorParams
from dvae.runs.trained_model import TrainedModel
from tests.helpers import added_parts, statistical, tiny_models, tiny_runs
from tests.helpers.tiny_training import config_of, eager, make_program
from tests.reference.rbm import all_states


@pytest.fixture(scope="module", autouse=True)
def added():
    with added_parts.registered():
        yield


@pytest.fixture(scope="module")
def new_everywhere(tmp_path_factory):
    """A finished run of new networks, likelihood, prior, sampler and baseline with K = 3."""
    folder = tmp_path_factory.mktemp("run")
    config = tiny_runs.tiny_config(
        tiny_runs.write_data(folder / "own.npz", grey=False),
        baseline="weighted",
        k=3,
        sampler="forgetful",
        structure=dataclasses.replace(
            Structure(1, 6, 0, 5),
            encoder="linear",
            decoder="wide",
            likelihood="flipped",
            prior="bits",
        ),
        eval_iw_samples=2000,
    )
    tiny_runs.train(config, folder / "run")
    return TrainedModel(folder / "run", str(folder))


class TestNewEverywhere:
    def test_result(self, new_everywhere):
        """log Z is the prior's own; the objective's name follows the baseline's entry."""
        model, result = new_everywhere, new_everywhere.result
        bias = np.float64(model.prior.bias)
        assert np.any(bias != 0)
        assert result["log_z"] == pytest.approx(np.logaddexp(0, bias).sum(), abs=1e-4)
        assert result["log_z_interval"]["exact"] == result["log_z"]
        assert model.log_partition().status == "exact"
        lines = [json.loads(line) for line in (model.path / "metrics.jsonl").open()]
        tags = set().union(*lines)
        assert {"train/neg_iw_loss", "sampler/fraction_of_ones"} <= tags
        assert "train/neg_elbo" not in tags
        assert model.log_partition_table()[-1]["estimator"] == "exact"

    def test_likelihood_is_one(self, new_everywhere):
        """Evaluation sums the likelihood that training used over the prior that it trained.

        64 states enumerated; 20,000 samples an image leave errors of about 0.01 nats.
        """
        model = new_everywhere
        images = np.uint8(np.random.default_rng(6).random((11, 30)) < 0.3)
        states = all_states(6)
        means = model.decode(states).reshape(64, 30).astype(np.float64)
        assert means.min() > 0.1 and means.max() < 0.9  # no surer than pixels are read
        log_prior = states @ np.float64(model.prior.bias) - model.result["log_z"]
        log_joint = images @ np.log(means).T + (1 - images) @ np.log1p(-means).T + log_prior
        found = model.log_likelihood(images, num_samples=20_000)
        deviation = np.abs(found.values - logsumexp(log_joint, axis=1))
        assert np.all(found.stderr < 0.02)
        assert np.all(deviation < 5 * found.stderr + 1e-4)
        assert np.any(deviation > 0)

    def test_networks(self, new_everywhere):
        """The encoder is a linear map of the image, the decoder as wide as it says."""
        model = new_everywhere
        images = np.uint8(np.random.default_rng(7).random((5, 30)) < 0.3)
        kernel = model.model.encoder.kernel.numpy()
        found = model.encode(images).probabilities
        assert np.allclose(found, expit(images @ np.float64(kernel)), atol=1e-5)
        assert model.model.decoder.network.norms[0].gamma.shape == (15,)


def test_baseline(tmp_path):
    """One entry makes it a choice of the command line with its own sharpness, not of Table 1."""
    config = build_config(baseline="lopsided", dataset="omniglot", struct="4-layer-nonlin")
    assert config.beta == 4.0
    assert "lopsided" in config.run_directory(tmp_path).parts
    assert "lopsided" not in TABLES[1].baselines and len(TABLES[1].baselines) == 8


def test_data_set():
    """One entry makes it a choice, with every method's own sharpness."""
    config = build_config(dataset="stripes", baseline="dvaes_exp", struct="1-layer-lin")
    assert (config.beta, config.eval_batchsize) == (12.0, 1000)
    loaded = data.load("stripes", "/nowhere", input_size=64)
    assert (loaded.name, loaded.image_shape, len(loaded.test)) == ("stripes", (8, 8), 50)
    assert loaded.notes == "200 train + 50 validation + 50 test images of stripes"
    with pytest.raises(UserError, match="one of: binarized_mnist, omniglot, digits, stripes, or"):
        data.load("nothing", "")


@pytest.mark.parametrize("k", [1, 4])
def test_parts_decide_importance_weighting(k):
    """The same parts with and without: objective and name of the metric agree."""
    entry = registry.BASELINES["weighted"]
    for weighted in (True, False):
        registry.BASELINES["weighted"] = dataclasses.replace(entry, importance_weighted=weighted)
        try:
            with eager():
                program = make_program(config_of(baseline="weighted", k=k))
                expected = "train/neg_iw_loss" if weighted and k > 1 else "train/neg_elbo"
                assert program.metrics.names[0] == expected
        finally:
            registry.BASELINES["weighted"] = entry


def test_estimator():
    """The logged bound is the objective, whose value the surrogate's has nothing to do with."""
    made = tiny_models.make(baseline="reinforce", k=1)
    images = tf.constant(tiny_models.images(), tf.float32)
    arguments = images, made.model.prior.parameters(), statistical.key(1), tf.constant(0.4)
    estimate = made.estimate(*arguments)
    bound = float(estimate.log_likelihood) - 0.4 * float(estimate.kl)
    assert math.isclose(float(estimate.bound), bound, rel_tol=1e-5)
    assert abs(float(estimate.surrogate) - bound) > 1
    with eager():
        program = make_program(config_of(baseline="reinforce"))
        batch, key = Batch(images), statistical.key(2)
        gradient, step, finite = program.gradient(batch, key, program.state)
    assert np.all(finite)
    metrics = step.metrics
    logged = float(metrics["obj/recon_loss"] + metrics["obj/kl"])  # kl_weight is 1 by then
    assert math.isclose(float(metrics["train/neg_elbo"]), logged, rel_tol=1e-5)
    variables = program.trained
    pieces = zip(variables, unflatten(gradient, variables), strict=True)
    assert all(np.any(piece != 0) for _, piece in pieces)


class TestSmoothing:
    """Densities without a mirror: E[ζ] = q 3/4 + (1-q) 1/3."""

    made = added_parts.Lopsided(4.0)

    def test_densities(self):
        """Each integrates to its distribution function, and to one."""
        axis, weights = np.polynomial.legendre.leggauss(40)
        for upper in (0.3, 1.0):
            points = tf.constant((axis + 1) / 2 * upper)
            for density, cdf in (
                (self.made.log_density_at_0, self.made.cdf_at_0),
                (self.made.log_density_at_1, self.made.cdf_at_1),
            ):
                mass = np.exp(density(points)) @ weights * upper / 2
                assert math.isclose(mass, float(cdf(tf.constant(upper, tf.float64))), rel_tol=1e-6)

    def test_implicit_gradient(self):
        """20,000 samples: the mean of dζ/dℓ is q (1-q) (3/4 - 1/3), standard error below 0.001."""
        logits = tf.fill([20_000, 1], 0.7)
        posterior = MixturePosterior(self.made)
        with tf.GradientTape() as tape:
            tape.watch(logits)
            relaxed = posterior.sample(PosteriorParams(logits), statistical.key(3))
        q = expit(0.7)
        expected = np.array([q * 3 / 4 + (1 - q) / 3])
        statistical.assert_mean(relaxed, expected, largest_error=0.0025)
        slope = np.array([q * (1 - q) * (3 / 4 - 1 / 3)])
        found = tape.gradient(relaxed, logits)
        statistical.assert_mean(found, slope, largest_error=0.001)

    def test_summaries_come_from_the_part(self):
        model, estimator = build(config_of(baseline="lopsided"), tiny_models.train_mean())
        assert model.posterior.scalars() == {}
        assert estimator.objective.log_ratio.histograms(None) == {}
