"""Trains a plain RBM on images with nothing but `samplers/` and an optimizer.

    python examples/train_rbm.py --data_dir=datasets --minutes=30

Maximum likelihood: the positive phase is exact (the hidden half is summed out), the negative phase
comes from PCD or population annealing. Prints the test log-likelihood with its interval, and writes
a picture of the chains. The literature's reference for 500 hidden units and CD25 is Salakhutdinov
and Murray 2008; their binarisation differs from the fixed one, so the numbers are near, not equal.
"""

import math
import sys
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import data
from configs import command_line
from configs.setting import MIN_FLOAT, Setting
from data.batches import batch_indices
from data.dataset import Dataset
from dvae.runs.pictures import grid, write_png
from samplers import ais, counter_random, diagnostics, pcd, population_annealing
from samplers.rbm import RBM, Chains, energy, left_log_marginal

FLAGS = flags.FLAGS
_COUNT = dict(kind=int, known_by=(), least=1, most=10**6)
_POSITIVE = dict(kind=float, known_by=(), least=MIN_FLOAT, most=1e6)
SETTINGS = (
    Setting("dataset", "binarized_mnist", "as for run.py", str, ()),
    Setting("data_dir", "./data", "as for run.py", Path, ()),
    Setting(
        "sampler", "pcd", "sampler of the negative phase", str, (), choices=("pcd", "annealing")
    ),
    Setting("num_hidden", 500, "hidden units", **_COUNT),
    Setting("minutes", 30.0, "training time", **_POSITIVE),
    Setting("base_lr", 1e-3, "learning rate of Adam; falls linearly to zero", **_POSITIVE),
    Setting("batch_size", 100, "images per step", **_COUNT),
    Setting("num_chains", 500, "chains", **_COUNT),
    Setting("num_sweeps", 5, "block-Gibbs sweeps per step", **_COUNT),
    Setting("ais_chains", 500, "chains of AIS", **_COUNT),
    Setting("ais_temperatures", 10_000, "temperatures of AIS", **_COUNT),
    Setting("seed", 0, "random seed", int, (), least=0, most=2**31 - 1),
    Setting("picture", "rbm_samples.png", "where the picture of the chains goes", Path, ()),
)
command_line.define(SETTINGS)

_STEPS_PER_CALL = 100
_Z95 = 1.959963984540054


class Trainer:
    """An RBM of images x hidden units, its chains and its optimizer."""

    def __init__(self, dataset: Dataset, seed: int) -> None:
        self._dataset = dataset
        self._images = tf.constant(dataset.train)
        self._key = counter_random.key(seed)
        mean = np.clip(dataset.train_mean, 0.01, 0.99)
        rng = np.random.default_rng(seed)
        coupling = 0.01 * rng.standard_normal([dataset.input_size, FLAGS.num_hidden])
        self.weights = [
            keras.Variable(np.log(mean / (1.0 - mean)), dtype="float32"),
            keras.Variable(np.zeros(FLAGS.num_hidden), dtype="float32"),
            keras.Variable(coupling, dtype="float32"),
        ]
        self._optimizer = keras.optimizers.Adam(FLAGS.base_lr)
        self._optimizer.build(self.weights)
        size = (FLAGS.num_chains, dataset.input_size, FLAGS.num_hidden)
        self._kernel = population_annealing if FLAGS.sampler == "annealing" else pcd
        self.state = self._kernel.init(counter_random.fold_in(self._key, 0), *size)
        self._compiled = tf.function(self._steps, jit_compile=True, autograph=False)
        self.step = 0

    def rbm(self) -> RBM:
        """The present parameters."""
        return RBM(*(tf.convert_to_tensor(w) for w in self.weights))

    def _follow(self, state: tf.nest, key: tf.Tensor) -> tf.nest:
        """The sampler's state at the present parameters."""
        if self._kernel is pcd:
            return pcd.step(self.rbm(), state, key, FLAGS.num_sweeps)[0]
        # Bridges, since the first step goes from uniform bits to the pixels' means.
        return population_annealing.step(self.rbm(), state, key, FLAGS.num_sweeps, bridge_ess=0.5)[
            0
        ]

    def _steps(
        self, images: tf.Tensor, indices: tf.Tensor, first: tf.Tensor, state: tf.nest
    ) -> tf.nest:
        def body(index: tf.Tensor, state: tf.nest) -> tuple:
            keys = counter_random.split(counter_random.fold_in(self._key, 1 + first + index), 2)
            state = self._follow(state, keys[0])
            grey = tf.cast(tf.gather(images, indices[index]), tf.float32) * self._dataset.grey_unit
            batch = tf.cast(counter_random.uniform(keys[1], grey.shape) < grey, tf.float32)
            variables = [w.value for w in self.weights]
            with tf.GradientTape() as tape:
                rbm = RBM(*(tf.convert_to_tensor(v) for v in variables))
                negative = -tf.reduce_mean(energy(rbm, state.chains))
                loss = negative - tf.reduce_mean(left_log_marginal(rbm, batch))
            self._optimizer.apply(tape.gradient(loss, variables), self.weights)
            return index + 1, state

        start = (tf.constant(0), state)
        return tf.while_loop(lambda i, _: i < _STEPS_PER_CALL, body, start)[1]

    def run_call(self, rate: float) -> None:
        """One compiled call of steps at a learning rate."""
        self._optimizer.learning_rate.assign(rate)
        indices = batch_indices(
            len(self._dataset.train), FLAGS.batch_size, FLAGS.seed, self.step, _STEPS_PER_CALL
        )
        first = tf.constant(self.step)
        self.state = self._compiled(self._images, tf.constant(indices), first, self.state)
        self.step += _STEPS_PER_CALL


def report(rbm: RBM, chains: Chains, images: np.ndarray) -> None:
    """Prints the mean log p(x) of binary images [N, X] in nats: exact but for log Z."""
    keys = counter_random.split(counter_random.key(FLAGS.seed + 1), 2)
    base = ais.fitted_base(chains)
    temperatures = ais.linear_temperatures(FLAGS.ais_temperatures)
    forward = ais.run(rbm, base, keys[0], temperatures, FLAGS.ais_chains).log_weights
    log_z = diagnostics.log_mean_estimate(forward)
    backward = ais.run_reverse(rbm, base, chains.left, keys[1], temperatures).log_weights
    reverse = -float(diagnostics.log_mean_exp(-backward))
    lower = float(diagnostics.markov_lower_bound(forward, min(32, FLAGS.ais_chains)))
    unnormalized = left_log_marginal(rbm, tf.cast(images, tf.float32)).numpy()
    value = float(np.mean(unnormalized)) - float(log_z.value)
    z_error = _Z95 * float(log_z.stderr)
    set_error = _Z95 * float(np.std(unnormalized, ddof=1)) / math.sqrt(len(images))
    print(
        f"log Z {float(log_z.value):.2f} ± {float(log_z.stderr):.2f} by AIS (ESS "
        f"{float(log_z.ess):.0f} of {FLAGS.ais_chains}), at least {lower:.2f} (95 %), "
        f"reverse AIS {reverse:.2f} (checked)"
    )
    print(
        f"test log-likelihood {value:.2f} [{value - z_error:.2f}, {value + z_error:.2f}] from log "
        f"Z; with the finite test set [{value - math.hypot(z_error, set_error):.2f}, "
        f"{value + math.hypot(z_error, set_error):.2f}]"
    )


def train() -> int:
    """Trains for the given time, then reports; returns the exit code."""
    for setting in SETTINGS:
        FLAGS[setting.name].value = command_line.value(setting)
    dataset = data.load(FLAGS.dataset, FLAGS.data_dir)
    trainer = Trainer(dataset, FLAGS.seed)
    print(f"{dataset.notes}; {FLAGS.num_hidden} hidden units, {FLAGS.sampler}", flush=True)
    start = time.monotonic()
    share = 0.0
    while share < 1.0:
        trainer.run_call(FLAGS.base_lr * (1.0 - share))
        share = (time.monotonic() - start) / (60.0 * FLAGS.minutes)
    seconds = time.monotonic() - start
    print(f"{trainer.step} steps in {seconds / 60.0:.1f} minutes", flush=True)
    chains = trainer.state.chains
    rbm = trainer.rbm()
    means = tf.sigmoid(
        rbm.left_bias + tf.matmul(chains.right[:100], rbm.coupling, transpose_b=True)
    )
    report(rbm, chains, dataset.test)
    write_png(Path(FLAGS.picture), grid(means.numpy(), dataset.image_shape, 10))
    return 0


if __name__ == "__main__":
    command_line.start(train, __doc__, SETTINGS)
