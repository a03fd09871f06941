"""The walk through the latent groups: one loop, whatever is drawn.

q(z | x) = Π_l q(z_l | x, earlier groups). A drawing rule gets the parameters of the group that is
due and the latents of the groups before it, and returns those of all groups up to it. It may so
change the number of rows: fork chains, or enumerate states.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import tensorflow as tf

from dvae.posteriors import Posterior, PosteriorParams, Sample, concat
from samplers import counter_random

Latents = list[tf.Tensor]  # of groups, [N, d] each
Draw = Callable[[int, PosteriorParams, Latents], Latents]


class Hierarchy(Protocol):
    """What the walk needs of an encoder."""

    num_groups: int

    def group_params(  # noqa: D102
        self, condition: Any, group: int, earlier: Latents, num_samples: int, training: bool
    ) -> PosteriorParams: ...


class Rollout(NamedTuple):
    """Of each group: latents [N, d] as the last draw left them, and parameters [N', d].

    The parameters have the rows that there were when the group was due.
    """

    latents: Latents
    params: list[PosteriorParams]


def rollout(
    encoder: Hierarchy, condition: Any, num_samples: int, draw: Draw, training: bool = False
) -> Rollout:
    """Walks all groups.

    Args:
      encoder: gives the parameters of a group.
      condition: of `encoder.condition`.
      num_samples: rows of each image in the first group.
      draw: the rule.
      training: batch statistics (and moving their averages), or the averages.
    """
    latents: Latents = []
    params: list[PosteriorParams] = []
    for group in range(encoder.num_groups):
        params.append(encoder.group_params(condition, group, latents, num_samples, training))
        latents = draw(group, params[-1], latents)
    return Rollout(latents, params)


def relaxed(posterior: Posterior, key: tf.Tensor) -> Draw:
    """Samples of the posterior, with gradients where it has them; key int32 [2]."""

    def draw(group: int, params: PosteriorParams, earlier: Latents) -> Latents:
        return [*earlier, posterior.sample(params, counter_random.fold_in(key, group))]

    return draw


def binary(key: tf.Tensor) -> Draw:
    """Bits of the unrelaxed posterior; key int32 [2]."""

    def draw(group: int, params: PosteriorParams, earlier: Latents) -> Latents:
        key_of_group = counter_random.fold_in(key, group)
        return [*earlier, counter_random.bernoulli_logits(key_of_group, params.logits)]

    return draw


def given(latents: Latents) -> Draw:
    """Latents that are there already."""
    return lambda group, params, earlier: [*earlier, latents[group]]


def sample_of(posterior: Posterior, latents: tf.Tensor, params: PosteriorParams) -> Sample:
    """Latents [N, D] as a `Sample`, with their log density under the posterior."""
    log_density = posterior.log_density(latents, params)
    log_q = None if log_density is None else tf.reduce_sum(log_density, axis=1)
    return Sample(latents, params, log_q)


def joined(posterior: Posterior, walk: Rollout) -> Sample:
    """A walk whose rows never changed as a `Sample`, the groups side by side."""
    return sample_of(posterior, tf.concat(walk.latents, axis=1), concat(walk.params))
