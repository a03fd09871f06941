"""Each estimator of binary models at given samples against the formula of its paper, in float64.

All of them are unbiased, and stay so with other baselines, fewer samples or other noise: what a
method is beyond its mean (how many samples it compares, with what, by which noise, and what its
coefficients learn) shows in the gradient that it makes of samples which are given. That of the
last bias of each group's network is the mean over images of what samples say of their logits.
"""

from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import logit, softmax

from tests.helpers import binary_models, statistical, tiny_models
from tests.helpers.binary_models import KL_WEIGHT
from tests.reference import score_functions
from tests.reference.rbm import ReferenceRBM

IMAGES, K, LATENTS = 2, 5, 4
SAMPLE = "dvae.posteriors.BernoulliPosterior.sample"


class Found(NamedTuple):
    """Gradients: of the last biases of the encoder [D], the prior's biases [D], coefficients."""

    encoder: np.ndarray
    prior: np.ndarray
    coefficients: np.ndarray | None
    bound: float


def found(made, place, values):
    """Of an estimate that is given its draws, [..., D], one group after the other."""
    model, estimator = made
    prior = model.prior.fields[:2]
    variables = [network.bias for network in model.encoder.networks], prior, []
    if hasattr(estimator, "coefficients"):
        variables[2].append(estimator.coefficients)
    pixels = tf.constant(binary_models.images(IMAGES))
    draws = iter(tf.split(tf.constant(values, tf.float32), len(variables[0]), axis=-1))
    with pytest.MonkeyPatch.context() as patch, binary_models.frozen_batch_norm():
        patch.setattr(place, lambda *_arguments: next(draws))
        with tf.GradientTape() as tape:
            params, key = model.prior.parameters(), statistical.key(1)
            estimate = made.estimate(pixels, params, key, tf.constant(KL_WEIGHT))
            surrogate = estimate.surrogate
    parts = tape.gradient(surrogate, [[v.value for v in part] for part in variables])
    encoder, prior = (np.concatenate([p.numpy() for p in part]) for part in parts[:2])
    coefficients = parts[2][0].numpy() if parts[2] else None
    return Found(encoder, prior, coefficients, float(estimate.bound))


def references(model):
    """The images of the model, in float64."""
    networks = [tiny_models.reference_network(network) for network in model.encoder.networks]
    decoder = tiny_models.reference_network(model.decoder.network)
    rbm = ReferenceRBM(*(np.float64(p.numpy()) for p in model.prior.parameters()))
    mean = np.float64(tiny_models.train_mean())
    return [
        score_functions.Image(np.float64(pixels), networks, decoder, rbm, mean, KL_WEIGHT)
        for pixels in binary_models.images(IMAGES)
    ]


def samples(shape, seed=1):
    return np.float64(np.random.default_rng(seed).random(shape) < 0.5)


def assert_close(ours, theirs):
    assert np.max(np.abs(theirs)) > 0.01
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("baseline", ["loo", "vimco"])
def test_of_samples(baseline, groups):
    """Of five samples: all are compared, each with what the method says, and all train the rest."""
    made = binary_models.make(groups, baseline, K)
    z = samples((IMAGES, K, LATENTS))
    ours = found(made, SAMPLE, z.reshape(-1, LATENTS))
    images = references(made.model)
    formula = {"loo": score_functions.leave_one_out, "vimco": score_functions.vimco}[baseline]
    pairs = list(zip(images, z, strict=True))
    assert_close(ours.encoder, np.mean([formula(*pair).sum(axis=0) for pair in pairs], axis=0))
    f = np.stack([image.value(rows) for image, rows in pairs])
    weights = softmax(f, axis=1) if baseline == "vimco" else np.full(f.shape, 1 / K)
    assert_close(ours.prior, KL_WEIGHT * np.mean(np.sum(weights[..., None] * z, axis=1), axis=0))
    bound = np.mean(np.log(np.mean(np.exp(f), axis=1)) if baseline == "vimco" else f)
    assert np.isclose(ours.bound, bound, rtol=1e-5)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_disarm(groups):
    """Five pairs: partners part at their group and go on with the noise of the main chain."""
    made = binary_models.make(groups, "disarm", K)
    noise = logit(np.random.default_rng(2).random((IMAGES, K, LATENTS)))
    ours = found(made, "dvae.estimators.disarm._logistic", noise[:, None])
    images = references(made.model)
    sizes = [LATENTS // groups] * groups
    expected, chains = zip(
        *(score_functions.disarm(*pair, sizes) for pair in zip(images, noise, strict=True)),
        strict=True,
    )
    assert_close(ours.encoder, np.mean([g.sum(axis=0) for g in expected], axis=0))
    assert_close(ours.prior, KL_WEIGHT * np.mean(chains, axis=(0, 1, 2)))
    values = [i.value(rows.reshape(-1, LATENTS)) for i, rows in zip(images, chains, strict=True)]
    assert np.isclose(ours.bound, np.mean(values), rtol=1e-5)


@pytest.mark.parametrize("groups", [1, 2])
def test_rodeo(groups):
    """Five samples, and coefficients that learn the squared norm of just this gradient."""
    made = binary_models.make(groups, "rodeo", K)
    z = samples((IMAGES, K, LATENTS), seed=3)
    ours = found(made, SAMPLE, z.reshape(-1, LATENTS))
    pairs = list(zip(references(made.model), z, strict=True))
    coefficients = np.float64(made.estimator.coefficients.numpy())

    def of_image(pair, coefficients):
        return score_functions.rodeo(*pair, coefficients).sum(axis=0)

    assert_close(ours.encoder, np.mean([of_image(pair, coefficients) for pair in pairs], axis=0))
    slopes = [
        score_functions.slopes_of_coefficients(lambda c, p=pair: of_image(p, c), coefficients)
        for pair in pairs
    ]
    assert_close(ours.coefficients, np.mean(slopes, axis=0))
    assert_close(ours.prior, KL_WEIGHT * z.mean(axis=(0, 1)))
    assert np.isclose(ours.bound, np.mean([i.value(rows) for i, rows in pairs]), rtol=1e-5)
