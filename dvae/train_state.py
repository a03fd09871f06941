"""What a training step is a function of: its fields, its leaves by name, and how it is counted."""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from dvae.adam import AdamState, flatten, unflatten
from dvae.estimators.base import Estimator
from dvae.model import DVAE
from dvae.prior_chains import ChainsState

BAD_TERMS = ("reconstruction", "posterior or prior", "log Z", "gradient")
STEP, _SKIPPED, IN_A_ROW, _TERMS = range(4)  # of `TrainState.counts`
NUM_COUNTS = _TERMS + len(BAD_TERMS)


class TrainState(NamedTuple):
    """All that a step reads and writes; a checkpoint of its leaves resumes a run bit for bit.

    weights: [P], all that is trained, one after the other. averages: [A], the moving averages of
    batch norm. sampler: the chains of the prior. adam: the optimizer's. counts: int64 [NUM_COUNTS],
    see `counted`. metric_sums: see `dvae.metrics.MetricSums`. image_states: what the estimator
    keeps of each training image, a nest of [num_images, ...].

    Of a model that is only used, the last four are ().
    """

    weights: tf.Tensor
    averages: tf.Tensor
    sampler: ChainsState
    adam: AdamState | tuple = ()
    counts: tf.Tensor | tuple = ()
    metric_sums: tf.Tensor | tuple = ()
    image_states: Any = ()

    @property
    def model(self) -> "TrainState":
        """What the model alone needs."""
        return TrainState(self.weights, self.averages, self.sampler)

    def with_model(self, model: "TrainState") -> "TrainState":
        """With what the model alone needs from another state."""
        return self._replace(weights=model.weights, averages=model.averages, sampler=model.sampler)

    @property
    def step(self) -> int:
        """Steps so far."""
        return int(self.counts[STEP])

    @property
    def skipped(self) -> int:
        """Of these, those whose update was not finite."""
        return int(self.counts[_SKIPPED])

    @property
    def skipped_in_a_row(self) -> int:
        """How many were skipped since the last that was taken."""
        return int(self.counts[IN_A_ROW])

    @property
    def skipped_terms(self) -> np.ndarray:
        """The skipped steps by the first of BAD_TERMS that was not finite, int64."""
        return self.counts[_TERMS:].numpy()


def named_leaves(state: Any, name: str = "") -> dict[str, tf.Tensor]:
    """The leaves of nested tuples by their path, "adam/first", in the order of `tf.nest`."""
    if not isinstance(state, tuple):
        return {name: state}
    fields = getattr(state, "_fields", range(len(state)))
    leaves: dict[str, tf.Tensor] = {}
    for field, part in zip(fields, state, strict=True):
        leaves |= named_leaves(part, f"{name}/{field}" if name else str(field))
    return leaves


class NetworkVariables:
    """The variables of a model and its estimator: where the weights of a state are given to them.

    trained: in the order of `TrainState.weights`. averages: in that of `TrainState.averages`.
    """

    def __init__(self, model: DVAE, estimator: Estimator) -> None:
        self.trained = [*estimator.trainable_variables, *model.trainable_variables]
        self.averages = list(model.non_trainable_variables)
        self._assign = tf.function(self._assign_all, autograph=False)

    def state(self, sampler: ChainsState) -> TrainState:
        """The state of a model with the weights and averages that they have now."""
        return TrainState(flatten(self.trained), flatten(self.averages), sampler)

    def assign(self, state: TrainState) -> None:
        """Gives them the weights and averages of a state."""
        self._assign(state.weights, state.averages)

    def _assign_all(self, weights: tf.Tensor, averages: tf.Tensor) -> None:
        for variables, flat in ((self.trained, weights), (self.averages, averages)):
            for variable, value in zip(variables, unflatten(flat, variables), strict=True):
                variable.assign(value)


def gather_rows(states: Any, indices: tf.Tensor) -> Any:
    """The states of some images, [B, ...]."""
    return tf.nest.map_structure(lambda state: tf.gather(state, indices), states)


def scatter_rows(states: Any, indices: tf.Tensor, rows: Any) -> Any:
    """The states with those of some images, all different, replaced; XLA does it in place."""

    def replaced(state: tf.Tensor, new: tf.Tensor) -> tf.Tensor:
        return tf.tensor_scatter_nd_update(state, indices[:, None], new)

    return tf.nest.map_structure(replaced, states, rows)


def counted(counts: tf.Tensor, ok: tf.Tensor, finite: tf.Tensor) -> tf.Tensor:
    """`TrainState.counts` one step later: steps, skipped ones, those in a row, and by bad term.

    Args:
      counts: int64 [NUM_COUNTS].
      ok: whether the step was taken, a bool scalar.
      finite: bool, of each of BAD_TERMS; only the first that is not is counted.
    """
    skipped = tf.cast(tf.logical_not(ok), tf.int64)
    place = tf.range(counts.shape[0])
    blamed = _TERMS + tf.argmin(tf.cast(finite, tf.int32), output_type=tf.int32)
    always = (place == STEP) | (place == IN_A_ROW)
    if_skipped = (place == _SKIPPED) | (place == blamed)
    counts += tf.cast(always, tf.int64) + skipped * tf.cast(if_skipped, tf.int64)
    return tf.where(place == IN_A_ROW, skipped * counts, counts)
