"""Many training steps in one compiled program.

One step: follow the prior with the sampler, draw a batch, differentiate the loss, update. Weights
live in variables; the sampler's state, the step and the running sums of the metrics too, so that
a checkpoint of `TrainProgram.state` and the model resumes a run bit for bit. All randomness
derives from (seed, step).
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import keras
import numpy as np
import tensorflow as tf

from configs.paper import WEIGHT_DECAY, ExperimentConfig
from dvae import schedules
from dvae.build import all_variables, build
from dvae.encoder import Batch
from dvae.estimators.base import Inputs, Step
from dvae.flat_adam import FlatAdam, flatten, unflatten
from dvae.metrics import MetricSums
from dvae.prior_sampler import PriorSampler, SamplerState, from_variables
from dvae.priors import log_partition_surrogate
from dvae.streams import StepKey, Stream, stream_key
from dvae.train_state import BAD_TERMS as BAD_TERMS
from dvae.train_state import STEP, ImageStates, TrainState, counted, rows_of, with_rows
from samplers import counter_random, hardware
from samplers.energy_model import Parameters

# Steps that a GPU takes without asking the host whether to go on.
STEPS_A_GROUP = 10


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


class StepState(NamedTuple):
    """What passes from step to step beside the optimizer's variables.

    sampler: the sampler's state. averages: the moving averages of batch norm; on a GPU all as one
    vector, which is one kernel. counts: of `TrainState`. metric_sums: as in `TrainState`.
    image_states: what the estimator keeps of each training image, [num_images, ...].
    """

    sampler: SamplerState
    averages: list[tf.Tensor]
    counts: tf.Tensor
    metric_sums: tf.Tensor
    image_states: Any = ()


class TrainProgram:
    """The compiled training loop of one run."""

    def __init__(self, config: ExperimentConfig, dataset: TrainingImages) -> None:
        self.config = config
        self.model, self.estimator = build(config, dataset.train_mean)
        self.trained = [*self.estimator.trainable_variables, *self.model.trainable_variables]
        self.variables = all_variables(self.model, self.estimator)
        decayed = {id(variable) for variable in self.model.decayed_variables()}
        self._decay_rates = [WEIGHT_DECAY if id(v) in decayed else 0.0 for v in self.trained]
        self.sampler = PriorSampler(config, self.model.prior.energy_model)
        self.optimizer = FlatAdam(self.trained, config.base_lr)
        self._images = tf.constant(dataset.train)
        self._grey = dataset.grey
        self._binarize = dataset.dynamic_binarization
        self.run_key = counter_random.key(config.seed)
        initial = self.sampler.init(stream_key(self.run_key, Stream.INIT))
        self._sampler_structure = initial
        states_key = stream_key(self.run_key, Stream.IMAGE_STATES)
        self._image_states = ImageStates(
            self.estimator.init(self.model, len(dataset.train), states_key)
        )
        self.metrics = MetricSums(self.estimator.shares, self.sampler.metric_names)
        self.state = TrainState(initial, self.metrics.size, self._image_states)
        self._compiled = hardware.Program(self._steps)

    def sampler_state(self) -> SamplerState:
        """The sampler's state as tensors."""
        return from_variables(self._sampler_structure, self.state.sampler)

    def _keep_sampler_state(self, sampler_state: SamplerState) -> None:
        for variable, leaf in zip(self.state.sampler, tf.nest.flatten(sampler_state), strict=True):
            variable.assign(tf.cast(leaf, variable.dtype))

    def batch(self, images: tf.Tensor, indices: tf.Tensor, key: tf.Tensor) -> Batch:
        """The images of a step; grey ones are binarised anew with their values."""
        grey = self._grey(tf.cast(tf.gather(images, indices), tf.float32))
        if not self._binarize:
            return Batch(grey)
        return Batch(tf.cast(counter_random.uniform(key, grey.shape) < grey, tf.float32))

    def gradient(
        self,
        batch: Batch,
        key: tf.Tensor,
        sampler_state: SamplerState,
        step: tf.Tensor,
        image_states: Any = (),
    ) -> tuple[tf.Tensor, Step, tf.Tensor]:
        """The flat gradient of `trained`, the estimator's step, finite flags of BAD_TERMS."""
        variables = [v.value for v in self.trained]
        kl_weight = schedules.kl_weight(step, self.config.num_train_iter)
        prior = self.model.prior
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            params = prior.parameters()
            inputs = Inputs(batch, params, key, kl_weight)
            found = self.estimator.step(self.model, inputs, image_states)
            chains = self.sampler.chains(sampler_state)
            weights = self.sampler.weights(sampler_state)
            log_z = log_partition_surrogate(prior.energy_model, params, chains, weights)
            loss = kl_weight * log_z - found.surrogate
        gradient = self._with_decay(tape.gradient(loss, variables))
        # A sum of squares, since Adam will square them.
        total = tf.reduce_sum(tf.square(gradient))
        terms = [found.metrics[name] for name in self.estimator.objective.term_shares]
        return gradient, found, tf.math.is_finite(tf.stack([*terms, log_z, total]))

    def _with_decay(self, gradients: list[tf.Tensor]) -> tf.Tensor:
        """The flat gradient with that of weight decay, which need not be differentiated."""
        rates = self._decay_rates
        if not hardware.on_gpu():
            parts = zip(gradients, self.trained, rates, strict=True)
            return flatten([g + (rate * v.value if rate else 0.0) for g, v, rate in parts])
        # A GPU's library would add the decay of each kernel itself, to a copy of it.
        spread = [tf.fill(g.shape, rate) for g, rate in zip(gradients, rates, strict=True)]
        return flatten(gradients) + flatten(spread) * self.optimizer.flat()

    def one_step(
        self,
        images: tf.Tensor,
        indices: tf.Tensor,
        state: StepState,
        run_key: tf.Tensor,
        one: float | tf.Tensor = 1.0,
    ) -> StepState:
        """One training step; the weights are the optimizer's vector. one: see its `weights`."""
        step = state.counts[STEP]
        step_key = stream_key(run_key, Stream.STEP)
        step_key = counter_random.fold_in(step_key, tf.cast(step, tf.int32))
        keys = counter_random.split(step_key, len(StepKey))
        averages = self.model.non_trainable_variables
        values = [*self.optimizer.weights(one), *self._unpacked(state.averages)]
        scope = keras.StatelessScope(zip([*self.trained, *averages], values, strict=True))
        with scope:
            params, sampler_key = self.model.prior.parameters(), keys[StepKey.SAMPLER]
            sampler_state, sampler_metrics = self.sampler.step(
                params, state.sampler, sampler_key, tf.cast(step, tf.int32)
            )
            batch = self.batch(images, indices, keys[StepKey.BINARIZATION])
            rows = rows_of(state.image_states, indices)
            gradient, found, finite = self.gradient(
                batch, keys[StepKey.POSTERIOR], sampler_state, step, rows
            )
        ok = tf.reduce_all(finite)
        rate = schedules.learning_rate(step, self.config.num_train_iter, self.config.base_lr)
        self.optimizer.apply(gradient, rate, ok)
        moved = self._packed([scope.get_current_value(v) for v in averages])
        kept = [tf.where(ok, new, old) for new, old in zip(moved, state.averages, strict=True)]
        kl_weight = schedules.kl_weight(step, self.config.num_train_iter)
        metrics = found.metrics | sampler_metrics
        sums = self.metrics.add(state.metric_sums, metrics, kl_weight, ok)
        rows = tf.nest.map_structure(lambda *pair: tf.where(ok, *pair), found.state, rows)
        states = with_rows(state.image_states, indices, rows)
        counts = counted(state.counts, ok, finite)
        return StepState(sampler_state, kept, counts, sums, states)

    def _packed(self, averages: list) -> list[tf.Tensor]:
        """All moving averages as `StepState.averages`."""
        if hardware.on_gpu() and averages:
            return [flatten(averages)]
        return [tf.convert_to_tensor(v) for v in averages]

    def _unpacked(self, averages: list[tf.Tensor]) -> list[tf.Tensor]:
        """The inverse of `_packed`."""
        if hardware.on_gpu() and averages:
            return unflatten(averages[0], self.model.non_trainable_variables)
        return averages

    def _steps(
        self,
        images: tf.Tensor,
        indices: tf.Tensor,
        num_steps: tf.Tensor,
        run_key: tf.Tensor,
        group: int,
    ) -> None:
        """`num_steps` steps, a multiple of `group`; row s of indices [S, B] is the s-th's batch.

        The key is an argument, so that runs of any seed share one program.
        """

        one = tf.cast(num_steps > 0, tf.float32) if hardware.on_gpu() else 1.0

        def step(index: tf.Tensor, state: StepState) -> tuple:
            return index + 1, self.one_step(images, indices[index], state, run_key, one)

        def steps(first: tf.Tensor, state: StepState) -> tuple:
            def nth(index: tf.Tensor, state: StepState) -> tuple:
                return index + 1, step(first + index, state)[1]

            # A loop of a known length.
            zero = tf.constant(0)
            _, state = tf.while_loop(lambda index, _: index < group, nth, (zero, state))
            return first + group, state

        start = (tf.constant(0), self._gather())
        body = step if group == 1 else steps
        self._scatter(tf.while_loop(lambda index, _: index < num_steps, body, start)[1])

    def _gather(self) -> StepState:
        """What a call of the compiled program starts from."""
        self.optimizer.gather()
        averages = self._packed(self.model.non_trainable_variables)
        sums = tf.convert_to_tensor(self.state.metric_sums)
        states = self._image_states.read()
        return StepState(self.sampler_state(), averages, self.state.counts(), sums, states)

    def _scatter(self, state: StepState) -> None:
        """Keeps in variables what a call ended with."""
        self.optimizer.scatter()
        averages = self.model.non_trainable_variables
        for variable, value in zip(averages, self._unpacked(state.averages), strict=True):
            variable.assign(value)
        self.state.keep_counts(state.counts)
        self.state.metric_sums.assign(state.metric_sums)
        self._keep_sampler_state(state.sampler)
        self._image_states.keep(state.image_states)

    def trace(self, steps_per_call: int) -> None:
        """Builds the graph of `run` for calls of up to `steps_per_call` steps; compiles nothing."""
        indices = tf.TensorSpec([steps_per_call, self.config.train_batchsize], tf.int32)
        scalar = tf.TensorSpec([], tf.int32)
        group = STEPS_A_GROUP if hardware.on_gpu() else 1
        self._compiled.get_concrete_function(self._images, indices, scalar, self.run_key, group)

    def run(self, indices: np.ndarray, num_steps: int) -> None:
        """Runs `num_steps` compiled steps with image indices [S, B], S >= num_steps.

        S is part of the compiled program, num_steps is not: always pass the same S. On a GPU what
        is left of a multiple of 10 is a program of its own.
        """
        rest = num_steps % STEPS_A_GROUP if hardware.on_gpu() else num_steps
        for group, count in ((STEPS_A_GROUP, num_steps - rest), (1, rest)):
            if count:
                self._compiled(
                    self._images, tf.constant(indices), tf.constant(count), self.run_key, group
                )
                indices = np.roll(indices, -count, axis=0)

    def take_metrics(self, log_z: tuple[float, float] = (0.0, 0.0)) -> dict[str, float]:
        """Means of the metrics over the steps taken since the last call; {} if there was none.

        log_z: in nats at the parameters before the first step and after the last, see
          `MetricSums.means`.
        """
        sums = self.state.metric_sums.numpy().tolist()
        self.state.metric_sums.assign(tf.zeros_like(self.state.metric_sums))
        return self.metrics.means(sums, log_z)

    def anchor_log_partition(self, value: tf.Tensor) -> None:
        """Sets the log Z that the separate population tracks (nats, float64 scalar)."""
        self._keep_sampler_state(self.sampler.with_log_partition(self.sampler_state(), value))

    def parameters(self) -> Parameters:
        """The prior's present parameters."""
        return self.model.prior.parameters()
