"""The streams of random numbers of a run: one for each purpose, all from the run's seed."""

import enum

import tensorflow as tf

from samplers import counter_random


@enum.unique
class Stream(enum.IntEnum):
    """What random numbers are for; a new purpose takes a new number, an old one keeps its own."""

    INIT = 1  # the sampler's first chains
    STEP = 2  # a training step, see `StepKey`
    EVALUATION = 3  # in the course of training
    FINAL = 4  # evaluation of the finished run
    LATENTS = 5  # of images, for summaries
    EVALUATE = 6  # --mode=evaluate
    GENERATE = 7  # --mode=generate
    LOG_Z = 8  # --mode=log_z
    SUMMARY = 9  # the quick log Z of summaries
    IMAGE_STATES = 10  # what an estimator keeps of each image, at the start
    PIXELS = 11  # of generated images
    INTERPOLATION = 12  # the order in which latents change over
    DIAGNOSIS = 13  # chains whose autocorrelation is shown


class StepKey(enum.IntEnum):
    """The keys into which that of a training step is split."""

    SAMPLER = 0
    BINARIZATION = 1
    POSTERIOR = 2


class EvaluationKey(enum.IntEnum):
    """What the keys of a measured likelihood are for: folded into that of its stream."""

    LOG_PARTITION = 0
    VALIDATION = 1
    TEST = 2


def stream_key(run_key: tf.Tensor, stream: Stream) -> tf.Tensor:
    """The key, int32 [2], of one purpose."""
    return counter_random.fold_in(run_key, int(stream))
