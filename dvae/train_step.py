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
from dvae.model import DVAE, Forward
from dvae.prior_sampler import PriorSampler
from dvae.priors import log_partition_surrogate
from samplers import counter_random
from samplers.rbm import RBM

# Streams of the run's key; a new purpose takes a new number.
_INIT_STREAM, _STEP_STREAM = 1, 2
BAD_TERMS = ("reconstruction", "posterior or prior", "log Z", "gradient")


class TrainState(tf.Module):
    """Everything beside weights and optimizer that a step reads and writes."""

    def __init__(self, sampler_state: tf.nest, metric_names: list[str], log_z: float) -> None:
        super().__init__()
        self.step = tf.Variable(0, dtype=tf.int64, name="step")
        self.sampler = [tf.Variable(leaf) for leaf in tf.nest.flatten(sampler_state)]
        self.metric_sums = {name: tf.Variable(0.0, name=name) for name in metric_names}
        self.metric_steps = tf.Variable(0.0, name="metric_steps")
        # The last trusted log Z: what the value of the KL is reckoned with when none is tracked.
        self.log_z_reference = tf.Variable(log_z, dtype=tf.float64, name="log_z_reference")
        self.skipped = tf.Variable(0, dtype=tf.int64, name="skipped")
        self.skipped_in_a_row = tf.Variable(0, dtype=tf.int64, name="skipped_in_a_row")
        self.skipped_terms = tf.Variable(tf.zeros([len(BAD_TERMS)], tf.int64), name="skipped_terms")


class TrainProgram:
    """The compiled training loop of one run."""

    def __init__(self, config: ExperimentConfig, dataset: Dataset) -> None:
        self.config = config
        self.model = DVAE(config, dataset.train_mean)
        self.sampler = PriorSampler(config)
        self.optimizer = keras.optimizers.Adam(learning_rate=config.base_lr, **ADAM)
        self.optimizer.build(self.model.trainable_variables)
        self._images = tf.constant(dataset.train)
        self._grey_unit = dataset.grey_unit
        self._binarize = dataset.dynamic_binarization
        self._run_key = counter_random.key(config.seed)
        initial = self.sampler.init(counter_random.fold_in(self._run_key, _INIT_STREAM))
        self._sampler_structure = initial
        num_latents = config.structure.num_latents
        self.state = TrainState(initial, self._metric_names(), num_latents * np.log(2.0))
        self._compiled = tf.function(self._steps, jit_compile=True, autograph=False)

    def _metric_names(self) -> list[str]:
        """Names of the scalars that steps add up, found by tracing a step abstractly."""
        config = self.config
        bound = "train/neg_iw_loss" if config.importance_weighted else "train/neg_elbo"
        kl = "obj/kl" if self.model.parts.kl_is_value else "obj/kl_gradient_surrogate"
        names = [bound, "obj/recon_loss", kl, "weight_decay/encoder", "weight_decay/decoder"]
        names.append("weight_decay/total")
        if config.population_annealing:
            names += ["sampler/ess", "sampler/surviving_families", "sampler/resampled"]
        else:
            names.append("sampler/mean_energy")
        if config.log_z_population == "separate":
            names += ["log_z/population_ess", "log_z/population_bridges"]
        return names

    def sampler_state(self) -> tf.nest:
        """The sampler's state as tensors."""
        leaves = [tf.convert_to_tensor(v) for v in self.state.sampler]
        return tf.nest.pack_sequence_as(self._sampler_structure, leaves)

    def batch(self, images: tf.Tensor, indices: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
        """Binary float32 images [B, X]; grey ones are binarised anew with their values."""
        batch = tf.cast(tf.gather(images, indices), tf.float32) * self._grey_unit
        if not self._binarize:
            return batch
        return tf.cast(counter_random.uniform(key, batch.shape) < batch, tf.float32)

    def _loss(self, images: tf.Tensor, key: tf.Tensor, sampler_state: tf.nest) -> tuple:
        """Loss whose gradient trains everything, and the forward pass."""
        rbm = self.model.prior.rbm()
        forward = self.model.forward(images, rbm, key, training=True)
        kl_weight = schedules.kl_weight(self.state.step, self.config.num_train_iter)
        surrogate = log_partition_surrogate(
            rbm, self.sampler.chains(sampler_state), self.sampler.weights(sampler_state)
        )
        decay = self.model.weight_decay(rbm)
        objective = self.model.objective(forward, kl_weight)
        loss = kl_weight * surrogate - objective + decay["total"]
        return loss, objective, kl_weight, forward, decay, surrogate

    def gradients(self, images: tf.Tensor, key: tf.Tensor, sampler_state: tf.nest) -> tuple:
        """Gradients of the loss for `model.trainable_variables`, metrics, and finite flags [4]."""
        variables = [v.value for v in self.model.trainable_variables]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            loss, objective, kl_weight, forward, decay, surrogate = self._loss(
                images, key, sampler_state
            )
        gradients = tape.gradient(loss, variables)
        finite = [
            tf.reduce_all(tf.math.is_finite(forward.log_likelihood)),
            tf.reduce_all(tf.math.is_finite(forward.kl)),
            tf.math.is_finite(surrogate),
            tf.reduce_all([tf.reduce_all(tf.math.is_finite(g)) for g in gradients]),
        ]
        metrics = self._values(forward, objective, kl_weight, decay, sampler_state)
        return gradients, metrics, tf.stack(finite)

    def _values(
        self,
        forward: Forward,
        objective: tf.Tensor,
        kl_weight: tf.Tensor,
        decay: dict[str, tf.Tensor],
        sampler_state: tf.nest,
    ) -> dict[str, tf.Tensor]:
        """The loss and its terms in nats per image, with the best log Z at hand."""
        log_z = self.sampler.log_partition(sampler_state)
        log_z = tf.convert_to_tensor(self.state.log_z_reference) if log_z is None else log_z
        log_z = tf.cast(log_z, tf.float32)
        names = self._metric_names()
        kl = tf.reduce_mean(forward.kl) + (log_z if self.model.parts.kl_is_value else 0.0)
        values = {
            names[0]: kl_weight * log_z - objective,
            names[1]: -tf.reduce_mean(forward.log_likelihood),
            names[2]: kl,
        }
        return values | {f"weight_decay/{name}": value for name, value in decay.items()}

    def _update(self, gradients: list[tf.Tensor], ok: tf.Tensor, averages: list) -> None:
        """Adam at the scheduled rate; where not `ok` everything stays as it was."""
        config = self.config
        rate = schedules.learning_rate(self.state.step, config.num_train_iter, config.base_lr)
        variables = [*self.model.trainable_variables, *self.optimizer.variables]
        old = [tf.convert_to_tensor(v) for v in variables]
        self.optimizer.learning_rate.assign(rate)
        self.optimizer.apply(gradients, self.model.trainable_variables)
        for variable, before in zip(variables, old, strict=True):
            variable.assign(tf.where(ok, tf.convert_to_tensor(variable), before))
        for variable, before in averages:
            variable.assign(tf.where(ok, tf.convert_to_tensor(variable), before))

    def one_step(self, images: tf.Tensor, indices: tf.Tensor, sampler_state: tf.nest) -> tf.nest:
        """One training step on the variables; returns the sampler's new state."""
        step = tf.cast(self.state.step, tf.int32)
        run_key = counter_random.fold_in(self._run_key, _STEP_STREAM)
        keys = counter_random.split(counter_random.fold_in(run_key, step), 3)
        averages = [(v, tf.convert_to_tensor(v)) for v in self.model.non_trainable_variables]
        sampler_state, sampler_metrics = self.sampler.step(
            self.model.prior.rbm(), sampler_state, keys[0], step
        )
        batch = self.batch(images, indices, keys[1])
        gradients, metrics, finite = self.gradients(batch, keys[2], sampler_state)
        ok = tf.reduce_all(finite)
        self._update(gradients, ok, averages)
        self._count(metrics | sampler_metrics, ok, finite)
        self.state.step.assign_add(1)
        return sampler_state

    def _count(self, metrics: dict[str, tf.Tensor], ok: tf.Tensor, finite: tf.Tensor) -> None:
        state = self.state
        for name, value in metrics.items():
            state.metric_sums[name].assign_add(tf.where(ok, value, 0.0))
        state.metric_steps.assign_add(tf.where(ok, 1.0, 0.0))
        state.skipped.assign_add(tf.where(ok, tf.constant(0, tf.int64), 1))
        one_more = state.skipped_in_a_row + 1
        state.skipped_in_a_row.assign(tf.where(ok, tf.zeros_like(one_more), one_more))
        # Only the first term to go bad is counted: what follows from it is no news.
        first = tf.argmin(tf.cast(finite, tf.int32))
        blame = tf.one_hot(first, len(BAD_TERMS), dtype=tf.int64)
        state.skipped_terms.assign_add(tf.where(ok, tf.zeros_like(blame), blame))

    def _steps(self, images: tf.Tensor, indices: tf.Tensor, num_steps: tf.Tensor) -> None:
        """`num_steps` steps; row s of indices [S, B] is the batch of the s-th."""

        def body(index: tf.Tensor, sampler_state: tf.nest) -> tuple:
            return index + 1, self.one_step(images, indices[index], sampler_state)

        _, sampler_state = tf.while_loop(
            lambda index, _: index < num_steps, body, (tf.constant(0), self.sampler_state())
        )
        for variable, leaf in zip(self.state.sampler, tf.nest.flatten(sampler_state), strict=True):
            variable.assign(leaf)

    def run(self, indices: np.ndarray, num_steps: int) -> None:
        """Runs `num_steps` compiled steps with image indices [S, B], S >= num_steps.

        S is part of the compiled program, num_steps is not: always pass the same S.
        """
        self._compiled(self._images, tf.constant(indices), tf.constant(num_steps))

    def take_metrics(self) -> dict[str, float]:
        """Means of the metrics since they were last taken; resets the sums."""
        count = max(float(self.state.metric_steps), 1.0)
        means = {name: float(v) / count for name, v in self.state.metric_sums.items()}
        for variable in (*self.state.metric_sums.values(), self.state.metric_steps):
            variable.assign(0.0)
        return means

    def anchor_log_partition(self, value: tf.Tensor) -> None:
        """Sets the log Z that the separate population tracks (nats, float64 scalar)."""
        state = self.sampler_state()
        state = state._replace(tracker=state.tracker._replace(log_partition=value))
        for variable, leaf in zip(self.state.sampler, tf.nest.flatten(state), strict=True):
            variable.assign(leaf)

    def rbm(self) -> RBM:
        """The prior's present parameters."""
        return self.model.prior.rbm()
