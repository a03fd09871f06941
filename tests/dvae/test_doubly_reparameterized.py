"""What the doubly reparameterised estimator stops, and what of it is unbiased.

That its whole gradient is that of the formulas is shown in test_reference_step.py.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from configs.registry import Structure
from dvae import adam, log_ratio
from dvae.encoder import Batch
from dvae.networks import frozen
from dvae.posteriors import PosteriorParams, Sample
from samplers import counter_random
from tests.helpers import statistical, tiny_models
from tests.reference.rbm import all_states


@pytest.mark.parametrize("baseline", ["st", "reinmax"])
def test_kl_gradient_is_unbiased(baseline, monkeypatch):
    """One group, one sample: mean over all 64 states with their chances = gradient of the KL.

    The KL's integrand is linear in each bit, for which either slope is right; what is left out by
    stopping log q's own parameters has mean zero.
    """
    made = tiny_models.make(Structure(1, 6, 0, 5), baseline=baseline, k=1)
    model, image = made.model, tf.constant(tiny_models.images(count=1), tf.float32)
    encoder, mean, total = model.encoder, 0.0, 0.0
    variables = [v.value for v in encoder.trainable_variables]

    def logits():
        return encoder.group_params(encoder.condition(Batch(image)), 0, [], 1, True).logits

    @tf.function(autograph=False)
    def gradient(bits, kl_weight):
        monkeypatch.setattr(counter_random, "bernoulli_logits", lambda key, x: bits)
        with tf.GradientTape() as tape:
            arguments = model.prior.parameters(), statistical.key(1), kl_weight
            surrogate = made.estimate(image, *arguments).surrogate
        return adam.flatten(tape.gradient(surrogate, variables))

    for state in all_states(6):
        bits = tf.constant(state[None], tf.float32)
        without, full = (gradient(bits, tf.constant(weight)).numpy() for weight in (0.0, 1.0))
        chance = np.exp(np.sum(state * logits().numpy() - np.logaddexp(0, logits().numpy())))
        mean, total = mean + chance * (without - full), total + chance
    assert total == pytest.approx(1, abs=1e-5)
    with tf.GradientTape() as tape:
        sample = Sample(tf.zeros([1, 6]), PosteriorParams(logits()))
        exact = log_ratio.Factorial()(model.prior, model.prior.parameters(), sample)
    expected = adam.flatten(tape.gradient(exact, variables))
    assert np.max(np.abs(expected)) > 0.1
    np.testing.assert_allclose(mean, expected, rtol=1e-4, atol=1e-5)


def test_frozen_within_another_scope():
    """Values are those of the scope around it when it was made; assignments inside are lost."""
    layer = keras.layers.BatchNormalization(momentum=0.5)
    layer.build((None, 1))
    with keras.StatelessScope([(v, v.value + 2.0) for v in layer.variables]) as outer:
        inner = frozen(layer)
        layer.moving_mean.assign([7.0])
        with inner:
            assert float(layer.moving_mean[0]) == 2.0 and float(layer.gamma[0]) == 3.0
            with tf.GradientTape() as tape:
                gamma = tf.convert_to_tensor(layer.gamma)
                tape.watch(outer.get_current_value(layer.gamma))
                outputs = layer(tf.constant([[1.0], [3.0]]), training=True) * gamma
            assert tape.gradient(outputs, outer.get_current_value(layer.gamma)) is None
            assert float(layer.moving_mean[0]) == 2.0
        assert float(layer.moving_mean[0]) == 7.0
    assert float(layer.moving_mean[0]) == 0.0
