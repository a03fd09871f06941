"""The training of train_rbm.py: an RBM by maximum likelihood, and its likelihood by AIS."""

import math
import time
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

import data
from data.batches import batch_indices
from data.dataset import Dataset
from dvae.runs.pictures import grid, write_png
from dvae.runs.process import SignalWatch, Stopped, progress_bar, say
from dvae.runs.result import span
from samplers import ais, counter_random, diagnostics, hardware, pcd, population_annealing
from samplers.energy_model import fitted_base
from samplers.log_partition_value import UNTRUSTED, Z95, LogPartition
from samplers.rbm import RBM, Halves, RBMParameters, left_log_marginal, model_of

_STEPS_PER_CALL = 100
_PARTS = 10  # in which chains are annealed, so that there is progress to be seen


class Options(NamedTuple):
    """The flags of train_rbm.py."""

    dataset: str
    data_dir: str | None
    sampler: str
    num_hidden: int
    minutes: float
    base_lr: float
    batch_size: int
    num_chains: int
    num_sweeps: int
    ais_chains: int
    ais_temperatures: int
    seed: int
    picture: str


class Trainer:
    """An RBM of images x hidden units, its chains and its optimizer."""

    def __init__(self, dataset: Dataset, options: Options) -> None:
        self._dataset, self._options = dataset, options
        self._images = tf.constant(dataset.train)
        self._key = counter_random.key(options.seed)
        mean = np.clip(dataset.train_mean, 0.01, 0.99)
        rng = np.random.default_rng(options.seed)
        coupling = 0.01 * rng.standard_normal([dataset.input_size, options.num_hidden])
        self.weights = [
            keras.Variable(np.log(mean / (1.0 - mean)), dtype="float32"),
            keras.Variable(np.zeros(options.num_hidden), dtype="float32"),
            keras.Variable(coupling, dtype="float32"),
        ]
        self._optimizer = keras.optimizers.Adam(options.base_lr)
        self._optimizer.build(self.weights)
        self._model = RBM(dataset.input_size, options.num_hidden)
        self._kernel = population_annealing if options.sampler == "annealing" else pcd
        key = counter_random.fold_in(self._key, 0)
        self.state = self._kernel.init(self._model, key, options.num_chains)
        self._compiled = hardware.Program(self._steps)
        self.step = 0

    def parameters(self) -> RBMParameters:
        """The present parameters."""
        return RBMParameters(*(tf.convert_to_tensor(w) for w in self.weights))

    def _follow(self, state: tf.nest, key: tf.Tensor) -> tf.nest:
        """The sampler's state at the present parameters."""
        arguments = self._model, self.parameters(), state, key, self._options.num_sweeps
        if self._kernel is pcd:
            return pcd.step(*arguments)[0]
        # Bridges, since the first step goes from uniform bits to the pixels' means.
        return population_annealing.step(*arguments, bridge_ess=0.5)[0]

    def _steps(
        self, images: tf.Tensor, indices: tf.Tensor, first: tf.Tensor, state: tf.nest
    ) -> tf.nest:
        def body(index: tf.Tensor, state: tf.nest) -> tuple:
            keys = counter_random.split(counter_random.fold_in(self._key, 1 + first + index), 2)
            state = self._follow(state, keys[0])
            grey = self._dataset.grey(tf.cast(tf.gather(images, indices[index]), tf.float32))
            batch = tf.cast(counter_random.uniform(keys[1], grey.shape) < grey, tf.float32)
            variables = [w.value for w in self.weights]
            with tf.GradientTape() as tape:
                params = RBMParameters(*(tf.convert_to_tensor(v) for v in variables))
                negative = -tf.reduce_mean(self._model.energy(params, state.chains))
                loss = negative - tf.reduce_mean(left_log_marginal(params, batch))
            self._optimizer.apply(tape.gradient(loss, variables), self.weights)
            return index + 1, state

        start = (tf.constant(0), state)
        return tf.while_loop(lambda i, _: i < _STEPS_PER_CALL, body, start)[1]

    def run_call(self, rate: float) -> None:
        """One compiled call of steps at a learning rate."""
        options = self._options
        self._optimizer.learning_rate.assign(rate)
        indices = batch_indices(
            len(self._dataset.train), options.batch_size, options.seed, self.step, _STEPS_PER_CALL
        )
        first = tf.constant(self.step)
        self.state = self._compiled(self._images, tf.constant(indices), first, self.state)
        self.step += _STEPS_PER_CALL


def _train_for(trainer: Trainer, options: Options, signals: SignalWatch) -> None:
    """Trains for so many minutes, at a rate that falls to zero. Raises Stopped."""
    start, share = time.monotonic(), 0.0
    with progress_bar(round(60.0 * options.minutes), 0, "training", "s") as bar:
        while share < 1.0:
            trainer.run_call(options.base_lr * (1.0 - share))
            signals.raise_if_stopped()
            seconds = time.monotonic() - start
            share = seconds / (60.0 * options.minutes) if options.minutes else 1.0
            bar.update(min(round(seconds), bar.total) - bar.n)
    say(f"{trainer.step} steps in {seconds / 60.0:.1f} minutes")


def _anneal(
    params: RBMParameters, chains: Halves, options: Options, signals: SignalWatch
) -> tuple[tf.Tensor, tf.Tensor]:
    """Log weights of forward AIS, [C], and of reverse AIS from the chains. Raises Stopped."""
    keys = counter_random.split(counter_random.key(options.seed + 1), 2)
    model = model_of(params)
    units = model.units(chains)
    of = model, params, fitted_base(units)
    temperatures = ais.linear_temperatures(options.ais_temperatures)
    size = -(-options.ais_chains // _PARTS)
    starts = tf.split(units, _split(len(units)))
    forward, backward = [], []
    with progress_bar(_PARTS + len(starts), 0, "AIS of log Z", "part") as bar:
        for part in range(_PARTS):
            key = counter_random.fold_in(keys[0], part)
            forward.append(ais.run(*of, key, temperatures, size).log_weights)
            bar.update()
            signals.raise_if_stopped()
        for part, start in enumerate(starts):
            key, state = counter_random.fold_in(keys[1], part), model.state(start)
            backward.append(ais.run_reverse(*of, state, key, temperatures).log_weights)
            bar.update()
            signals.raise_if_stopped()
    return tf.concat(forward, 0)[: options.ais_chains], tf.concat(backward, 0)


def _split(count: int) -> list[int]:
    """Sizes of parts of so many chains: equal but for the last one."""
    size = -(-count // _PARTS)
    return [min(size, count - first) for first in range(0, count, size)]


def _log_partition(forward: tf.Tensor, backward: tf.Tensor) -> LogPartition:
    """What log weights of forward and reverse AIS say of log Z."""
    found = diagnostics.log_mean_estimate(forward)
    reverse = diagnostics.log_mean_estimate(-backward)
    num_groups = min(32, len(forward))
    return LogPartition(
        value=float(found.value),
        stderr=float(found.stderr),
        ess=float(found.ess),
        markov_lower=float(diagnostics.markov_lower_bound(forward, num_groups)),
        reverse=-float(reverse.value),
        reverse_stderr=float(reverse.stderr),
        upper_status="checked",
        exact=None,
        num_chains=len(forward),
        reverse_ess=float(reverse.ess),
        num_reverse=len(backward),
    )


def _report(log_z: LogPartition, unnormalized: np.ndarray, num_temperatures: int) -> None:
    """Prints the mean log p(x) in nats, exact but for log Z, from that of each image without it."""
    value = float(np.mean(unnormalized)) - log_z.value
    low, high = log_z.interval()
    below = None if high is None else high - log_z.value
    above = None if low is None else log_z.value - low
    set_error = None
    if len(unnormalized) > 1:
        set_error = Z95 * float(np.std(unnormalized, ddof=1)) / math.sqrt(len(unnormalized))
    say(
        f"log Z {log_z.value:.3f} {span(low, high, 3)} by AIS of {num_temperatures} temperatures "
        f"(ESS {log_z.ess:.0f} of {log_z.num_chains}), at least {log_z.markov_lower:.2f} (95 %), "
        f"reverse AIS {log_z.reverse:.3f} ({log_z.status()})"
    )
    say(
        f"test log-likelihood {value:.3f} {_around(value, below, above, 0.0)} from log Z; with the "
        f"finite test set {_around(value, below, above, set_error)}"
    )
    if doubts := log_z.doubts():
        say(f"log Z is {UNTRUSTED}: {'; '.join(doubts)}")


def _around(value: float, below: float | None, above: float | None, error: float | None) -> str:
    """An interval of two independent errors, of which the first may be lopsided."""
    low = None if below is None or error is None else value - math.hypot(below, error)
    high = None if above is None or error is None else value + math.hypot(above, error)
    return span(low, high, 3)


def train(options: Options) -> int:
    """Trains for the given time, then reports; returns the exit code."""
    dataset = data.load(options.dataset, options.data_dir)
    say(f"{dataset.notes}; {options.num_hidden} hidden units, {options.sampler}")
    trainer = Trainer(dataset, options)
    try:
        with SignalWatch() as signals:
            _train_for(trainer, options, signals)
            chains, params = trainer.state.chains, trainer.parameters()
            means = tf.sigmoid(
                params.left_bias + tf.matmul(chains.right[:100], params.coupling, transpose_b=True)
            )
            forward, backward = _anneal(params, chains, options, signals)
            unnormalized = left_log_marginal(params, tf.cast(dataset.test, tf.float32)).numpy()
            _report(_log_partition(forward, backward), unnormalized, options.ais_temperatures)
            write_png(Path(options.picture), grid(means.numpy(), dataset.image_shape, 10))
    except Stopped as stop:
        say(f"stopped by {stop}: nothing is kept; the same command starts anew")
        return stop.exit_code
    return 0
