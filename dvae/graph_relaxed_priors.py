"""Relaxed priors (DVAE#) of a Boltzmann machine on any graph: over its classes, or its matrix.

J is the symmetric matrix of couplings, b the biases.
"""

import math

import numpy as np
import tensorflow as tf

from configs.paper import LAMBDA_MARGIN, MEAN_FIELD_ITERATIONS
from dvae.relaxed_priors import (
    GaussianIntegralPrior,
    MeanFieldPrior,
    entropy_of_means,
    inverse_by_powers,
    log_det_by_powers,
    normalized_powers,
)
from dvae.smoothing import Smoothing
from samplers import class_loop
from samplers.boltzmann import BoltzmannMachine, BoltzmannParameters

# ‖J^(2^7)‖_F bounds the spectral radius of J within 2.1 % for 200 units: good enough for a shift.
_RADIUS_SQUARINGS = 7
# Of cI - J: its largest eigenvalue within 0.3 % of itself, and Σ A^n up to n = 4095.
_SHIFTED_SQUARINGS = 12

Powers = list[tuple[tf.Tensor, tf.Tensor]]


class GraphMeanFieldPrior(MeanFieldPrior):
    """Overlapping smoothing; log Σ_z by its mean-field lower bound."""

    def __init__(self, smoothing: Smoothing, model: BoltzmannMachine) -> None:
        super().__init__(smoothing)
        self._model = model

    def unnormalized_log_density(
        self, params: BoltzmannParameters, relaxed: tf.Tensor
    ) -> tf.Tensor:
        """A lower bound of log p(ζ) + log Z, whatever the means: at most it.

        Gradients hold the means constant. They are those of a bound that touches the reported one;
        `scalars` shows how far the means are from a fixed point, where they are those of the value.
        """
        model, ratio = self._model, self.smoothing.log_ratio(relaxed)
        means = tf.stop_gradient(mean_field(model, params, ratio))
        bound = tf.reduce_sum(ratio * means + self.smoothing.log_density_at_0(relaxed), axis=1)
        return bound + entropy_of_means(means) - model.energy(params, model.state(means))

    def scalars(  # noqa: D102
        self, params: BoltzmannParameters, shown: dict[str, np.ndarray]
    ) -> dict[str, float]:
        ratio = tf.constant(shown["b_zeta"], tf.float32)
        means = mean_field(self._model, params, ratio)
        field = self._model.field(params, means) + ratio
        residual = tf.reduce_max(tf.abs(tf.sigmoid(field) - means))
        return super().scalars(params, shown) | {"mean_field_residual": float(residual)}


def mean_field(
    model: BoltzmannMachine, params: BoltzmannParameters, fields: tf.Tensor
) -> tf.Tensor:
    """Means [N, D] of the factorised fit to a machine with a field [N, D] per row.

    All start at one half; an iteration updates each class in turn, which never lowers the bound.
    """
    half, layout = tf.fill(fields.shape, tf.constant(0.5, fields.dtype)), model.layout
    if layout is None:
        means, fields = list(model.state(half)), model.state(fields)
        for _ in range(MEAN_FIELD_ITERATIONS):
            for index, block in enumerate(model.blocks(params)):
                others = tf.concat([means[source] for source in block.sources], axis=1)
                product = tf.matmul(others, block.coupling)
                means[index] = tf.sigmoid(product + block.bias + fields[index])
        return model.units(tuple(means))
    weights = class_loop.weights_of(layout, params.coupling)
    fields = class_loop.spread(layout, fields + params.bias)

    def update(index: tf.Tensor, step: tf.Tensor, group: int, state: tf.Tensor) -> tf.Tensor:
        del step, group
        return tf.sigmoid(class_loop.field(layout, weights, state, index) + fields[index])

    states = [class_loop.state_of(layout, half)]
    [state] = class_loop.updates(layout, states, MEAN_FIELD_ITERATIONS, update)
    return class_loop.units_of(layout, state)


class GraphGaussianIntegralPrior(GaussianIntegralPrior):
    """r(ζ | z) = N(z, M^-1), M = J + λI: log p(ζ) + log Z in closed form."""

    def __init__(self, sharpness: float, model: BoltzmannMachine) -> None:
        super().__init__(sharpness)
        self._model = model

    def unnormalized_log_density(
        self, params: BoltzmannParameters, relaxed: tf.Tensor
    ) -> tf.Tensor:
        """Exact. λ = max(-λ_min(J) + 5, β) follows J at each call, so M is positive definite.

        Gradients hold λ constant.
        """
        matrix = self._model.matrix(params.coupling)
        shift, powers = shifted_powers(matrix)
        scale = self.precision(shift, powers)
        product = scale * relaxed + tf.matmul(relaxed, matrix)
        integral = tf.nn.softplus(product + params.bias - 0.5 * scale)
        terms = tf.reduce_sum(integral - 0.5 * product * relaxed, axis=1)
        size = float(relaxed.shape[1])
        log_det = log_det_precision(matrix, scale, shift, powers)
        return terms + 0.5 * (log_det - size * math.log(2.0 * math.pi))

    def precision(self, shift: tf.Tensor, powers: Powers) -> tf.Tensor:
        """λ, a scalar, from `shifted_powers(J)`; constant for the gradient, as they are.

        -λ_min(J) is bounded from above, by 0.3 % of λ_max - λ_min for 200 units.
        """
        least = _largest(powers, _SHIFTED_SQUARINGS - 1) - shift
        return tf.maximum(least + LAMBDA_MARGIN, self.sharpness)

    def scalars(  # noqa: D102
        self, params: BoltzmannParameters, shown: dict[str, np.ndarray]
    ) -> dict[str, float]:
        del shown
        matrix = self._model.matrix(params.coupling)
        precision = float(self.precision(*shifted_powers(matrix)))
        eigenvalues = np.linalg.eigvalsh(matrix.numpy())
        return {
            "eigen/lambda": precision,
            "eigen/max_eigen_val": precision + float(eigenvalues[-1]),
            "eigen/min_eigen_val": precision + float(eigenvalues[0]),
            "weight_norm": float(np.linalg.norm(params.coupling.numpy())),
        }


def _largest(powers: Powers, index: int) -> tf.Tensor:
    """‖A^(2^index)‖_F^(2^-index), an upper bound of the largest |eigenvalue| of a symmetric A."""
    return tf.exp(powers[index][1] / 2.0**index)


def shifted_powers(matrix: tf.Tensor) -> tuple[tf.Tensor, Powers]:
    """c, at least the largest |eigenvalue| of J, and powers of cI - J; no gradient flows."""
    matrix = tf.stop_gradient(matrix)
    radius = _largest(normalized_powers(matrix, _RADIUS_SQUARINGS + 1), _RADIUS_SQUARINGS)
    shifted = radius * tf.eye(matrix.shape[0], dtype=matrix.dtype) - matrix
    return radius, normalized_powers(shifted, _SHIFTED_SQUARINGS)


def log_det_precision(
    matrix: tf.Tensor, scale: tf.Tensor, shift: tf.Tensor, powers: Powers
) -> tf.Tensor:
    """log det(J + λI), a scalar; differentiable with respect to J.

    J + λI = (λ + c)(I - A), A = (cI - J) / (λ + c), whose eigenvalues lie in [0, 1).
    """
    total = scale + shift
    root = tf.sqrt(total)  # the functions of an RBM take λ, of which A has the square

    @tf.custom_gradient
    def log_det(matrix: tf.Tensor) -> tuple:
        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            return upstream * inverse_by_powers(root, powers) / total

        size = float(matrix.shape[0])
        return size * tf.math.log(total) + log_det_by_powers(root, powers), gradient

    return log_det(matrix)
