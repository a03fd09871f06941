"""The training objective of binary models small enough to enumerate, and so its gradient."""

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from configs.errors import UserError
from configs.paper import Structure
from dvae import objectives
from dvae.estimators import Estimate, Estimator
from dvae.posteriors import PosteriorParams
from samplers.energy_model import Parameters

if TYPE_CHECKING:
    from dvae.model import DVAE

# What a batch of 100 images of 784 pixels has room for, in a few hundred MB.
MOST_STATES = 2**10
MOST_MULTISETS = 2**16


def check_size(num_latents: int, num_samples: int) -> None:
    """Raises UserError where there are too many states, or too many multisets of K of them."""

    def fits(units: int) -> bool:
        few_states = 2**units <= MOST_STATES
        return few_states and math.comb(2**units + num_samples - 1, num_samples) <= MOST_MULTISETS

    if not fits(num_latents):
        most = next(units for units in itertools.count() if not fits(units + 1))
        raise UserError(
            f"--baseline=exact enumerates all states: a structure may have up to {most} latents in "
            f"all groups for k={num_samples}, not {num_latents}; choose another --baseline"
        )


def _all_states(num_units: int) -> np.ndarray:
    """All bits, float32 [2^n, n] in counting order, the first unit slowest."""
    counts = np.arange(2**num_units)[:, None]
    return np.float32(counts >> np.arange(num_units)[::-1] & 1)


def _multisets(num_states: int, num_samples: int) -> tuple[np.ndarray, np.ndarray]:
    """All multisets of K states, [M, K], and the log of how many K-tuples each stands for, [M]."""
    members = np.array(
        list(itertools.combinations_with_replacement(range(num_states), num_samples)), np.int32
    )
    # K! / Π n_s!, from the position of each member in its run of equal ones.
    position = np.zeros(members.shape)
    for place in range(1, num_samples):
        same = members[:, place] == members[:, place - 1]
        position[:, place] = np.where(same, position[:, place - 1] + 1, 0)
    log_counts = math.lgamma(num_samples + 1) - np.log1p(position).sum(axis=1)
    return members, np.float32(log_counts)


def log_probabilities(model: "DVAE", images: tf.Tensor, training: bool) -> tf.Tensor:
    """log q(z | x) of all states of images [B, X]: [B, 2^D] in nats, the first unit slowest.

    Needs an encoder with `image_products` and `group_params`.
    """
    products = model.encoder.image_products(images)
    units = model.config.structure.units_per_group
    of_group = tf.constant(_all_states(units))
    log_q = tf.zeros([images.shape[0], 1])
    for group in range(len(products)):
        known = tf.constant(_all_states(units * group))
        earlier = tf.split(tf.tile(known, [images.shape[0], 1]), group, axis=1) if group else []
        params = model.encoder.group_params(products, group, earlier, known.shape[0], training)
        logits = tf.reshape(params.logits, [images.shape[0], known.shape[0], 1, units])
        terms = model.parts.posterior.log_density(of_group, PosteriorParams(logits))
        joint = log_q[:, :, None] + tf.reduce_sum(terms, axis=3)
        log_q = tf.reshape(joint, [images.shape[0], -1])
    return log_q


def exact_objective(
    model: "DVAE",
    images: tf.Tensor,
    params: Parameters,
    num_samples: int,
    kl_weight: tf.Tensor,
    training: bool = False,
) -> Estimate:
    """The ELBO (K = 1) or the importance-weighted bound L_K (K > 1) as sums over all states.

    No sampling: exact for the binary model to rounding, and differentiable. L_K is a sum over all
    multisets of K states. With training=True batch norm has the statistics of all states, each
    counted once, and moves its averages.

    Args:
      model: with few latents, and an encoder with `group_params`.
      images: [B, X], 0/1.
      params: the prior's parameters.
      num_samples: K.
      kl_weight: scalar; log w = log p(x | z) - kl_weight (log q(z | x) + E(z)).
      training: how the networks run.

    Returns:
      Estimate in nats, without log Z; surrogate and bound are one.

    Raises:
      UserError: there are too many states, or multisets of them.
    """
    num_latents = model.config.structure.num_latents
    check_size(num_latents, num_samples)
    states = tf.constant(_all_states(num_latents))
    log_q = log_probabilities(model, images, training)
    outputs = model.decoder.outputs(states, training)
    outputs = tf.tile(outputs[None], [images.shape[0], 1, 1])
    log_likelihood = model.likelihood.log_prob(images[:, None, :], outputs)
    log_ratio = log_q + model.prior.energy(params, states)
    log_weights = objectives.log_weights(log_likelihood, log_ratio, kl_weight)

    members, log_counts = _multisets(2**num_latents, num_samples)
    log_probability = log_counts + tf.reduce_sum(tf.gather(log_q, members, axis=1), axis=2)
    bounds = tf.reduce_logsumexp(tf.gather(log_weights, members, axis=1), axis=2)
    bounds -= math.log(num_samples)
    q = tf.exp(log_q)

    def mean(probabilities: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
        return tf.reduce_mean(tf.reduce_sum(probabilities * values, axis=1))

    objective = mean(tf.exp(log_probability), bounds)
    return Estimate(objective, objective, mean(q, log_likelihood), mean(q, log_ratio))


class Exact(Estimator):
    """The objective itself, ELBO or L_K, and its gradient without variance: `exact_objective`."""

    def __init__(self, structure: Structure) -> None:
        check_size(structure.num_latents, num_samples=1)

    def __call__(  # noqa: D102
        self,
        model: "DVAE",
        images: tf.Tensor,
        params: Parameters,
        key: tf.Tensor,
        kl_weight: tf.Tensor,
    ) -> Estimate:
        del key
        return exact_objective(model, images, params, model.config.k, kl_weight, training=True)
