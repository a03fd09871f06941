"""Energy models of D bits: the argument of every sampler and of every estimator of log Z.

p(z) = exp(-E(z)) / Z, in nats. E is linear in the parameters, a NamedTuple of tensors, and
multilinear in z (each z_i to the first power), so that it is defined for means in [0, 1] too. What
a state is made of is the model's own affair: a nest of tensors [C, ...] for C chains. A model holds
no tensors; equal models are equal and hash alike, so that compiled programs are shared.
"""

import abc
import functools
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from samplers import checks, counter_random

Parameters = Any
State = Any


class EnergyModel(abc.ABC):
    """p(z) = exp(-E(z)) / Z over `num_units` bits; a frozen dataclass.

    A new model needs `independent`, `energy` and `sweeps`; what else is here can be done better
    where more is known of it.

    num_units: D.
    couplings: fields of the parameters that couple units: what weight decay applies to.
    """

    num_units: int
    couplings: tuple[str, ...] = ("coupling",)

    @abc.abstractmethod
    def independent(self, logits: tf.Tensor) -> Parameters:
        """Parameters of independent units with log odds `logits` [D]; of zeros: all zero."""

    @abc.abstractmethod
    def energy(self, params: Parameters, state: State) -> tf.Tensor:
        """E(z) of each chain, [C] in nats; differentiable in both arguments."""

    @abc.abstractmethod
    def sweeps(
        self,
        params: Parameters,
        state: State,
        key: tf.Tensor,
        num_sweeps: int | tf.Tensor,
        inverse_temperature: float | tf.Tensor = 1.0,
        base: tf.Tensor | None = None,
    ) -> State:
        """`num_sweeps` sweeps over all units; key int32 [2], to be used once.

        Leaves exp(-t E(z)) invariant, t = inverse_temperature, a scalar or [C, 1]; with `base`,
        log odds [D] of independent units, exp((1-t) base.z - t E(z)).
        """

    def field(self, params: Parameters, units: tf.Tensor) -> tf.Tensor:
        """-dE/dz at units [N, D], bits or means: the log odds of each given the others, [N, D]."""
        with tf.GradientTape() as tape:
            tape.watch(units)
            total = -tf.reduce_sum(self.energy(params, self.state(units)))
        return tape.gradient(total, units)

    def state(self, units: tf.Tensor) -> State:
        """The state of chains whose units are [C, D]: bits, or means in [0, 1]."""
        return units

    def units(self, state: State) -> tf.Tensor:
        """The inverse of `state`: [C, D]."""
        return state

    def start(self, num_chains: int, key: tf.Tensor, dtype: tf.DType = tf.float32) -> State:
        """Exact samples at zero parameters: fair bits. The sign bit of a random word decides."""
        checks.float_type(dtype)
        shape = [checks.whole("num_chains", num_chains), self.num_units]
        words = counter_random.bits(key, shape)
        return self.state(tf.cast(tf.bitcast(words, tf.int32) < 0, dtype))

    def moments(self, state: State, weights: tf.Tensor | None = None) -> Parameters:
        """Mean of -dE/dparams over chains, shaped as the parameters: an estimate of ∇ log Z.

        weights: [C], summing to one; None: equal.
        """
        params = self.independent(tf.zeros([self.num_units], tf.nest.flatten(state)[0].dtype))
        with tf.GradientTape() as tape:
            tape.watch(params)
            terms = -self.energy(params, state)
            mean = tf.reduce_mean(terms) if weights is None else tf.reduce_sum(weights * terms)
        gradient = tape.gradient(mean, list(params), unconnected_gradients="zero")
        return type(params)(*gradient)

    def path(self, params: Parameters, base: tf.Tensor) -> "Path":
        """From independent units with log odds `base` [D] to the model; see `Path`."""
        return LinearPath(self, params, base)

    # A part of the units that determines p(z) once the others are summed out: by default all.

    @property
    def num_enumerated(self) -> int:
        """Units that enumeration runs over."""
        return self.num_units

    def log_marginal(self, params: Parameters, part: tf.Tensor) -> tf.Tensor:
        """log of the sum of exp(-E) over the other units, [N] from [N, num_enumerated] bits."""
        return -self.energy(params, self.state(part))

    def complete(self, params: Parameters, part: tf.Tensor, key: tf.Tensor) -> State:
        """A state of the model from that of its part: the other units are drawn given it."""
        del params, key
        return self.state(part)

    # What callers give is checked before anything is traced.

    def check_parameters(self, params: Parameters, lead: Sequence[int | None] = ()) -> None:
        """Raises ValueError unless these are the model's parameters, with leading extents."""
        like, _ = _likeness(self)
        if not isinstance(params, type(like)):
            found = type(params).__name__
            raise ValueError(f"parameters must be {type(like).__name__}, not of type {found}")
        dtype = getattr(params[0], "dtype", None)
        checks.float_type(dtype)
        for name, value, shape in zip(like._fields, params, like, strict=True):
            checks.tensor(name, value, [*lead, *shape], dtype)

    def check_state(self, params: Parameters, state: State) -> None:
        """Raises ValueError unless there are chains and they fit parameters, which are checked."""
        self.check_parameters(params)
        _, like = _likeness(self)
        try:
            tf.nest.assert_same_structure(like, state)
        except (TypeError, ValueError):
            raise ValueError(f"chains are no state of {self}"[:150]) from None
        num_chains = None
        for value, one in zip(tf.nest.flatten(state), tf.nest.flatten(like), strict=True):
            checks.tensor("state", value, [num_chains, *one[1:]], params[0].dtype)
            num_chains = value.shape[0]

    def check_base(self, params: Parameters, base: tf.Tensor) -> None:
        """Raises ValueError unless a base fits parameters, which are checked."""
        self.check_parameters(params)
        checks.tensor("base", base, [self.num_units], params[0].dtype)

    def __tf_tracing_type__(self, context: Any) -> tf.types.experimental.TraceType:
        """As an argument of a compiled function: known by its value, not by its identity."""
        del context
        return _ByValue(self)


class _ByValue(tf.types.experimental.TraceType):
    """The type of one model and of those that equal it."""

    def __init__(self, model: EnergyModel) -> None:
        self._model = model

    def is_subtype_of(self, other: Any) -> bool:
        return self == other

    def most_specific_common_supertype(self, others: Sequence[Any]) -> "_ByValue | None":
        return self if all(self == other for other in others) else None

    def placeholder_value(self, placeholder_context: Any) -> EnergyModel:
        del placeholder_context
        return self._model

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ByValue) and self._model == other._model

    def __hash__(self) -> int:
        return hash(self._model)


@functools.lru_cache
def _likeness(model: EnergyModel) -> tuple[Parameters, State]:
    """The shapes of parameters and of a state of one chain, in their structures."""
    with tf.Graph().as_default():  # where nothing takes memory
        zero = tf.zeros([model.num_units])
        both = model.independent(zero), model.state(zero[None])
        return tf.nest.map_structure(lambda value: value.shape, both)


def parameter_shapes(model: EnergyModel) -> Parameters:
    """The static shapes of its parameters, in their NamedTuple."""
    return _likeness(model)[0]


class Path(abc.ABC):
    """Unnormalised densities f_t from independent units at t = 0 to the model at t = 1.

    What annealed importance sampling, tempering and bridges need of a model. Inverse temperatures
    are scalars or [C, 1]. A state of the path may leave out what is summed out analytically.
    """

    @abc.abstractmethod
    def start(self, num_chains: int, key: tf.Tensor) -> State:
        """Exact samples at t = 0."""

    @abc.abstractmethod
    def of_model(self, state: State) -> State:
        """A state of the model as one of the path (a sample at t = 1)."""

    @abc.abstractmethod
    def log_ratio(self, state: State, old: tf.Tensor, new: tf.Tensor) -> tf.Tensor:
        """log f_new - log f_old at each state, [C] in nats."""

    @abc.abstractmethod
    def sweep(self, state: State, key: tf.Tensor, inverse_temperature: tf.Tensor) -> State:
        """A sweep that leaves f_t invariant."""


class LinearPath(Path):
    """f_t(z) = exp(-(1-t) E_0(z) - t E(z)): energies are mixed linearly, nothing is summed out."""

    def __init__(self, model: EnergyModel, params: Parameters, base: tf.Tensor) -> None:
        self._model, self._params, self._base = model, params, base
        self._change = tf.nest.map_structure(tf.subtract, params, model.independent(base))
        self._seen: tuple[State | None, tf.Tensor | None] = None, None

    def start(self, num_chains: int, key: tf.Tensor) -> State:  # noqa: D102
        logits = tf.broadcast_to(self._base, [num_chains, self._model.num_units])
        return self._model.state(counter_random.bernoulli_logits(key, logits))

    def of_model(self, state: State) -> State:  # noqa: D102
        return state

    def log_ratio(self, state: State, old: tf.Tensor, new: tf.Tensor) -> tf.Tensor:  # noqa: D102
        # Two ratios of one state: XLA would make a graph's matrix and its product twice.
        if state is not self._seen[0]:
            self._seen = state, self._model.energy(self._change, state)
        return -tf.reshape(new - old, [-1]) * self._seen[1]

    def sweep(  # noqa: D102
        self, state: State, key: tf.Tensor, inverse_temperature: tf.Tensor
    ) -> State:
        return self._model.sweeps(self._params, state, key, 1, inverse_temperature, self._base)


def uniform_base(model: EnergyModel, dtype: tf.DType = tf.float32) -> tf.Tensor:
    """Fair bits, [D] log odds: the base of the published evaluation."""
    return tf.zeros([model.num_units], dtype)


def fitted_base(units: tf.Tensor, clip: float = 0.02) -> tf.Tensor:
    """Log odds [D] of independent units with the means of samples [C, D].

    Any base of a path is right; one closer to the model gives weights of less variance. It must not
    be chosen by looking at the weights. A unit that never flips could make weights of any size,
    hence the clip.
    """
    checks.float_type(units.dtype)
    checks.tensor("units", units, [None, None], units.dtype)
    mean = tf.clip_by_value(tf.reduce_mean(units, axis=0), clip, 1.0 - clip)
    return tf.math.log(mean) - tf.math.log1p(-mean)


def base_log_partition(base: tf.Tensor) -> tf.Tensor:
    """log Z of independent units with log odds [D], float64 scalar in nats."""
    return tf.reduce_sum(tf.nn.softplus(tf.cast(base, tf.float64)))
