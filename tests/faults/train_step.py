"""Faults of the training step: its gradient, its keys, its update and its metrics."""

import tensorflow as tf

from tests.faults import argument, cases, fault, result, text, within, wrapped
from tests.faults.common import BLOCKS, STEP, negative

GREY, ONE, TWO = STEP("dvae_spike_exp-2-1"), STEP("dvaes_exp-1-1"), STEP("dvaes_exp-2-5")
LOG_Z, MOVING = STEP("dvaes_exp-2-5", "dvaepp_exp-1-1"), STEP("dvaes_exp-1-1", "dvaepp_exp-2-5")
WEIGHTED = STEP("dvae_spike_exp-1-5", "dvaes_power-2-5")
COMPLETED = cases("test_log_partition_completes_the_metrics")
NEG_ELBO = COMPLETED("dvaes_exp-1-train/neg_elbo-obj/kl")
BAD_TERM = "test_the_first_bad_term_is_named"
EQUALS_EAGER = "TestCompiled.test_equals_eager[pwl]"
NEG_IW = "dvaes_exp-5-train/neg_iw_loss-obj/kl"
LOGGED = "test_the_logged_loss_is_the_mean_of_each_steps_objective"


def summed(moments, model, chains, weights) -> list:
    """Moments that are sums over equal chains."""
    return [m * chains.left.shape[0] for m in moments(model, chains, weights)]


# The schedules.
with fault("the learning rate is not heeded", STEP("dvae_spike_exp-1-5", "dvaepp_power-1-1")):
    argument("adam.update", rate=lambda _: tf.constant(1e-4))
with fault("the schedules take the call's first step", EQUALS_EAGER):
    wrapped("train_state.counted", lambda f, n, *a: tf.concat([n[:1], f(n, *a)[1:]], axis=0))
with fault("the base rate is another", TWO):
    argument("schedules.learning_rate", base_lr=lambda _: 3e-3)

# The gradient of log Z.
with fault("log Z's gradient has no warm-up", STEP("dvaes_unexp-1-5")):
    text("TrainProgram.gradient", "loss = «kl_weight *  → »log_z")
with fault("log Z's gradient has the wrong sign", LOG_Z):
    result("log_partition_surrogate", negative)
with fault("the chains' weights are left out of log Z's gradient", WEIGHTED):
    argument("log_partition_surrogate", weights=lambda _: None)
with fault("the chains' weights are never handed on", WEIGHTED):
    wrapped("PopulationAnnealing.weights", lambda *_: None)
with fault("log Z's gradient is of the chains before the step", MOVING):
    text("TrainProgram.one_step", "keys[StepKey.POSTERIOR], «moved → state», rows")
with fault("log Z's gradient is a sum over chains", ONE):
    within("log_partition_surrogate", "RBM.moments", summed)
with fault("the sampler does not move", MOVING):
    wrapped("PriorChains.step", lambda f, *a: (a[2], f(*a)[1]))

# Weight decay and clipping.
with fault("gradients are clipped to their norm", ONE):
    within("TrainProgram.gradient", "adam.flatten", lambda f, g: tf.clip_by_norm(f(g), 1.0))

# Keys and batches.
with fault("all steps are binarised alike", BLOCKS, GREY):
    argument("TrainProgram.batch", key=tf.zeros_like)
with fault("the binarisation has the key of the posterior", GREY):
    text("TrainProgram.one_step", "keys[«StepKey.BINARIZATION → StepKey.POSTERIOR»]")
with fault("all steps have one key", BLOCKS, GREY):
    text("TrainProgram.one_step", "fold_in(step_key, «tf.cast(step, tf.int32) → 0»)")
with fault("all seeds have one key", BLOCKS):
    within("TrainProgram.__init__", "counter_random.key", lambda f, _: f(0))
with fault("the posterior has the key of the sampler", GREY):
    text("TrainProgram.one_step", "keys[«StepKey.POSTERIOR → StepKey.SAMPLER»]")
with fault("grey images are not binarised", GREY):
    text("TrainProgram.batch", "if «not self._binarize → True»")
with fault("grey images are rounded", GREY):
    within("TrainProgram.batch", "counter_random.uniform", lambda _, key, n: tf.fill(n, 0.5))
with fault("levels count as grey values", GREY):
    text("TrainProgram.batch", "«self._grey → »(tf.cast")
with fault("a call trains on its first batch only", EQUALS_EAGER):
    text("TrainProgram._steps", "images, indices[«index → 0»]")
with fault("small tensors are carried as numbers", "test_what_is_packed_comes_back_to_the_bit"):
    text("packing.pack", "tf.«bitcast → cast»")
    text("packing.unpack", "tf.«bitcast → cast»")

# The update.
with fault("Adam's slots are set back at each step", TWO):
    wrapped("adam.update", lambda f, weights, state, *a: (f(weights, state, *a)[0], state))
with fault("a bad update reaches Adam's slots", BAD_TERM):
    text("TrainProgram.one_step", "«slots → new[1]»,\n        counted")
with fault("a bad update reaches the weights", BAD_TERM):
    text("TrainProgram.one_step", "return TrainState(\n        «weights → new[0]»,")
with fault("gradients too large for Adam count as sound", BAD_TERM):
    text("TrainProgram.gradient", "«tf.square(gradient) → gradient»")
with fault("a bad batch reaches batch norm's averages", "test_a_bad_batch_is_skipped[pwl]"):
    text("TrainProgram.one_step", "«averages → new[2]»,\n        sampler")
with fault("batch norm's averages stand still", TWO):
    text("TrainProgram.one_step", "«averages → state.averages»,\n        sampler")
with fault("gradients take each other's places", TWO):
    text("TrainProgram.gradient", "flatten(tape.gradient(loss, variables)« → [::-1]»)")
with fault("weights take each other's places", "test_a_new_state_is_that_of_the_networks"):
    within("NetworkVariables.state", "adam.flatten", lambda f, variables: f(variables[::-1]))

# The metrics.
_AT_END = "float(schedules.kl_weight(self.state.step, self.config.num_train_iter))"
_LATE = f"[*sums[:-5], sums[-1] * {_AT_END}, sums[-3] * {_AT_END}, *sums[-3:]]"
with fault("the value of log Z goes into the bound without its warm-up", NEG_ELBO):
    text("Estimator.shares", "Share(«weighted → constant»=1.0)")
with fault("the loss has the KL weight of the window's end", COMPLETED(NEG_IW), LOGGED):
    text("TrainProgram.take_metrics", f"means(«sums → {_LATE}», log_z)")
with fault("the KL has log Z of the window's end", NEG_ELBO):
    text(
        "MetricSums.means",
        "means[name], share, «first → log_z[1] if constant else first»)",
        "start, «place → 0.0 if constant else place», slope)",
    )
with fault("skipped steps count in the weights of log Z", NEG_ELBO):
    text("MetricSums.add", "«== steps → >= len(self.names)»")
with fault("the first summary takes log Z for 0 at the start", LOGGED):
    text("Monitor.begin", "num_units * «math.log(2.0) → 0.0»")
