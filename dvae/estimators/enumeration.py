"""The training objective of binary models small enough to enumerate, and so its gradient."""

import itertools
import math
from typing import Any

import numpy as np
import tensorflow as tf

from configs.errors import UserError, name_of
from configs.registry import Structure
from dvae.encoder import Batch
from dvae.estimators.base import Estimator, Inputs, Step
from dvae.model import DVAE
from dvae.objective import Objective, Terms
from dvae.posteriors import PosteriorParams, Sample
from dvae.rollout import Draw, Latents, rollout

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
            f"{name_of('baseline')}=exact enumerates all states: a structure may have up to {most} "
            f"latents in all groups for k={num_samples}, not {num_latents}; choose another "
            f"{name_of('baseline')}"
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


def every_state() -> Draw:
    """All bits of the group for each row: rows in counting order, the first group slowest."""

    def draw(group: int, params: PosteriorParams, earlier: Latents) -> Latents:
        del group
        rows, units = params.logits.shape
        new = tf.tile(tf.constant(_all_states(units)), [rows, 1])
        return [*(tf.repeat(z, 2**units, axis=0) for z in earlier), new]

    return draw


def log_probabilities(model: DVAE, batch: Batch) -> tf.Tensor:
    """log q(z | x) of all states of B images in training: [B, 2^D] in nats, the first unit slowest.

    Needs a hierarchical encoder.
    """
    condition, num_images = model.encoder.condition(batch), batch.images.shape[0]
    walk = rollout(model.encoder, condition, 1, every_state(), training=True)
    log_q = tf.zeros([num_images, 1])
    for params in walk.params:
        units = params.logits.shape[1]
        logits = tf.reshape(params.logits, [num_images, -1, 1, units])
        states = tf.constant(_all_states(units))
        terms = model.posterior.log_density(states, PosteriorParams(logits))
        joint = log_q[:, :, None] + tf.reduce_sum(terms, axis=3)
        log_q = tf.reshape(joint, [num_images, -1])
    return log_q


class Exact(Estimator):
    """The objective itself, ELBO (K = 1) or L_K, and its gradient without variance.

    Sums over all states, L_K over all multisets of K states: exact for the binary model to
    rounding. Batch norm has the statistics of all states, each counted once.

    Raises UserError where there are too many states, or multisets of them.
    """

    def __init__(self, objective: Objective, num_samples: int, structure: Structure) -> None:
        super().__init__(objective, num_samples, structure)
        check_size(structure.num_latents, num_samples)

    def step(self, model: DVAE, inputs: Inputs, state: Any) -> Step:  # noqa: D102
        batch, params, _, kl_weight = inputs
        log_q = log_probabilities(model, batch)
        states = tf.constant(_all_states(int(math.log2(log_q.shape[1]))))
        outputs = model.decoder.outputs(states, training=True)
        outputs = tf.tile(outputs[None], [batch.images.shape[0], 1, 1])
        log_likelihood = model.likelihood.log_prob(batch.images[:, None, :], outputs)
        sample = Sample(states, PosteriorParams(states), log_q)
        terms = Terms(log_likelihood, self.objective.log_ratio(model.prior, params, sample))
        log_weights = terms.log_weights(kl_weight)

        members, log_counts = _multisets(log_q.shape[1], self.num_samples)
        log_probability = log_counts + tf.reduce_sum(tf.gather(log_q, members, axis=1), axis=2)
        bounds = tf.reduce_logsumexp(tf.gather(log_weights, members, axis=1), axis=2)
        bounds -= math.log(self.num_samples)
        bound = tf.reduce_mean(tf.reduce_sum(tf.exp(log_probability) * bounds, axis=1))
        # The metrics are means under q, not over rows.
        weighted = Terms(*(tf.reduce_sum(tf.exp(log_q) * term, axis=1) for term in terms))
        return Step(bound, self.metrics(weighted, bound, kl_weight), state)
