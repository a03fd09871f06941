"""Faults of straight energies, of doubly reparameterised gradients and of undirected posteriors."""

from dataclasses import replace

import tensorflow as tf

from configs.registry import BASELINES
from dvae.rollout import sample_of
from tests.faults import argument, cases, entry, fault, result, text, within, wrapped
from tests.faults.common import FORGOTTEN, PARAMS, same

STRAIGHT = cases("test_reference_step.test_a_step_of_each_kind")
GIVEN = cases("test_relaxed_at_given_uniform_numbers")
CONCRETE, LINEAR = GIVEN("Concrete-concrete-4.0"), GIVEN("PiecewiseLinear-piecewise_linear-4.0")
HARD = cases("test_hard_at_given_bits")("1.0")
ORDER = cases("test_order_of_accuracy")
ABOVE_HALF = cases("test_fraction_above_one_half")
ANY_PRIOR = cases("test_kl_term_of_any_prior")
ESTIMATE, ALONG = (f"DoublyReparameterized.{name}" for name in ("surrogate", "along_samples"))

SPINS = "test_posteriors_are_of_spins[deep]"
LIKELIHOOD = "test_per_image[undirected-1]"
TAKES_STEP = "test_every_method_takes_a_step[1-layer-lin-dvaess_pwl-1-pa]"
K1, K3 = cases("test_step")("pwl-1", "pwl-3")
SKIPPED = "test_a_bad_batch_is_skipped[dvaess_concrete]"
FOLLOW, OWN, RESUME, STARTS = (
    f"test_persistent_posterior.TestChains.test_{name}"
    for name in "follow each_image_has_its_own resumes_bit_for_bit starts_from_its_own".split()
)


def rolled_weights(anneal, *arguments):
    """Chains with the weights of others."""
    found = anneal(*arguments)
    return found._replace(log_weights=tf.roll(found.log_weights, 1, axis=1))


def training(value: bool):
    """Posteriors in training or in evaluation whatever is asked for."""
    return lambda f, self, images, _: f(self, images, value)


# Relaxed and hard bits.
with fault("Concrete's noise is not sharpened", CONCRETE, STRAIGHT("gumbolt-1-5", "concrete-2-1")):
    text("Concrete.sample", "self.sharpness * «(params.logits + noise) → params.logits + noise»")
with fault("no gradient flows through the slope", LINEAR, STRAIGHT("pwl-1-1", "pwl-2-5")):
    text("PiecewiseLinear.sample", "« → tf.stop_gradient»(q * (1.0 - q) + SLOPE_OFFSET)")
with fault("the line passes one half at ρ = q", ABOVE_HALF("PiecewiseLinear"), LINEAR):
    text("PiecewiseLinear.sample", "rho - «(1.0 - q) → q»")
with fault("straight-through passes all", ORDER("StraightThrough"), STRAIGHT("st-1-1", "st-4-5")):
    within("StraightThrough.sample", "tf.sigmoid", same)
with fault("hard bits are the likelier ones", ABOVE_HALF("ReinMax"), STRAIGHT("st-1-1")):
    wrapped("relaxed_bernoulli._bits", lambda _, q, key: tf.cast(q.logits > 0.0, tf.float32))
with fault("hard bits keep a rounding error of their gradient's source", HARD):
    wrapped("_with_gradient_of", lambda _, bits, x: x + tf.stop_gradient(bits - x))
with fault("ReinMax takes no straight-through away", ORDER("ReinMax"), STRAIGHT("reinmax-1-1")):
    text("ReinMax.sample", "«0.5 * q * (1.0 - q) → 0.0 * q»")
with fault("ReinMax takes its slope at q", ORDER("ReinMax"), STRAIGHT("reinmax-2-5")):
    text("ReinMax.sample", "«0.5 * (q + bits) → q»")
with fault("the slope of ReinMax lets gradients through", HARD, STRAIGHT("reinmax-1-5")):
    text("ReinMax.sample", "middle = «tf.stop_gradient(0.5 * (q + bits) → 0.5 * (q + bits»)")
with fault("straight log q takes q for 1-q", ANY_PRIOR("pwl"), STRAIGHT("gumbolt-1-1", "st-2-1")):
    argument("RelaxedBernoulli.log_density", relaxed=lambda relaxed: 1.0 - relaxed)

# Doubly reparameterised gradients.
with fault("the encoder's weights are not squared", STRAIGHT("pwl-1-5", "st-4-5")):
    within(ESTIMATE, "tf.square", same)
with fault("the encoder's weights are squared whatever the KL's weight is", STRAIGHT("pwl-4-5")):
    text(ESTIMATE, "«kl_weight * tf.square(weights) + (1.0 - kl_weight) * weights → weights**2»")
with fault("the weights let gradients through", STRAIGHT("concrete-2-5")):
    text(ESTIMATE, "«tf.stop_gradient → tf.identity»(tf.nn.softmax")
with fault("weights are normalised over images", STRAIGHT("reinmax-2-5")):
    within(ESTIMATE, "tf.nn.softmax", lambda f, values, axis: f(values, axis=0))
with fault("samples of an image count as their sum without weights", STRAIGHT("pwl-1-1")):
    within(ESTIMATE, "tf.fill", lambda f, shape, value: f(shape, 2.0 * value))
with fault("the generative term reaches the encoder too", STRAIGHT("pwl-1-1", "st-2-5")):
    wrapped("_stopped", lambda f, t: t if hasattr(t, "latents") else f(t))
with fault("the encoder's term reaches the prior too", STRAIGHT("concrete-1-1")):
    wrapped("_stopped", lambda f, t: f(t) if hasattr(t, "latents") else t)
with fault("nothing is frozen", "test_frozen_within_another_scope", STRAIGHT("st-1-1", "pwl-4-5")):
    within("networks.frozen", "tf.stop_gradient", same)
with fault("the parameters of log q move along with the samples", STRAIGHT("st-1-1", "pwl-2-5")):
    wrapped(ALONG, lambda _, self, model, __, found: sample_of(model.posterior, *found[:2]))
with fault("log q does not feel the samples of earlier groups", STRAIGHT("pwl-2-1", "reinmax-4-5")):
    within(ALONG, PARAMS, lambda f, *a: f(*a[:3], [*map(tf.stop_gradient, a[3])], *a[4:]))
with fault("the logged objective is the surrogate", STRAIGHT("concrete-1-5")):
    text("DoublyReparameterized.step", "metrics(generative, «bound → surrogate»")
with fault("batch-norm averages move twice", STRAIGHT("pwl-1-1", "st-2-5")):
    text(ESTIMATE, "«with frozen_model → if True»:")
with fault("logits at latents are those of other groups", STRAIGHT("pwl-2-1", "concrete-4-5")):
    text("rollout.given", "latents[«group → -1 - group»]")
with fault("GumBolt is Concrete", "test_sharpness_and_weighting", STRAIGHT("gumbolt-2-5")):
    entry("BASELINES", "gumbolt", lambda _: BASELINES["concrete"])
with fault("Concrete has GumBolt's gradient", STRAIGHT("concrete-1-1")):
    entry("BASELINES", "concrete", lambda _: BASELINES["gumbolt"])

# Undirected posteriors: their encoder.
with fault("couplings of a posterior are not divided by the root of the units", SPINS):
    within("UndirectedEncoder.posteriors", "math.sqrt", lambda *_: 1.0)
with fault("biases of a posterior are those of its spins", SPINS):
    text("UndirectedEncoder.posteriors", "left« - tf.reduce_sum(coupling, axis=2) → »")
with fault("couplings of a posterior are half as large", SPINS):
    result("UndirectedEncoder.posteriors", lambda rbm: rbm._replace(coupling=0.5 * rbm.coupling))
with fault("couplings are normalised over the batch in evaluation", SPINS):
    within("UndirectedEncoder.condition", "UndirectedEncoder.posteriors", training(True))
with fault("chains follow the posterior of evaluation", K1, FOLLOW):
    within("UndirectedEncoder.follow", "UndirectedEncoder.posteriors", training(False))
with fault("the left half is drawn and not averaged", K1, K3):
    text("UndirectedEncoder.relaxed", "(«tf.sigmoid(left_logits → draw(left_logits, key»), right)")
with fault("the prior's energy is not half averaged", K1, K3):
    text("HalfAveragedGradient.__call__", "[«left → sample.latents[:, : self._num_left]»,")
with fault("log q lets gradients into the posterior's own parameters", K1, K3):
    within("UndirectedEncoder.relaxed", "tf.stop_gradient", same)
with fault("the relaxed left half does not see the relaxed right half", K1):
    stopped = "row_rbms.left_field", lambda f, q, z: f(q, tf.stop_gradient(z))
    within("UndirectedEncoder.relaxed", *stopped)
with fault("both halves are relaxed with one key", K1):
    text("UndirectedEncoder.relaxed", "keys[«0 → 1»]")
with fault("chains begin anew at every step", OWN):
    text("PersistentPosterior.step", "«tf.cast(left, state.dtype) → state»")
with fault("chains go to other images of the batch", OWN):
    argument("train_state.scatter_rows", indices=lambda indices: indices[::-1])
with fault("chains of other images are continued", STARTS):
    argument("train_state.gather_rows", indices=lambda indices: 0 * indices)
with fault("a bad batch moves its chains", SKIPPED):
    text("TrainProgram.one_step", "state.image_states, indices, «rows → new[3]»)")
with fault("a resumed run forgets the chains of images", RESUME):
    text("Saver.restore", FORGOTTEN.format("image_states"))
with fault("a bound is logged that no step knows", TAKES_STEP):
    wrapped("PersistentPosterior.shares", lambda _, self: super(type(self), self).shares)
    text(
        "PersistentPosterior.step",
        "«objective.term_metrics(generative → metrics(generative, inputs[3], inputs[3]»)",
    )

# Their evaluation and their modes.
with fault("importance weights leave out log Z of the posterior", LIKELIHOOD):
    text("UndirectedEncoder.sample_binary", "«- tf.cast(log_weights, tf.float32) → »")
with fault("importance weights have a chain's weight for another's", LIKELIHOOD):
    within("UndirectedEncoder.sample_binary", "row_rbms.anneal", rolled_weights)
with fault("undirected posteriors take several groups", "test_one_group_only"):
    entry("BASELINES", "dvaess_pwl", lambda baseline: replace(baseline, most_groups=None))
