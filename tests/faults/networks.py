"""Faults of the networks, of weight decay, of encoder and decoder, and of the objectives."""

import tensorflow as tf

from dvae.encoder import Batch
from tests.faults import argument, fault, result, text, within, wrapped
from tests.faults.common import BLOCKS, PARAMS, SAMPLE_BINARY, STEP, same, stop

ONE, TWO = STEP("dvaes_exp-1-5"), STEP("dvaes_exp-2-5")
BOTH_KINDS = STEP("dvaepp_exp-1-1", "dvaes_exp-2-5")
ENUMERATION = "test_per_image[directed]"
WARM_UP, LOO = "test_kl_weight", "test_mean_over_all_samples[2-loo]"
AVERAGES = "test_batch_norm_in_one_pass"


def exchanged(values: tf.Tensor) -> tf.Tensor:
    """Values [B, K, ...] whose rows were laid out as [K, B, ...]."""
    first, second, *rest = values.shape
    return tf.stack(tf.unstack(tf.reshape(values, [second, first, *rest])), axis=1)


def kernels(variables: list) -> list:
    """The matrices among variables."""
    return [v for v in variables if len(v.shape) == 2]


# Networks.
with fault("batch norm of the decoder uses moving averages in training", BOTH_KINDS):
    argument("Decoder.outputs", training=lambda _: False)
with fault(
    "batch norm of the first group alone uses moving averages", BOTH_KINDS, STEP("dvaes_gauss-2-5")
):
    wrapped(PARAMS, lambda f, *a: f(*a[:-1], a[2] > 0))
with fault("batch norm uses batch statistics in evaluation", "test_evaluation_mode[deep]"):
    argument("Network.finish", training=lambda _: True)
with fault("batch norm of later groups is of one sample of each image", TWO):
    text(
        PARAMS,
        "finish(«first, training → tf.repeat(first[::num_samples], num_samples, 0), training»)",
    )
with fault("relu instead of tanh", TWO):
    within("Network.finish", "tf.tanh", lambda _, x: tf.nn.relu(x))
with fault("tanh before batch norm", TWO):
    text("Network.finish", "norm(«hidden → tf.tanh(hidden)», t", "«tf.tanh → »(norm")
with fault("batch norm's variance is about the moving mean", AVERAGES):
    text("BatchNorm.call", "second« - tf.square(first) → »")
with fault("the last layer has no bias", ONE):
    wrapped("Network.finish", lambda f, self, *a: f(self, *a) - self.bias)

# Weight decay.
with fault("weight decay leaves out the first layers", ONE):
    wrapped("Network.decayed_variables", lambda f, self: f(self)[len(self.first) :])
with fault("weight decay leaves out the scales of batch norm", ONE):
    result("Network.decayed_variables", kernels)
with fault("weight decay on the offsets of batch norm", ONE):
    wrapped(
        "Network.decayed_variables",
        lambda f, self: kernels(f(self)) + [norm.beta for norm in self.norms],
    )
with fault("weight decay leaves out the couplings", ONE):
    result("Prior.decayed_variables", lambda _: [])
with fault("weight decay on the prior's biases", ONE):
    wrapped("Prior.decayed_variables", lambda f, self: [*f(self), self.fields.left_bias])
with fault("the encoder's part of weight decay is left out", ONE):
    result("DenseEncoder.decayed_variables", lambda _: [])

# The encoder.
with fault("images are not centred", ONE):
    wrapped("DenseEncoder.condition", lambda f, self, x: f(self, Batch(x[0] + self.mean)))
with fault("all groups draw from one key in training", TWO, BLOCKS):
    within("HierarchicalEncoder.sample", "counter_random.fold_in", same)
with fault("later groups see binary latents in training", TWO):
    argument(PARAMS, earlier=lambda parts: [tf.round(part) for part in parts])
with fault("no gradient flows into earlier groups", TWO):
    argument(PARAMS, earlier=lambda z: [*map(tf.stop_gradient, z)])
with fault("samples are tiled where images are repeated", ONE):
    text(PARAMS, "tf.«repeat(output, num_samples, axis=0 → tile(output, [num_samples, 1]»)")
with fault("images are tiled in later groups", TWO):
    text(
        PARAMS,
        "«repeat(product, earlier[0].shape[0] // product.shape[0], axis=0 → "
        "tile(product, [num_samples, 1]»)",
    )
with fault("later groups do not see the image", TWO):
    argument(PARAMS, condition=lambda x: type(x)((x[0][0], *(0.0 * part for part in x[0][1:]))))
with fault("log q is averaged over units", ONE):
    within("sample_of", "tf.reduce_sum", lambda _, v, axis: tf.reduce_mean(v, axis))
with fault("no gradient flows through log q", ONE):
    within("sample_of", "MixturePosterior.log_density", stop)
with fault(
    "log q of the last group alone counts", ENUMERATION, "test_logits_in_evaluation_mode[binary]"
):
    text(SAMPLE_BINARY, "log_q «+ → »= log_b")
with fault("all groups start from one network", "test_groups_start_from_weights_of_their_own"):
    text("DenseEncoder.__init__", "layer_seed(seed, 1«, group → »)")

# The decoder and its likelihood.
with fault("the decoder has no offset", ONE):
    result("Bernoulli.offset", tf.zeros_like)
with fault("log p(x|z) is a mean of pixels", "test_training_and_evaluation_agree[bernoulli]", ONE):
    wrapped("Bernoulli.log_prob", lambda f, *a: f(*a) / float(a[1].shape[-1]))
with fault("log p(x|z) of evaluation takes the images for their complement", ENUMERATION):
    argument("log_bernoulli", bits=lambda bits: 1.0 - bits)
with fault("samples and images are exchanged in the likelihood", ONE):
    argument("Bernoulli.log_prob", outputs=exchanged)
with fault("samples and images are exchanged in the KL", ONE):
    result("Objective.terms", lambda found: found._replace(log_ratio=exchanged(found[1])))
with fault("the decoder sees rounded latents", ONE):
    argument("Decoder.outputs", latents=tf.round)

# Objectives and their schedules.
with fault("K > 1 trains the ELBO", TWO, STEP("dvaes_gi-1-5")):
    wrapped("importance_weighted_bound", lambda _, log_weights: tf.reduce_mean(log_weights))
with fault("every baseline trains the IW bound", STEP("dvaepp_exp-2-5", "dvae_spike_exp-2-5")):
    text("build.build", "«entry.importance_weighted and  → »config.k > 1")
with fault("K samples count as their sum", "test_importance_weighted_bound", *TWO):
    wrapped("importance_weighted_bound", lambda _, w: tf.reduce_mean(tf.reduce_logsumexp(w, 1)))
with fault("log mean exp runs over images", TWO):
    argument("importance_weighted_bound", log_weights=tf.transpose)
with fault("the KL's warm-up is left out", STEP("dvaes_unexp-1-5", "dvae_spike_exp-2-5"), LOO):
    argument("Terms.log_weights", kl_weight=lambda _: 1.0)
with fault("the ELBO is a sum over samples", STEP("dvaepp_exp-2-5")):
    wrapped("objective.elbo", lambda _, w: tf.reduce_mean(tf.reduce_sum(w, 1)))
with fault("the warm-up never ends", WARM_UP, STEP("dvaepp_exp-2-5")):
    within("schedules.kl_weight", "tf.minimum", same)
with fault("a boundary of the rates is a step off", STEP("dvaepp_power-1-1", "dvae_spike_exp-2-1")):
    text("schedules.learning_rate", "fraction <« → =» until")
