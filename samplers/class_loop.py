"""Colour classes in one loop, for graphs that are sparse or have many classes.

Chains stand side by side: a state is [n + 1, d, C], a slot for each of n classes, padded to d
units, and a last slot of zeros. A class's field is either a product with d dense rows of couplings
or a sum over padded lists of neighbours; a pad is a neighbour in the last slot.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from samplers import counter_random, hardware

# A neighbour in a list costs as much as so many units of a dense product, measured on a CPU: by
# lists a sweep of 200 units of Zephyr takes 2.0 us a chain, of 400 3.4; as products 1.8 and 4.0.
_LIST_COST = 8
# Up to so many dense classes are drawn by `samplers.gibbs`, one after the other without a loop.
_FEW_CLASSES = 8


class Layout(NamedTuple):
    """Where units and couplings of a graph stand; integers, fixed.

    units: [n, d], the unit at each place; D where there is none.
    places: [D], the place of each unit in the flat [n d].
    neighbours: [n, d, K] places, n d for a pad; None: dense rows.
    edges: [n, d, K], the edge to each neighbour, M for a pad; of dense rows [n, d, (n + 1) d].
    """

    units: np.ndarray
    places: np.ndarray
    neighbours: np.ndarray | None
    edges: np.ndarray


def is_listed(num_neighbours: int, num_others: int) -> bool:
    """Whether lists of so many neighbours are faster than a product with so many units."""
    return _LIST_COST * num_neighbours <= num_others


@functools.lru_cache
def layout_of(
    num_units: int, edges: tuple[tuple[int, int], ...], classes: tuple[tuple[int, ...], ...]
) -> Layout | None:
    """The layout of a graph; None where few dense classes are better drawn by `samplers.gibbs`."""
    number, size = len(classes), max(map(len, classes))
    units = np.full([number, size], num_units)
    for row, members in zip(units, classes, strict=True):
        row[: len(members)] = members
    places = np.argsort(units.ravel(), kind="stable")[:num_units]
    near: list[list[tuple[int, int]]] = [[] for _ in range(number * size)]
    for edge, (i, j) in enumerate(edges):
        near[places[i]].append((places[j], edge))
        near[places[j]].append((places[i], edge))
    most, end = max(1, *map(len, near)), number * size
    listed = is_listed(most, num_units - size)
    if not listed and number <= _FEW_CLASSES:
        return None
    width = most if listed else end + size
    neighbours, edge_of = (np.full([end, width], fill) for fill in (end, len(edges)))
    for place, found in enumerate(near):
        for slot, (other, edge) in enumerate(found):
            neighbours[place, slot] = other
            edge_of[place, slot if listed else other] = edge
    shape = [number, size, width]
    return Layout(
        units, places, neighbours.reshape(shape) if listed else None, edge_of.reshape(shape)
    )


def spread(layout: Layout, values: tf.Tensor) -> tf.Tensor:
    """Values [D] of units, or [N, D], by place: [n, d, 1] or [n, d, N]; zero at pads."""
    rows = tf.transpose(values) if values.shape.rank == 2 else values[:, None]
    return tf.gather(tf.pad(rows, [[0, 1], [0, 0]]), layout.units)


def state_of(layout: Layout, units: tf.Tensor) -> tf.Tensor:
    """The state [n + 1, d, C] of chains whose units are [C, D]."""
    return tf.pad(spread(layout, units), [[0, 1], [0, 0], [0, 0]])


def units_of(layout: Layout, state: tf.Tensor) -> tf.Tensor:
    """The inverse of `state_of`."""
    flat = tf.reshape(state, [-1, state.shape[-1]])
    return tf.transpose(tf.gather(flat, layout.places))


def weights_of(layout: Layout, coupling: tf.Tensor) -> tf.Tensor:
    """Couplings [M] by place, as `field` takes them."""
    return tf.gather(tf.pad(coupling, [[0, 1]]), layout.edges)


def field(layout: Layout, weights: tf.Tensor, state: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    """Σ_j w_ij z_j of the units i of class `index`, [d, C]."""
    flat, weights = tf.reshape(state, [-1, state.shape[-1]]), weights[index]
    if layout.neighbours is None:
        return tf.matmul(weights, flat)
    neighbours = tf.constant(layout.neighbours, tf.int32)[index]
    return tf.reduce_sum(weights[:, :, None] * tf.gather(flat, neighbours), axis=1)


def updates(
    layout: Layout,
    states: Sequence[tf.Tensor],
    num_rounds: int | tf.Tensor,
    update: Callable[[tf.Tensor, tf.Tensor, int, tf.Tensor], tf.Tensor],
) -> list[tf.Tensor]:
    """The states after each class in turn was updated, `num_rounds` times.

    update: (class, step, group, state) -> new units [d, C] of the class in a group's state.
    """
    number = len(layout.units)

    def body(step: tf.Tensor, states: list[tf.Tensor]) -> tuple:
        index = step % number
        place = tf.reshape(index, [1, 1])
        new = [update(index, step, group, state) for group, state in enumerate(states)]
        states = [
            tf.tensor_scatter_nd_update(state, place, units[None])
            for state, units in zip(states, new, strict=True)
        ]
        return step + 1, states

    start = (tf.constant(0), list(states))
    return tf.while_loop(lambda step, _: step < num_rounds * number, body, start)[1]


def sweeps(
    layout: Layout,
    bias: tf.Tensor,
    coupling: tf.Tensor,
    units: tf.Tensor,
    key: tf.Tensor,
    num_sweeps: int | tf.Tensor,
    inverse_temperature: tf.Tensor,
    base: tf.Tensor | None,
) -> tf.Tensor:
    """Block Gibbs over the classes, as `samplers.gibbs.sweeps`; units [C, D] before and after.

    Class c of n is drawn in sweep s from stream n s + c of the key.
    """
    num_chains = units.shape[0]
    groups = 2 if num_chains % 2 == 0 and not hardware.on_gpu() else 1
    scale = tf.cast(inverse_temperature, units.dtype)
    per_chain = scale.shape.rank != 0
    scales = tf.split(tf.transpose(scale), groups, axis=1) if per_chain else [scale] * groups
    weights, bias = weights_of(layout, coupling), spread(layout, bias)
    base = None if base is None else spread(layout, base)
    if not per_chain:
        weights, bias = scale * weights, scale * bias
    key = counter_random.schedule(key)

    def update(index: tf.Tensor, step: tf.Tensor, group: int, state: tf.Tensor) -> tf.Tensor:
        logits = field(layout, weights, state, index) + bias[index]
        if per_chain:
            logits *= scales[group]
        if base is not None:
            logits += (1.0 - scales[group]) * base[index]
        exponents = tf.reshape(logits * counter_random.EXPONENT_PER_LOGIT, [1, -1])
        drawn = counter_random.bernoulli_exponents(key, exponents, step, group)
        return tf.reshape(drawn, logits.shape)

    states = [state_of(layout, part) for part in tf.split(units, groups)]
    states = updates(layout, states, num_sweeps, update)
    return tf.concat([units_of(layout, state) for state in states], axis=0)
