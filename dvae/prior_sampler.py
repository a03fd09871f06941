"""The sampler beside the model: chains for the gradient of log Z, and a tracked value of it.

Binds a configuration to the kernels of `samplers`; holds no tensors.
"""

from typing import NamedTuple

import tensorflow as tf

from configs.paper import ExperimentConfig
from samplers import counter_random, pcd, population_annealing
from samplers.pcd import PCDState
from samplers.population_annealing import PopulationState
from samplers.rbm import RBM, Chains

# Families are counted since the last step that this divides.
FAMILY_WINDOW = 100
# The separate population is bridged when one reweighting would leave less than this share of it.
_TRACKER_BRIDGE_ESS = 0.5
_TRACKER_RESAMPLE = 0.7


class SamplerState(NamedTuple):
    """gradient: the chains that feed the gradient; tracker: a population for log Z only, or ()."""

    gradient: PCDState | PopulationState
    tracker: PopulationState | tuple


class PriorSampler:
    """`init`, `step` and read-outs for one configuration."""

    def __init__(self, config: ExperimentConfig) -> None:
        self._config = config
        half = config.structure.num_latents // 2
        self._shape = (half, config.structure.num_latents - half)

    @property
    def tracks_log_partition(self) -> bool:
        """Whether the state holds a running value of log Z."""
        config = self._config
        if config.log_z_population == "separate":
            return True
        return config.log_z_population == "shared" and config.population_annealing

    def init(self, key: tf.Tensor) -> SamplerState:
        """Uniform bits: exact at the zero parameters where training starts."""
        config = self._config
        keys = counter_random.split(key, 2)
        kernel = population_annealing if config.population_annealing else pcd
        tracker: PopulationState | tuple = ()
        if config.log_z_population == "separate":
            tracker = population_annealing.init(keys[1], config.log_z_chains, *self._shape)
        return SamplerState(kernel.init(keys[0], config.num_chains, *self._shape), tracker)

    def step(
        self, rbm: RBM, state: SamplerState, key: tf.Tensor, step: tf.Tensor
    ) -> tuple[SamplerState, dict[str, tf.Tensor]]:
        """Follows the parameters to `rbm`; returns the state and scalars for TensorBoard."""
        config = self._config
        keys = counter_random.split(key, 2)
        metrics: dict[str, tf.Tensor] = {}
        if config.population_annealing:
            start = population_annealing.relabel(state.gradient, step % FAMILY_WINDOW == 0)
            gradient, info = population_annealing.step(
                rbm, start, keys[0], config.num_sweeps, config.resample_threshold
            )
            metrics["sampler/ess"] = info.ess
            metrics["sampler/surviving_families"] = info.surviving_families
            metrics["sampler/resampled"] = info.resampled
        else:
            gradient, pcd_info = pcd.step(rbm, state.gradient, keys[0], config.num_sweeps)
            metrics["sampler/mean_energy"] = pcd_info.mean_energy
        tracker = state.tracker
        if config.log_z_population == "separate":
            tracker, tracker_info = population_annealing.step(
                rbm,
                state.tracker,
                keys[1],
                config.num_sweeps,
                _TRACKER_RESAMPLE,
                _TRACKER_BRIDGE_ESS,
            )
            metrics["log_z/population_ess"] = tracker_info.ess
            metrics["log_z/population_bridges"] = tracker_info.bridges
        return SamplerState(gradient, tracker), metrics

    def chains(self, state: SamplerState) -> Chains:
        """The chains that feed the gradient."""
        return state.gradient.chains

    def weights(self, state: SamplerState) -> tf.Tensor | None:
        """Their normalised weights [C], or None where all are equal."""
        if self._config.population_annealing and self._config.resample_threshold < 1.0:
            return population_annealing.normalized_weights(state.gradient)
        return None

    def log_partition(self, state: SamplerState) -> tf.Tensor | None:
        """The tracked log Z in nats (float64 scalar), or None when none is tracked.

        From the shared population it is not to be trusted: each update raises the energy of just
        the samples that it is measured on, so it drifts low.
        """
        if self._config.log_z_population == "separate":
            return state.tracker.log_partition
        return state.gradient.log_partition if self.tracks_log_partition else None
