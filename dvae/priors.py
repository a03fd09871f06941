"""The prior over binary latents: its energy, its sampler, its log Z, and how it is relaxed.

log Z never appears in a training loss: that only needs its gradient, which comes from samples
(`log_partition_surrogate`); evaluation estimates its value apart.
"""

import abc
from typing import Any

import keras
import tensorflow as tf

from configs.errors import UserError
from configs.paper import ExperimentConfig, Structure
from dvae.prior_sampler import PriorSampler
from dvae.relaxed_priors import (
    GaussianIntegralPrior,
    MeanFieldPrior,
    Parameters,
    RelaxedPrior,
)
from dvae.smoothing import Smoothing
from samplers import gibbs, hardware, log_partition
from samplers.diagnostics import LogMeanEstimate
from samplers.log_partition import LogPartition, Settings
from samplers.rbm import RBM, Chains, energy, halves

SAMPLE_SWEEPS = 1000
_SWEPT = hardware.Program(gibbs.sweeps, autograph=False)


class Prior(keras.layers.Layer, abc.ABC):
    """p(z) = exp(-E(z)) / Z over D binary latents, with all that training and evaluation ask.

    E must be multilinear in z (each z_i to the first power), as every energy of bits can be
    written; it is then defined for means in [0, 1] too. Z must not depend on the image. Weights are
    read once a step by `parameters` and passed on as tensors.
    """

    @abc.abstractmethod
    def parameters(self) -> Parameters:
        """The present parameters as a tuple of tensors."""

    @abc.abstractmethod
    def energy(self, params: Parameters, latents: tf.Tensor) -> tf.Tensor:
        """E(z) in nats, [N] from latents [N, D]; differentiable in both arguments."""

    def mean_energy(
        self, params: Parameters, latents: tf.Tensor, weights: tf.Tensor | None
    ) -> tf.Tensor:
        """Mean of E over samples [C, D], a scalar in nats; differentiable in the parameters.

        weights: [C], summing to one; None: equal.
        """
        energies = self.energy(params, latents)
        if weights is None:
            return tf.reduce_mean(energies)
        return tf.reduce_sum(weights * energies)

    @abc.abstractmethod
    def sampler(self, config: ExperimentConfig) -> PriorSampler:
        """What follows the parameters in training and feeds the gradient of log Z."""

    @abc.abstractmethod
    def samples(self, params: Parameters, chains: Any, count: int, key: tf.Tensor) -> tf.Tensor:
        """`count` samples [count, D] of p(z), started from the sampler's chains; key int32 [2]."""

    @abc.abstractmethod
    def estimate_log_partition(
        self, params: Parameters, chains: Any, key: tf.Tensor, settings: Settings
    ) -> LogMeanEstimate:
        """log Z in nats with its standard error: quick, for evaluations during training."""

    @abc.abstractmethod
    def measure_log_partition(
        self, params: Parameters, chains: Any, key: tf.Tensor, settings: Settings
    ) -> LogPartition:
        """log Z in nats with every bound there is, for results."""

    def log_partition_table(
        self, params: Parameters, chains: Any, key: tf.Tensor, settings: Settings
    ) -> list[log_partition.Row]:
        """What several estimators say of log Z; by default the one of `measure_log_partition`."""
        return log_partition.rows_of(self.measure_log_partition(params, chains, key, settings))

    def decayed_variables(self) -> list[keras.Variable]:
        """What weight decay applies to."""
        return []

    def mean_field(self, smoothing: Smoothing) -> RelaxedPrior:
        """Its relaxation by overlapping smoothing (DVAE#). Raises UserError where it has none."""
        raise UserError(f"{type(self).__name__} has no mean-field relaxation: another --baseline")

    def gaussian_integral(self, sharpness: float) -> RelaxedPrior:
        """Its relaxation by a Gaussian integral (DVAE#). Raises UserError where it has none."""
        raise UserError(f"{type(self).__name__} has no Gaussian integral: another --baseline")


class RBMPrior(Prior):
    """The restricted Boltzmann machine of the papers: a, b, W, all started at zero."""

    def __init__(self, structure: Structure) -> None:
        super().__init__(dtype="float32")
        num_latents = structure.num_latents
        half = num_latents // 2
        self.left_bias = self.add_weight(shape=(half,), initializer="zeros", name="left_bias")
        self.right_bias = self.add_weight(
            shape=(num_latents - half,), initializer="zeros", name="right_bias"
        )
        self.coupling = self.add_weight(
            shape=(half, num_latents - half), initializer="zeros", name="coupling"
        )

    def parameters(self) -> RBM:
        """The present parameters as tensors."""
        return RBM(
            *(tf.convert_to_tensor(w) for w in (self.left_bias, self.right_bias, self.coupling))
        )

    def energy(self, params: RBM, latents: tf.Tensor) -> tf.Tensor:  # noqa: D102
        return energy(params, halves(params, latents))

    def mean_energy(  # noqa: D102
        self, params: RBM, latents: tf.Tensor, weights: tf.Tensor | None
    ) -> tf.Tensor:
        if not hardware.on_gpu():
            return super().mean_energy(params, latents, weights)
        # By the moments that it is linear in: one product, and no energy of each sample.
        left, right = halves(params, latents)
        if weights is None:
            means = tf.reduce_mean(left, axis=0), tf.reduce_mean(right, axis=0)
            pairs = tf.matmul(left, right, transpose_a=True) / float(latents.shape[0])
        else:
            weighted = weights[:, None] * left
            means = tf.reduce_sum(weighted, axis=0), tf.linalg.matvec(right, weights, True)
            pairs = tf.matmul(weighted, right, transpose_a=True)
        moments = RBM(*means, pairs)

        @tf.custom_gradient
        def mean(*parameters: tf.Tensor) -> tuple:
            products = [p * m for p, m in zip(parameters, moments, strict=True)]
            sides = products[0][:, None] / right.shape[1] + products[1] / left.shape[1]
            value = -tf.reduce_sum(products[2] + sides)
            return value, lambda upstream: tuple(-upstream * m for m in moments)

        return mean(*params)

    def sampler(self, config: ExperimentConfig) -> PriorSampler:  # noqa: D102
        return PriorSampler(config, self.left_bias.shape[0], self.right_bias.shape[0])

    def samples(self, params: RBM, chains: Chains, count: int, key: tf.Tensor) -> tf.Tensor:
        """After `SAMPLE_SWEEPS` block-Gibbs sweeps, which part chains that start as copies."""
        rows = tf.range(count) % chains.left.shape[0]
        start = Chains(*(tf.gather(half, rows) for half in chains))
        swept = _SWEPT(params, start, key, tf.constant(SAMPLE_SWEEPS))
        return tf.concat(swept, axis=1)

    def estimate_log_partition(  # noqa: D102
        self, params: RBM, chains: Chains, key: tf.Tensor, settings: Settings
    ) -> LogMeanEstimate:
        return log_partition.estimate(params, chains, key, settings)

    def measure_log_partition(  # noqa: D102
        self, params: RBM, chains: Chains, key: tf.Tensor, settings: Settings
    ) -> LogPartition:
        return log_partition.measure(params, chains, key, settings)

    def log_partition_table(  # noqa: D102
        self, params: RBM, chains: Chains, key: tf.Tensor, settings: Settings
    ) -> list[log_partition.Row]:
        return log_partition.measure_all(params, chains, key, settings)

    def decayed_variables(self) -> list[keras.Variable]:
        """The couplings, not the biases."""
        return [self.coupling]

    def mean_field(self, smoothing: Smoothing) -> RelaxedPrior:  # noqa: D102
        return MeanFieldPrior(smoothing)

    def gaussian_integral(self, sharpness: float) -> RelaxedPrior:  # noqa: D102
        return GaussianIntegralPrior(sharpness)


def log_partition_surrogate(
    prior: Prior, params: Parameters, latents: tf.Tensor, weights: tf.Tensor | None
) -> tf.Tensor:
    """A scalar whose gradient with respect to the prior's parameters estimates that of log Z.

    ∇ log Z = E_p[-∇E(z)], over samples [C, D] of p(z) with weights [C] that sum to one (None:
    equal). The value means nothing. Biased as far as the samples are not of p(z).
    """
    weights = None if weights is None else tf.stop_gradient(weights)
    return -prior.mean_energy(params, tf.stop_gradient(latents), weights)
