"""What a training run holds beside weights and optimizer, and how its steps are counted."""

from typing import Any

import tensorflow as tf

from dvae.prior_sampler import SamplerState, from_variables, to_variables

BAD_TERMS = ("reconstruction", "posterior or prior", "log Z", "gradient")
STEP, _SKIPPED, _IN_A_ROW, _TERMS = range(4)  # of `TrainState.counts`


class TrainState(tf.Module):
    """Everything beside weights and optimizer that a step reads and writes."""

    def __init__(
        self, sampler_state: SamplerState, num_sums: int, image_states: "ImageStates"
    ) -> None:
        super().__init__()
        self.step = tf.Variable(0, dtype=tf.int64, name="step")
        self.sampler = to_variables(sampler_state)
        if image_states.variables:  # an empty list would have a place in checkpoints
            self.image_states = image_states.variables
        self.metric_sums = tf.Variable(tf.zeros([num_sums]), name="metric_sums")
        self.skipped = tf.Variable(0, dtype=tf.int64, name="skipped")
        self.skipped_in_a_row = tf.Variable(0, dtype=tf.int64, name="skipped_in_a_row")
        self.skipped_terms = tf.Variable(tf.zeros([len(BAD_TERMS)], tf.int64), name="skipped_terms")

    def counts(self) -> tf.Tensor:
        """What is counted, as one vector: int64, in the order of `STEP` and the others."""
        return tf.concat(
            [tf.stack([self.step, self.skipped, self.skipped_in_a_row]), self.skipped_terms], axis=0
        )

    def keep_counts(self, counts: tf.Tensor) -> None:
        """The inverse of `counts`."""
        for index, variable in enumerate((self.step, self.skipped, self.skipped_in_a_row)):
            variable.assign(counts[index])
        self.skipped_terms.assign(counts[_TERMS:])


class ImageStates:
    """What an estimator keeps of each training image: a nest of tensors [num_images, ...].

    A program carries the nest that `read` gives from step to step, and `keep`s it.
    """

    def __init__(self, initial: Any) -> None:
        self._like = tf.nest.map_structure(tf.TensorSpec.from_tensor, initial)
        self.variables = to_variables(initial)

    def read(self) -> Any:
        """The states as tensors."""
        return from_variables(self._like, self.variables)

    def keep(self, states: Any) -> None:
        """The inverse of `read`."""
        for variable, value in zip(self.variables, tf.nest.flatten(states), strict=True):
            variable.assign(tf.cast(value, variable.dtype))


def rows_of(states: Any, indices: tf.Tensor) -> Any:
    """The states of some images, [B, ...]."""
    return tf.nest.map_structure(lambda state: tf.gather(state, indices), states)


def with_rows(states: Any, indices: tf.Tensor, rows: Any) -> Any:
    """The states with those of some images, all different, replaced; XLA does it in place."""

    def replaced(state: tf.Tensor, new: tf.Tensor) -> tf.Tensor:
        return tf.tensor_scatter_nd_update(state, indices[:, None], new)

    return tf.nest.map_structure(replaced, states, rows)


def counted(counts: tf.Tensor, ok: tf.Tensor, finite: tf.Tensor) -> tf.Tensor:
    """`TrainState.counts` one step later.

    Args:
      counts: int64 [3 + number of BAD_TERMS].
      ok: whether the step was taken, a bool scalar.
      finite: bool, of each of BAD_TERMS; only the first that is not is counted.
    """
    skipped = tf.cast(tf.logical_not(ok), tf.int64)
    place = tf.range(counts.shape[0])
    blamed = _TERMS + tf.argmin(tf.cast(finite, tf.int32), output_type=tf.int32)
    always = (place == STEP) | (place == _IN_A_ROW)
    if_skipped = (place == _SKIPPED) | (place == blamed)
    counts += tf.cast(always, tf.int64) + skipped * tf.cast(if_skipped, tf.int64)
    return tf.where(place == _IN_A_ROW, skipped * counts, counts)
