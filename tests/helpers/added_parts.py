"""One example of everything that can be added, each as a user would write it: a class, a name."""

import contextlib
import dataclasses
import math
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from configs import registry
from configs.paper import Structure
from configs.registry import Baseline
from dvae import kl
from dvae.baselines import Parts, dvaepp
from dvae.decoder import Decoder
from dvae.encoder import BinarySample, with_log_density
from dvae.estimators import Estimate, Estimator
from dvae.likelihood import Likelihood, log_bernoulli
from dvae.networks import layer_seed
from dvae.posteriors import MixturePosterior, PosteriorParams
from dvae.prior_sampler import ChainSampler
from dvae.smoothing import Smoothing
from samplers import ais, counter_random, tempering
from samplers.energy_model import EnergyModel, LinearPath, uniform_base

SHARPNESS = {"binarized_mnist": {"2-layer-nonlin": 4.0}}


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
        return tf.reduce_sum(
            tf.math.xlogy(images, mean) + tf.math.xlog1py(1.0 - images, -mean), axis=-1
        )

    def mean(self, outputs):
        return self.RATE + (1.0 - 2.0 * self.RATE) * tf.sigmoid(outputs)

    def sample(self, outputs, key):
        return tf.cast(counter_random.uniform(key, outputs.shape) < self.mean(outputs), tf.float32)


class LinearEncoder(keras.layers.Layer):
    """One group whose logits are a plain linear map of the image."""

    samples_per_pass = 1

    def __init__(self, structure: Structure, train_mean, posterior, seed):
        super().__init__()
        self.posterior = posterior
        init = keras.initializers.RandomNormal(stddev=0.1, seed=layer_seed(seed, 1))
        self.kernel = self.add_weight(
            shape=(len(train_mean), structure.num_latents), initializer=init, name="kernel"
        )

    def image_products(self, images):
        return tf.matmul(images, self.kernel)

    def sample(self, images, num_samples, key, training):
        del training
        logits = tf.repeat(self.image_products(images), num_samples, axis=0)
        params = PosteriorParams(logits)
        return with_log_density(self.posterior, self.posterior.sample(params, key), params)

    def sample_binary(self, products, num_samples, key):
        logits = tf.repeat(products, num_samples, axis=0)
        z = counter_random.bernoulli_logits(key, logits)
        return BinarySample(z, log_bernoulli(z, logits), logits)

    def decayed_variables(self):
        return [self.kernel]


class WideDecoder(Decoder):
    """A decoder with three times as many hidden units."""

    def __init__(self, structure, train_mean, likelihood, seed):
        wide = Structure(structure.num_groups, structure.units_per_group, 1, 15)
        super().__init__(wide, train_mean, likelihood, seed)


class ScoreFunction(Estimator):
    """REINFORCE without a baseline on binary latents: its surrogate's value means nothing."""

    def __call__(self, model, images, params, key, kl_weight):
        encoding = model.encoder.sample_binary(model.encoder.image_products(images), 1, key)
        outputs = model.decoder.outputs(encoding.latents, True)
        log_likelihood = model.likelihood.log_prob(images, outputs)
        ratio = encoding.log_q + model.prior.energy(params, encoding.latents)
        bound = log_likelihood - kl_weight * ratio
        score = tf.stop_gradient(bound) * encoding.log_q
        means = [tf.reduce_mean(v) for v in (score + bound, bound, log_likelihood, ratio)]
        return Estimate(*means)


def score_function(structure, sharpness, prior):
    """The parts of a baseline that uses it; its KL term serves summaries alone."""
    parts = dvaepp(structure, sharpness, prior, smoothing=Lopsided)
    return parts._replace(estimator=ScoreFunction())


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


def relaxed_bits(structure, sharpness, prior, *, smoothing):
    """A baseline of straight energies: any prior will do."""
    del structure
    made = registry.resolve(smoothing)(sharpness)

    def straight(params, encoding):
        return kl.factorial_kl(prior, params, encoding)

    return Parts(MixturePosterior(made), straight)


@contextlib.contextmanager
def registered():
    """All of them under their names, each by one entry."""
    entries = (
        (registry.BASELINES, "lopsided", Baseline(dvaepp, SHARPNESS, {"smoothing": Lopsided})),
        (
            registry.BASELINES,
            "weighted",
            Baseline(relaxed_bits, SHARPNESS, {"smoothing": Lopsided}, importance_weighted=True),
        ),
        (registry.BASELINES, "score_function", Baseline(score_function, SHARPNESS)),
        (registry.SAMPLERS, "tempered", Tempered),
        (registry.SAMPLERS, "exact_bits", ExactBits),
        (registry.ENCODERS, "linear", LinearEncoder),
        (registry.DECODERS, "wide", WideDecoder),
        (registry.LIKELIHOODS, "flipped", FlippedPixels),
        (registry.PRIORS, "bits", lambda structure: IndependentBits(structure.num_latents)),
    )
    try:
        for names, name, part in entries:
            names[name] = part
        yield
    finally:
        for names, name, _ in entries:
            del names[name]
