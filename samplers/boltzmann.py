"""Boltzmann machines on any graph: pairwise couplings, swept one colour class at a time.

E(z) = -(Σ_i b_i z_i + Σ_(i,j) w_ij z_i z_j) over the edges of the graph, in nats.
"""

import dataclasses
import functools
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from samplers import checks, class_loop, counter_random, gibbs
from samplers.energy_model import EnergyModel

Classes = tuple[tuple[int, ...], ...]
Units = tuple[tf.Tensor, ...]


class BoltzmannParameters(NamedTuple):
    """bias b [D]; coupling w [M], one number for each edge; float32 or float64."""

    bias: tf.Tensor
    coupling: tf.Tensor


@dataclasses.dataclass(frozen=True)
class BoltzmannMachine(EnergyModel):
    """Units 0 to D - 1, joined by edges; a state is a tuple with the units of each class, [C, d].

    num_units: D.
    edges: M different pairs (i, j), i < j.
    classes: colour classes, each unit in one, without an edge inside; (): by `greedy_colouring`.

    Raises:
      ValueError: edges or classes that are not such.
    """

    num_units: int
    edges: tuple[tuple[int, int], ...]
    classes: Classes = ()

    def __post_init__(self) -> None:
        num_units = checks.whole("num_units", self.num_units)
        edges = tuple((int(i), int(j)) for i, j in self.edges)
        for i, j in edges:
            if not 0 <= i < j < num_units:
                raise ValueError(f"edge ({i}, {j}) is no pair i < j of the {num_units} units")
        if len(set(edges)) < len(edges):
            raise ValueError("an edge is there twice")
        classes = tuple(tuple(map(int, units)) for units in self.classes)
        classes = classes or greedy_colouring(num_units, edges)
        color = _colors(classes)
        if sorted(unit for units in classes for unit in units) != list(range(num_units)):
            raise ValueError(f"classes must have each of the {num_units} units once")
        for i, j in edges:
            if color[i] == color[j]:
                raise ValueError(f"edge ({i}, {j}) joins two units of one class")
        fields = {"num_units": num_units, "edges": edges, "classes": classes}
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        sizes = "+".join(str(len(units)) for units in self.classes)
        return f"BoltzmannMachine({sizes} units, {len(self.edges)} edges)"

    def __hash__(self) -> int:
        return self._hash

    @functools.cached_property
    def _hash(self) -> int:
        return hash((self.num_units, self.edges, self.classes))

    @functools.cached_property
    def _places(self) -> np.ndarray:
        """Where each unit stands when the classes lie side by side, int [D]."""
        return np.argsort(np.concatenate([np.array(units, int) for units in self.classes]))

    @functools.cached_property
    def _pairs(self) -> np.ndarray:
        """The edges, int32 [M, 2]; there may be none."""
        return np.array(self.edges, np.int32).reshape(-1, 2)

    @functools.cached_property
    def _numbers(self) -> np.ndarray:
        """The edge between each two units, M where there is none, int32 [D, D]."""
        numbers = np.full([self.num_units] * 2, len(self.edges), np.int32)
        first, second = self._pairs.T
        numbers[first, second] = numbers[second, first] = np.arange(len(self.edges))
        return numbers

    @functools.cached_property
    def _sources(self) -> tuple[tuple[int, ...], ...]:
        """For each class the classes that its units are joined to.

        One without edges takes the next class, with couplings of zero: a product has to be of
        something.
        """
        count, color = len(self.classes), _colors(self.classes)
        pairs = {(color[i], color[j]) for i, j in self.edges}
        pairs |= {(j, i) for i, j in pairs}
        joined = [tuple(sorted(b for a, b in pairs if a == c)) for c in range(count)]
        return tuple(found or ((c + 1) % count,) for c, found in enumerate(joined))

    def independent(self, logits: tf.Tensor) -> BoltzmannParameters:  # noqa: D102
        return BoltzmannParameters(logits, tf.zeros([len(self.edges)], logits.dtype))

    def state(self, units: tf.Tensor) -> Units:  # noqa: D102
        checks.tensor("units", units, [None, self.num_units], units.dtype)
        return tuple(tf.gather(units, indices, axis=1) for indices in self.classes)

    def units(self, state: Units) -> tf.Tensor:  # noqa: D102
        return tf.gather(tf.concat(state, axis=1), self._places, axis=1)

    @property
    def layout(self) -> class_loop.Layout | None:
        """Of its classes in a loop; None where they are few and dense."""
        return class_loop.layout_of(self.num_units, self.edges, self.classes)

    def matrix(self, coupling: tf.Tensor) -> tf.Tensor:
        """[D, D], each coupling twice: symmetric, with zeros on the diagonal."""
        return _spread(coupling, self._numbers)

    def energy(self, params: BoltzmannParameters, state: Units) -> tf.Tensor:  # noqa: D102
        self.check_state(params, state)
        # In the order of the classes, as the state is: no gather of units.
        units, order = tf.concat(state, axis=1), np.concatenate(self.classes)
        matrix = _spread(params.coupling, self._numbers[np.ix_(order, order)])
        field = _spread(params.bias, order[None]) + 0.5 * tf.matmul(units, matrix)
        return -tf.reduce_sum(units * field, axis=1)

    def moments(  # noqa: D102
        self, state: Units, weights: tf.Tensor | None = None
    ) -> BoltzmannParameters:
        units = self.units(state)
        if weights is None:
            weights = tf.fill([units.shape[0]], tf.constant(1.0 / units.shape[0], units.dtype))
        weighted = weights[:, None] * units
        pairs = tf.matmul(weighted, units, transpose_a=True)
        means = tf.reduce_sum(weighted, axis=0)
        return BoltzmannParameters(means, tf.gather_nd(pairs, self._pairs))

    def sweeps(  # noqa: D102
        self,
        params: BoltzmannParameters,
        state: Units,
        key: tf.Tensor,
        num_sweeps: int | tf.Tensor,
        inverse_temperature: float | tf.Tensor = 1.0,
        base: tf.Tensor | None = None,
    ) -> Units:
        self.check_state(params, state)
        if not self.edges:  # a sweep forgets all
            least = min if isinstance(num_sweeps, int) else tf.minimum
            num_sweeps = least(num_sweeps, 1)
        if self.layout is not None:
            num_sweeps = checks.whole_or_tensor("num_sweeps", num_sweeps, 0)
            gibbs.check_temperature(inverse_temperature, state[0].shape[0])
            how = (num_sweeps, inverse_temperature, base)
            units = class_loop.sweeps(self.layout, *params, self.units(state), key, *how)
            return self.state(units)
        if base is not None:
            base = tuple(tf.gather(base, units) for units in self.classes)
        blocks = self.blocks(params)
        return gibbs.sweeps(blocks, state, key, num_sweeps, inverse_temperature, base)

    def blocks(self, params: BoltzmannParameters) -> tuple[gibbs.Block, ...]:
        """Its classes as `gibbs.sweeps` takes them."""
        matrix, blocks = self.matrix(params.coupling), []
        for units, sources in zip(self.classes, self._sources, strict=True):
            others = [unit for c in sources for unit in self.classes[c]]
            coupling = tf.gather(tf.gather(matrix, others), units, axis=1)
            blocks.append(gibbs.Block(tf.gather(params.bias, units), coupling, sources))
        return tuple(blocks)

    # The largest class is summed out: its units are independent given the others.

    @functools.cached_property
    def _summed(self) -> tuple[int, ...]:
        return max(self.classes, key=len)

    @functools.cached_property
    def _rest(self) -> tuple[int, ...]:
        return tuple(sorted(set(range(self.num_units)) - set(self._summed)))

    @property
    def num_enumerated(self) -> int:  # noqa: D102
        return len(self._rest)

    def _with_rest(self, params: BoltzmannParameters, part: tf.Tensor) -> tuple:
        """State with zeros in the largest class, from [N, n] bits of the rest; its field there."""
        columns = tf.one_hot(self._rest, self.num_units, dtype=part.dtype)
        units = tf.matmul(part, tf.reshape(columns, [len(self._rest), self.num_units]))
        coupling = tf.gather(self.matrix(params.coupling), self._summed, axis=1)
        return units, tf.gather(params.bias, self._summed) + tf.matmul(units, coupling)

    def log_marginal(self, params: BoltzmannParameters, part: tf.Tensor) -> tf.Tensor:
        """Of all units but the largest class, which is summed out."""
        units, field = self._with_rest(params, part)
        energies = self.energy(params, self.state(units))
        return tf.reduce_sum(tf.nn.softplus(field), axis=1) - energies

    def complete(  # noqa: D102
        self, params: BoltzmannParameters, part: tf.Tensor, key: tf.Tensor
    ) -> Units:
        units, field = self._with_rest(params, part)
        drawn = counter_random.bernoulli_logits(key, field)
        columns = tf.one_hot(self._summed, self.num_units, dtype=part.dtype)
        return self.state(units + tf.matmul(drawn, columns))


class SpinParameters(NamedTuple):
    """field h [D] and coupling K [M] of spins s = 2 z - 1; offset: a scalar, all in nats.

    E = -(Σ_i h_i s_i + Σ_(i,j) K_ij s_i s_j) + offset over the edges of a machine.
    """

    field: tf.Tensor
    coupling: tf.Tensor
    offset: tf.Tensor


def _sums(model: BoltzmannMachine, coupling: tf.Tensor) -> tf.Tensor:
    """The sum of each unit's couplings, [D]."""
    pairs = np.array(model.edges, np.int32).reshape(-1, 2)
    ends = tf.concat([coupling, coupling], axis=0)
    return tf.math.unsorted_segment_sum(ends, pairs.T.ravel(), model.num_units)


def spins(model: BoltzmannMachine, params: BoltzmannParameters) -> SpinParameters:
    """The same energies in spins. log Z is that of the spins without the offset, less the offset.

    `dimod` has the other sign: linear -h, quadratic -K, offset.
    """
    model.check_parameters(params)
    bias, coupling = params
    field = 0.5 * bias + 0.25 * _sums(model, coupling)
    offset = -(0.5 * tf.reduce_sum(bias) + 0.25 * tf.reduce_sum(coupling))
    return SpinParameters(field, 0.25 * coupling, offset)


def bits(
    model: BoltzmannMachine, of_spins: SpinParameters
) -> tuple[BoltzmannParameters, tf.Tensor]:
    """The inverse of `spins`, and by how much energies of spins exceed those of bits, a scalar."""
    field, coupling, offset = of_spins
    params = BoltzmannParameters(2.0 * field - 2.0 * _sums(model, coupling), 4.0 * coupling)
    model.check_parameters(params)
    return params, offset + tf.reduce_sum(field) - tf.reduce_sum(coupling)


def _spread(values: tf.Tensor, numbers: np.ndarray) -> tf.Tensor:
    """Each of M values at the places of its number, zero at those of number M."""
    padded = tf.concat([values, tf.zeros([1], values.dtype)], axis=0)
    return tf.gather_nd(padded, numbers[..., None])  # `tf.gather` has sparse gradients


def _colors(classes: Classes) -> dict[int, int]:
    return {unit: c for c, units in enumerate(classes) for unit in units}


def greedy_colouring(num_units: int, edges: Iterable[tuple[int, int]]) -> Classes:
    """Classes without an edge inside, by the first free colour of each unit in turn."""
    neighbours: list[set[int]] = [set() for _ in range(num_units)]
    for i, j in edges:
        neighbours[i].add(j)
        neighbours[j].add(i)
    color: dict[int, int] = {}
    for unit in range(num_units):
        taken = {color[other] for other in neighbours[unit] if other in color}
        color[unit] = next(c for c in range(num_units) if c not in taken)
    return tuple(
        tuple(unit for unit in range(num_units) if color[unit] == c)
        for c in range(max(color.values()) + 1)
    )
