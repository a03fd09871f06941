"""What the faults of several files share: tests, and what stands in a function's place."""

import tensorflow as tf

from tests.faults import cases

# Comparisons of a training step with the reference, such as "dvaes_exp-2-5".
STEP = cases("test_reference_step.test_a_step_of_each_kind")
# Of one step and one evaluation no number is drawn twice.
BLOCKS = "test_no_block_is_drawn_twice"
# Parameters of a group, and binary samples of all of them.
PARAMS, SAMPLE_BINARY = "DenseEncoder.group_params", "HierarchicalEncoder.sample_binary"
# What a whole run trains on, evaluates and keeps.
BEST, BATCHES = "test_the_best_validation_model_is_what_counts", "test_batches_of_a_run"
SAMPLES = "test_samples_batches_and_keys_of_evaluations"
# Numbers that images of equal pixels must not share, chains of images, weights of their posteriors.
COPIES = cases("test_evaluation_of_equal_images_differs")
FOLLOW = "test_persistent_posterior.TestChains.test_follow"
WEIGHTS = "test_weights_are_unbiased[1]", "test_per_image[undirected-1]"
# What a resumed run does not take from its checkpoint: for a field of the state.
FORGOTTEN = "program.state = «state → state._replace({0}=program.state.{0})»"


def nothing(*_, **__):
    """In the place of a function that does something."""


def same(_, first, *__, **___):
    """In the place of a function: its first argument, as of `tf.stop_gradient` or `fold_in`."""
    return first


def stop(original, *args, **options):
    """A function's result without its gradient."""
    return tf.stop_gradient(original(*args, **options))


def negative(value):
    """With the wrong sign."""
    return -value


def one_key(original, key, num):
    """In the place of `split`: one key several times."""
    return tf.stack([original(key, num)[0]] * num)


def zeros(values):
    """All tensors of a nest are zero."""
    return tf.nest.map_structure(tf.zeros_like, values)
