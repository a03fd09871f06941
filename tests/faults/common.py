"""What the faults of several files share: tests, and what stands in a function's place."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tests.faults import cases

# Comparisons of a training step with the reference, such as "dvaes_exp-2-5".
STEP = cases("test_reference_step.test_a_step_of_each_kind")
# Of one step and one evaluation no number is drawn twice.
BLOCKS = "test_no_block_is_drawn_twice"
# Parameters of a group, and binary samples of all of them.
PARAMS, SAMPLE_BINARY = (f"HierarchicalEncoder.{n}" for n in ("group_params", "sample_binary"))
# What a whole run trains on, evaluates and keeps.
BEST, SAMPLES, BATCHES = (
    f"test_{name}"
    for name in (
        "the_best_validation_model_is_what_counts",
        "samples_batches_and_keys_of_evaluations",
        "batches_of_a_run",
    )
)
# What a resumed run does not take from its checkpoint: for a field of the state.
FORGOTTEN = "program.state = «state → state._replace({0}=program.state.{0})»"


def nothing(*_: Any, **__: Any) -> None:
    """In the place of a function that does something."""


def same(_: Callable, first: Any, *__: Any, **___: Any) -> Any:
    """In the place of a function: its first argument, as of `tf.stop_gradient` or `fold_in`."""
    return first


def stop(original: Callable, *args: Any, **options: Any) -> Any:
    """A function's result without its gradient."""
    return tf.stop_gradient(original(*args, **options))


def negative(value: Any) -> Any:
    """With the wrong sign."""
    return -value


def one_key(original: Callable, key: tf.Tensor, num: int) -> tf.Tensor:
    """In the place of `split`: one key several times."""
    return tf.stack([original(key, num)[0]] * num)


def zeros(values: Any) -> Any:
    """All tensors of a nest are zero."""
    return tf.nest.map_structure(tf.zeros_like, values)
