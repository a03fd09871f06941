"""The sampler beside the model: chains for the gradient of log Z, and a tracked value of it.

Binds a configuration to the kernels of `samplers`; holds no tensors. A `ChainSampler` is what
`--sampler` names (`configs.registry.SAMPLERS`).
"""

import abc
from typing import Any, ClassVar, NamedTuple

import tensorflow as tf

from configs.paper import ExperimentConfig
from configs.registry import SAMPLERS, resolve
from samplers import counter_random, hardware, pcd, population_annealing
from samplers.pcd import PCDState
from samplers.population_annealing import PopulationState
from samplers.rbm import RBM, Chains

# Families are counted since the last step that this divides.
FAMILY_WINDOW = 100
# The separate population is bridged when one reweighting would leave less than this share of it.
_TRACKER_BRIDGE_ESS = 0.5
_TRACKER_RESAMPLE = 0.7


class ChainSampler(abc.ABC):
    """Chains that follow the parameters of an RBM in training.

    A state is a nest of tensors with the chains, [C, L] and [C, R], in its field `chains`. A kernel
    of `samplers` has `init(key, C, L, R)` and `step(rbm, state, key, num_sweeps)`.
    """

    # Names of the scalars that `step` returns for TensorBoard, in order.
    metric_names: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: ExperimentConfig) -> None:
        self._config = config

    @abc.abstractmethod
    def init(self, key: tf.Tensor, num_left: int, num_right: int) -> Any:
        """config.num_chains chains: exact samples at the zero parameters where training starts."""

    @abc.abstractmethod
    def step(
        self, rbm: RBM, state: Any, key: tf.Tensor, step: tf.Tensor
    ) -> tuple[Any, dict[str, tf.Tensor]]:
        """Follows the parameters to `rbm`; returns the state and the scalars of `metric_names`.

        Args:
          rbm: new parameters.
          state: of the step before.
          key: int32 [2].
          step: int32 scalar, the training step.
        """

    def weights(self, state: Any) -> tf.Tensor | None:
        """Normalised weights of the chains [C], or None where all are equal."""
        del state
        return None

    def log_partition(self, state: Any) -> tf.Tensor | None:
        """The value of log Z that the state tracks, float64 scalar in nats, or None."""
        del state
        return None


class PopulationAnnealing(ChainSampler):
    """See `samplers.population_annealing`; the weights carry over when --resample_threshold < 1."""

    metric_names = ("sampler/ess", "sampler/surviving_families", "sampler/resampled")

    def init(self, key: tf.Tensor, num_left: int, num_right: int) -> PopulationState:  # noqa: D102
        return population_annealing.init(key, self._config.num_chains, num_left, num_right)

    def step(  # noqa: D102
        self, rbm: RBM, state: PopulationState, key: tf.Tensor, step: tf.Tensor
    ) -> tuple[PopulationState, dict[str, tf.Tensor]]:
        config = self._config
        start = population_annealing.relabel(state, step % FAMILY_WINDOW == 0)
        state, info = population_annealing.step(
            rbm, start, key, config.num_sweeps, config.resample_threshold
        )
        if hardware.on_gpu() and config.resample_threshold >= 1.0:
            # Zeros before and after: left alone, they cost no kernel.
            state = state._replace(log_weights=start.log_weights)
        values = (info.ess, info.surviving_families, info.resampled)
        return state, dict(zip(self.metric_names, values, strict=True))

    def weights(self, state: PopulationState) -> tf.Tensor | None:  # noqa: D102
        if self._config.resample_threshold < 1.0:
            return population_annealing.normalized_weights(state)
        return None

    def log_partition(self, state: PopulationState) -> tf.Tensor:
        """Not to be trusted: each update raises the energy of just these samples."""
        return state.log_partition


class PersistentContrastiveDivergence(ChainSampler):
    """See `samplers.pcd`."""

    metric_names = ("sampler/mean_energy",)

    def init(self, key: tf.Tensor, num_left: int, num_right: int) -> PCDState:  # noqa: D102
        return pcd.init(key, self._config.num_chains, num_left, num_right)

    def step(  # noqa: D102
        self, rbm: RBM, state: PCDState, key: tf.Tensor, step: tf.Tensor
    ) -> tuple[PCDState, dict[str, tf.Tensor]]:
        del step
        state, info = pcd.step(rbm, state, key, self._config.num_sweeps)
        return state, {"sampler/mean_energy": info.mean_energy}


class SamplerState(NamedTuple):
    """gradient: the chains that feed the gradient; tracker: a population for log Z only, or ()."""

    gradient: Any
    tracker: PopulationState | tuple


def to_variables(state: Any) -> list[tf.Variable]:
    """Variables that hold the leaves of a state; `from_variables` reads them back."""
    # TensorFlow keeps int32 variables off the GPU, where a compiled program cannot reach them.
    wide = {tf.int32: tf.int64}
    return [
        tf.Variable(tf.cast(leaf, wide.get(leaf.dtype, leaf.dtype)))
        for leaf in tf.nest.flatten(state)
    ]


def from_variables(like: Any, variables: list[tf.Variable]) -> Any:
    """The state in variables, as tensors of the structure and types of `like`."""
    leaves = tf.nest.flatten(like)
    values = [
        tf.cast(tf.convert_to_tensor(variable), leaf.dtype)
        for variable, leaf in zip(variables, leaves, strict=True)
    ]
    return tf.nest.pack_sequence_as(like, values)


class PriorSampler:
    """The chains that --sampler names and, if asked for, a separate population for log Z alone."""

    def __init__(self, config: ExperimentConfig, num_left: int, num_right: int) -> None:
        self._config = config
        self._shape = (num_left, num_right)
        self._chains: ChainSampler = resolve(SAMPLERS[config.sampler])(config)
        self._separate = config.log_z_population == "separate"

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Names of the scalars that `step` returns, in order."""
        tracker = ("log_z/population_ess", "log_z/population_bridges") if self._separate else ()
        return (*self._chains.metric_names, *tracker)

    def init(self, key: tf.Tensor) -> SamplerState:
        """The state at zero parameters; key int32 [2]."""
        keys = counter_random.split(key, 2)
        tracker: PopulationState | tuple = ()
        if self._separate:
            tracker = population_annealing.init(keys[1], self._config.log_z_chains, *self._shape)
        return SamplerState(self._chains.init(keys[0], *self._shape), tracker)

    def step(
        self, rbm: RBM, state: SamplerState, key: tf.Tensor, step: tf.Tensor
    ) -> tuple[SamplerState, dict[str, tf.Tensor]]:
        """Follows the parameters to `rbm`; returns the state and scalars for TensorBoard."""
        keys = counter_random.split(key, 2)
        gradient, metrics = self._chains.step(rbm, state.gradient, keys[0], step)
        tracker = state.tracker
        if self._separate:
            tracker, info = population_annealing.step(
                rbm,
                state.tracker,
                keys[1],
                self._config.num_sweeps,
                _TRACKER_RESAMPLE,
                _TRACKER_BRIDGE_ESS,
            )
            metrics["log_z/population_ess"] = info.ess
            metrics["log_z/population_bridges"] = info.bridges
        return SamplerState(gradient, tracker), metrics

    def chains(self, state: SamplerState) -> Chains:
        """The chains that feed the gradient."""
        return state.gradient.chains

    def samples(self, state: SamplerState) -> tf.Tensor:
        """Their states as latents, [C, D]."""
        return tf.concat(self.chains(state), axis=1)

    def weights(self, state: SamplerState) -> tf.Tensor | None:
        """Their normalised weights [C], or None where all are equal."""
        return self._chains.weights(state.gradient)

    def log_partition(self, state: SamplerState) -> tf.Tensor | None:
        """The tracked log Z in nats (float64 scalar), or None when none is tracked.

        From the shared population it is not to be trusted: each update raises the energy of just
        the samples that it is measured on, so it drifts low.
        """
        if self._separate:
            return state.tracker.log_partition
        if self._config.log_z_population == "shared":
            return self._chains.log_partition(state.gradient)
        return None

    def with_log_partition(self, state: SamplerState, value: tf.Tensor) -> SamplerState:
        """The state with log Z of the separate population set (nats, float64 scalar)."""
        return state._replace(tracker=state.tracker._replace(log_partition=value))
