"""From reference RBMs to tensors, means held against their error, and programs compiled once.

XLA takes seconds to compile a sampler, so tests that can use the same shapes share a program.
`fresh_programs` forgets them all, for tests which patch a fault into what they are made of.
"""

import contextlib
import functools
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from samplers import ais, counter_random, exact, population_annealing, tempering
from samplers.population_annealing import PopulationState
from samplers.rbm import RBM, Halves, RBMParameters, model_of
from tests.reference.rbm import ReferenceRBM


def rbm_of(reference: ReferenceRBM, dtype: tf.DType = tf.float32) -> RBMParameters:
    return RBMParameters(*(tf.constant(parameter, dtype) for parameter in reference.parameters))


def both_of(reference: ReferenceRBM, dtype: tf.DType = tf.float32) -> tuple[RBM, RBMParameters]:
    """The energy model and its parameters."""
    params = rbm_of(reference, dtype)
    return model_of(params), params


def chains_of(reference: ReferenceRBM, states: np.ndarray, dtype: tf.DType = tf.float32) -> Halves:
    halves = states[:, : reference.num_left], states[:, reference.num_left :]
    return Halves(*(tf.constant(half, dtype) for half in halves))


def exact_chains(reference: ReferenceRBM, seed: int, num_chains: int) -> Halves:
    return chains_of(reference, reference.sample(np.random.default_rng(seed), num_chains))


def features(chains: Halves) -> np.ndarray:
    """Left units, right units and all their products, [C, L + R + L R] in float64."""
    left, right = (np.asarray(half, np.float64) for half in chains)
    products = left[:, :, None] * right[:, None, :]
    return np.concatenate([left, right, products.reshape(len(left), -1)], axis=1)


def exact_features(reference: ReferenceRBM) -> np.ndarray:
    """What the means of `features` are under p(z), by enumeration."""
    return np.concatenate([np.ravel(part) for part in reference.log_partition_gradient()])


def z_scores(samples: np.ndarray, expected: np.ndarray | float) -> np.ndarray:
    """(mean - expected) / standard error over the first axis of independent samples."""
    samples = np.asarray(samples, np.float64)
    error = np.std(samples, axis=0, ddof=1) / np.sqrt(len(samples))
    return (np.mean(samples, axis=0) - expected) / error


def path_of(references: list[ReferenceRBM]) -> RBMParameters:
    """A path of parameters: each parameter with the step as first axis."""
    parameters = zip(*(reference.parameters for reference in references), strict=True)
    return RBMParameters(
        *(tf.constant(np.stack(parameter), tf.float32) for parameter in parameters)
    )


class Populations(NamedTuple):
    """Final states of P populations, and the most bridges that a step took."""

    log_partition: tf.Tensor
    chains: Halves
    log_weights: tf.Tensor
    family: tf.Tensor
    bridges: tf.Tensor


@functools.cache
def sweeps_program():
    """`RBM.sweeps` compiled: of the parameters, chains, a key, their number and temperatures."""

    def swept(params: RBMParameters, *arguments) -> Halves:
        return model_of(params).sweeps(params, *arguments)

    return tf.function(swept, jit_compile=True, autograph=False)


@functools.cache
def population_program(num_populations: int, num_chains: int, num_sweeps: int, **settings):
    """Independent populations annealed along one path of parameters.

    The program's arguments are the path ([S, ...] each), how many of its steps to take, a key and
    a threshold of resampling (used unless `settings` has one).
    """

    def programmed(path: RBMParameters, num_steps: tf.Tensor, key: tf.Tensor, threshold: tf.Tensor):
        model = model_of(path)
        options = {"resample_threshold": threshold, **settings}

        def one(population_key: tf.Tensor):
            keys = counter_random.split(population_key, 2)

            def body(index, state: PopulationState, bridges):
                params = RBMParameters(*(parameter[index] for parameter in path))
                step_key = counter_random.fold_in(keys[1], index)
                state, info = population_annealing.step(
                    model, params, state, step_key, num_sweeps, **options
                )
                return index + 1, state, tf.maximum(bridges, info.bridges)

            state = population_annealing.init(model, keys[0], num_chains)
            start = (tf.constant(0), state, tf.constant(0.0))
            _, state, bridges = tf.while_loop(lambda i, *_: i < num_steps, body, start)
            return Populations(
                state.log_partition, state.chains, state.log_weights, state.family, bridges
            )

        floats = Halves(tf.float32, tf.float32)
        signature = Populations(tf.float64, floats, tf.float32, tf.int32, tf.float32)
        keys = counter_random.split(key, num_populations)
        return tf.map_fn(one, keys, fn_output_signature=signature)

    return tf.function(programmed, jit_compile=True, autograph=False)


_COMPILED = (
    (ais, "_run"),
    (ais, "_run_reverse"),
    (tempering, "_run"),
    (exact, "_log_partition"),
    (exact, "_moments"),
)


@contextlib.contextmanager
def fresh_programs():
    """Inside, every program is traced anew, so that a patch takes effect; and again after it."""
    caches = (sweeps_program, population_program)
    with pytest.MonkeyPatch.context() as patch:
        for module, name in _COMPILED:
            python_function = getattr(module, name).python_function
            patch.setattr(
                module, name, tf.function(python_function, jit_compile=True, autograph=False)
            )
        for cache in caches:
            cache.cache_clear()
        yield
    for cache in caches:
        cache.cache_clear()
