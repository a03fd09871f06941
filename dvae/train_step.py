"""Many training steps in one compiled program.

One step: follow the prior with the sampler, draw a batch, differentiate the loss, update. Weights
live in variables; the sampler's state, the step and the running sums of the metrics too, so that
a checkpoint of `TrainProgram.state` and the model resumes a run bit for bit. All randomness
derives from (seed, step).
"""

from typing import Any, NamedTuple, Protocol

import keras
import numpy as np
import tensorflow as tf

from configs.paper import ExperimentConfig
from dvae import schedules
from dvae.estimators import Estimate
from dvae.flat_adam import FlatAdam, flatten, unflatten
from dvae.model import DVAE
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

    train: [N, X]; train * grey_unit are grey values in [0, 1]. dynamic_binarization: whether they
    are binarised anew for each batch. train_mean: float32 [X].
    """

    train: np.ndarray
    grey_unit: float
    dynamic_binarization: bool

    @property
    def train_mean(self) -> np.ndarray: ...  # noqa: D102


class Carried(NamedTuple):
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


class Window(NamedTuple):
    """What is added up beside the metrics over a window of steps, for log Z to be put into them.

    Of each step that was taken, with its KL weight w and its place t in the window from 0 on: w,
    w t and t. steps: of the window, skipped ones too. taken: steps that were taken.
    """

    weight: Any
    weighted_place: Any
    place: Any
    steps: Any
    taken: Any


NUM_WINDOW_SUMS = len(Window._fields)
_STEPS = Window._fields.index("steps")


class MetricNames(NamedTuple):
    """Tags of the scalars that steps add up; bound: None where a step does not know it."""

    bound: str | None
    reconstruction: str
    kl: str
    sampler: tuple[str, ...]

    @classmethod
    def of(cls, model: DVAE, sampler: tuple[str, ...]) -> "MetricNames":
        """The tags for a model's objective."""
        bound = "train/neg_iw_loss" if model.importance_weighted else "train/neg_elbo"
        return cls(
            bound if model.parts.estimator.knows_bound else None,
            "obj/recon_loss",
            "obj/kl" if model.parts.kl_is_value else "obj/kl_gradient_surrogate",
            sampler,
        )

    def all(self) -> tuple[str, ...]:
        """All tags, in the order in which their sums are kept."""
        bound = () if self.bound is None else (self.bound,)
        return (*bound, self.reconstruction, self.kl, *self.sampler)


class TrainProgram:
    """The compiled training loop of one run."""

    def __init__(self, config: ExperimentConfig, dataset: TrainingImages) -> None:
        self.config = config
        self.model = DVAE(config, dataset.train_mean)
        self.sampler = PriorSampler(config, self.model.prior.energy_model)
        self.optimizer = FlatAdam(self.model.trainable_variables, config.base_lr)
        self._images = tf.constant(dataset.train)
        self._grey_unit = dataset.grey_unit
        self._binarize = dataset.dynamic_binarization
        self.run_key = counter_random.key(config.seed)
        initial = self.sampler.init(stream_key(self.run_key, Stream.INIT))
        self._sampler_structure = initial
        states_key = stream_key(self.run_key, Stream.IMAGE_STATES)
        init_states = self.model.parts.estimator.init_states
        self._image_states = ImageStates(init_states(self.model, len(dataset.train), states_key))
        self.metrics = MetricNames.of(self.model, self.sampler.metric_names)
        num_sums = len(self.metrics.all()) + NUM_WINDOW_SUMS
        self.state = TrainState(initial, num_sums, self._image_states)
        self._compiled = hardware.Program(self._steps, autograph=False)

    def sampler_state(self) -> SamplerState:
        """The sampler's state as tensors."""
        return from_variables(self._sampler_structure, self.state.sampler)

    def _keep_sampler_state(self, sampler_state: SamplerState) -> None:
        for variable, leaf in zip(self.state.sampler, tf.nest.flatten(sampler_state), strict=True):
            variable.assign(tf.cast(leaf, variable.dtype))

    def batch(self, images: tf.Tensor, indices: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
        """Binary float32 images [B, X]; grey ones are binarised anew with their values."""
        batch = tf.cast(tf.gather(images, indices), tf.float32) * self._grey_unit
        if not self._binarize:
            return batch
        return tf.cast(counter_random.uniform(key, batch.shape) < batch, tf.float32)

    def _loss(
        self,
        images: tf.Tensor,
        params: Parameters,
        key: tf.Tensor,
        sampler_state: SamplerState,
        step: tf.Tensor,
        image_states: Any,
    ) -> tuple[tf.Tensor, Estimate, tf.Tensor, Any]:
        """Loss (but for weight decay) whose gradient trains everything, its two parts, states."""
        kl_weight = schedules.kl_weight(step, self.config.num_train_iter)
        estimate, image_states = self.model.parts.estimator.step(
            self.model, images, params, key, kl_weight, image_states
        )
        log_z = log_partition_surrogate(
            self.model.prior.energy_model,
            params,
            self.sampler.chains(sampler_state),
            self.sampler.weights(sampler_state),
        )
        return kl_weight * log_z - estimate.surrogate, estimate, log_z, image_states

    def gradient(
        self,
        images: tf.Tensor,
        key: tf.Tensor,
        sampler_state: SamplerState,
        step: tf.Tensor,
        image_states: Any = (),
    ) -> tuple:
        """The flat gradient of `model.trainable_variables`, metrics, finite flags of BAD_TERMS.

        Last come the new states of these images.
        """
        variables = [v.value for v in self.model.trainable_variables]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            params = self.model.prior.parameters()
            loss, estimate, log_z, image_states = self._loss(
                images, params, key, sampler_state, step, image_states
            )
        gradient = self._with_decay(tape.gradient(loss, variables))
        metrics = {
            **({} if self.metrics.bound is None else {self.metrics.bound: -estimate.bound}),
            self.metrics.reconstruction: -estimate.log_likelihood,
            self.metrics.kl: estimate.kl,
        }
        # A sum of squares, since Adam will square them.
        total = tf.reduce_sum(tf.square(gradient))
        terms = tf.stack([-estimate.log_likelihood, estimate.kl, log_z, total])
        return gradient, metrics, tf.math.is_finite(terms), image_states

    def _with_decay(self, gradients: list[tf.Tensor]) -> tf.Tensor:
        """The flat gradient with that of weight decay, which need not be differentiated."""
        if not hardware.on_gpu():
            decay = self.model.weight_decay_gradients()
            return flatten([g + d for g, d in zip(gradients, decay, strict=True)])
        # A GPU's library would add the decay of each kernel itself, to a copy of it.
        rates = self.model.weight_decay_rates()
        spread = [tf.fill(g.shape, rate) for g, rate in zip(gradients, rates, strict=True)]
        return flatten(gradients) + flatten(spread) * self.optimizer.flat()

    def one_step(
        self,
        images: tf.Tensor,
        indices: tf.Tensor,
        carried: Carried,
        run_key: tf.Tensor,
        one: float | tf.Tensor = 1.0,
    ) -> Carried:
        """One training step; the weights are the optimizer's vector. one: see its `weights`."""
        step = carried.counts[STEP]
        step_key = stream_key(run_key, Stream.STEP)
        step_key = counter_random.fold_in(step_key, tf.cast(step, tf.int32))
        keys = counter_random.split(step_key, len(StepKey))
        trained, averages = self.model.trainable_variables, self.model.non_trainable_variables
        values = [*self.optimizer.weights(one), *self._unpacked(carried.averages)]
        scope = keras.StatelessScope(zip([*trained, *averages], values, strict=True))
        with scope:
            params, sampler_key = self.model.prior.parameters(), keys[StepKey.SAMPLER]
            sampler_state, sampler_metrics = self.sampler.step(
                params, carried.sampler, sampler_key, tf.cast(step, tf.int32)
            )
            batch = self.batch(images, indices, keys[StepKey.BINARIZATION])
            rows = rows_of(carried.image_states, indices)
            gradient, metrics, finite, new_rows = self.gradient(
                batch, keys[StepKey.POSTERIOR], sampler_state, step, rows
            )
        ok = tf.reduce_all(finite)
        rate = schedules.learning_rate(step, self.config.num_train_iter, self.config.base_lr)
        self.optimizer.apply(gradient, rate, ok)
        moved = self._packed([scope.get_current_value(v) for v in averages])
        kept = [tf.where(ok, new, old) for new, old in zip(moved, carried.averages, strict=True)]
        sums = self._summed(carried.metric_sums, metrics | sampler_metrics, step, ok)
        rows = tf.nest.map_structure(lambda *pair: tf.where(ok, *pair), new_rows, rows)
        states = with_rows(carried.image_states, indices, rows)
        counts = counted(carried.counts, ok, finite)
        return Carried(sampler_state, kept, counts, sums, states)

    def _packed(self, averages: list) -> list[tf.Tensor]:
        """All moving averages as `Carried.averages`."""
        if hardware.on_gpu() and averages:
            return [flatten(averages)]
        return [tf.convert_to_tensor(v) for v in averages]

    def _unpacked(self, averages: list[tf.Tensor]) -> list[tf.Tensor]:
        """The inverse of `_packed`."""
        if hardware.on_gpu() and averages:
            return unflatten(averages[0], self.model.non_trainable_variables)
        return averages

    def _summed(
        self, sums: tf.Tensor, metrics: dict[str, tf.Tensor], step: tf.Tensor, ok: tf.Tensor
    ) -> tf.Tensor:
        """`TrainState.metric_sums` one step later; of a skipped step only the step is counted."""
        weight = schedules.kl_weight(step, self.config.num_train_iter)
        names = self.metrics.all()
        place = sums[len(names) + _STEPS]
        window = Window(weight, weight * place, place, 1.0, 1.0)
        values = tf.stack([*(metrics[name] for name in names), *window])
        always = np.arange(len(names) + NUM_WINDOW_SUMS) == len(names) + _STEPS
        return sums + tf.where(ok | always, values, tf.zeros_like(values))

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

        def step(index: tf.Tensor, carried: Carried) -> tuple:
            return index + 1, self.one_step(images, indices[index], carried, run_key, one)

        def steps(first: tf.Tensor, carried: Carried) -> tuple:
            def nth(index: tf.Tensor, carried: Carried) -> tuple:
                return index + 1, step(first + index, carried)[1]

            # A loop of a known length.
            zero = tf.constant(0)
            _, carried = tf.while_loop(lambda index, _: index < group, nth, (zero, carried))
            return first + group, carried

        start = (tf.constant(0), self._gather())
        body = step if group == 1 else steps
        self._scatter(tf.while_loop(lambda index, _: index < num_steps, body, start)[1])

    def _gather(self) -> Carried:
        """What a call of the compiled program starts from."""
        self.optimizer.gather()
        averages = self._packed(self.model.non_trainable_variables)
        sums = tf.convert_to_tensor(self.state.metric_sums)
        states = self._image_states.read()
        return Carried(self.sampler_state(), averages, self.state.counts(), sums, states)

    def _scatter(self, carried: Carried) -> None:
        """Keeps in variables what a call ended with."""
        self.optimizer.scatter()
        averages = self.model.non_trainable_variables
        for variable, value in zip(averages, self._unpacked(carried.averages), strict=True):
            variable.assign(value)
        self.state.keep_counts(carried.counts)
        self.state.metric_sums.assign(carried.metric_sums)
        self._keep_sampler_state(carried.sampler)
        self._image_states.keep(carried.image_states)

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

        log Z is put where it belongs: into the KL, and with each step's KL weight into the bound.
        It is taken for linear over these steps, of which the skipped ones count here.

        Args:
          log_z: its values in nats at the parameters before the first step and after the last.
        """
        sums = self.state.metric_sums.numpy().tolist()
        self.state.metric_sums.assign(tf.zeros_like(self.state.metric_sums))
        names, window = self.metrics.all(), Window(*sums[-NUM_WINDOW_SUMS:])
        if not window.taken:
            return {}
        first, slope = log_z[0], (log_z[1] - log_z[0]) / window.steps
        bound, kl = self.metrics.bound, self.metrics.kl
        means = {name: v / window.taken for name, v in zip(names, sums, strict=False)}
        if bound is not None:
            means[bound] += (first * window.weight + slope * window.weighted_place) / window.taken
        if self.model.parts.kl_is_value:
            means[kl] += first + slope * window.place / window.taken
        return means

    def anchor_log_partition(self, value: tf.Tensor) -> None:
        """Sets the log Z that the separate population tracks (nats, float64 scalar)."""
        self._keep_sampler_state(self.sampler.with_log_partition(self.sampler_state(), value))

    def parameters(self) -> Parameters:
        """The prior's present parameters."""
        return self.model.prior.parameters()
