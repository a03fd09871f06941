"""Each estimator of binary models at given samples against the formula of its paper, in float64.

All of them are unbiased, and stay so with other baselines, fewer samples or other noise: what a
method is beyond its mean (how many samples it compares, with what, by which noise, and what its
coefficients learn) shows in the gradient that it makes of samples which are given. That of the
last bias of each group's network is the mean over images of what samples say of their logits.
"""

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import logit, softmax

from tests.helpers import binary_models, statistical, tiny_models
from tests.helpers.binary_models import KL_WEIGHT
from tests.reference import score_functions

IMAGES, K, LATENTS = 2, 5, 4


def found(made, values):
    """Of an estimate that is given its draws, [..., D]: gradients by the last biases of the encoder
    [D], the prior's biases [D] and coefficients if there are any, and the bound."""
    model, estimator = made
    prior = model.prior.fields[:2]
    variables = [[network.bias for network in model.encoder.networks], prior]
    if hasattr(estimator, "coefficients"):
        variables.append([estimator.coefficients])
    pixels = tf.constant(binary_models.images(IMAGES))
    draws = binary_models.given_draws(made, tf.constant(values, tf.float32))
    with draws, binary_models.frozen_batch_norm(), tf.GradientTape() as tape:
        params, key = model.prior.parameters(), statistical.key(1)
        estimate = made.estimate(pixels, params, key, tf.constant(KL_WEIGHT))
        surrogate = estimate.surrogate
    parts = tape.gradient(surrogate, [[v.value for v in part] for part in variables])
    flat = [np.concatenate([np.ravel(p) for p in part]) for part in parts]
    return (*flat, float(estimate.bound))


def references(model):
    """The images of the model, in float64."""
    return tiny_models.reference_images(model, binary_models.images(IMAGES), kl_weight=KL_WEIGHT)


def samples(seed):
    return np.float64(np.random.default_rng(seed).random((IMAGES, K, LATENTS)) < 0.5)


def assert_close(ours, theirs):
    assert np.max(np.abs(theirs)) > 0.01
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("baseline", ["loo", "vimco"])
def test_of_samples(baseline, groups):
    """Of five samples: all are compared, each with what the method says, and all train the rest."""
    made, z = binary_models.make(groups, baseline, K), samples(1)
    encoder, prior, found_bound = found(made, z.reshape(-1, LATENTS))
    formula = {"loo": score_functions.leave_one_out, "vimco": score_functions.vimco}[baseline]
    pairs = list(zip(references(made.model), z, strict=True))
    assert_close(encoder, np.mean([formula(*pair).sum(axis=0) for pair in pairs], axis=0))
    f = np.stack([image.value(rows) for image, rows in pairs])
    weights = softmax(f, axis=1) if baseline == "vimco" else np.full(f.shape, 1 / K)
    assert_close(prior, KL_WEIGHT * np.mean(np.sum(weights[..., None] * z, axis=1), axis=0))
    bound = np.mean(np.log(np.mean(np.exp(f), axis=1)) if baseline == "vimco" else f)
    assert np.isclose(found_bound, bound, rtol=1e-5)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_disarm(groups):
    """Five pairs: partners part at their group and go on with the noise of the main chain."""
    made, sizes = binary_models.make(groups, "disarm", K), [LATENTS // groups] * groups
    noise = logit(np.random.default_rng(2).random((IMAGES, K, LATENTS)))
    encoder, prior, bound = found(made, noise[:, None])
    images = references(made.model)
    of_images = [score_functions.disarm(*pair, sizes) for pair in zip(images, noise, strict=True)]
    expected, chains = zip(*of_images, strict=True)
    assert_close(encoder, np.mean([g.sum(axis=0) for g in expected], axis=0))
    assert_close(prior, KL_WEIGHT * np.mean(chains, axis=(0, 1, 2)))
    values = [i.value(rows.reshape(-1, LATENTS)) for i, rows in zip(images, chains, strict=True)]
    assert np.isclose(bound, np.mean(values), rtol=1e-5)


@pytest.mark.parametrize("groups", [1, 2])
def test_rodeo(groups):
    """Five samples, and coefficients that learn the squared norm of just this gradient."""
    made, z = binary_models.make(groups, "rodeo", K), samples(3)
    encoder, prior, by_coefficients, bound = found(made, z.reshape(-1, LATENTS))
    pairs = list(zip(references(made.model), z, strict=True))
    coefficients = np.float64(made.estimator.coefficients.numpy())

    def of_image(pair, coefficients):
        return score_functions.rodeo(*pair, coefficients).sum(axis=0)

    assert_close(encoder, np.mean([of_image(pair, coefficients) for pair in pairs], axis=0))
    slopes = [
        score_functions.slopes_of_coefficients(lambda c, p=pair: of_image(p, c), coefficients)
        for pair in pairs
    ]
    assert_close(by_coefficients, np.mean(slopes, axis=0).ravel())
    assert_close(prior, KL_WEIGHT * z.mean(axis=(0, 1)))
    assert np.isclose(bound, np.mean([i.value(rows) for i, rows in pairs]), rtol=1e-5)
