"""Models small enough to enumerate, and the exact gradient of what they are trained for.

The objective is that of the binary model: the ELBO, or the K-sample bound L_K of Burda et al. 2016
for methods that train it, with log Z, summed over all 2^D states in float64. Nothing samples.
"""

import dataclasses
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from configs.datasets import published_sharpness
from configs.experiment import ExperimentConfig, check_config
from configs.registry import Structure
from dvae.build import build
from dvae.encoder import Batch
from dvae.estimators.base import Estimator
from dvae.likelihood import log_bernoulli
from dvae.model import DVAE
from dvae.networks import Network
from dvae.rollout import given, rollout
from dvae.undirected import UndirectedEncoder
from samplers import row_rbms
from samplers.rbm import Halves

NUM_PIXELS, NUM_IMAGES = 6, 6
# By number of groups: the structure, and the one of the papers whose sharpness is used.
_UNITS = {1: 6, 2: 3, 4: 2}
STRUCTURES = {n: (Structure(n, _UNITS[n], 1, 4), f"{n}-layer-nonlin") for n in _UNITS}
# Standard deviations: of the prior's couplings, of all biases, and what a kernel's has times the
# square root of its inputs. Logits of the posteriors then have one of about 1.5.
COUPLING, BIAS, KERNEL = 0.75, 0.5, 2.0
# Trapezoids of step 1/4 in log t: an error of exp(-4 π²/2) for what is analytic.
_NODE_STEP, _TAIL = 0.25, 45.0


class FrozenNorm:
    """A batch norm that always uses its moving averages: rows are then independent."""

    def __init__(self, norm: keras.layers.BatchNormalization) -> None:
        self._norm = norm

    def __call__(self, values: tf.Tensor, training: bool = False) -> tf.Tensor:  # noqa: D102
        return self._norm(values, training=False)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._norm, name)


def networks(model: DVAE) -> list[Network]:
    """All networks of encoder and decoder."""
    encoder = model.encoder
    of_encoder = [encoder.network] if isinstance(encoder, UndirectedEncoder) else encoder.networks
    return [*of_encoder, model.decoder.network]


class SmallModel(NamedTuple):
    """A model of independent rows with random weights, and all its images, float32 [B, X]."""

    config: ExperimentConfig
    model: DVAE
    estimator: Estimator
    images: np.ndarray
    train_mean: np.ndarray


def small_model(baseline: str, num_groups: int, k: int, seed: int = 5) -> SmallModel:
    """The model of one method; its weights are those of any other method of as many groups.

    Raises UserError where the method is not made for this k or this number of groups.
    """
    structure, published = STRUCTURES[num_groups]
    about = {"struct": published, "structure": structure, "baseline": baseline, "k": k}
    about |= {"input_size": NUM_PIXELS, "train_batchsize": NUM_IMAGES}
    beta = published_sharpness(baseline, published)
    config = dataclasses.replace(ExperimentConfig(), beta=beta, **about)
    check_config(config)
    rng = np.random.default_rng([seed, num_groups])
    train_mean = np.float32(rng.uniform(0.2, 0.8, NUM_PIXELS))
    images = np.float32(rng.random((NUM_IMAGES, NUM_PIXELS)) < train_mean)
    model, estimator = build(config, train_mean)
    for network in networks(model):
        network.norms[:] = [FrozenNorm(norm) for norm in network.norms]
    if isinstance(model.encoder, UndirectedEncoder):  # its couplings are normalised
        model.encoder.norm = FrozenNorm(model.encoder.norm)
    randomize(model, seed)
    return SmallModel(config, model, estimator, images, train_mean)


def randomize(model: DVAE, seed: int) -> None:
    """Random weights and moving averages: posteriors neither flat nor sure.

    What belongs to a relaxation alone (the scale of dvaes_gi) stays as training starts with it.
    """
    parts = [model.prior, *networks(model)]
    if isinstance(model.encoder, UndirectedEncoder):
        parts.append(model.encoder.norm)
    for place, part in enumerate(parts):
        for index, variable in enumerate(part.variables):
            # Outputs first, so that more of them do not change the first ones.
            rng = np.random.default_rng([seed, place, index])
            values = rng.standard_normal(variable.shape[::-1]).T
            if variable.name == "kernel":
                first = [layer.kernel for layer in part.first]
                shared = first if any(variable is kernel for kernel in first) else [variable]
                values *= KERNEL / np.sqrt(sum(kernel.shape[0] for kernel in shared))
            elif variable.name in ("moving_variance", "gamma"):
                values = np.exp(0.3 * values)
            else:
                values *= COUPLING if variable.name == "coupling" else BIAS
            variable.assign(values)


def part_variables(model: DVAE) -> dict[str, list[keras.Variable]]:
    """What is trained of encoder, prior and decoder."""
    parts = {"encoder": model.encoder, "prior": model.prior, "decoder": model.decoder}
    return {name: part.trainable_variables for name, part in parts.items()}


def all_states(num_latents: int) -> tf.Tensor:
    """All binary states, [2^D, D]."""
    return tf.constant(np.indices([2] * num_latents).reshape(num_latents, -1).T, tf.float32)


def log_posterior(small: SmallModel, states: tf.Tensor) -> tf.Tensor:
    """log q(z | x) of every image and state, float64 [B, S]."""
    encoder, batch = small.model.encoder, Batch(tf.constant(small.images))
    count, condition = len(states), encoder.condition(batch)
    rows = tf.tile(states, [len(small.images), 1])
    if isinstance(encoder, UndirectedEncoder):
        halves = tf.split(rows, [encoder.num_left, -1], axis=1)
        halves = (tf.reshape(half, [-1, count, half.shape[1]]) for half in halves)
        energy = row_rbms.energy(condition, Halves(*halves))
        return tf.nn.log_softmax(-tf.cast(energy, tf.float64))
    groups = tf.split(rows, encoder.num_groups, axis=1)
    walk = rollout(encoder, condition, count, given(groups))
    terms = (log_bernoulli(z, params.logits) for z, params in zip(groups, walk.params, strict=True))
    return tf.cast(tf.reshape(sum(terms), [-1, count]), tf.float64)


def importance_weighted(log_q: tf.Tensor, log_w: tf.Tensor, k: int) -> tf.Tensor:
    """L_K = E log (1/K) Σ w of K states drawn with log_q, [B] from [B, S]; exact up to rounding.

    log s = ∫ (exp(-t) - exp(-s t)) dt / t, so that only the mean of exp(-w t) over one state is
    wanted: E exp(-s t) is its K-th power. The integral over log t, of a function analytic near the
    real line that vanishes at both ends, is a sum to sixteen digits.
    """
    top = tf.stop_gradient(tf.reduce_max(log_w, axis=1, keepdims=True))
    lowest = float(tf.reduce_min(log_w - top))
    log_t = tf.range(-_TAIL, 5.0 - lowest, _NODE_STEP, tf.float64)
    decay = -tf.exp(log_t[:, None, None] + (log_w - top)[None])
    power = tf.reduce_sum(tf.exp(log_q)[None] * tf.exp(decay), axis=-1) ** k
    integrand = tf.exp(-tf.exp(log_t))[:, None] - power
    return top[:, 0] + _NODE_STEP * tf.reduce_sum(integrand, axis=0) - np.log(k)


def exact_objective(small: SmallModel, kl_weight: float = 1.0) -> tf.Tensor:
    """The training objective of the binary model, a float64 scalar in nats, log Z included."""
    model, batch = small.model, Batch(tf.constant(small.images))
    states = all_states(small.config.structure.num_latents)
    energy = tf.cast(model.prior.energy(model.prior.parameters(), states), tf.float64)
    log_p, log_q = tf.nn.log_softmax(-energy), log_posterior(small, states)
    rows = tf.tile(states, [len(small.images), 1])
    log_likelihood = model.log_likelihood(batch, rows, training=False)
    log_w = tf.cast(log_likelihood, tf.float64) + kl_weight * (log_p[None] - log_q)
    if small.estimator.objective.importance_weighted:
        return tf.reduce_mean(importance_weighted(log_q, log_w, small.config.k))
    return tf.reduce_mean(tf.reduce_sum(tf.exp(log_q) * log_w, axis=1))


def exact_gradient(small: SmallModel, kl_weight: float = 1.0) -> dict[str, np.ndarray]:
    """The exact gradient of `exact_objective` for encoder, prior and decoder, flat, float64.

    Zero where the binary model does not depend on a weight (the shift and scale of dvaes_gi).
    """
    parts = part_variables(small.model)
    variables = [variable for part in parts.values() for variable in part]
    with tf.GradientTape() as tape:
        objective = exact_objective(small, kl_weight)
    zero = tf.UnconnectedGradients.ZERO
    values = [variable.value for variable in variables]
    gradients = iter(tape.gradient(objective, values, unconnected_gradients=zero))
    return {
        name: np.concatenate([np.float64(next(gradients)).ravel() for _ in part])
        for name, part in parts.items()
    }
