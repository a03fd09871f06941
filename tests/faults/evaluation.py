"""Faults of the test likelihood."""

import math

import numpy as np
import tensorflow as tf

from tests.faults import argument, cases, fault, result, text, within, wrapped
from tests.faults.common import BLOCKS, COPIES, PARAMS, SAMPLE_BINARY

ENUMERATION = "TestAgainstEnumeration.test_per_image[directed]"
CUTS = cases("test_batches_and_passes_change_no_number")
DETERMINISTIC = cases("TestDeterministic.test_batches")


def mean_of_batches(f, self, images: np.ndarray, num_samples: int, batch_size: int, key, *a):
    """The likelihood as the mean over batches of their means."""
    per_image = self.per_image(images, num_samples, batch_size, key, *a)
    means = [
        np.mean(
            [
                np.mean(column[start : start + batch_size])
                for start in range(0, len(images), batch_size)
            ]
        )
        for column in per_image[:2]
    ]
    return f(self, images, num_samples, batch_size, key, *a)._replace(
        nll=means[0], neg_elbo=means[1]
    )


with fault("the prior is left out of the importance weights", ENUMERATION):
    within("Evaluator.log_weights", "Prior.energy", lambda f, *a: 0.0 * f(*a))
with fault("log q is left out of the importance weights", ENUMERATION):
    result(SAMPLE_BINARY, lambda sample: sample._replace(log_q=0.0 * sample.log_q))
with fault("the NLL forgets the number of samples", ENUMERATION):
    within("Evaluator.per_image", "math.log", lambda *_: 0.0)
with fault("samples beyond the number asked for count", DETERMINISTIC("700-4")):
    argument("evaluation._add", valid=tf.ones_like)
with fault("all passes of an evaluation draw the same samples", CUTS("directed-11-22")):
    text("Evaluator._batch", "fold_in(image_keys[:, None], «samples → tf.range(per_pass)»)")
with fault("all batches of an evaluation draw the same samples", BLOCKS, COPIES("dvaes_exp-2-4")):
    argument("Evaluator._batch", first=tf.zeros_like)
with fault("the samples of an image follow its batch", CUTS("directed-4-800")):
    argument("Evaluator._batch", first=lambda first: 2 * first)
with fault("a single sample has an error of 0", DETERMINISTIC("1-11")):
    result("Evaluator.per_image", lambda r: r._replace(variance=np.nan_to_num(r.variance)))
with fault("the last short batch is left out", DETERMINISTIC("700-4")):
    text("Evaluator.per_image", "range(0, len(images)« →  - len(images) % batch_size», batch_size)")
with fault("padding counts as images", DETERMINISTIC("700-4")):
    text("Evaluator.per_image", "«[: len(batch)]  → »for s in sums")
with fault("a short last batch weighs as much as a full one (DisARM)", DETERMINISTIC("700-4")):
    wrapped("Evaluator.likelihood", mean_of_batches)
with fault("the decoder moves its averages in evaluation", ENUMERATION):
    argument("Decoder.outputs", training=lambda _: True)
with fault("the encoder uses batch statistics in evaluation", ENUMERATION):
    within(SAMPLE_BINARY, PARAMS, lambda f, *a: f(*a[:-1], True))
with fault("the streaming sum forgets to rescale", "test_streaming_sums"):
    text("evaluation._add", "sums.first« * scale → »")
with fault("the error of the NLL is that of one image", "test_reduce_images_divides_by_the_count"):
    result(
        "reduce_images",
        lambda e: e._replace(sampling_stderr=e.sampling_stderr * math.sqrt(e.num_images)),
    )
with fault("rows beyond the first hundred are drawn as those", "test_any_number_is_compiled_once"):
    wrapped("arrays.block_key", lambda _, key, block: key)
