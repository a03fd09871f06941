"""Smoothing distributions r(ζ | z) that relax a binary unit z to a continuous ζ.

`Smoothing` asks for the densities and distribution functions of both r(ζ | z=0) and r(ζ | z=1).
Those of the papers are mirrored, r(ζ | z=1) = r(1-ζ | z=0): they give r(ζ | z=0) alone. Sources:
exponential, DVAE++ (Vahdat et al. 2018); power, uniform+exponential and Gaussian, DVAE# (Vahdat,
Andriyash, Macready 2018).
"""

import abc
import math

import tensorflow as tf

from configs.paper import POWER_OFFSET, UNIFORM_SHARE
from dvae.normal import normal
from samplers import counter_random


class Smoothing(abc.ABC):
    """r(ζ | z) of one unit; `sharpness` β is no temperature. All methods are elementwise."""

    def __init__(self, sharpness: float) -> None:
        self.sharpness = float(sharpness)

    @abc.abstractmethod
    def log_density_at_0(self, relaxed: tf.Tensor) -> tf.Tensor:
        """log r(ζ | z=0) in nats."""

    @abc.abstractmethod
    def cdf_at_0(self, relaxed: tf.Tensor) -> tf.Tensor:
        """R0(ζ), the distribution function of r(ζ | z=0)."""

    @abc.abstractmethod
    def log_density_at_1(self, relaxed: tf.Tensor) -> tf.Tensor:
        """log r(ζ | z=1) in nats."""

    @abc.abstractmethod
    def cdf_at_1(self, relaxed: tf.Tensor) -> tf.Tensor:
        """R1(ζ), the distribution function of r(ζ | z=1)."""

    @abc.abstractmethod
    def sample(self, binary: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
        """ζ ~ r(ζ | z) for 0/1 `binary` of any shape, float32."""

    def log_ratio(self, relaxed: tf.Tensor) -> tf.Tensor:
        """B(ζ) = log r(ζ | z=1) - log r(ζ | z=0): the field that ζ puts on its unit, in nats."""
        return self.log_density_at_1(relaxed) - self.log_density_at_0(relaxed)

    def scalars(self) -> dict[str, float]:
        """What summaries show of it, beside β."""
        return {}


class MirroredSmoothing(Smoothing):
    """r(ζ | z=1) = r(1-ζ | z=0)."""

    @abc.abstractmethod
    def sample_at_0(self, key: tf.Tensor, shape: tf.TensorShape) -> tf.Tensor:
        """Draws from r(ζ | z=0), float32 of the given shape."""

    def log_density_at_1(self, relaxed: tf.Tensor) -> tf.Tensor:
        """log r(ζ | z=1) = log r(1-ζ | z=0) in nats."""
        return self.log_density_at_0(1.0 - relaxed)

    def cdf_at_1(self, relaxed: tf.Tensor) -> tf.Tensor:
        """R1(ζ) = 1 - R0(1-ζ)."""
        return 1.0 - self.cdf_at_0(1.0 - relaxed)

    def sample(self, binary: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
        """ζ ~ r(ζ | z) for 0/1 `binary` of any shape."""
        at_0 = self.sample_at_0(key, binary.shape)
        return tf.where(binary > 0.5, 1.0 - at_0, at_0)


class Exponential(MirroredSmoothing):
    """r0(ζ) = β exp(-βζ) / (1 - exp(-β)) on [0, 1]."""

    def log_density_at_0(self, relaxed: tf.Tensor) -> tf.Tensor:  # noqa: D102
        beta = self.sharpness
        return math.log(beta) - math.log(-math.expm1(-beta)) - beta * relaxed

    def cdf_at_0(self, relaxed: tf.Tensor) -> tf.Tensor:  # noqa: D102
        return tf.math.expm1(-self.sharpness * relaxed) / math.expm1(-self.sharpness)

    def sample_at_0(self, key: tf.Tensor, shape: tf.TensorShape) -> tf.Tensor:  # noqa: D102
        rho = counter_random.uniform(key, shape)
        return -tf.math.log1p(math.expm1(-self.sharpness) * rho) / self.sharpness


class Power(MirroredSmoothing):
    """r0(ζ) = λ ζ^(λ-1) on [0, 1] with λ = 1/β; DVAE#. Evaluated at ζ + POWER_OFFSET."""

    def log_density_at_0(self, relaxed: tf.Tensor) -> tf.Tensor:  # noqa: D102
        exponent = 1.0 / self.sharpness
        return (exponent - 1.0) * tf.math.log(relaxed + POWER_OFFSET) + math.log(exponent)

    def cdf_at_0(self, relaxed: tf.Tensor) -> tf.Tensor:  # noqa: D102
        return tf.pow(relaxed + POWER_OFFSET, 1.0 / self.sharpness)

    def sample_at_0(self, key: tf.Tensor, shape: tf.TensorShape) -> tf.Tensor:  # noqa: D102
        return tf.pow(counter_random.uniform(key, shape), self.sharpness)

    def scalars(self) -> dict[str, float]:  # noqa: D102
        return {"posterior/lambda": 1.0 / self.sharpness}


class UniformExponential(MirroredSmoothing):
    """(1-ε) exponential + ε uniform on [0, 1], ε = UNIFORM_SHARE."""

    def __init__(self, sharpness: float) -> None:
        super().__init__(sharpness)
        self._exponential = Exponential(sharpness)

    def log_density_at_0(self, relaxed: tf.Tensor) -> tf.Tensor:  # noqa: D102
        exponential = tf.exp(self._exponential.log_density_at_0(relaxed))
        return tf.math.log((1.0 - UNIFORM_SHARE) * exponential + UNIFORM_SHARE)

    def cdf_at_0(self, relaxed: tf.Tensor) -> tf.Tensor:  # noqa: D102
        exponential = self._exponential.cdf_at_0(relaxed)
        return (1.0 - UNIFORM_SHARE) * exponential + UNIFORM_SHARE * relaxed

    def sample_at_0(self, key: tf.Tensor, shape: tf.TensorShape) -> tf.Tensor:  # noqa: D102
        keys = counter_random.split(key, 3)
        is_uniform = counter_random.uniform(keys[0], shape) < UNIFORM_SHARE
        uniform = counter_random.uniform(keys[1], shape)
        return tf.where(is_uniform, uniform, self._exponential.sample_at_0(keys[2], shape))

    def scalars(self) -> dict[str, float]:  # noqa: D102
        return {"posterior/eps": UNIFORM_SHARE}


class Gaussian(MirroredSmoothing):
    """N(ζ; 0, 1/β) on the real line; its mirror image is N(ζ; 1, 1/β) (DVAE#)."""

    @property
    def scale(self) -> float:
        """Standard deviation σ = β^(-1/2)."""
        return self.sharpness**-0.5

    def log_density_at_0(self, relaxed: tf.Tensor) -> tf.Tensor:  # noqa: D102
        return normal(0.0, self.scale).log_prob(relaxed)

    def cdf_at_0(self, relaxed: tf.Tensor) -> tf.Tensor:  # noqa: D102
        return normal(0.0, self.scale).cdf(relaxed)

    def sample_at_0(self, key: tf.Tensor, shape: tf.TensorShape) -> tf.Tensor:  # noqa: D102
        return self.scale * counter_random.normal(key, shape)

    def scalars(self) -> dict[str, float]:  # noqa: D102
        return {"posterior/sigma": self.scale}
