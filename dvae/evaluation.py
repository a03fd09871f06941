"""Test likelihood with importance samples, and the log Z that it needs.

All baselines are evaluated as what they are: a binary latent model. With z_k ~ q(z|x) binary,
log w_k = log p(x|z_k) - E(z_k) - log Z - log q(z_k|x), NLL(x) = -log mean_k w_k (Burda et al.
2016; DVAE#, experiments). log Z does not depend on x and is kept apart: everything here is first
without it ("unnormalized"), so that a better log Z later mends an old number.
"""

import contextlib
import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import numpy as np
import tensorflow as tf

from dvae.encoder import Batch
from dvae.log_ratio import Binary
from dvae.metrics import add_log_partition
from dvae.model import DVAE
from dvae.objective import Terms
from samplers import counter_random, hardware
from samplers.energy_model import Parameters

# Rows (images x samples) that one pass of the networks takes: few enough that a core keeps them
# in its cache, on a GPU enough to fill it.
_ROWS_PER_PASS_CPU = 800
_ROWS_PER_PASS_GPU = 4000


def num_workers() -> int:
    """Batches at a time: XLA gives these products to one core each; a GPU takes one at a time."""
    if hardware.on_gpu():
        return 1
    threads = os.environ.get("TF_NUM_INTRAOP_THREADS", "")  # what TensorFlow itself goes by
    if threads.isdigit() and int(threads) > 0:
        return int(threads)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


@contextlib.contextmanager
def _stopping_pool(size: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that begin nothing more once the block is left by an exception."""
    pool = ThreadPoolExecutor(size)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _most_rows() -> int:
    return _ROWS_PER_PASS_GPU if hardware.on_gpu() else _ROWS_PER_PASS_CPU


def _padded(count: int, most: int) -> int:
    """The next power of 4, or `most` if that is less: few sizes, each of which is compiled once."""
    return min(most, 4 ** (((count - 1).bit_length() + 1) // 2))


def rows_per_pass(batch_size: int, num_samples: int) -> int:
    """Rows that one pass takes: all images of the batch with some samples each, at least one."""
    return batch_size * max(1, _padded(num_samples, _most_rows() // batch_size))


class PerImage(NamedTuple):
    """Per-image averages over samples, [N] float64, in nats, log Z left out.

    nll: -log mean_k exp(log w_k + log Z): high by the bound's bias, less so for more samples.
    neg_elbo: -mean_k (log w_k + log Z).
    variance: delta-method variance of `nll` due to the finite number of samples; NaN of one.
    """

    nll: np.ndarray
    neg_elbo: np.ndarray
    variance: np.ndarray


class LikelihoodEstimate(NamedTuple):
    """Averages over images, in nats, log Z left out (add it to nll and neg_elbo).

    sampling_stderr: error of `nll` from importance sampling, NaN of a single sample;
    test_set_stderr: from the finite set of images, NaN of a single image.
    """

    nll: float
    neg_elbo: float
    sampling_stderr: float
    test_set_stderr: float
    num_images: int


def reduce_images(per_image: PerImage) -> LikelihoodEstimate:
    """Sums over images divided by their count: a short last batch weighs what it should."""
    count = len(per_image.nll)
    spread = float(np.std(per_image.nll, ddof=1)) if count > 1 else math.nan
    return LikelihoodEstimate(
        nll=float(np.sum(per_image.nll) / count),
        neg_elbo=float(np.sum(per_image.neg_elbo) / count),
        sampling_stderr=float(np.sqrt(np.sum(per_image.variance)) / count),
        test_set_stderr=spread / math.sqrt(count),
        num_images=count,
    )


_Estimate = TypeVar("_Estimate", PerImage, LikelihoodEstimate)


def normalized(estimate: _Estimate, log_z: float) -> _Estimate:
    """The same with log Z (nats), which both numbers lack."""
    nll, neg_elbo = (add_log_partition(n, 1.0, log_z) for n in (estimate.nll, estimate.neg_elbo))
    return estimate._replace(nll=nll, neg_elbo=neg_elbo)


class _Sums(NamedTuple):
    """Running sums over samples, [B]: exp(log w - high), its square, and log w."""

    high: tf.Tensor
    first: tf.Tensor
    second: tf.Tensor
    log_weights: tf.Tensor


def _add(sums: _Sums, log_weights: tf.Tensor, valid: tf.Tensor) -> _Sums:
    """Adds log weights [B, S], of which `valid` [S] count, to streaming sums."""
    masked = tf.where(valid, log_weights, -math.inf)
    high = tf.maximum(sums.high, tf.reduce_max(masked, axis=1))
    scale = tf.exp(sums.high - high)
    weights = tf.exp(masked - high[:, None])
    return _Sums(
        high,
        sums.first * scale + tf.reduce_sum(weights, axis=1),
        sums.second * scale**2 + tf.reduce_sum(weights**2, axis=1),
        sums.log_weights + tf.reduce_sum(tf.where(valid, log_weights, 0.0), axis=1),
    )


class Evaluator:
    """Evaluates a model; one compiled program for each batch shape."""

    def __init__(self, model: DVAE) -> None:
        self.model = model
        self._compiled = hardware.Program(self._batch)

    def log_weights(
        self,
        batch: Batch,
        condition: Any,
        params: Parameters,
        keys: tf.Tensor,
    ) -> tf.Tensor:
        """log w + log Z of samples of B images, one for each of keys [B, S, 2]: [B, S] in nats.

        condition: of the batch, by the model's encoder.
        """
        model, num = self.model, keys.shape[1]
        sample = model.encoder.sample_binary(condition, num, tf.reshape(keys, [-1, 2]))
        log_p = model.log_likelihood(batch, sample.latents, training=False, gradient=False)
        log_ratio = Binary()(model.prior, params, sample)
        return Terms(log_p, tf.reshape(log_ratio, log_p.shape)).log_weights(1.0)

    def _batch(
        self,
        images: tf.Tensor,
        key: tf.Tensor,
        first: tf.Tensor,
        num_samples: tf.Tensor,
        per_pass: int,
    ) -> _Sums:
        """Sums over the samples of images [B, X], whose places in the data begin at `first`.

        A sample's key is of its image's place and its own number: how images are cut into batches,
        and samples into passes, decides nothing.
        """
        image_keys = counter_random.fold_in(key, first + tf.range(images.shape[0]))
        batch = Batch(tf.cast(images, tf.float32))
        params = self.model.prior.parameters()
        condition = self.model.encoder.condition(batch)
        zero = tf.zeros([images.shape[0]])

        def body(index: tf.Tensor, sums: _Sums) -> tuple:
            samples = index * per_pass + tf.range(per_pass)
            keys = counter_random.fold_in(image_keys[:, None], samples)
            log_weights = self.log_weights(batch, condition, params, keys)
            return index + 1, _add(sums, log_weights, samples < num_samples)

        start = (tf.constant(0), _Sums(zero - math.inf, zero, zero, zero))
        return tf.while_loop(lambda i, _: i * per_pass < num_samples, body, start)[1]

    def images_per_call(self, batch_size: int, num_samples: int) -> int:
        """`batch_size`, or less where the encoder wants several samples of an image in a pass."""
        wanted = self.model.encoder.samples_per_pass
        return max(1, _most_rows() // _padded(num_samples, wanted)) if wanted > 1 else batch_size

    def per_image(
        self,
        images: np.ndarray,
        num_samples: int,
        batch_size: int,
        key: tf.Tensor,
        progress: Callable[[int], None] = lambda _: None,
    ) -> PerImage:
        """Evaluates images [N, X] (uint8 0/1) with `num_samples` samples each.

        Memory does not grow with `num_samples`, and `batch_size` changes no number but by rounding:
        an image's samples are drawn with its place among the images alone.

        Args:
          images: binary images.
          num_samples: K, importance samples per image.
          batch_size: images per compiled call, at most; a short batch is padded and cut again.
          key: int32 [2].
          progress: called with the number of images done after each call.
        """
        batch_size = min(batch_size, self.images_per_call(batch_size, num_samples))
        batch_size = _padded(len(images), batch_size)
        per_pass = rows_per_pass(batch_size, num_samples) // batch_size
        starts = range(0, len(images), batch_size)

        def evaluate(index: int) -> list[np.ndarray]:
            batch = images[starts[index] : starts[index] + batch_size]
            padded = np.zeros([batch_size, images.shape[1]], images.dtype)
            padded[: len(batch)] = batch
            first = tf.constant(starts[index])
            sums = self._compiled(
                tf.constant(padded), key, first, tf.constant(num_samples), per_pass
            )
            return [np.asarray(s, np.float64)[: len(batch)] for s in sums]

        results = [evaluate(0)]  # compiled by one thread
        progress(len(results[0][0]))
        with _stopping_pool(num_workers()) as pool:
            for index, result in enumerate(pool.map(evaluate, range(1, len(starts))), start=1):
                results.append(result)
                progress(min(starts[index] + batch_size, len(images)))
        high, first, second, total = (
            np.concatenate(column) for column in zip(*results, strict=True)
        )
        ess = first**2 / second
        variance = np.full(len(ess), math.nan)
        if num_samples > 1:
            variance = np.maximum(num_samples / ess - 1.0, 0.0) / (num_samples - 1)
        return PerImage(
            nll=-(high + np.log(first) - math.log(num_samples)),
            neg_elbo=-total / num_samples,
            variance=variance,
        )

    def likelihood(
        self,
        images: np.ndarray,
        num_samples: int,
        batch_size: int,
        key: tf.Tensor,
        progress: Callable[[int], None] = lambda _: None,
    ) -> LikelihoodEstimate:
        """`per_image` reduced over images."""
        return reduce_images(self.per_image(images, num_samples, batch_size, key, progress))
