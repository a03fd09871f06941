"""run.py with one thing as published where this program differs: what does the difference do?

    python -m benchmarks.variants published_scale_gradient --baseline=dvaes_gi --log_dir=DIR ...

Takes every flag of run.py. Runs look like ordinary ones: give them a --log_dir of their own, and
compare it with `run_table.py --report_only --log_dir=REFERENCE --log_dir=DIR`.
"""

import sys
from collections.abc import Callable

import tensorflow as tf
from absl import flags

import run
from configs import command_line
from dvae.posteriors import PosteriorParams, ShiftedGaussianPosterior


def published_scale_gradient() -> None:
    """dζ/ds of the Gaussian-integral posterior with ζ for ζ - δ: each deviation is δ/s larger."""
    correct = ShiftedGaussianPosterior.sample

    def sample(
        self: ShiftedGaussianPosterior, params: PosteriorParams, key: tf.Tensor
    ) -> tf.Tensor:
        # Zero, with the derivative that is to be added.
        excess = params.scale - tf.stop_gradient(params.scale)
        return correct(self, params, key) + excess * tf.stop_gradient(params.shift / params.scale)

    ShiftedGaussianPosterior.sample = sample


VARIANTS: dict[str, Callable[[], None]] = {"published_scale_gradient": published_scale_gradient}


def main() -> None:
    """Makes the named change, then does as run.py does."""
    if len(sys.argv) < 2 or sys.argv[1] not in VARIANTS:
        sys.exit(f"usage: python -m benchmarks.variants {'|'.join(VARIANTS)} [flags of run.py]")
    VARIANTS[sys.argv.pop(1)]()
    # A damaged cache would start run.py again, without the change.
    flags.FLAGS.set_default("compile_cache", "")
    command_line.start(run.main)


if __name__ == "__main__":
    main()
