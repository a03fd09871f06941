"""Parts that can be added: those that docs/extending.md writes, and others of each kind."""

import contextlib
import math
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from configs import registry
from configs.registry import Baseline, Structure
from dvae.decoder import Decoder
from dvae.encoder import HierarchicalEncoder
from dvae.likelihood import Likelihood
from dvae.methods import dvaepp
from dvae.networks import layer_seed
from dvae.smoothing import Smoothing
from samplers import counter_random
from tests.helpers.page_code import blocks, execute

SHARPNESS = {"2-layer-nonlin": 4.0}
_EXTENDING = Path(__file__).parents[2] / "docs" / "extending.md"
# All of the page but its last block, which trains.
_PAGE, _REGISTERED = execute(_EXTENDING, blocks(_EXTENDING, "python")[:-1])
IndependentBits, Reinforce, reinforce = (
    _PAGE[name] for name in ("IndependentBits", "Reinforce", "reinforce")
)


class Lopsided(Smoothing):
    """Linear densities r(ζ|0) = 2 (1-ζ) and r(ζ|1) = 3 ζ²: no mirror images."""

    def log_density_at_0(self, relaxed):
        return math.log(2.0) + tf.math.log1p(-relaxed)

    def cdf_at_0(self, relaxed):
        return relaxed * (2.0 - relaxed)

    def log_density_at_1(self, relaxed):
        return math.log(3.0) + 2.0 * tf.math.log(relaxed)

    def cdf_at_1(self, relaxed):
        return relaxed**3

    def sample(self, binary, key):
        rho = counter_random.uniform(key, binary.shape)
        return tf.where(binary > 0.5, tf.pow(rho, 1.0 / 3.0), 1.0 - tf.sqrt(1.0 - rho))


class FlippedPixels(Likelihood):
    """A Bernoulli pixel that the observer reads wrong with probability `RATE`."""

    RATE = 0.1

    def offset(self, train_mean):
        wanted = (np.clip(train_mean, 0.15, 0.85) - self.RATE) / (1.0 - 2.0 * self.RATE)
        return tf.constant(np.log(wanted) - np.log1p(-wanted), tf.float32)

    def log_prob(self, images, outputs):
        mean = self.mean(outputs)
        of_pixels = tf.math.xlogy(images, mean) + tf.math.xlog1py(1.0 - images, -mean)
        return tf.reduce_sum(of_pixels, axis=-1)

    def mean(self, outputs):
        return self.RATE + (1.0 - 2.0 * self.RATE) * tf.sigmoid(outputs)

    def sample(self, outputs, key):
        return tf.cast(counter_random.uniform(key, outputs.shape) < self.mean(outputs), tf.float32)


class LinearEncoder(HierarchicalEncoder):
    """One group whose logits are a plain linear map of the image."""

    def __init__(self, structure: Structure, train_mean, posterior, seed):
        super().__init__()
        self.posterior = posterior
        init = keras.initializers.RandomNormal(stddev=0.1, seed=layer_seed(seed, 1))
        shape = len(train_mean), structure.num_latents
        self.kernel = self.add_weight(shape=shape, initializer=init, name="kernel")

    def condition(self, batch):
        return tf.matmul(batch.images, self.kernel)

    def group_params(self, condition, group, earlier, num_samples, training):
        del earlier, training
        return self.posterior.split(tf.repeat(condition, num_samples, axis=0), group)

    def decayed_variables(self):
        return [self.kernel]


class WideDecoder(Decoder):
    """A decoder with three times as many hidden units."""

    def __init__(self, structure, train_mean, likelihood, seed):
        wide = Structure(structure.num_groups, structure.units_per_group, 1, 15)
        super().__init__(wide, train_mean, likelihood, seed)


@contextlib.contextmanager
def registered():
    """All of them and those of the page under their names, each by one entry."""
    own = {"sharpness": SHARPNESS, "options": {"smoothing": Lopsided}}
    weighted = Baseline(_PAGE["smoothed"], importance_weighted=True, **own)
    entries = (
        (registry.BASELINES, "lopsided", Baseline(dvaepp, **own)),
        (registry.BASELINES, "weighted", weighted),
        (registry.ENCODERS, "linear", LinearEncoder),
        (registry.DECODERS, "wide", WideDecoder),
        (registry.LIKELIHOODS, "flipped", FlippedPixels),
    )
    with pytest.MonkeyPatch.context() as patch:
        for names, name, part in (*_REGISTERED, *entries):
            patch.setitem(names, name, part)
        yield
