"""Estimators of the training objective's gradient: what is differentiated, and what is logged.

The two differ in general. A surrogate is a scalar whose gradient is wanted and whose value may mean
nothing (score-function estimators); the bound is the objective's value, and the only one of the
two that is ever shown.
"""

import abc
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import tensorflow as tf

from samplers.energy_model import Parameters

if TYPE_CHECKING:
    from dvae.model import DVAE, Forward


class Estimate(NamedTuple):
    """Scalars, averaged over images, in nats; log Z left out (its weight is -kl_weight).

    surrogate: to be raised; its gradient with respect to encoder, decoder and prior is used.
    bound: the objective's value, for logs: a lower bound of log p(x) once kl_weight is 1.
    log_likelihood, kl: means over images and samples.
    """

    surrogate: tf.Tensor
    bound: tf.Tensor
    log_likelihood: tf.Tensor
    kl: tf.Tensor

    @classmethod
    def of(cls, surrogate: tf.Tensor, bound: tf.Tensor, forward: "Forward") -> "Estimate":
        """With the means of a pass's terms."""
        means = tf.reduce_mean(forward.log_likelihood), tf.reduce_mean(forward.kl)
        return cls(surrogate, bound, *means)


class Estimator(abc.ABC):
    """An estimator of the gradient of a model's training objective.

    It holds no tensors. What it keeps of each training image from step to step (chains, averages)
    is a state of the training step and of its checkpoints: `init_states` and `step`.
    """

    # Whether `Estimate.bound` is the objective's value; if not, it is never shown.
    knows_bound: ClassVar[bool] = True

    def init_states(self, model: "DVAE", num_images: int, key: tf.Tensor) -> Any:
        """What is kept of each image: a nest of tensors [num_images, ...]; by default nothing."""
        del model, num_images, key
        return ()

    def step(
        self,
        model: "DVAE",
        images: tf.Tensor,
        params: Parameters,
        key: tf.Tensor,
        kl_weight: tf.Tensor,
        states: Any,
    ) -> tuple[Estimate, Any]:
        """One estimate, and the new states of the batch's images; by default they stay.

        Args:
          model, images, params, key, kl_weight: as of `__call__`.
          states: of `init_states`, those of the B images, [B, ...].
        """
        return self(model, images, params, key, kl_weight), states

    @abc.abstractmethod
    def __call__(
        self,
        model: "DVAE",
        images: tf.Tensor,
        params: Parameters,
        key: tf.Tensor,
        kl_weight: tf.Tensor,
    ) -> Estimate:
        """One estimate from a batch.

        Args:
          model: its parts say what the objective is made of.
          images: [B, X], 0/1.
          params: the prior's parameters.
          key: int32 [2].
          kl_weight: scalar in [0, 1].
        """


class Pathwise(Estimator):
    """The gradient of the objective through relaxed samples (DVAE, DVAE++, DVAE#).

    As biased for the binary model as the relaxation is; exact for the relaxed one. With K > 1 the
    importance-weighted bound has the plain gradient of Burda et al. 2016.
    """

    def __call__(  # noqa: D102
        self,
        model: "DVAE",
        images: tf.Tensor,
        params: Parameters,
        key: tf.Tensor,
        kl_weight: tf.Tensor,
    ) -> Estimate:
        forward = model.forward(images, params, key, training=True)
        objective = model.objective(forward, kl_weight)
        return Estimate.of(objective, objective, forward)
