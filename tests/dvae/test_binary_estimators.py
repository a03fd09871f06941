"""The unbiased estimators of binary models against sums over all states in float64.

Batch norm couples the rows of a batch, so that it is frozen here: each estimator is unbiased given
the statistics.
"""

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import binary_models, statistical
from tests.helpers.binary_models import PARTS, STRUCTURES

GROUPS = tuple(STRUCTURES)


@pytest.fixture(autouse=True)
def independent_rows():
    with binary_models.frozen_batch_norm():
        yield


def samples_of_objective(baseline, k):
    """How many samples the bound is of."""
    return k if baseline in ("vimco", "exact") else 1


@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("groups", GROUPS)
def test_exact(groups, k):
    """Value and gradient of the ELBO, L_2 and L_5 of two images, to float32 rounding."""
    model = binary_models.make_model(groups, "exact", k)
    expected = binary_models.exact_gradient(groups, 2, k)
    pixels = tf.constant(binary_models.images(2))
    flat, found = binary_models.gradient_of(
        model, lambda params: model.estimate(pixels, params, None, binary_models.KL_WEIGHT)
    )
    assert np.isclose(found.bound, expected.value, rtol=1e-6, atol=1e-5)
    wanted = expected.flat(*PARTS)
    assert np.max(np.abs(wanted)) > 0.1
    np.testing.assert_allclose(flat, wanted, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("baseline", ["loo", "vimco", "rodeo"])
@pytest.mark.parametrize("groups", GROUPS)
def test_mean_over_all_samples(groups, baseline):
    """Every pair of states counted with its probability: no error but rounding.

    The Stein operators of rodeo have coefficients of their own, one for each group.
    """
    model = binary_models.make_model(groups, baseline, 2)
    if baseline == "rodeo":
        coefficients = model.parts.estimator.coefficients
        coefficients.assign(np.linspace(0.5, -1.0, 2 * groups).reshape(2, groups))
    expected = binary_models.exact_gradient(groups, 1, samples_of_objective(baseline, 2))
    mean, bound, _ = binary_models.over_all_samples(model, groups, 2)
    assert np.isclose(bound, expected.value, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(mean, expected.flat(*PARTS), rtol=2e-4, atol=2e-4)
