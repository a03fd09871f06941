"""Read-outs of a model for people: grids of images as arrays and PNG files, histograms, scalars."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from configs.files import replacing
from dvae.encoder import Batch
from dvae.log_ratio import LogRatio
from dvae.model import DVAE
from samplers import hardware

LEAST_WIDTH, _MARGIN = 600, 60  # of pictures in pixels, and of their labels
CHAINS_SHOWN = 100


def grid(
    images: np.ndarray, image_shape: tuple[int, int], columns: int, labels: Sequence[str] = ()
) -> np.ndarray:
    """Tiles images [N, X] in [0, 1] row by row with a grey line between: uint8 [H, W, 1].

    Pixels are enlarged, all alike, until W is at least 600. labels: of rows, in turn, on the left.
    """
    height, width = image_shape
    rows = -(-len(images) // columns)
    canvas = np.full([rows * (height + 1) + 1, columns * (width + 1) + 1], 0.5)
    for index, image in enumerate(images):
        top, left = divmod(index, columns)
        top, left = top * (height + 1) + 1, left * (width + 1) + 1
        canvas[top : top + height, left : left + width] = image.reshape(image_shape)
    canvas = np.nan_to_num(np.clip(canvas, 0.0, 1.0))  # black where there is no number
    tiles = _enlarged(canvas)
    if labels:
        tiles = np.hstack([_margin(len(tiles), rows, labels), tiles])
    return tiles[..., None]


def raster(units: np.ndarray) -> np.ndarray:
    """Chains [C, D] of 0 and 1, one in each row, 1 white: uint8 [H, W, 1], W at least 600."""
    return _enlarged(np.asarray(units))[..., None]


def _enlarged(canvas: np.ndarray) -> np.ndarray:
    scale = -(-LEAST_WIDTH // canvas.shape[1])
    return np.uint8(np.round(255 * canvas)).repeat(scale, axis=0).repeat(scale, axis=1)


def _margin(height: int, rows: int, labels: Sequence[str]) -> np.ndarray:
    """White, with the labels of the rows, in turn: uint8 [height, 60]."""
    from PIL import Image, ImageDraw, ImageFont  # not what a run's first step waits for

    margin = Image.new("L", (_MARGIN, height), 255)
    draw, font = ImageDraw.Draw(margin), ImageFont.load_default(size=14)
    for row in range(rows):
        place = (_MARGIN / 2, (row + 0.5) * height / rows)
        draw.text(place, labels[row % len(labels)], fill=0, font=font, anchor="mm")
    return np.asarray(margin)


def above_each_other(upper: np.ndarray, lower: np.ndarray, columns: int) -> np.ndarray:
    """Interleaves two sets [N, X] so that `grid` shows each row of `upper` over its `lower`."""
    pairs = []
    for start in range(0, len(upper), columns):
        pairs += [upper[start : start + columns], lower[start : start + columns]]
    return np.concatenate(pairs)


def write_png(path: Path, picture: np.ndarray) -> None:
    """Writes uint8 [H, W, 1] atomically."""
    with replacing(path) as file:
        file.write(tf.io.encode_png(picture).numpy())


# A unit is active when the variance of its q over images exceeds this (Burda et al. 2016).
ACTIVE_VARIANCE = 0.01
_COLUMNS = 10


class Diagnostics:
    """Compiled read-outs of one model; they neither train nor move batch-norm averages."""

    def __init__(
        self,
        model: DVAE,
        image_shape: tuple[int, int],
        log_ratio: LogRatio | None = None,
        num_samples: int = 1,
    ) -> None:
        """log_ratio: what `latents` and `scalars` show too; num_samples: K of `latents`."""
        self._model, self._image_shape = model, image_shape
        self._log_ratio, self._num_samples = log_ratio, num_samples
        self._latents = hardware.Program(self._latents_of)
        self._decode = hardware.Program(self._decode_latents)

    def _latents_of(self, images: tf.Tensor, key: tf.Tensor) -> dict[str, tf.Tensor]:
        """Histograms' tensors for images [B, X]."""
        model = self._model
        sample = model.sample(Batch(images), self._num_samples, key, training=False)
        q = tf.sigmoid(sample.params.logits)
        found = {
            "q": q,
            "mean_q": tf.reduce_mean(q, axis=0),
            "var_q": tf.math.reduce_variance(q, axis=0),
            "reconstruction": self._decode_latents(sample.latents),
            **model.posterior.histograms(sample.params),
        }
        if self._log_ratio is not None:
            found |= self._log_ratio.histograms(sample.latents)
        return found

    def _decode_latents(self, latents: tf.Tensor) -> tf.Tensor:
        return self._model.likelihood.mean(self._model.decoder.outputs(latents, training=False))

    def decode(self, latents: tf.Tensor) -> np.ndarray:
        """Means of the likelihood [C, X] from binary latents [C, D]."""
        return self._decode(latents).numpy()

    def latents(self, images: tf.Tensor, key: tf.Tensor) -> dict[str, np.ndarray]:
        """Arrays for histograms, and the "reconstruction" means [B*K, X]."""
        return {name: value.numpy() for name, value in self._latents(images, key).items()}

    def generated(self, latents: tf.Tensor) -> np.ndarray:
        """A 10 x 10 picture of the means of the first hundred samples [C, D] of the prior."""
        return grid(self.decode(latents[:CHAINS_SHOWN]), self._image_shape, _COLUMNS)

    def reconstructions(self, images: tf.Tensor, means: np.ndarray) -> np.ndarray:
        """A picture of 50 inputs, each above the first of its reconstructions."""
        count = min(5 * _COLUMNS, images.shape[0])
        first = means.reshape(images.shape[0], -1, means.shape[1])[:count, 0]
        rows = above_each_other(images.numpy()[:count], first, _COLUMNS)
        return grid(rows, self._image_shape, _COLUMNS, labels=("image", "model"))

    def scalars(self, latents: dict[str, np.ndarray]) -> dict[str, float]:
        """Scalars that describe posterior and prior, given the arrays of `latents`."""
        model = self._model
        found = {"posterior/active_q": float(np.sum(latents["var_q"] > ACTIVE_VARIANCE))}
        found |= model.posterior.scalars()
        if self._log_ratio is not None:
            found |= self._log_ratio.scalars(model.prior.parameters(), latents)
        return found
