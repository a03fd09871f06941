"""Times the final evaluation beside its matrix products alone (the floor), and its memory.

    python -m benchmarks.evaluation [--struct=...] [--images=10000] [--samples=4000] [--json=FILE]

The model is untrained and the images are random bits: times do not depend on them.
"""

import argparse
import os
import resource
import time
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks import timing
from benchmarks.train_step import random_images
from configs.experiment import build_config
from configs.registry import STRUCTURES
from dvae import evaluation
from dvae.build import build
from dvae.model import DVAE
from samplers import counter_random


@tf.function(jit_compile=True, autograph=False)
def products_alone(kernels: list[tf.Tensor], rows: tf.Tensor, num_passes: tf.Tensor) -> tf.Tensor:
    """The matrix products of the decoder on rows [N, D], so many times."""

    def body(index: tf.Tensor, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        values = rows
        for kernel in kernels:
            values = tf.matmul(values, kernel)
        # The next pass depends on this one, so that none is left out.
        return index + 1, rows + 1e-30 * values[:, : rows.shape[1]]

    return tf.while_loop(lambda i, _: i < num_passes, body, (tf.constant(0), rows))[1]


def floor_seconds(model: DVAE, num_rows: int, per_pass: int) -> float:
    """Seconds of the decoder's products for all rows; measured on a fiftieth of the passes."""
    network = model.decoder.network
    kernels = [network.first[0].kernel.value, *(layer.kernel.value for layer in network.rest)]
    rows = tf.constant(
        np.random.default_rng(1).integers(0, 2, [per_pass, kernels[0].shape[0]]), tf.float32
    )
    num_passes = max(num_rows // per_pass // 50, 1)
    products_alone(kernels, rows, tf.constant(1))
    start = time.perf_counter()
    products_alone(kernels, rows, tf.constant(num_passes)).numpy()
    return (time.perf_counter() - start) * num_rows / (per_pass * num_passes)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds and peak memory of one evaluation, and the floor before and after it."""
    config = build_config(struct=options.struct, baseline=options.baseline)
    images = np.resize(random_images().train, [options.images, config.input_size])
    model, _ = build(config, np.full(config.input_size, 0.2, np.float32))
    evaluator = evaluation.Evaluator(model)
    arguments = (options.samples, config.eval_batchsize, counter_random.key(1))
    start = time.perf_counter()
    evaluator.per_image(images[: config.eval_batchsize], *arguments)
    compiling = time.perf_counter() - start
    num_rows = options.images * options.samples
    per_pass = evaluation.rows_per_pass(config.eval_batchsize, options.samples)
    floors = [floor_seconds(model, num_rows, per_pass)]
    start = time.perf_counter()
    evaluator.per_image(images, *arguments)
    seconds = time.perf_counter() - start
    floors.append(floor_seconds(model, num_rows, per_pass))
    return {
        "struct": options.struct,
        "baseline": options.baseline,
        "images": options.images,
        "samples": options.samples,
        "seconds": seconds,
        "first_batch_with_compilation": compiling,
        "matrix_products_alone": floors,
        "ratio": seconds / (sum(floors) / 2.0),
        "peak_memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        "load": os.getloadavg()[0],
    }


def main() -> None:
    """Prints the numbers, and writes them to a file if asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--struct", default="1-layer-nonlin", choices=STRUCTURES)
    parser.add_argument("--baseline", default="dvaes_power")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--samples", type=int, default=4000)
    parser.add_argument("--json", default="", metavar="FILE", help="write the numbers there")
    options = parser.parse_args()
    print(timing.machine())
    record = measure(options)
    for name, value in record.items():
        print(f"{name}: {value}")
    if options.json:
        timing.write_json(options.json, record)


if __name__ == "__main__":
    main()
