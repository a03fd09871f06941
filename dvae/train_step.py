"""Many training steps in one compiled program.

One step: follow the prior with the sampler, draw a batch, differentiate the loss, update. It is a
function of a `TrainState` and of (seed, step), from which all randomness derives; the variables of
the networks are given the weights when a call ends, for whoever uses the model.
"""

from collections.abc import Callable
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from configs.experiment import ExperimentConfig
from configs.paper import WEIGHT_DECAY
from dvae import adam, schedules
from dvae.adam import flatten, unflatten
from dvae.build import build
from dvae.encoder import Batch
from dvae.estimators.base import Inputs, Step
from dvae.metrics import MetricSums
from dvae.packing import Packed, pack, unpack
from dvae.prior_chains import PriorChains
from dvae.priors import log_partition_surrogate
from dvae.streams import StepKey, Stream, stream_key
from dvae.train_state import (
    NUM_COUNTS,
    STEP,
    NetworkVariables,
    TrainState,
    counted,
    gather_rows,
    scatter_rows,
)
from samplers import counter_random, hardware
from samplers.energy_model import Parameters, State


class TrainingImages(Protocol):
    """What training needs of a data set; see `data.dataset.Dataset`.

    train: [N, X], levels. grey: gives the grey values in [0, 1] of levels. dynamic_binarization:
    whether they are binarised anew for each batch. train_mean: float32 [X].
    """

    train: np.ndarray
    grey: Callable[[tf.Tensor], tf.Tensor]
    dynamic_binarization: bool

    @property
    def train_mean(self) -> np.ndarray: ...  # noqa: D102


class TrainProgram:
    """The compiled training loop of one run."""

    def __init__(self, config: ExperimentConfig, dataset: TrainingImages) -> None:
        self.config = config
        self.model, self.estimator = build(config, dataset.train_mean)
        self._variables = NetworkVariables(self.model, self.estimator)
        self.trained = self._variables.trained
        decayed = {id(variable) for variable in self.model.decayed_variables()}
        self._decay_rates = [WEIGHT_DECAY if id(v) in decayed else 0.0 for v in self.trained]
        self.sampler = PriorChains(config, self.model.prior.energy_model)
        self.metrics = MetricSums(self.estimator.shares, self.sampler.metric_names)
        self._images = tf.constant(dataset.train)
        self._grey = dataset.grey
        self._binarize = dataset.dynamic_binarization
        self.run_key = counter_random.key(config.seed)
        self._state = self._initial(len(dataset.train))
        self.compiled = hardware.Program(self._steps)

    def _initial(self, num_images: int) -> TrainState:
        model = self._variables.state(self.sampler.init(stream_key(self.run_key, Stream.INIT)))
        images_key = stream_key(self.run_key, Stream.IMAGE_STATES)
        return model._replace(
            adam=adam.init(model.weights),
            counts=tf.zeros([NUM_COUNTS], tf.int64),
            metric_sums=tf.zeros([self.metrics.size]),
            image_states=self.estimator.init(self.model, num_images, images_key),
        )

    @property
    def state(self) -> TrainState:
        """Where the run stands; what is set here, the variables of the networks are given too."""
        return self._state

    @state.setter
    def state(self, state: TrainState) -> None:
        self._state = state
        self._variables.assign(state)

    def batch(self, images: tf.Tensor, indices: tf.Tensor, key: tf.Tensor) -> Batch:
        """The images of a step; grey ones are binarised anew with their values."""
        grey = self._grey(tf.cast(tf.gather(images, indices), tf.float32))
        if not self._binarize:
            return Batch(grey)
        return Batch(tf.cast(counter_random.uniform(key, grey.shape) < grey, tf.float32))

    def gradient(
        self, batch: Batch, key: tf.Tensor, state: TrainState, rows: Any = ()
    ) -> tuple[tf.Tensor, Step, tf.Tensor]:
        """The gradient [P], the estimator's step, and whether each of BAD_TERMS is finite.

        Args:
          batch: of images.
          key: int32 [2].
          state: its weights and averages are those that the networks have.
          rows: what it keeps of the images of the batch.
        """
        variables, step = [v.value for v in self.trained], state.counts[STEP]
        kl_weight = schedules.kl_weight(step, self.config.num_train_iter)
        prior = self.model.prior
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            params = prior.parameters()
            inputs = Inputs(batch, params, key, kl_weight)
            estimate = self.estimator.step(self.model, inputs, rows)
            chains = self.sampler.chains(state.sampler)
            weights = self.sampler.weights(state.sampler)
            log_z = log_partition_surrogate(prior.energy_model, params, chains, weights)
            loss = kl_weight * log_z - estimate.surrogate
        gradient = flatten(tape.gradient(loss, variables)) + self._decay(state.weights)
        # A sum of squares, since Adam will square them.
        total = tf.reduce_sum(tf.square(gradient))
        terms = [estimate.metrics[name] for name in self.estimator.objective.term_shares]
        return gradient, estimate, tf.math.is_finite(tf.stack([*terms, log_z, total]))

    def _decay(self, weights: tf.Tensor) -> tf.Tensor:
        """The gradient of weight decay [P], which need not be differentiated."""
        rates = [tf.fill(v.shape, r) for v, r in zip(self.trained, self._decay_rates, strict=True)]
        return flatten(rates) * weights

    def one_step(
        self,
        images: tf.Tensor,
        indices: tf.Tensor,
        state: TrainState,
        run_key: tf.Tensor,
        one: float | tf.Tensor = 1.0,
    ) -> TrainState:
        """One training step, a function of its arguments.

        one: a factor of one that XLA does not know to be one. Of mere slices of the weights a GPU
          makes a kernel each, of products one for all of a shape.
        """
        step = state.counts[STEP]
        step_key = stream_key(run_key, Stream.STEP)
        step_key = counter_random.fold_in(step_key, tf.cast(step, tf.int32))
        keys = counter_random.split(step_key, len(StepKey))
        with self._networks_of(state, one) as scope:
            params, sampler_key = self.model.prior.parameters(), keys[StepKey.SAMPLER]
            sampler, sampler_metrics = self.sampler.step(
                params, state.sampler, sampler_key, tf.cast(step, tf.int32)
            )
            batch = self.batch(images, indices, keys[StepKey.BINARIZATION])
            rows = gather_rows(state.image_states, indices)
            moved = state._replace(sampler=sampler)
            gradient, estimate, finite = self.gradient(batch, keys[StepKey.POSTERIOR], moved, rows)
        ok = tf.reduce_all(finite)
        rate = schedules.learning_rate(step, self.config.num_train_iter, self.config.base_lr)
        averages = flatten([scope.get_current_value(v) for v in self._variables.averages])
        new = *adam.update(state.weights, state.adam, gradient, rate), averages, estimate.state
        old = state.weights, state.adam, state.averages, rows
        weights, slots, averages, rows = tf.nest.map_structure(
            lambda *pair: tf.where(ok, *pair), new, old
        )
        kl_weight = schedules.kl_weight(step, self.config.num_train_iter)
        metrics = estimate.metrics | sampler_metrics
        return TrainState(
            weights,
            averages,
            sampler,
            slots,
            counted(state.counts, ok, finite),
            self.metrics.add(state.metric_sums, metrics, kl_weight, ok),
            scatter_rows(state.image_states, indices, rows),
        )

    def _networks_of(self, state: TrainState, one: float | tf.Tensor) -> keras.StatelessScope:
        """Where the networks have the weights and averages of a state."""
        trained, averages = self._variables.trained, self._variables.averages
        weights = state.weights * one if tf.is_tensor(one) else state.weights
        values = [*unflatten(weights, trained), *unflatten(state.averages, averages)]
        return keras.StatelessScope(zip([*trained, *averages], values, strict=True))

    def _steps(
        self,
        images: tf.Tensor,
        indices: tf.Tensor,
        num_steps: tf.Tensor,
        run_key: tf.Tensor,
        state: TrainState,
        group: int,
    ) -> TrainState:
        """`num_steps` steps, a multiple of `group`; row s of indices [S, B] is the s-th's batch.

        The key is an argument, so that runs of any seed share one program.
        """

        one = tf.cast(num_steps > 0, tf.float32) if hardware.on_gpu() else 1.0

        def step(index: tf.Tensor, packed: Packed) -> tuple:
            now = unpack(packed, state)
            return index + 1, pack(self.one_step(images, indices[index], now, run_key, one))

        def steps(first: tf.Tensor, packed: Packed) -> tuple:
            def nth(index: tf.Tensor, packed: Packed) -> tuple:
                return index + 1, step(first + index, packed)[1]

            # A loop of a known length.
            zero = tf.constant(0)
            _, packed = tf.while_loop(lambda index, _: index < group, nth, (zero, packed))
            return first + group, packed

        start, body = (tf.constant(0), pack(state)), step if group == 1 else steps
        packed = tf.while_loop(lambda index, _: index < num_steps, body, start)[1]
        return unpack(packed, state)

    def trace(self, steps_per_call: int) -> None:
        """Builds the graph of `run` for calls of up to `steps_per_call` steps; compiles nothing."""
        indices = tf.TensorSpec([steps_per_call, self.config.train_batchsize], tf.int32)
        scalar = tf.TensorSpec([], tf.int32)
        group = hardware.steps_a_trip(steps_per_call)
        self.compiled.get_concrete_function(*self.arguments(indices, scalar, group))

    def arguments(self, indices: Any, num_steps: Any, group: int) -> tuple:
        """What `compiled` is called with, which gives the state `num_steps` steps later.

        Args:
          indices: int32 [S, B], of the images of the first S steps.
          num_steps: int32 scalar, at most S and a multiple of `group`.
          group: see `hardware.steps_a_trip`.
        """
        return self._images, indices, num_steps, self.run_key, self._state, group

    def run(self, indices: np.ndarray, num_steps: int) -> None:
        """Runs `num_steps` compiled steps with image indices [S, B], S >= num_steps.

        S is part of the compiled program, num_steps is not: always pass the same S. On a GPU a
        number that is no multiple of 10 is a program of its own.
        """
        group = hardware.steps_a_trip(num_steps)
        batches = tf.constant(indices), tf.constant(num_steps)
        self.state = self.compiled(*self.arguments(*batches, group))

    def take_metrics(self, log_z: tuple[float, float] = (0.0, 0.0)) -> dict[str, float]:
        """Means of the metrics over the steps taken since the last call; {} if there was none.

        log_z: in nats at the parameters before the first step and after the last, see
          `MetricSums.means`.
        """
        sums = self._state.metric_sums.numpy().tolist()
        self._state = self._state._replace(metric_sums=tf.zeros([self.metrics.size]))
        return self.metrics.means(sums, log_z)

    def chains(self) -> State:
        """The chains that feed the gradient."""
        return self.sampler.chains(self._state.sampler)

    def tracked_log_partition(self) -> tf.Tensor | None:
        """See `PriorChains.log_partition`."""
        return self.sampler.log_partition(self._state.sampler)

    def anchor_log_partition(self, value: tf.Tensor) -> None:
        """Sets the log Z that the separate population tracks (nats, float64 scalar)."""
        sampler = self.sampler.with_log_partition(self._state.sampler, value)
        self._state = self._state._replace(sampler=sampler)

    def parameters(self) -> Parameters:
        """The prior's present parameters."""
        return self.model.prior.parameters()
