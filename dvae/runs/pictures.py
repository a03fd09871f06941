"""Read-outs of a model for people: grids of images as arrays and PNG files, histograms, scalars."""

import os
from pathlib import Path

import numpy as np
import tensorflow as tf

from configs.paper import ExperimentConfig
from dvae.model import DVAE
from dvae.posteriors import ShiftedGaussianPosterior
from dvae.priors import GaussianIntegralPrior, MeanFieldPrior, gram_powers
from dvae.smoothing import UNIFORM_SHARE, Gaussian, UniformExponential
from samplers.rbm import Chains


def grid(images: np.ndarray, image_shape: tuple[int, int], columns: int) -> np.ndarray:
    """Tiles images [N, X] in [0, 1] row by row with a grey line between: uint8 [H, W, 1]."""
    height, width = image_shape
    rows = -(-len(images) // columns)
    canvas = np.full([rows * (height + 1) + 1, columns * (width + 1) + 1], 0.5)
    for index, image in enumerate(images):
        top, left = divmod(index, columns)
        top, left = top * (height + 1) + 1, left * (width + 1) + 1
        canvas[top : top + height, left : left + width] = image.reshape(image_shape)
    return np.uint8(np.round(255 * np.clip(canvas, 0.0, 1.0)))[..., None]


def above_each_other(upper: np.ndarray, lower: np.ndarray, columns: int) -> np.ndarray:
    """Interleaves two sets [N, X] so that `grid` shows each row of `upper` over its `lower`."""
    pairs = []
    for start in range(0, len(upper), columns):
        pairs += [upper[start : start + columns], lower[start : start + columns]]
    return np.concatenate(pairs)


def write_png(path: Path, picture: np.ndarray) -> None:
    """Writes uint8 [H, W, 1] atomically."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(tf.io.encode_png(picture).numpy())
    os.replace(temporary, path)


# B(ζ) beyond this all but decides a unit, whatever its neighbours in the prior say.
B_CLIP = 10.0
# A unit is active when the variance of its q over images exceeds this (Burda et al. 2016).
ACTIVE_VARIANCE = 0.01
_COLUMNS = 10


class Inspector:
    """Compiled read-outs of one model; they neither train nor move batch-norm averages."""

    def __init__(self, model: DVAE, image_shape: tuple[int, int]) -> None:
        self._model = model
        self._image_shape = image_shape
        self._latents = tf.function(self._latents_of, jit_compile=True, autograph=False)
        self._decode = tf.function(self._decode_latents, jit_compile=True, autograph=False)

    def _latents_of(self, images: tf.Tensor, key: tf.Tensor) -> dict[str, tf.Tensor]:
        """Histograms' tensors for images [B, X]."""
        model = self._model
        forward = model.forward(images, model.prior.rbm(), key, training=False)
        params = forward.encoding.params
        q = tf.sigmoid(params.logits)
        found = {
            "q": q,
            "mean_q": tf.reduce_mean(q, axis=0),
            "var_q": tf.math.reduce_variance(q, axis=0),
            "reconstruction": tf.sigmoid(forward.logits),
        }
        if isinstance(model.parts.relaxed_prior, MeanFieldPrior):
            b_zeta = model.parts.relaxed_prior.smoothing.log_ratio(forward.encoding.relaxed)
            found["b_zeta"] = b_zeta
            found["b_zeta_clipped"] = tf.clip_by_value(b_zeta, -B_CLIP, B_CLIP)
        if isinstance(model.parts.posterior, ShiftedGaussianPosterior):
            found["delta_mu"] = params.shift
            found["sigma"] = found["posterior_s"] = params.scale
        return found

    def _decode_latents(self, binary: tf.Tensor) -> tf.Tensor:
        return tf.sigmoid(self._model.decoder.logits(binary, training=False))

    def decode(self, chains: Chains) -> np.ndarray:
        """Decoder means [C, X] of binary latents."""
        return self._decode(tf.concat(chains, axis=1)).numpy()

    def latents(self, images: tf.Tensor, key: tf.Tensor) -> dict[str, np.ndarray]:
        """Arrays for histograms, and the "reconstruction" means [B*K, X]."""
        return {name: value.numpy() for name, value in self._latents(images, key).items()}

    def generated(self, chains: Chains) -> np.ndarray:
        """A 10 x 10 picture of decoder means of the first hundred chains."""
        first = Chains(*(half[: _COLUMNS**2] for half in chains))
        return grid(self.decode(first), self._image_shape, _COLUMNS)

    def reconstructions(self, images: tf.Tensor, means: np.ndarray) -> np.ndarray:
        """A picture of 50 inputs, each above the first of its reconstructions."""
        count = min(5 * _COLUMNS, images.shape[0])
        first = means.reshape(images.shape[0], -1, means.shape[1])[:count, 0]
        rows = above_each_other(images.numpy()[:count], first, _COLUMNS)
        return grid(rows, self._image_shape, _COLUMNS)


def scalars(config: ExperimentConfig, model: DVAE, latents: dict[str, np.ndarray]) -> dict:
    """Scalars that describe posterior and prior at a summary."""
    found = {
        "beta": config.sharpness,
        "posterior/beta": config.sharpness,
        "posterior/active_q": float(np.sum(latents["var_q"] > ACTIVE_VARIANCE)),
    }
    smoothing = model.parts.smoothing
    if config.baseline.endswith("_power"):
        found["posterior/lambda"] = 1.0 / config.sharpness
    if isinstance(smoothing, Gaussian):
        found["posterior/sigma"] = smoothing.scale
    if isinstance(smoothing, UniformExponential):
        found["posterior/eps"] = UNIFORM_SHARE
    if "sigma" in latents:
        found["posterior/sigma"] = float(np.mean(latents["sigma"]))
    if "b_zeta" in latents:
        # Units per row that the smoothing leaves undecided.
        found["b_zeta_num"] = float(np.mean(np.sum(np.abs(latents["b_zeta"]) < B_CLIP, axis=1)))
    if isinstance(model.parts.relaxed_prior, GaussianIntegralPrior):
        found |= _eigenvalues(model, model.parts.relaxed_prior)
    return found


def _eigenvalues(model: DVAE, prior: GaussianIntegralPrior) -> dict[str, float]:
    """Of M = W̃ + λI: the eigenvalues of W̃ are ± the singular values of W."""
    coupling = model.prior.rbm().coupling
    precision = float(prior.precision(gram_powers(coupling)))
    singular = np.linalg.svd(coupling.numpy(), compute_uv=False)
    return {
        "eigen/lambda": precision,
        "eigen/max_eigen_val": precision + float(singular[0]),
        "eigen/min_eigen_val": precision - float(singular[0]),
        "weight_norm": float(np.linalg.norm(coupling.numpy())),
    }
