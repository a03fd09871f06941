"""The RBM prior and its relaxations: log p(ζ) + log Z for relaxed latents.

log Z never appears here: a training loss only needs its gradient, which comes from samples
(`log_partition_surrogate`); evaluation estimates its value apart.
"""

import abc
import math

import keras
import tensorflow as tf

from dvae.smoothing import Smoothing
from samplers.rbm import RBM, Chains, energy

MEAN_FIELD_ITERATIONS = 5
LAMBDA_MARGIN = 5.0
# (W'W)^(2^6): its Frobenius norm bounds the largest singular value of W within 2 % for 200 units.
_NORM_SQUARINGS = 6
# (λ^-2 W'W)^(2^9) is below 1e-7 for every σ_max up to 300, where λ = σ_max + 5.
_INVERSE_SQUARINGS = 9


class RBMPrior(keras.layers.Layer):
    """Parameters of the prior over the binary latents: a, b, W, all started at zero."""

    def __init__(self, num_latents: int) -> None:
        super().__init__()
        half = num_latents // 2
        self.left_bias = self.add_weight(shape=(half,), initializer="zeros", name="left_bias")
        self.right_bias = self.add_weight(
            shape=(num_latents - half,), initializer="zeros", name="right_bias"
        )
        self.coupling = self.add_weight(
            shape=(half, num_latents - half), initializer="zeros", name="coupling"
        )

    def rbm(self) -> RBM:
        """The present parameters as tensors."""
        return RBM(
            *(tf.convert_to_tensor(w) for w in (self.left_bias, self.right_bias, self.coupling))
        )


def halves(rbm: RBM, latents: tf.Tensor) -> Chains:
    """Splits latents [N, D] into the left and the right half of the prior."""
    num_left = rbm.left_bias.shape[0]
    return Chains(latents[:, :num_left], latents[:, num_left:])


def log_partition_surrogate(rbm: RBM, chains: Chains, weights: tf.Tensor | None) -> tf.Tensor:
    """A scalar whose gradient with respect to the RBM estimates that of log Z.

    ∇ log Z = E_p[-∇E(z)], over C chains with weights [C] that sum to one (None: equal). The value
    means nothing. Biased as far as the chains are not samples of p(z).
    """
    states = Chains(*(tf.stop_gradient(half) for half in chains))
    negative_energy = -energy(rbm, states)
    if weights is None:
        return tf.reduce_mean(negative_energy)
    return tf.reduce_sum(tf.stop_gradient(weights) * negative_energy)


class RelaxedPrior(abc.ABC):
    """log p(ζ) + log Z of a relaxed prior p(ζ) = Σ_z p(z) r(ζ | z)."""

    @abc.abstractmethod
    def unnormalized_log_density(self, rbm: RBM, relaxed: tf.Tensor) -> tf.Tensor:
        """[N] in nats from relaxed latents [N, D]; differentiable in both arguments."""


class MeanFieldPrior(RelaxedPrior):
    """Overlapping smoothing; log Σ_z by its mean-field lower bound (DVAE#)."""

    def __init__(self, smoothing: Smoothing) -> None:
        self.smoothing = smoothing

    def unnormalized_log_density(self, rbm: RBM, relaxed: tf.Tensor) -> tf.Tensor:
        """A lower bound of log p(ζ) + log Z: at most it, tight when mean field is exact.

        Gradients hold the mean-field solution constant (envelope theorem), exact at a fixed point.
        """
        left_base, right_base = halves(rbm, self.smoothing.log_density_at_0(relaxed))
        left_ratio, right_ratio = halves(rbm, self.smoothing.log_ratio(relaxed))
        left_field, right_field = rbm.left_bias + left_ratio, rbm.right_bias + right_ratio
        means = Chains(*map(tf.stop_gradient, mean_field(rbm.coupling, left_field, right_field)))
        bound = tf.reduce_sum(left_field * means.left, axis=1)
        bound += tf.reduce_sum(right_field * means.right, axis=1)
        bound += tf.reduce_sum(tf.matmul(means.left, rbm.coupling) * means.right, axis=1)
        bound += tf.reduce_sum(left_base, axis=1) + tf.reduce_sum(right_base, axis=1)
        return bound + entropy_of_means(means.left) + entropy_of_means(means.right)


def mean_field(coupling: tf.Tensor, left_field: tf.Tensor, right_field: tf.Tensor) -> Chains:
    """Means [N, L] and [N, R] of the factorised fit to an RBM with a field per row.

    Both start at one half; each iteration updates the right half from the left, then the left.
    """
    left = tf.fill(tf.shape(left_field), tf.constant(0.5, left_field.dtype))
    right = left
    for _ in range(MEAN_FIELD_ITERATIONS):
        right = tf.sigmoid(tf.matmul(left, coupling) + right_field)
        left = tf.sigmoid(tf.matmul(right, coupling, transpose_b=True) + left_field)
    return Chains(left, right)


def entropy_of_means(means: tf.Tensor) -> tf.Tensor:
    """Entropy of independent bits with the given means, summed over the last axis, in nats."""
    return -tf.reduce_sum(
        tf.math.xlogy(means, means) + tf.math.xlog1py(1.0 - means, -means), axis=-1
    )


class GaussianIntegralPrior(RelaxedPrior):
    """r(ζ | z) = N(z, M^-1), M = W̃ + λI (DVAE#): log p(ζ) + log Z in closed form."""

    def __init__(self, sharpness: float) -> None:
        self.sharpness = float(sharpness)

    def unnormalized_log_density(self, rbm: RBM, relaxed: tf.Tensor) -> tf.Tensor:
        """Exact. λ = max(σ_max(W) + 5, β) follows W at each call, so M is positive definite."""
        powers = gram_powers(rbm.coupling)
        scale = tf.stop_gradient(self.precision(powers))
        zeta = halves(rbm, relaxed)
        left_product = scale * zeta.left + tf.matmul(zeta.right, rbm.coupling, transpose_b=True)
        right_product = scale * zeta.right + tf.matmul(zeta.left, rbm.coupling)
        quadratic = tf.reduce_sum(left_product * zeta.left, axis=1)
        quadratic += tf.reduce_sum(right_product * zeta.right, axis=1)
        left_field = left_product + rbm.left_bias - 0.5 * scale
        right_field = right_product + rbm.right_bias - 0.5 * scale
        integral = tf.reduce_sum(tf.nn.softplus(left_field), axis=1)
        integral += tf.reduce_sum(tf.nn.softplus(right_field), axis=1)
        size = float(relaxed.shape[1])
        constant = 0.5 * size * tf.math.log(scale / (2.0 * math.pi))
        log_det = log_det_identity_minus_gram(rbm.coupling, scale, powers)
        return constant + 0.5 * log_det - 0.5 * quadratic + integral

    def precision(self, powers: list[tuple[tf.Tensor, tf.Tensor]]) -> tf.Tensor:
        """λ, a scalar, from `gram_powers(W)`."""
        return tf.maximum(largest_singular_value(powers) + LAMBDA_MARGIN, self.sharpness)


def gram_powers(coupling: tf.Tensor) -> list[tuple[tf.Tensor, tf.Tensor]]:
    """(W'W)^(2^j) for j = 0, 1, ... as (matrix of Frobenius norm 1, log of its factor).

    Constants for the gradient. One list serves the norm of W and the inverse below.
    """
    matrix = tf.stop_gradient(tf.matmul(coupling, coupling, transpose_a=True))
    log_factor = tf.zeros([], coupling.dtype)
    powers = []
    for _ in range(_INVERSE_SQUARINGS):
        norm = tf.maximum(tf.norm(matrix), 1e-30)
        matrix, log_factor = matrix / norm, log_factor + tf.math.log(norm)
        powers.append((matrix, log_factor))
        matrix, log_factor = tf.matmul(matrix, matrix), 2.0 * log_factor
    return powers


def largest_singular_value(powers: list[tuple[tf.Tensor, tf.Tensor]]) -> tf.Tensor:
    """An upper bound of σ_max(W), at most a factor n^(1/2^(j+2)) too large (1.02 for n = 200).

    From σ_max^(2^(j+1)) = ‖(W'W)^(2^j)‖_2 ≤ ‖(W'W)^(2^j)‖_F.
    """
    _, log_norm = powers[_NORM_SQUARINGS]
    return tf.exp(log_norm / 2.0 ** (_NORM_SQUARINGS + 1))


def log_det_identity_minus_gram(
    coupling: tf.Tensor, scale: tf.Tensor, powers: list[tuple[tf.Tensor, tf.Tensor]]
) -> tf.Tensor:
    """log det(I - λ^-2 W'W), a scalar; differentiable with respect to W.

    The value is a Cholesky factor's. The gradient is -2 λ^-2 W (I - A)^-1 with A = λ^-2 W'W and
    (I - A)^-1 = Π_j (I + A^(2^j)): products of matrices, which XLA runs far faster than
    triangular solves.
    """

    @tf.custom_gradient
    def log_det(coupling: tf.Tensor) -> tuple:
        identity = tf.eye(coupling.shape[1], dtype=coupling.dtype)
        gram = tf.matmul(coupling, coupling, transpose_a=True) / scale**2
        diagonal = tf.linalg.diag_part(tf.linalg.cholesky(identity - gram))
        value = 2.0 * tf.reduce_sum(tf.math.log(diagonal))

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            inverse = identity
            for index, (matrix, log_factor) in enumerate(powers):
                factor = tf.exp(log_factor - 2.0 ** (index + 1) * tf.math.log(scale))
                inverse += factor * tf.matmul(inverse, matrix)
            return upstream * (-2.0 / scale**2) * tf.matmul(coupling, inverse)

        return value, gradient

    return log_det(coupling)
