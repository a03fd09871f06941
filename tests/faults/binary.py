"""Faults of the unbiased estimators of binary models, and of their enumeration."""

from dataclasses import replace

import tensorflow as tf

from tests.faults import cases, entry, fault, result, text, within, wrapped
from tests.faults.common import same

# Means over all samples, such as "2-loo", and over all noise of DisARM's groups.
SAMPLES, NOISE = (cases("test_mean_over_all_samples"), cases("test_mean_over_all_noise"))
EXACT = cases("test_binary_estimators.test_exact")  # of a number of groups and K, such as "2-5"
LEARNING = "test_coefficients_lower_the_variance"
DISARM_APART = "test_groups_of_disarm_draw_apart"
FORMULA, DISARM_FORMULA, RODEO_FORMULA = (
    cases(f"test_estimator_formulas.test_{name}") for name in ("of_samples", "disarm", "rodeo")
)
VIMCO, RODEO = SAMPLES("2-vimco"), SAMPLES("2-rodeo")


def without_log_q(f, self, prior, params, sample) -> tf.Tensor:
    """A log ratio through whose log q no gradient flows."""
    return f(self, prior, params, sample._replace(log_q=tf.stop_gradient(sample.log_q)))


# What all of them share.
with fault("log q of bits has the wrong normaliser", SAMPLES("2-loo", "2-rodeo"), EXACT("2-1")):
    within("BernoulliPosterior.log_density", "tf.nn.softplus", lambda f, logits: f(-logits))
with fault("the energy of bits is negative", SAMPLES("2-loo"), "test_kl_term_of_any_prior[st]"):
    wrapped("Binary.__call__", lambda f, *a: 2.0 * a[3].log_q - f(*a))
with fault("the mean of others has the sample's own value in it", SAMPLES("2-loo", "2-rodeo")):
    wrapped("mean_of_others", lambda _, v: 0.0 * v + tf.reduce_mean(v, 1, keepdims=True))
with fault("each sample is compared with one other", FORMULA("loo-1", "vimco-2")):
    wrapped("mean_of_others", lambda _, values: tf.roll(values, 1, axis=1))

# Leave-one-out and VIMCO.
with fault("the signal of leave-one-out lets gradients through", SAMPLES("2-loo")):
    within("LeaveOneOut.step", "tf.stop_gradient", same)
with fault("leave-one-out keeps the score of log q inside f", LEARNING):
    text("LeaveOneOut.step", "«(signal + kl_weight) → signal»")
with fault("VIMCO compares the bound with itself", VIMCO):
    within("bounds_without_each", "mean_of_others", same)
with fault("VIMCO takes the arithmetic mean of the other weights", FORMULA("vimco-1", "vimco-2")):
    within("bounds_without_each", "mean_of_others", lambda f, w: tf.math.log(f(tf.exp(w))))
with fault("VIMCO averages the scores of its samples", VIMCO):
    text("Vimco.step", "«tf.reduce_sum → tf.reduce_mean»(signal")
with fault("VIMCO stops log q in the weights", VIMCO):
    within("Vimco.step", "Binary.__call__", without_log_q)
with fault("VIMCO trains the ELBO", VIMCO):
    text("Vimco.step", "bound = tf.reduce_mean(«bounds → log_weights»)")
with fault("VIMCO takes a single sample", "test_vimco_asks_for_two_samples"):
    entry("BASELINES", "vimco", lambda baseline: replace(baseline, least_k=1))

# DisARM.
with fault("DisARM takes the whole difference", NOISE("2", "4")):
    text("Disarm.step", "«0.5 *  → »(values")
with fault("DisARM weighs bits by σ(-|ℓ|)", NOISE("2", "4")):
    text("Disarm.step", "tf.sigmoid(« → -»tf.abs")
with fault("DisARM averages over units", NOISE("2")):
    text("Disarm.step", "«z.shape[-1] *  → »tf.reduce_mean")
with fault("DisARM's slope lets gradients through", NOISE("2")):
    text("Disarm.step", "«tf.stop_gradient → tf.identity»(half")
with fault("both members of DisARM's pairs are equal", NOISE("2", "4")):
    text("disarm.antithetic", "[«- → »noise]")
with fault("all groups of DisARM are compared with one partner", NOISE("2", "4")):
    text("Disarm.step", "«group +  → »1, group_logits")
with fault("all groups of DisARM draw from one key", DISARM_APART):
    within("Disarm.step", "counter_random.fold_in", same)
with fault("all pairs of an image have the same noise", DISARM_APART):
    wrapped("disarm._logistic", lambda f, key, n: tf.broadcast_to(f(key, n)[:, :, :1], n))
with fault("DisARM's partners go on with the noise of another pair", DISARM_FORMULA("2", "4")):
    others = "+ [tf.roll(noise, 1, 2)] * (logits.shape[1] - 1)"
    text("disarm.antithetic", f"[noise] «* logits.shape[1] → {others}» +")

# RODEO.
with fault("RODEO's surrogate knows its own sample", RODEO):
    text("Rodeo.step", "«mean_of_others(slopes) → slopes»")
with fault("RODEO forgets the mean of its control variates", RODEO):
    text("Rodeo.gradient", "«+ beta_of_units * samples.slopes * samples.variances → »")
with fault("RODEO takes q for the variance of a bit", RODEO):
    text("Rodeo.step", "q« * (1.0 - q) → »")
with fault("RODEO deals its coefficients to the units in turn", RODEO):
    within("Rodeo.gradient", "tf.repeat", lambda _, beta, units: tf.tile(beta, [units]))
with fault("RODEO's coefficients raise the variance", LEARNING):
    text("Rodeo.step", "surrogate «- → +»= squared_norm")
with fault("RODEO's coefficients are not trained", LEARNING):
    text("Rodeo.step", "-= « → tf.stop_gradient(squared_norm) + 0.0 * »squared_norm")
with fault("RODEO's coefficients lower the norm of each gradient", RODEO_FORMULA("1", "2")):
    text(
        "Rodeo.step",
        "«square(tf.reduce_mean(gradient, axis=1)) → reduce_mean(tf.square(gradient), axis=1)»",
    )

# The enumeration.
with fault("every multiset counts once", EXACT("1-2", "4-5")):
    result("enumeration._multisets", lambda found: (found[0], 0.0 * found[1]))
with fault("enumerated states of earlier groups go to other images", EXACT("2-1", "4-5")):
    within("enumeration.log_probabilities", "tf.tile", lambda _, z, n: tf.repeat(z, n[0], 0))
with fault("enumerated states of earlier groups go to other states", EXACT("4-5")):
    text("every_state", "«tf.repeat(z, 2**units, axis=0) → tf.tile(z, [2**units, 1])»")
with fault("the enumeration is of the ELBO for every K", EXACT("1-5", "2-2")):
    text("Exact.step", "[1], «self.num_samples → 1»)", "math.log(«self.num_samples → 1»)")
