"""From reference models to tensors, and programs compiled once.

XLA takes seconds to compile a sampler, so tests that can use the same shapes share a program.
"""

import functools
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from samplers import class_loop, counter_random, population_annealing
from samplers.boltzmann import BoltzmannMachine, BoltzmannParameters
from samplers.rbm import Halves, RBMParameters, model_of
from tests.reference.rbm import ReferenceRBM


def params_of(reference, dtype=tf.float32):
    """Of an RBM or of a graph."""
    kind = RBMParameters if isinstance(reference, ReferenceRBM) else BoltzmannParameters
    return kind(*(tf.constant(parameter, dtype) for parameter in reference.parameters))


def both_of(reference, dtype=tf.float32):
    """The energy model and its parameters."""
    params = params_of(reference, dtype)
    if isinstance(params, RBMParameters):
        return model_of(params), params
    return BoltzmannMachine(len(reference.bias), reference.edges), params


# How classes of graphs are drawn: few dense ones, lists of neighbours, or dense rows in a loop.
KERNELS = {"products": (1000, 8), "lists": (0, 8), "rows": (1000, 0)}


def choose(kernel, monkeypatch):
    """Draws classes in one of these ways, whatever the graph."""
    cost, few = KERNELS[kernel]
    monkeypatch.setattr(class_loop, "_LIST_COST", cost)
    monkeypatch.setattr(class_loop, "_FEW_CLASSES", few)
    uncached = functools.cache(class_loop.layout_of.__wrapped__)
    monkeypatch.setattr(class_loop, "layout_of", uncached)


def chains_of(reference, states, dtype=tf.float32):
    halves = states[:, : reference.num_left], states[:, reference.num_left :]
    return Halves(*(tf.constant(half, dtype) for half in halves))


def exact_chains(reference, seed, num_chains):
    return chains_of(reference, reference.sample(np.random.default_rng(seed), num_chains))


def path_of(references):
    """A path of parameters: each parameter with the step as first axis."""
    parameters = zip(*(reference.parameters for reference in references), strict=True)
    return RBMParameters(*(tf.constant(np.stack(p), tf.float32) for p in parameters))


class Populations(NamedTuple):
    """Final states of P populations, and the most bridges that a step took."""

    log_partition: tf.Tensor
    chains: Halves
    log_weights: tf.Tensor
    family: tf.Tensor
    bridges: tf.Tensor


@functools.cache
def population_program(num_populations, num_chains, num_sweeps, **settings):
    """Independent populations annealed along one path of parameters.

    The program's arguments are the path ([S, ...] each), how many of its steps to take, a key and
    a threshold of resampling (used unless `settings` has one).
    """

    def programmed(path, num_steps, key, threshold):
        model = model_of(path)
        options = {"resample_threshold": threshold, **settings}

        def one(population_key):
            keys = counter_random.split(population_key, 2)

            def body(index, state, bridges):
                params = RBMParameters(*(parameter[index] for parameter in path))
                arguments = params, state, counter_random.fold_in(keys[1], index), num_sweeps
                state, info = population_annealing.step(model, *arguments, **options)
                return index + 1, state, tf.maximum(bridges, info.bridges)

            state = population_annealing.init(model, keys[0], num_chains)
            start = (tf.constant(0), state, tf.constant(0.0))
            _, state, bridges = tf.while_loop(lambda i, *_: i < num_steps, body, start)
            names = Populations._fields[:-1]
            return Populations(*(getattr(state, name) for name in names), bridges)

        floats = Halves(tf.float32, tf.float32)
        signature = Populations(tf.float64, floats, tf.float32, tf.int32, tf.float32)
        keys = counter_random.split(key, num_populations)
        return tf.map_fn(one, keys, fn_output_signature=signature)

    return tf.function(programmed, jit_compile=True, autograph=False)
