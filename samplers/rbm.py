"""The restricted Boltzmann machine: two colour classes, left and right.

E(z) = -(a.z_L + b.z_R + z_L' W z_R), in nats. This file and `samplers.row_rbms` know of its halves.
"""

import dataclasses
from typing import NamedTuple

import tensorflow as tf

from samplers import checks, counter_random, gibbs, hardware
from samplers.energy_model import EnergyModel, Path


class RBMParameters(NamedTuple):
    """left_bias a [L], right_bias b [R], coupling W [L, R]; float32 or float64."""

    left_bias: tf.Tensor
    right_bias: tf.Tensor
    coupling: tf.Tensor


class Halves(NamedTuple):
    """States of C chains: left [C, L] and right [C, R], 0 or 1 in the dtype of the parameters."""

    left: tf.Tensor
    right: tf.Tensor


@dataclasses.dataclass(frozen=True)
class RBM(EnergyModel):
    """L left units and R right units; the left ones come first. A sweep draws left, then right."""

    num_left: int
    num_right: int

    def __post_init__(self) -> None:
        for name in ("num_left", "num_right"):
            object.__setattr__(self, name, checks.whole(name, getattr(self, name)))

    @property
    def num_units(self) -> int:  # noqa: D102
        return self.num_left + self.num_right

    def independent(self, logits: tf.Tensor) -> RBMParameters:  # noqa: D102
        left, right = logits[: self.num_left], logits[self.num_left :]
        return RBMParameters(left, right, tf.zeros([self.num_left, self.num_right], logits.dtype))

    def state(self, units: tf.Tensor) -> Halves:  # noqa: D102
        checks.tensor("units", units, [None, self.num_units], units.dtype)
        return Halves(units[:, : self.num_left], units[:, self.num_left :])

    def units(self, state: Halves) -> tf.Tensor:  # noqa: D102
        return tf.concat(state, axis=1)

    def energy(self, params: RBMParameters, state: Halves) -> tf.Tensor:  # noqa: D102
        self.check_state(params, state)
        left_field = params.left_bias + tf.matmul(state.right, params.coupling, transpose_b=True)
        if hardware.on_gpu() and self.num_left == self.num_right:  # one sum for both
            terms = state.left * left_field + state.right * params.right_bias
            return -tf.reduce_sum(terms, axis=-1)
        left_terms = tf.reduce_sum(state.left * left_field, axis=-1)
        return -(left_terms + tf.linalg.matvec(state.right, params.right_bias))

    def moments(  # noqa: D102
        self, state: Halves, weights: tf.Tensor | None = None
    ) -> RBMParameters:
        left, right = state
        if weights is None:
            means = tf.reduce_mean(left, axis=0), tf.reduce_mean(right, axis=0)
            pairs = tf.matmul(left, right, transpose_a=True) / float(left.shape[0])
            return RBMParameters(*means, pairs)
        weighted = weights[:, None] * left
        means = tf.reduce_sum(weighted, axis=0), tf.linalg.matvec(right, weights, True)
        return RBMParameters(*means, tf.matmul(weighted, right, transpose_a=True))

    def sweeps(  # noqa: D102
        self,
        params: RBMParameters,
        state: Halves,
        key: tf.Tensor,
        num_sweeps: int | tf.Tensor,
        inverse_temperature: float | tf.Tensor = 1.0,
        base: tf.Tensor | None = None,
    ) -> Halves:
        self.check_state(params, state)
        if base is not None:
            base = (base[: self.num_left], base[self.num_left :])
        blocks = self.blocks(params)
        return Halves(*gibbs.sweeps(blocks, state, key, num_sweeps, inverse_temperature, base))

    def blocks(self, params: RBMParameters) -> tuple[gibbs.Block, gibbs.Block]:
        """Its halves as `gibbs.sweeps` takes them."""
        left = gibbs.Block(params.left_bias, tf.transpose(params.coupling), (1,))
        return left, gibbs.Block(params.right_bias, params.coupling, (0,))

    def path(self, params: RBMParameters, base: tf.Tensor) -> Path:  # noqa: D102
        return MarginalPath(params, base)

    @property
    def num_enumerated(self) -> int:  # noqa: D102
        return min(self.num_left, self.num_right)

    def log_marginal(self, params: RBMParameters, part: tf.Tensor) -> tf.Tensor:
        """Of the smaller half, the other summed out."""
        return left_log_marginal(self._smaller_left(params), part)

    def complete(  # noqa: D102
        self, params: RBMParameters, part: tf.Tensor, key: tf.Tensor
    ) -> Halves:
        params = self._smaller_left(params)
        logits = params.right_bias + tf.matmul(part, params.coupling)
        halves = part, counter_random.bernoulli_logits(key, logits)
        return Halves(*(halves if self.num_left <= self.num_right else halves[::-1]))

    def _smaller_left(self, params: RBMParameters) -> RBMParameters:
        return params if self.num_left <= self.num_right else transposed(params)


class MarginalPath(Path):
    """The right half is summed out: a state is the left half [C, L], f_t(z_L) = Σ_R exp(-E_t)."""

    def __init__(self, params: RBMParameters, base: tf.Tensor) -> None:
        num_left = params.left_bias.shape[0]
        self._params, self._left, self._right = params, base[:num_left], base[num_left:]

    def start(self, num_chains: int, key: tf.Tensor) -> tf.Tensor:  # noqa: D102
        logits = tf.broadcast_to(self._left, [num_chains, self._left.shape[0]])
        return counter_random.bernoulli_logits(key, logits)

    def of_model(self, state: Halves) -> tf.Tensor:  # noqa: D102
        return state.left

    def _right_field(self, left: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
        # The product is written anew at each use: XLA computes it once.
        bias = (1.0 - t) * self._right + t * self._params.right_bias
        return bias + t * tf.matmul(left, self._params.coupling)

    def log_ratio(  # noqa: D102
        self, state: tf.Tensor, old: tf.Tensor, new: tf.Tensor
    ) -> tf.Tensor:
        linear = tf.linalg.matvec(state, self._params.left_bias - self._left)
        # Terms are subtracted unit by unit: the sums themselves would lose digits.
        old_field, new_field = self._right_field(state, old), self._right_field(state, new)
        changes = tf.nn.softplus(new_field) - tf.nn.softplus(old_field)
        return tf.reshape(new - old, [-1]) * linear + tf.reduce_sum(changes, axis=-1)

    def sweep(  # noqa: D102
        self, state: tf.Tensor, key: tf.Tensor, inverse_temperature: tf.Tensor
    ) -> tf.Tensor:
        t, coupling = inverse_temperature, self._params.coupling
        if (swept := self._in_one_kernel(state, key, t)) is not None:
            return swept
        right = counter_random.bernoulli_logits(key, self._right_field(state, t), stream=0)
        bias = (1.0 - t) * self._left + t * self._params.left_bias
        if hardware.on_gpu() or t.shape.rank:  # no scaled copy of the couplings
            field = bias + t * tf.matmul(right, coupling, transpose_b=True)
        else:
            field = bias + tf.matmul(right, t * coupling, transpose_b=True)
        return counter_random.bernoulli_logits(key, field, stream=1)

    def _in_one_kernel(self, left: tf.Tensor, key: tf.Tensor, t: tf.Tensor) -> tf.Tensor | None:
        if hardware.kernel_gpu() is None:
            return None
        params, base = self._params, (self._right, self._left)
        first = gibbs.Block(params.right_bias, params.coupling, (1,))
        blocks = first, gibbs.Block(params.left_bias, tf.transpose(params.coupling), (0,))
        swept = gibbs.in_one_kernel(blocks, left, key, 1, t, base, parts=1)
        return None if swept is None else swept[1]


def transposed(params: RBMParameters) -> RBMParameters:
    """The same RBM with its halves exchanged."""
    return RBMParameters(params.right_bias, params.left_bias, tf.transpose(params.coupling))


def model_of(params: RBMParameters) -> RBM:
    """The model whose parameters these are, with or without leading extents."""
    return RBM(*params.coupling.shape[-2:])


def halves(params: RBMParameters, units: tf.Tensor) -> Halves:
    """Units [N, L + R] as the left and the right half of the RBM with these parameters."""
    return model_of(params).state(units)


def left_log_marginal(params: RBMParameters, left: tf.Tensor) -> tf.Tensor:
    """log of the sum over z_R of exp(-E), [C] from left [C, L]: a.z_L + sum softplus(b + z_L W)."""
    model_of(params).check_parameters(params)
    checks.tensor("left", left, [None, *params.left_bias.shape], params.coupling.dtype)
    right_field = params.right_bias + tf.matmul(left, params.coupling)
    linear = tf.linalg.matvec(left, params.left_bias)
    return linear + tf.reduce_sum(tf.nn.softplus(right_field), -1)


def equal_halves(num_units: int) -> RBM:
    """The prior of the papers: half of the units to the left, the rest to the right."""
    return RBM(num_units // 2, num_units - num_units // 2)
