"""Faults of the training step."""

from tests.faults import change, fault, one_step

COMPLETED = "dvae/test_train_terms.py::TestTerms::test_log_partition_completes_the_metrics"
INDEPENDENT = "dvae/test_independence.py::test_no_block_is_drawn_twice"

FAULTS = (
    fault(
        "the learning rate is never assigned",
        change("dvae.flat_adam:FlatAdam.apply", "self.adam.learning_rate.assign(rate)", "pass"),
        *one_step("dvae_spike_exp-1-5", "dvaepp_power-1-1", "dvaepp_power-2-1"),
    ),
    fault(
        "the schedules take the call's first step",
        change("dvae.train_state:counted", "(place == STEP) | ", ""),
        "dvae/test_train_step.py::TestCompiled::test_equals_eager",
    ),
    fault(
        "the base rate is another",
        change("dvae.train_step:TrainProgram.one_step", "self.config.base_lr", "3e-3"),
        *one_step("dvaes_exp-2-5"),
    ),
    fault(
        "log Z's gradient is left out",
        change("dvae.train_step:TrainProgram._loss", "kl_weight * log_z - estimate", "-estimate"),
        *one_step("dvaes_exp-2-5", "dvaepp_exp-1-1"),
    ),
    fault(
        "log Z's gradient has no warm-up",
        change("dvae.train_step:TrainProgram._loss", "kl_weight * log_z", "log_z"),
        *one_step("dvaes_unexp-1-5"),
    ),
    fault(
        "log Z's gradient has the wrong sign",
        change("dvae.priors:log_partition_surrogate", "-prior.mean_energy(", "prior.mean_energy("),
        *one_step("dvaes_exp-2-5", "dvaepp_exp-1-1"),
    ),
    fault(
        "the chains' weights are left out of log Z's gradient",
        change("dvae.priors:log_partition_surrogate", "weights is None", "True"),
        *one_step("dvae_spike_exp-1-5", "dvaes_power-2-5"),
    ),
    fault(
        "the chains' weights are never handed on",
        change(
            "dvae.prior_sampler:PopulationAnnealing.weights",
            "self._config.resample_threshold < 1.0",
            "False",
        ),
        *one_step("dvae_spike_exp-1-5", "dvaes_power-2-5"),
    ),
    fault(
        "log Z's gradient is of the chains before the step",
        change(
            "dvae.train_step:TrainProgram.one_step",
            "keys[StepKey.POSTERIOR], sampler_state, step",
            "keys[StepKey.POSTERIOR], carried.sampler, step",
        ),
        *one_step("dvaes_exp-1-1", "dvaepp_exp-2-5"),
    ),
    fault(
        "log Z's gradient is a sum over chains",
        change(
            "dvae.priors:Prior.mean_energy",
            "tf.reduce_mean(energies)",
            "tf.reduce_sum(energies)",
        ),
        *one_step("dvaes_exp-1-1"),
    ),
    fault(
        "the sampler does not move",
        change(
            "dvae.train_step:TrainProgram.one_step",
            "sampler_state, sampler_metrics = self.sampler.step(",
            "sampler_state, (_, sampler_metrics) = carried.sampler, self.sampler.step(",
        ),
        *one_step("dvaes_exp-1-1", "dvaepp_exp-2-5"),
    ),
    fault(
        "weight decay is left out",
        change("dvae.train_step:TrainProgram._with_decay", "[g + d for", "[g + 0.0 * d for"),
        *one_step("dvaes_exp-2-5"),
    ),
    fault(
        "weight decay has the wrong sign",
        change("dvae.train_step:TrainProgram._with_decay", "[g + d for", "[g - d for"),
        *one_step("dvaes_exp-2-5"),
    ),
    fault(
        "gradients are clipped to their norm",
        change(
            "dvae.train_step:TrainProgram.gradient",
            "tape.gradient(loss, variables)",
            "tf.clip_by_global_norm(tape.gradient(loss, variables), 1.0)[0]",
        ),
        *one_step("dvaes_exp-1-1"),
    ),
    fault(
        "the binarisation is the same at every step",
        change("dvae.train_step:TrainProgram.one_step", "keys[StepKey.BINARIZATION]", "run_key"),
        "dvae/test_independence.py::test_grey_images_are_binarised_anew",
        INDEPENDENT,
    ),
    fault(
        "the binarisation has the key of the posterior",
        change(
            "dvae.train_step:TrainProgram.one_step",
            "keys[StepKey.BINARIZATION]",
            "keys[StepKey.POSTERIOR]",
        ),
        *one_step("dvae_spike_exp-2-1"),
    ),
    fault(
        "all steps have one key",
        change(
            "dvae.train_step:TrainProgram.one_step",
            "counter_random.fold_in(step_key, tf.cast(step, tf.int32))",
            "step_key",
        ),
        INDEPENDENT,
        *one_step("dvae_spike_exp-2-1"),
    ),
    fault(
        "all seeds have one key",
        change(
            "dvae.train_step:TrainProgram.__init__",
            "counter_random.key(config.seed)",
            "counter_random.key(0)",
        ),
        INDEPENDENT,
    ),
    fault(
        "the posterior has the key of the sampler",
        change(
            "dvae.train_step:TrainProgram.one_step",
            "keys[StepKey.POSTERIOR]",
            "keys[StepKey.SAMPLER]",
        ),
        *one_step("dvae_spike_exp-2-1"),
    ),
    fault(
        "grey images are not binarised",
        change("dvae.train_step:TrainProgram.batch", "if not self._binarize", "if True"),
        *one_step("dvae_spike_exp-2-1"),
    ),
    fault(
        "grey images are rounded",
        change(
            "dvae.train_step:TrainProgram.batch",
            "counter_random.uniform(key, batch.shape) < batch",
            "batch > 0.5",
        ),
        *one_step("dvae_spike_exp-2-1"),
    ),
    fault(
        "grey images are binarised to their negatives",
        change(
            "dvae.train_step:TrainProgram.batch", "batch.shape) < batch", "batch.shape) > batch"
        ),
        *one_step("dvae_spike_exp-2-1"),
    ),
    fault(
        "levels count as grey values",
        change("dvae.train_step:TrainProgram.batch", " * self._grey_unit", ""),
        *one_step("dvae_spike_exp-2-1"),
    ),
    fault(
        "a call trains on its first batch only",
        change(
            "dvae.train_step:TrainProgram._steps", "images, indices[index]", "images, indices[0]"
        ),
        "dvae/test_train_step.py::TestCompiled::test_equals_eager",
    ),
    fault(
        "Adam's slots are set back at each step",
        change(
            "dvae.flat_adam:FlatAdam.apply",
            "variable.assign(tf.where(ok, tf.convert_to_tensor(variable), old))",
            "variable.assign(tf.convert_to_tensor(variable) if variable is self._flat else old)",
        ),
        *one_step("dvaes_exp-2-5"),
    ),
    fault(
        "gradients too large for Adam count as sound",
        change(
            "dvae.train_step:TrainProgram.gradient",
            "tf.square(gradient)",
            "gradient",
        ),
        "dvae/test_train_terms.py::TestTerms::test_the_first_bad_term_is_named",
    ),
    fault(
        "a bad update reaches Adam's slots",
        change(
            "dvae.flat_adam:FlatAdam.apply",
            "tf.where(ok, tf.convert_to_tensor(variable), old)",
            "tf.where(ok | (variable is not self._flat), tf.convert_to_tensor(variable), old)",
        ),
        "dvae/test_train_terms.py::TestTerms::test_the_first_bad_term_is_named",
    ),
    fault(
        "a bad update reaches the weights",
        change(
            "dvae.flat_adam:FlatAdam.apply",
            "tf.where(ok, tf.convert_to_tensor(variable), old)",
            "tf.where(ok | (variable is self._flat), tf.convert_to_tensor(variable), old)",
        ),
        "dvae/test_train_terms.py::TestTerms::test_the_first_bad_term_is_named",
    ),
    fault(
        "a bad batch reaches batch norm's averages",
        change(
            "dvae.train_step:TrainProgram.one_step",
            "tf.where(ok, new, old)",
            "new",
        ),
        "dvae/test_train_step.py::TestCompiled::test_a_bad_batch_is_skipped",
    ),
    fault(
        "batch norm's averages stand still",
        change(
            "dvae.train_step:TrainProgram.one_step",
            "tf.where(ok, new, old)",
            "old",
        ),
        *one_step("dvaes_exp-2-5"),
    ),
    fault(
        "weights take each other's places",
        change(
            "dvae.flat_adam:FlatAdam.gather",
            "flatten(self._variables)",
            "flatten(self._variables)[::-1]",
        ),
        *one_step("dvaes_exp-2-5"),
    ),
    fault(
        "the value of log Z goes into the bound without its warm-up",
        change(
            "dvae.train_step:TrainProgram.take_metrics",
            "(first * window.weight + slope * window.weighted_place) / window.taken",
            "first + slope * window.place / window.taken",
        ),
        COMPLETED + "[dvaes_exp-1-train/neg_elbo-obj/kl]",
    ),
    fault(
        "the loss has the KL weight of the window's end",
        change(
            "dvae.train_step:TrainProgram.take_metrics",
            "(first * window.weight + slope * window.weighted_place) / window.taken",
            "log_z[1] * float(schedules.kl_weight(self.state.step, self.config.num_train_iter))",
        ),
        COMPLETED + "[dvaes_exp-5-train/neg_iw_loss-obj/kl]",
        "runs/test_monitor.py::test_the_logged_loss_is_the_mean_of_each_steps_objective",
    ),
    fault(
        "the KL has log Z of the window's end",
        change(
            "dvae.train_step:TrainProgram.take_metrics",
            "means[kl] += first",
            "means[kl] += log_z[1] + 0 * first",
        ),
        COMPLETED + "[dvaes_exp-1-train/neg_elbo-obj/kl]",
    ),
    fault(
        "skipped steps count in the weights of log Z",
        change("dvae.train_step:TrainProgram._summed", "== len(names) + _STEPS", ">= len(names)"),
        COMPLETED + "[dvaes_exp-1-train/neg_elbo-obj/kl]",
    ),
    fault(
        "the first summary takes log Z for 0 at the start",
        change(
            "dvae.runs.monitor:Monitor.begin",
            "known(self._quick_log_partition(progress.step))",
            "0.0",
        ),
        "runs/test_monitor.py::test_the_logged_loss_is_the_mean_of_each_steps_objective",
    ),
)
