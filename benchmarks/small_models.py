"""Models small enough to enumerate, and the exact gradient of what they are trained for.

The objective is that of the binary model, with no estimator in it: the ELBO, or the K-sample bound
L_K of Burda et al. 2016 for methods that train it, both with log Z, as sums over all 2^D states in
float64. Nothing here samples, and the networks are written out anew.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from configs.datasets import published_sharpness
from configs.experiment import ExperimentConfig, check_config
from configs.registry import Structure
from dvae.build import build
from dvae.estimators.base import Estimator
from dvae.model import DVAE
from dvae.networks import Network
from dvae.undirected import UndirectedEncoder

NUM_PIXELS, NUM_IMAGES, HIDDEN_UNITS = 6, 6, 4
# By number of groups: the structure, and the one of the papers whose sharpness is used.
STRUCTURES = {
    1: (Structure(1, 6, 1, HIDDEN_UNITS), "1-layer-nonlin"),
    2: (Structure(2, 3, 1, HIDDEN_UNITS), "2-layer-nonlin"),
    4: (Structure(4, 2, 1, HIDDEN_UNITS), "4-layer-nonlin"),
}
# Standard deviations: of the prior's couplings, of all biases, and what a kernel's has times the
# square root of its inputs. Logits of the posteriors then have one of about 1.5.
COUPLING, BIAS, KERNEL = 0.75, 0.5, 2.0
_SEED = 5
# Trapezoids of step 1/4 in log t: an error of exp(-4 π²/2) for what is analytic.
_NODE_STEP, _TAIL = 0.25, 45.0

Weights = Mapping[int, tf.Tensor]


class FrozenNorm:
    """A batch norm that always uses its moving averages: rows are then independent."""

    def __init__(self, norm: keras.layers.BatchNormalization) -> None:
        self._norm = norm

    def __call__(self, values: tf.Tensor, training: bool = False) -> tf.Tensor:
        """`values` [N, H] normalised as at evaluation."""
        del training
        return self._norm(values, training=False)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._norm, name)


def networks(model: DVAE) -> list[Network]:
    """All networks of encoder and decoder."""
    encoder = model.encoder
    of_encoder = [encoder.network] if isinstance(encoder, UndirectedEncoder) else encoder.networks
    return [*of_encoder, model.decoder.network]


def freeze_norms(model: DVAE) -> None:
    """Takes batch norm's statistics from its moving averages, in training too."""
    for network in networks(model):
        network.norms[:] = [FrozenNorm(norm) for norm in network.norms]
    if isinstance(model.encoder, UndirectedEncoder):  # its couplings are normalised
        model.encoder.norm = FrozenNorm(model.encoder.norm)


class SmallModel(NamedTuple):
    """A model of independent rows with random weights, and all its images, float32 [B, X]."""

    config: ExperimentConfig
    model: DVAE
    estimator: Estimator
    images: np.ndarray
    train_mean: np.ndarray


def small_model(baseline: str, num_groups: int, k: int, seed: int = _SEED) -> SmallModel:
    """The model of one method; its weights are those of any other method of as many groups.

    Raises:
      UserError: the method is not made for this k or this number of groups.
    """
    structure, published = STRUCTURES[num_groups]
    config = dataclasses.replace(
        ExperimentConfig(),
        struct=published,
        structure=structure,
        baseline=baseline,
        k=k,
        beta=published_sharpness(baseline, published),
        input_size=NUM_PIXELS,
        train_batchsize=NUM_IMAGES,
    )
    check_config(config)
    rng = np.random.default_rng([seed, num_groups])
    train_mean = np.float32(rng.uniform(0.2, 0.8, NUM_PIXELS))
    images = np.float32(rng.random((NUM_IMAGES, NUM_PIXELS)) < train_mean)
    model, estimator = build(config, train_mean)
    freeze_norms(model)
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
            if variable.name in ("moving_variance", "gamma"):
                values = np.exp(0.3 * values)
            elif variable.name == "coupling":
                values = COUPLING * values
            elif variable.name == "kernel":
                values = KERNEL / np.sqrt(_fan_in(part, variable)) * values
            else:
                values = BIAS * values
            variable.assign(values)


def _fan_in(network: Network, kernel: keras.Variable) -> int:
    first = [layer.kernel for layer in network.first]
    shared = any(kernel is other for other in first)
    return sum(k.shape[0] for k in first) if shared else kernel.shape[0]


def part_variables(model: DVAE) -> dict[str, list[keras.Variable]]:
    """What is trained of encoder, prior and decoder."""
    parts = {"encoder": model.encoder, "prior": model.prior, "decoder": model.decoder}
    return {name: part.trainable_variables for name, part in parts.items()}


def all_states(num_latents: int) -> tf.Tensor:
    """All binary states, float64 [2^D, D]."""
    return tf.constant(np.indices([2] * num_latents).reshape(num_latents, -1).T, tf.float64)


def _value(weights: Weights, variable: keras.Variable) -> tf.Tensor:
    found = weights.get(id(variable))
    return tf.constant(variable.numpy(), tf.float64) if found is None else found


def _normalised(norm: FrozenNorm, weights: Weights, values: tf.Tensor) -> tf.Tensor:
    mean, variance, offset, scale = (
        _value(weights, v) for v in (norm.moving_mean, norm.moving_variance, norm.beta, norm.gamma)
    )
    return (values - mean) * scale * tf.math.rsqrt(variance + norm.epsilon) + offset


def _network(network: Network, weights: Weights, parts: Sequence[tf.Tensor]) -> tf.Tensor:
    """Outputs [..., O] of a network with frozen norms, from the parts [..., I] of its input."""
    hidden = sum(
        tf.tensordot(part, _value(weights, layer.kernel), 1)
        for part, layer in zip(parts, network.first, strict=True)
    )
    for norm, layer in zip(network.norms, network.rest, strict=True):
        activation = tf.tanh(_normalised(norm, weights, hidden))
        hidden = tf.tensordot(activation, _value(weights, layer.kernel), 1)
    return hidden + _value(weights, network.bias)


def log_posterior(small: SmallModel, weights: Weights, states: tf.Tensor) -> tf.Tensor:
    """log q(z | x) of every image and state, [B, S]."""
    centered = tf.cast(small.images - small.train_mean, tf.float64)[:, None, :]
    by_kind = _undirected if isinstance(small.model.encoder, UndirectedEncoder) else _directed
    return by_kind(small.model, weights, centered, states)


def _directed(model: DVAE, weights: Weights, centered: tf.Tensor, states: tf.Tensor) -> tf.Tensor:
    """Independent units, group by group."""
    units = states.shape[1] // model.encoder.num_groups
    total = tf.zeros([], tf.float64)
    for group, network in enumerate(model.encoder.networks):
        split = [states[None, :, i * units : (i + 1) * units] for i in range(group + 1)]
        output = _network(network, weights, [centered, *split[:group]])
        logits, z = output[..., :units], split[group]
        total += tf.reduce_sum(z * logits - tf.nn.softplus(logits), axis=-1)
    return total


def _undirected(model: DVAE, weights: Weights, centered: tf.Tensor, states: tf.Tensor) -> tf.Tensor:
    """Ising spins s of both halves for each image, at temperature 1/2 (1901.03440).

    -E = c.s_L + d.s_R + s_L' J s_R with the network's outputs c, d and w, J = 1.5 bn(w) / sqrt(L).
    """
    encoder, half = model.encoder, states.shape[1] // 2
    output = _network(encoder.network, weights, [centered])[:, 0]
    fields, raw = output[:, : states.shape[1]], output[:, states.shape[1] :]
    coupling = 1.5 / half**0.5 * _normalised(encoder.norm, weights, raw)
    coupling = tf.reshape(coupling, [-1, half, states.shape[1] - half])
    spins = 2.0 * states - 1.0
    pairs = tf.einsum("sl,blr,sr->bs", spins[:, :half], coupling, spins[:, half:])
    return tf.nn.log_softmax(tf.matmul(fields, spins, transpose_b=True) + pairs, axis=1)


def _log_likelihood(small: SmallModel, weights: Weights, states: tf.Tensor) -> tf.Tensor:
    """log p(x | z) of every image and state, [B, S]."""
    model, images = small.model, tf.cast(small.images, tf.float64)[:, None, :]
    offset = tf.cast(model.likelihood.offset(small.train_mean), tf.float64)
    outputs = _network(model.decoder.network, weights, [states])[None] + offset
    return model.likelihood.log_prob(images, tf.repeat(outputs, images.shape[0], axis=0))


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


def exact_objective(small: SmallModel, weights: Weights, kl_weight: float = 1.0) -> tf.Tensor:
    """The training objective of the binary model, a float64 scalar in nats, log Z included.

    Args:
      small: a small model; its images are those of the objective's mean.
      weights: float64 values of its trainable variables by `id`.
      kl_weight: of the KL term.
    """
    model = small.model
    states = all_states(small.config.structure.num_latents)
    params = tf.nest.map_structure(lambda field: weights[id(field)], model.prior.fields)
    log_p = tf.nn.log_softmax(-model.prior.energy(params, states))
    log_q = log_posterior(small, weights, states)
    log_w = _log_likelihood(small, weights, states) + kl_weight * (log_p[None] - log_q)
    if small.estimator.objective.importance_weighted:
        return tf.reduce_mean(importance_weighted(log_q, log_w, small.config.k))
    return tf.reduce_mean(tf.reduce_sum(tf.exp(log_q) * log_w, axis=1))


def exact_gradient(small: SmallModel, kl_weight: float = 1.0) -> dict[str, np.ndarray]:
    """The exact gradient of `exact_objective` for encoder, prior and decoder, flat, float64.

    Zero where the binary model does not depend on a weight (the shift and scale of dvaes_gi).
    """
    parts = part_variables(small.model)
    variables = [variable for part in parts.values() for variable in part]
    values = [tf.constant(variable.numpy(), tf.float64) for variable in variables]
    with tf.GradientTape() as tape:
        tape.watch(values)
        weights = {id(v): value for v, value in zip(variables, values, strict=True)}
        objective = exact_objective(small, weights, kl_weight)
    zero = tf.UnconnectedGradients.ZERO
    gradients = iter(tape.gradient(objective, values, unconnected_gradients=zero))
    return {
        name: np.concatenate([next(gradients).numpy().ravel() for _ in part])
        for name, part in parts.items()
    }
