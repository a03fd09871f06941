"""Relaxations of a prior: log p(ζ) + log Z of p(ζ) = Σ_z p(z) r(ζ | z) for relaxed latents (DVAE#).

Vahdat, Andriyash and Macready 2018 (arXiv 1805.07445): overlapping smoothing with a mean-field
bound, and the Gaussian integral. Both are made for the two halves of an RBM.
"""

import abc
import math

import numpy as np
import tensorflow as tf

from configs.paper import LAMBDA_MARGIN, MEAN_FIELD_ITERATIONS
from dvae.smoothing import Smoothing
from samplers.energy_model import Parameters
from samplers.gpu_kernels import mean_field as mean_field_kernel
from samplers.rbm import Halves, RBMParameters, halves

# B(ζ) beyond this all but decides a unit, whatever its neighbours in the prior say.
B_CLIP = 10.0
# (W'W)^(2^6): its Frobenius norm bounds the largest singular value of W within 2 % for 200 units.
_NORM_SQUARINGS = 6
# (λ^-2 W'W)^(2^9) is below 1e-7 for every σ_max up to 300, where λ = σ_max + 5.
_INVERSE_SQUARINGS = 9

# log(1 + x) on [0, 1] as a sum of c x^(2^a + 2^b), or of c x^(2^a) for b = None: by least relative
# error (1e-7), fitted in float64. The exponents are those that two powers A^(2^j) multiply to.
_LOG1P = {
    (0, None): 0.999999904,
    (0, 0): -0.499984092,
    (0, 1): 0.332898025,
    (1, 1): -0.245390914,
    (0, 2): 0.175301113,
    (1, 2): -0.090795929,
    (2, 2): 0.048234176,
    (0, 3): -0.036399934,
    (1, 3): 0.009284927,
}


class RelaxedPrior(abc.ABC):
    """log p(ζ) + log Z of a relaxed prior p(ζ) = Σ_z p(z) r(ζ | z)."""

    @abc.abstractmethod
    def unnormalized_log_density(self, params: Parameters, relaxed: tf.Tensor) -> tf.Tensor:
        """[N] in nats from relaxed latents [N, D]; differentiable in both arguments."""

    def scalars(self, params: Parameters, arrays: dict[str, np.ndarray]) -> dict[str, float]:
        """What summaries show of it, given the values of its `histograms`."""
        del params, arrays
        return {}

    def histograms(self, relaxed: tf.Tensor) -> dict[str, tf.Tensor]:
        """Tensors whose histograms summaries show, from relaxed latents [N, D]."""
        del relaxed
        return {}


class MeanFieldPrior(RelaxedPrior):
    """Overlapping smoothing; log Σ_z by its mean-field lower bound (DVAE#)."""

    def __init__(self, smoothing: Smoothing) -> None:
        self.smoothing = smoothing

    def unnormalized_log_density(self, rbm: RBMParameters, relaxed: tf.Tensor) -> tf.Tensor:
        """A lower bound of log p(ζ) + log Z: at most it, tight when mean field is exact.

        Gradients hold the mean-field solution constant (envelope theorem), exact at a fixed point.
        """
        left_base, right_base = halves(rbm, self.smoothing.log_density_at_0(relaxed))
        left_ratio, right_ratio = halves(rbm, self.smoothing.log_ratio(relaxed))
        left_field, right_field = rbm.left_bias + left_ratio, rbm.right_bias + right_ratio
        base = tf.reduce_sum(left_base, axis=1) + tf.reduce_sum(right_base, axis=1)
        return mean_field_bound(rbm.coupling, left_field, right_field, base)

    def histograms(self, relaxed: tf.Tensor) -> dict[str, tf.Tensor]:
        """B(ζ), whole and clipped."""
        b_zeta = self.smoothing.log_ratio(relaxed)
        return {"b_zeta": b_zeta, "b_zeta_clipped": tf.clip_by_value(b_zeta, -B_CLIP, B_CLIP)}

    def scalars(self, params: RBMParameters, arrays: dict[str, np.ndarray]) -> dict[str, float]:
        """Units per row that the smoothing leaves undecided."""
        del params
        undecided = np.abs(arrays["b_zeta"]) < B_CLIP
        return {"b_zeta_num": float(np.mean(np.sum(undecided, axis=1)))}


@tf.custom_gradient
def mean_field_bound(
    coupling: tf.Tensor, left_field: tf.Tensor, right_field: tf.Tensor, base: tf.Tensor
) -> tuple:
    """At most log Σ_z exp(base + f.z_L + g.z_R + z_L' W z_R), [N] in nats, by the factorised fit.

    Gradients hold the fit constant.

    Args:
      coupling: W [L, R].
      left_field: f of each row, [N, L].
      right_field: g [N, R].
      base: [N].
    """
    fields = left_field, right_field
    fitted = mean_field_kernel.mean_field(coupling, *fields, MEAN_FIELD_ITERATIONS)
    if fitted is None:
        left, right = mean_field(coupling, *fields)
        bound = tf.reduce_sum(left_field * left, axis=1)
        bound += tf.reduce_sum(right_field * right, axis=1)
        bound += tf.reduce_sum(tf.matmul(left, coupling) * right, axis=1)
        bound = bound + base + entropy_of_means(left) + entropy_of_means(right)
    else:
        left, right, bound = fitted
        bound += base

    def gradient(upstream: tf.Tensor) -> tuple:
        of_right = upstream[:, None] * right
        of_coupling = tf.matmul(left, of_right, transpose_a=True)
        return of_coupling, upstream[:, None] * left, of_right, upstream

    return bound, gradient


def mean_field(coupling: tf.Tensor, left_field: tf.Tensor, right_field: tf.Tensor) -> Halves:
    """Means [N, L] and [N, R] of the factorised fit to an RBM with a field per row.

    Both start at one half; each iteration updates the right half from the left, then the left.
    """
    product = 0.5 * tf.reduce_sum(coupling, axis=0)  # of means of one half: all rows are alike
    for _ in range(MEAN_FIELD_ITERATIONS):
        right = tf.sigmoid(product + right_field)
        left = tf.sigmoid(tf.matmul(right, coupling, transpose_b=True) + left_field)
        product = tf.matmul(left, coupling)
    return Halves(left, right)


def entropy_of_means(means: tf.Tensor) -> tf.Tensor:
    """Entropy of independent bits with the given means, summed over the last axis, in nats."""
    return -tf.reduce_sum(
        tf.math.xlogy(means, means) + tf.math.xlog1py(1.0 - means, -means), axis=-1
    )


class GaussianIntegralPrior(RelaxedPrior):
    """r(ζ | z) = N(z, M^-1), M = W̃ + λI (DVAE#): log p(ζ) + log Z in closed form."""

    def __init__(self, sharpness: float) -> None:
        self.sharpness = float(sharpness)

    def unnormalized_log_density(self, rbm: RBMParameters, relaxed: tf.Tensor) -> tf.Tensor:
        """Exact. λ = max(σ_max(W) + 5, β) follows W at each call, so M is positive definite.

        Gradients hold λ constant: a relaxation may choose it as it likes.
        """
        powers = gram_powers(rbm.coupling)
        scale = self.precision(powers)
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

    def scalars(self, params: RBMParameters, arrays: dict[str, np.ndarray]) -> dict[str, float]:
        """Of M = W̃ + λI: the eigenvalues of W̃ are ± the singular values of W."""
        del arrays
        coupling = params.coupling.numpy()
        precision = float(self.precision(gram_powers(params.coupling)))
        largest = float(np.linalg.svd(coupling, compute_uv=False)[0])
        return {
            "eigen/lambda": precision,
            "eigen/max_eigen_val": precision + largest,
            "eigen/min_eigen_val": precision - largest,
            "weight_norm": float(np.linalg.norm(coupling)),
        }

    def precision(self, powers: list[tuple[tf.Tensor, tf.Tensor]]) -> tf.Tensor:
        """λ, a scalar, from `gram_powers(W)`; constant for the gradient, as they are."""
        return tf.maximum(largest_singular_value(powers) + LAMBDA_MARGIN, self.sharpness)


def gram_powers(coupling: tf.Tensor) -> list[tuple[tf.Tensor, tf.Tensor]]:
    """(W'W)^(2^j) for j = 0, 1, ... as (matrix of Frobenius norm 1, log of its factor).

    Constants for the gradient. One list serves the norm of W and the inverse below.
    """
    matrix = tf.stop_gradient(tf.matmul(coupling, coupling, transpose_a=True))
    return normalized_powers(matrix, _INVERSE_SQUARINGS)


def normalized_powers(matrix: tf.Tensor, count: int) -> list[tuple[tf.Tensor, tf.Tensor]]:
    """A^(2^j), j < count, of a symmetric matrix as (matrix of Frobenius norm 1, log factor)."""
    log_factor = tf.zeros([], matrix.dtype)
    powers = []
    for _ in range(count):
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

    The gradient is -2 λ^-2 W (I - A)^-1 with A = λ^-2 W'W and (I - A)^-1 = Π_j (I + A^(2^j)):
    like the value's, products of matrices, which XLA runs far faster than triangular solves.
    """

    @tf.custom_gradient
    def log_det(coupling: tf.Tensor) -> tuple:
        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            inverse = inverse_by_powers(scale, powers)
            return upstream * (-2.0 / scale**2) * tf.matmul(coupling, inverse)

        return log_det_by_powers(scale, powers), gradient

    return log_det(coupling)


def inverse_by_powers(scale: tf.Tensor, powers: list[tuple[tf.Tensor, tf.Tensor]]) -> tf.Tensor:
    """(I - A)^-1 = Π_j (I + A^(2^j)), where scale^2 A has the powers."""
    inverse = tf.eye(powers[0][0].shape[0], dtype=scale.dtype)
    for index, (matrix, log_factor) in enumerate(powers):
        factor = tf.exp(log_factor - 2.0 ** (index + 1) * tf.math.log(scale))
        inverse += factor * tf.matmul(inverse, matrix)
    return inverse


def log_det_by_powers(scale: tf.Tensor, powers: list[tuple[tf.Tensor, tf.Tensor]]) -> tf.Tensor:
    """log det(I - A) = -Σ_j log det(I + A^(2^j)) within 1e-6 of itself, without a loop of columns.

    log det(I + B) = Σ c tr(B^e) by `_LOG1P`, and tr(A^(2^i) A^(2^j)) are the inner products of the
    powers that are there already: one product for all.
    """
    count = len(powers)
    factors = [
        tf.exp(log_factor - 2.0 ** (index + 1) * tf.math.log(scale))
        for index, (_, log_factor) in enumerate(powers)
    ]
    rows = tf.stack([tf.reshape(matrix, [-1]) for matrix, _ in powers])
    inner = tf.matmul(rows, rows, transpose_b=True)
    weights = np.zeros([count, count], np.float32)
    for (first, second), coefficient in _LOG1P.items():
        for index in range(count):
            # tr(A^(2^i)) is an inner product of the power before, but for the first.
            i, j = (first, second) if second is not None else (first - 1, first - 1)
            if 0 <= index + i and index + j < count:
                weights[index + i, index + j] += coefficient
    factor = tf.stack(factors)
    total = tf.reduce_sum(weights * factor[:, None] * factor[None, :] * inner)
    return -total - _LOG1P[0, None] * factor[0] * tf.linalg.trace(powers[0][0])
