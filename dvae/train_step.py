"""Many training steps in one compiled program.

One step: follow the prior with the sampler, draw a batch, differentiate the loss, update. Weights
live in variables; the sampler's state, the step and the running sums of the metrics too, so that
a checkpoint of `TrainProgram.state` and the model resumes a run bit for bit. All randomness
derives from (seed, step).
"""

import keras
import numpy as np
import tensorflow as tf

from configs.paper import ADAM, ExperimentConfig
from data.dataset import Dataset
from dvae import schedules
from dvae.model import DVAE
from dvae.prior_sampler import PriorSampler
from dvae.priors import log_partition_surrogate
from samplers import counter_random
from samplers.rbm import RBM

# Streams of the run's key; a new purpose takes a new number.
_INIT_STREAM, _STEP_STREAM = 1, 2
BAD_TERMS = ("reconstruction", "posterior or prior", "log Z", "gradient")


class TrainState(tf.Module):
    """Everything beside weights and optimizer that a step reads and writes."""

    def __init__(self, sampler_state: tf.nest, metric_names: list[str]) -> None:
        super().__init__()
        self.step = tf.Variable(0, dtype=tf.int64, name="step")
        # TensorFlow keeps int32 variables off the GPU, where a compiled program cannot reach them.
        wide = {tf.int32: tf.int64}
        self.sampler = [
            tf.Variable(tf.cast(leaf, wide.get(leaf.dtype, leaf.dtype)))
            for leaf in tf.nest.flatten(sampler_state)
        ]
        # One entry for each metric, and last the number of steps that they were added up over.
        self.metric_sums = tf.Variable(tf.zeros([len(metric_names) + 1]), name="metric_sums")
        self.skipped = tf.Variable(0, dtype=tf.int64, name="skipped")
        self.skipped_in_a_row = tf.Variable(0, dtype=tf.int64, name="skipped_in_a_row")
        self.skipped_terms = tf.Variable(tf.zeros([len(BAD_TERMS)], tf.int64), name="skipped_terms")


class FlatAdam(tf.Module):
    """Keras' Adam on all weights as one vector.

    One fused update instead of one for each of dozens of small variables: the compiled step is
    several times smaller, and compiles that much faster.
    """

    def __init__(self, variables: list[keras.Variable], learning_rate: float) -> None:
        super().__init__()
        self._variables = variables
        self._sizes = [int(np.prod(v.shape)) for v in variables]
        self._flat = keras.Variable(tf.zeros([sum(self._sizes)]), name="flat_weights")
        self.adam = keras.optimizers.Adam(learning_rate=learning_rate, **ADAM)
        self.adam.build([self._flat])

    def apply(self, gradient: tf.Tensor, rate: tf.Tensor, ok: tf.Tensor) -> None:
        """One update with a flat gradient [P]; where not `ok`, weights and slots stay."""
        weights = flatten(self._variables)
        slots = self.adam.variables
        old_slots = [tf.convert_to_tensor(v) for v in slots]
        self._flat.assign(weights)
        self.adam.learning_rate.assign(rate)
        self.adam.apply([gradient], [self._flat])
        for slot, old in zip(slots, old_slots, strict=True):
            slot.assign(tf.where(ok, tf.convert_to_tensor(slot), old))
        new = tf.where(ok, tf.convert_to_tensor(self._flat), weights)
        pieces = tf.split(new, self._sizes)
        for variable, piece in zip(self._variables, pieces, strict=True):
            variable.assign(tf.reshape(piece, variable.shape))


def flatten(tensors: list) -> tf.Tensor:
    """All elements of a list of tensors or variables as one vector."""
    return tf.concat([tf.reshape(tf.convert_to_tensor(t), [-1]) for t in tensors], axis=0)


class TrainProgram:
    """The compiled training loop of one run."""

    def __init__(self, config: ExperimentConfig, dataset: Dataset) -> None:
        self.config = config
        self.model = DVAE(config, dataset.train_mean)
        self.sampler = PriorSampler(config)
        self.optimizer = FlatAdam(self.model.trainable_variables, config.base_lr)
        self._images = tf.constant(dataset.train)
        self._grey_unit = dataset.grey_unit
        self._binarize = dataset.dynamic_binarization
        self.run_key = counter_random.key(config.seed)
        initial = self.sampler.init(counter_random.fold_in(self.run_key, _INIT_STREAM))
        self._sampler_structure = initial
        self.state = TrainState(initial, self._metric_names())
        self._compiled = tf.function(self._steps, jit_compile=True, autograph=False)

    def _metric_names(self) -> list[str]:
        """Names of the scalars that steps add up, the loss first."""
        config = self.config
        bound = "train/neg_iw_loss" if config.importance_weighted else "train/neg_elbo"
        kl = "obj/kl" if self.model.parts.kl_is_value else "obj/kl_gradient_surrogate"
        names = [bound, "obj/recon_loss", kl]
        if config.population_annealing:
            names += ["sampler/ess", "sampler/surviving_families", "sampler/resampled"]
        else:
            names.append("sampler/mean_energy")
        if config.log_z_population == "separate":
            names += ["log_z/population_ess", "log_z/population_bridges"]
        return names

    def sampler_state(self) -> tf.nest:
        """The sampler's state as tensors."""
        leaves = tf.nest.flatten(self._sampler_structure)
        values = [
            tf.cast(tf.convert_to_tensor(v), leaf.dtype)
            for v, leaf in zip(self.state.sampler, leaves, strict=True)
        ]
        return tf.nest.pack_sequence_as(self._sampler_structure, values)

    def _keep_sampler_state(self, sampler_state: tf.nest) -> None:
        for variable, leaf in zip(self.state.sampler, tf.nest.flatten(sampler_state), strict=True):
            variable.assign(tf.cast(leaf, variable.dtype))

    def batch(self, images: tf.Tensor, indices: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
        """Binary float32 images [B, X]; grey ones are binarised anew with their values."""
        batch = tf.cast(tf.gather(images, indices), tf.float32) * self._grey_unit
        if not self._binarize:
            return batch
        return tf.cast(counter_random.uniform(key, batch.shape) < batch, tf.float32)

    def _loss(self, images: tf.Tensor, key: tf.Tensor, sampler_state: tf.nest) -> tuple:
        """Loss (but for weight decay) whose gradient trains everything, and the forward pass."""
        rbm = self.model.prior.rbm()
        forward = self.model.forward(images, rbm, key, training=True)
        kl_weight = schedules.kl_weight(self.state.step, self.config.num_train_iter)
        surrogate = log_partition_surrogate(
            rbm, self.sampler.chains(sampler_state), self.sampler.weights(sampler_state)
        )
        objective = self.model.objective(forward, kl_weight)
        loss = kl_weight * surrogate - objective
        return loss, objective, forward, surrogate

    def gradients(self, images: tf.Tensor, key: tf.Tensor, sampler_state: tf.nest) -> tuple:
        """Gradients for `model.trainable_variables`, metrics, and the finite flags of BAD_TERMS."""
        variables = [v.value for v in self.model.trainable_variables]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            loss, objective, forward, surrogate = self._loss(images, key, sampler_state)
        gradients = tape.gradient(loss, variables)
        # The penalty's gradient is its weight: no need to differentiate its value.
        decay = self.model.weight_decay_gradients()
        gradients = [g + d for g, d in zip(gradients, decay, strict=True)]
        names = self._metric_names()
        metrics = {
            names[0]: -objective,
            names[1]: -tf.reduce_mean(forward.log_likelihood),
            names[2]: tf.reduce_mean(forward.kl),
        }
        # A sum of squares, since Adam will square them.
        total = tf.reduce_sum(tf.square(flatten(gradients)))
        terms = tf.stack([metrics[names[1]], metrics[names[2]], surrogate, total])
        return gradients, metrics, tf.math.is_finite(terms)

    def one_step(
        self, images: tf.Tensor, indices: tf.Tensor, sampler_state: tf.nest, run_key: tf.Tensor
    ) -> tf.nest:
        """One training step on the variables; returns the sampler's new state."""
        step = tf.cast(self.state.step, tf.int32)
        run_key = counter_random.fold_in(run_key, _STEP_STREAM)
        keys = counter_random.split(counter_random.fold_in(run_key, step), 3)
        averages = [(v, tf.convert_to_tensor(v)) for v in self.model.non_trainable_variables]
        sampler_state, sampler_metrics = self.sampler.step(
            self.model.prior.rbm(), sampler_state, keys[0], step
        )
        batch = self.batch(images, indices, keys[1])
        gradients, metrics, finite = self.gradients(batch, keys[2], sampler_state)
        ok = tf.reduce_all(finite)
        rate = schedules.learning_rate(
            self.state.step, self.config.num_train_iter, self.config.base_lr
        )
        self.optimizer.apply(flatten(gradients), rate, ok)
        for variable, before in averages:
            variable.assign(tf.where(ok, tf.convert_to_tensor(variable), before))
        self._count(metrics | sampler_metrics, ok, finite)
        self.state.step.assign_add(1)
        return sampler_state

    def _count(self, metrics: dict[str, tf.Tensor], ok: tf.Tensor, finite: tf.Tensor) -> None:
        state = self.state
        values = tf.stack([*(metrics[name] for name in self._metric_names()), 1.0])
        state.metric_sums.assign_add(tf.where(ok, values, tf.zeros_like(values)))
        skipped = tf.cast(tf.logical_not(ok), tf.int64)
        state.skipped.assign_add(skipped)
        state.skipped_in_a_row.assign(skipped * (state.skipped_in_a_row + 1))
        # Only the first term to go bad is counted: what follows from it is no news.
        first = tf.argmin(tf.cast(finite, tf.int32))
        state.skipped_terms.assign_add(skipped * tf.one_hot(first, len(BAD_TERMS), dtype=tf.int64))

    def _steps(
        self, images: tf.Tensor, indices: tf.Tensor, num_steps: tf.Tensor, run_key: tf.Tensor
    ) -> None:
        """`num_steps` steps; row s of indices [S, B] is the batch of the s-th.

        The key is an argument, so that runs of any seed share one program.
        """

        def body(index: tf.Tensor, sampler_state: tf.nest) -> tuple:
            return index + 1, self.one_step(images, indices[index], sampler_state, run_key)

        _, sampler_state = tf.while_loop(
            lambda index, _: index < num_steps, body, (tf.constant(0), self.sampler_state())
        )
        self._keep_sampler_state(sampler_state)

    def trace(self, steps_per_call: int) -> None:
        """Builds the graph of `run` for calls of up to `steps_per_call` steps; compiles nothing."""
        indices = tf.TensorSpec([steps_per_call, self.config.train_batchsize], tf.int32)
        scalar = tf.TensorSpec([], tf.int32)
        self._compiled.get_concrete_function(self._images, indices, scalar, self.run_key)

    def run(self, indices: np.ndarray, num_steps: int) -> None:
        """Runs `num_steps` compiled steps with image indices [S, B], S >= num_steps.

        S is part of the compiled program, num_steps is not: always pass the same S.
        """
        self._compiled(self._images, tf.constant(indices), tf.constant(num_steps), self.run_key)

    def take_metrics(self) -> dict[str, float]:
        """Means of the metrics since they were last taken; resets the sums.

        Bound and KL are without log Z: see `add_log_partition`.
        """
        *sums, count = self.state.metric_sums.numpy().tolist()
        self.state.metric_sums.assign(tf.zeros_like(self.state.metric_sums))
        return {
            name: v / max(count, 1.0) for name, v in zip(self._metric_names(), sums, strict=True)
        }

    def add_log_partition(self, means: dict[str, float], log_z: float) -> dict[str, float]:
        """The metrics with the value of log Z (nats) where it belongs: the bound and the KL."""
        kl_weight = float(schedules.kl_weight(self.state.step, self.config.num_train_iter))
        bound, _, kl, *_ = self._metric_names()
        completed = {**means, bound: means[bound] + kl_weight * log_z}
        if self.model.parts.kl_is_value:
            completed[kl] = means[kl] + log_z
        return completed

    def anchor_log_partition(self, value: tf.Tensor) -> None:
        """Sets the log Z that the separate population tracks (nats, float64 scalar)."""
        state = self.sampler_state()
        state = state._replace(tracker=state.tracker._replace(log_partition=value))
        self._keep_sampler_state(state)

    def rbm(self) -> RBM:
        """The prior's present parameters."""
        return self.model.prior.rbm()
