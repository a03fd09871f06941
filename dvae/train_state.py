"""What a training run holds beside weights and optimizer, and how its steps are counted."""

import tensorflow as tf

from dvae.prior_sampler import SamplerState, to_variables

BAD_TERMS = ("reconstruction", "posterior or prior", "log Z", "gradient")
STEP, _SKIPPED, _IN_A_ROW, _TERMS = range(4)  # of `TrainState.counts`


class TrainState(tf.Module):
    """Everything beside weights and optimizer that a step reads and writes."""

    def __init__(self, sampler_state: SamplerState, num_metrics: int) -> None:
        super().__init__()
        self.step = tf.Variable(0, dtype=tf.int64, name="step")
        self.sampler = to_variables(sampler_state)
        # One entry for each metric, and last the number of steps that they were added up over.
        self.metric_sums = tf.Variable(tf.zeros([num_metrics + 1]), name="metric_sums")
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
