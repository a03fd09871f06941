"""The state of a training step: its leaves by name, and the step as a function of it."""

import numpy as np
import pytest
import tensorflow as tf

from dvae.train_state import named_leaves
from dvae.train_step import TrainProgram
from tests.helpers.tiny_training import (
    STRUCTURES,
    config_of,
    dataset,
    make_program,
    snapshot,
    variables_of,
)


def test_leaves_are_named_in_order():
    """As `tf.nest` flattens them; what is () has none."""
    program = make_program(config_of(sampler="pcd", log_z_population="separate"))
    names = named_leaves(program.state)
    assert list(names)[:4] == [
        "weights",
        "averages",
        "sampler/gradient/chains/left",
        "sampler/gradient/chains/right",
    ]
    assert list(names)[-5:] == ["adam/count", "adam/first", "adam/second", "counts", "metric_sums"]
    for (name, leaf), other in zip(names.items(), tf.nest.flatten(program.state), strict=True):
        assert leaf is other, name
    assert set(named_leaves(program.state.model)) == {
        name for name in names if name.split("/")[0] in ("weights", "averages", "sampler")
    }


@pytest.mark.parametrize(
    "baseline", ["dvaes_power", pytest.param("dvaess_pwl", marks=pytest.mark.slow)]
)
def test_one_step_maps_over_several_states(baseline):
    """Two seeds at once: each comes out as by itself, to rounding.

    Traced and run; nothing is said of speed.
    """
    structure = STRUCTURES["1-layer-lin"]
    programs = [
        make_program(config_of(baseline=baseline, structure=structure, seed=seed))
        for seed in (1, 2)
    ]
    program, indices = programs[0], tf.constant([1, 5, 8])
    images = program.arguments(indices, 0, 1)[0]
    both = tf.nest.map_structure(lambda *pair: tf.stack(pair), *(p.state for p in programs))
    keys = tf.stack([p.run_key for p in programs])

    @tf.function(autograph=False)
    def step(states, keys):
        return tf.vectorized_map(
            lambda pair: program.one_step(images, indices, *pair), (states, keys)
        )

    found = step(both, keys)
    for place, alone in enumerate(programs):
        alone.run(indices.numpy()[None], 1)
        assert alone.state.skipped == 0
        expected = named_leaves(alone.state)
        for name, leaf in named_leaves(found).items():
            np.testing.assert_allclose(
                leaf[place], expected[name], rtol=1e-4, atol=1e-5, err_msg=name
            )


def test_a_new_state_is_that_of_the_networks():
    program = TrainProgram(config_of(), dataset())
    before = [v.numpy() for v in variables_of(program)]
    program.state = program.state
    for variable, old in zip(variables_of(program), before, strict=True):
        np.testing.assert_array_equal(variable, old, err_msg=variable.path)


def test_what_is_set_is_given_to_the_networks():
    program = make_program(config_of())
    before = snapshot(program)
    program.state = program.state._replace(weights=2.0 * program.state.weights)
    found = np.concatenate([v.numpy().ravel() for v in program.trained])
    np.testing.assert_array_equal(found, 2.0 * before[0])
