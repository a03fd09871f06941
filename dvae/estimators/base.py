"""What an estimator is: one step, from a batch to what is differentiated and what is logged."""

import abc
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from configs.registry import Structure
from dvae.encoder import Batch
from dvae.metrics import Share
from dvae.model import DVAE
from dvae.objective import Objective, Terms
from samplers.energy_model import Parameters


class Inputs(NamedTuple):
    """What a step is given: a batch, the prior's parameters, a key int32 [2], the KL weight."""

    batch: Batch
    params: Parameters
    key: tf.Tensor
    kl_weight: tf.Tensor


class Step(NamedTuple):
    """What one step of an estimator gives; scalars averaged over images, in nats, without log Z.

    surrogate: to be raised. Its gradient with respect to all weights is used, its value may mean
      nothing.
    metrics: for logs, those that `Estimator.shares` names.
    state: what is kept of the images of the batch.
    """

    surrogate: tf.Tensor
    metrics: dict[str, tf.Tensor]
    state: Any


class Estimator(abc.ABC):
    """An estimator of the gradient of an objective with K samples an image."""

    # What it learns for itself, trained beside the model's weights.
    trainable_variables: Sequence[keras.Variable] = ()

    def __init__(self, objective: Objective, num_samples: int, structure: Structure) -> None:
        del structure
        self.objective = objective
        self.num_samples = num_samples

    @property
    def shares(self) -> dict[str, Share]:
        """The names of a step's metrics, in order, each with its share of log Z."""
        return {self.objective.bound_name: Share(weighted=1.0), **self.objective.term_shares}

    def init(self, model: DVAE, num_images: int, key: tf.Tensor) -> Any:
        """What is kept of each training image: a nest of tensors [num_images, ...]."""
        del model, num_images, key
        return ()

    @abc.abstractmethod
    def step(self, model: DVAE, inputs: Inputs, state: Any) -> Step:
        """One estimate; state: of `init`, that of the B images of the batch, [B, ...]."""

    def metrics(self, terms: Terms, bound: tf.Tensor, kl_weight: tf.Tensor) -> dict[str, tf.Tensor]:
        """Means of the terms, and the negative of the objective's value `bound`, without log Z."""
        loss, means = -bound, self.objective.term_metrics(terms)
        if not self.objective.importance_weighted:  # the same, without a sum of its own
            reconstruction, log_ratio = means.values()
            loss = reconstruction + kl_weight * log_ratio
        return {self.objective.bound_name: loss, **means}
