"""One example of everything that can be added, each as a user would write it: a class, a name."""

import contextlib
import dataclasses
import math
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf

from configs import registry
from configs.datasets import DATASETS, DatasetEntry
from configs.registry import Baseline, Structure
from data.dataset import build_dataset
from dvae.decoder import Decoder
from dvae.encoder import HierarchicalEncoder
from dvae.estimators.base import Estimator, Step
from dvae.likelihood import Likelihood
from dvae.log_ratio import Binary, Factorial
from dvae.methods import Method, dvaepp
from dvae.networks import layer_seed
from dvae.posteriors import BernoulliPosterior, MixturePosterior
from dvae.prior_chains import ChainSampler
from dvae.smoothing import Smoothing
from samplers import ais, counter_random, tempering
from samplers.energy_model import EnergyModel, LinearPath, uniform_base

SHARPNESS = {"2-layer-nonlin": 4.0}


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


class ScoreFunction(Estimator):
    """REINFORCE without a baseline on binary latents: its surrogate's value means nothing."""

    def step(self, model, inputs, state):
        batch, params, key, kl_weight = inputs
        sample = model.sample(batch, 1, key, training=True)
        terms = self.objective.terms(model, batch, params, sample)
        values = terms.log_weights(kl_weight)
        bound = tf.reduce_mean(values)
        score = tf.stop_gradient(values) * sample.log_q[:, None]
        return Step(bound + tf.reduce_mean(score), self.metrics(terms, bound), state)


def score_function(structure, sharpness, energy_model):
    """The method that uses it: bits, and their log ratio."""
    del structure, sharpness, energy_model
    return Method(BernoulliPosterior(), Binary(), ScoreFunction)


class BitsParameters(NamedTuple):
    """bias: [D]."""

    bias: tf.Tensor


@dataclasses.dataclass(frozen=True)
class IndependentBits(EnergyModel):
    """p(z) = Π_i Bernoulli(z_i; σ(c_i)): no halves, and log Z = Σ softplus(c_i)."""

    num_units: int

    def independent(self, logits):
        return BitsParameters(logits)

    def energy(self, params, state):
        return -tf.linalg.matvec(state, params.bias)

    def sweeps(self, params, state, key, num_sweeps, inverse_temperature=1.0, base=None):
        """A sweep is an exact sample: one for all."""
        del num_sweeps
        t = tf.cast(inverse_temperature, state.dtype)
        logits = t * params.bias + (0.0 if base is None else (1.0 - t) * base)
        return counter_random.bernoulli_logits(key, tf.broadcast_to(logits, state.shape))


class BitsState(NamedTuple):
    """chains: [C, D], drawn anew at each step."""

    chains: tf.Tensor


class ExactBits(ChainSampler):
    """Exact samples of independent bits."""

    metric_names = ("sampler/fraction_of_ones",)

    def init(self, key):
        return BitsState(self._model.start(self._config.num_chains, key))

    def step(self, params, state, key, step):
        del step
        chains = self._model.sweeps(params, state.chains, key, 1)
        return BitsState(chains), {self.metric_names[0]: tf.reduce_mean(chains)}


class TemperedState(NamedTuple):
    """ladders: of `samplers.tempering`; chains: the model's states at their cold ends."""

    ladders: tempering.TemperingState
    chains: Any


class Tempered(ChainSampler):
    """Chains at the cold end of parallel tempering, one ladder of three temperatures each."""

    TEMPERATURES = ais.linear_temperatures(2)

    def _path(self, params):
        return LinearPath(self._model, params, uniform_base(self._model))

    def _cold(self, ladders):
        last = len(self.TEMPERATURES) - 1
        return tf.nest.map_structure(lambda part: part[last :: last + 1], ladders.state)

    def init(self, key):
        path = self._path(self._model.independent(uniform_base(self._model)))
        ladders = tempering.init(path, key, self._config.num_chains, len(self.TEMPERATURES))
        return TemperedState(ladders, self._cold(ladders))

    def step(self, params, state, key, step):
        del step
        path = self._path(params)
        ladders, _ = tempering.step(path, state.ladders, key, self.TEMPERATURES)
        return TemperedState(ladders, self._cold(ladders)), {}


def smoothed_bits(structure, sharpness, energy_model, *, smoothing):
    """A method of one's own from parts that are there: any prior will do."""
    del structure, energy_model
    return Method(MixturePosterior(registry.resolve(smoothing)(sharpness)), Factorial())


def noise(entry, data_dir):
    """A data set: bits of which a share of 0.3 is one."""
    del data_dir
    height, width = entry.image_shape
    rng = np.random.default_rng(0)
    splits = [np.uint8(rng.random((size, height * width)) < 0.3) for size in entry.sizes]
    return build_dataset(
        *splits, image_shape=entry.image_shape, dynamic_binarization=False, notes=" of noise"
    )


@contextlib.contextmanager
def registered():
    """All of them under their names, each by one entry."""
    weighted = Baseline(smoothed_bits, SHARPNESS, {"smoothing": Lopsided}, importance_weighted=True)
    entries = (
        (registry.BASELINES, "lopsided", Baseline(dvaepp, SHARPNESS, {"smoothing": Lopsided})),
        (registry.BASELINES, "weighted", weighted),
        (registry.BASELINES, "score_function", Baseline(score_function, SHARPNESS)),
        (registry.SAMPLERS, "tempered", Tempered),
        (registry.SAMPLERS, "exact_bits", ExactBits),
        (registry.ENCODERS, "linear", LinearEncoder),
        (registry.DECODERS, "wide", WideDecoder),
        (registry.LIKELIHOODS, "flipped", FlippedPixels),
        (DATASETS, "noise", DatasetEntry(noise, "nobody", (2, 3), (20, 5, 5))),
        (registry.PRIORS, "bits", lambda structure: IndependentBits(structure.num_latents)),
    )
    with pytest.MonkeyPatch.context() as patch:
        for names, name, part in entries:
            patch.setitem(names, name, part)
        yield
