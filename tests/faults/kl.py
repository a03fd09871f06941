"""Faults of the KL terms and of the relaxed priors."""

from dataclasses import replace

import tensorflow as tf

from tests.faults import argument, fault, result, text, within, wrapped
from tests.faults.common import STEP, same, stop

SMOOTHED, SPIKES = STEP("dvaepp_exp-2-5", "dvaepp_power-2-1"), STEP("dvae_spike_exp-2-5")
RELAXED, MEAN_FIELD = (
    STEP("dvaes_exp-2-5", "dvaes_gi-1-5"),
    STEP("dvaes_exp-2-5", "dvaes_gauss-1-1"),
)
INTEGRAL = STEP("dvaes_gi-1-5")
KERNEL_REFUSES = "test_halves_too_large_are_fitted_without_it"
KERNEL_BOUND = "test_bound_and_gradients_are_those_without_a_kernel[sizes0-mean_field_128]"
LOWER_BOUND = "TestMeanField.test_value_and_bound[rbm-exp]"


def without_right(log_ratio, *arguments) -> tf.Tensor:
    """B(ζ) with zeros for the right half."""
    found = log_ratio(*arguments)
    half = found.shape[1] // 2
    return tf.concat([found[:, :half], 0.0 * found[:, half:]], axis=1)


def jacobi(mean_field, coupling: tf.Tensor, left_field: tf.Tensor, right_field: tf.Tensor):
    """Mean field that updates both halves from the old ones."""
    left = right = tf.fill(left_field.shape, 0.5)
    for _ in range(5):
        product = tf.matmul(right, coupling, transpose_b=True)
        right = tf.sigmoid(tf.matmul(left, coupling) + right_field)
        left = tf.sigmoid(product + left_field)
    return mean_field(coupling, left_field, right_field)._replace(left=left, right=right)


# KL terms.
with fault("the entropy is averaged over units (dwave)", "TestFactorial.test_value_and_gradient"):
    wrapped("negative_entropy", lambda f, logits: f(logits) / float(logits.shape[-1]))
with fault("the closed form forgets the prior", STEP("dvaepp_exp-1-1", "dvae_spike_exp-1-5")):
    within("Factorial.__call__", "Prior.energy", lambda *_: 0.0)
with fault("DVAE++ has q for ν in the coupling term", SMOOTHED):
    within("Smoothed.__call__", "Smoothing.log_ratio", lambda _, self, relaxed: 0.0 * relaxed)
with fault("DVAE++ has ν for q in the bias term too", SMOOTHED):
    text("Smoothed.__call__", "matvec(«q.left → nu», params")
with fault("no gradient flows through ζ into ν", SMOOTHED):
    within("Smoothed.__call__", "Smoothing.log_ratio", stop)
with fault("one group has the KL of several", STEP("dvaepp_exp-1-1")):
    argument("methods.dvaepp", structure=lambda structure: replace(structure, num_groups=2))
with fault("several groups have the KL of one", STEP("dvaepp_exp-2-5")):
    argument("methods.dvaepp", structure=lambda structure: replace(structure, num_groups=1))
with fault("several groups of DVAE have the KL of one", SPIKES):
    argument("methods.dvae", structure=lambda structure: replace(structure, num_groups=1))
with fault("the correction of DVAE is left out", SPIKES):
    text("SpikeGradient.__call__", "params.left_bias + «correction *  → »product")
with fault("the last group of DVAE has spikes for q", SPIKES):
    within("SpikeGradient.__call__", "tf.where", lambda _, last, q, spikes: spikes)
with fault("the states of DVAE let gradients through", SPIKES):
    text("SpikeGradient.__call__", "states = «tf.stop_gradient → tf.identity»")
with fault("the field of DVAE lets gradients through", SPIKES):
    text("SpikeGradient.__call__", "«tf.stop_gradient → »(logits - field)")
with fault("the biases of DVAE stand at s instead of q", SPIKES):
    text("SpikeGradient.__call__", "energy(biases_only, «q_halves → s»)")
with fault("the relaxed KL forgets the posterior", RELAXED):
    wrapped("Relaxed.__call__", lambda f, *a: f(*a) - a[3].log_q)

# The mean-field prior.
with fault("the mean-field bound has no gradient of the couplings", MEAN_FIELD):
    text("relaxed_priors.mean_field_bound", "return «of_coupling → 0.0 * of_coupling»,")
with fault("mean field updates both halves from the old ones", MEAN_FIELD):
    wrapped("relaxed_priors.mean_field", jacobi)
with fault("the relaxed prior forgets B(ζ) of the right half", MEAN_FIELD):
    within("MeanFieldPrior.unnormalized_log_density", "Smoothing.log_ratio", without_right)
with fault("the relaxed prior forgets log r0", STEP("dvaes_exp-2-5", "dvaes_gauss-1-5")):
    text("relaxed_priors.mean_field_bound", "bound = bound« + base → » + entropy_of_means(left)")
with fault("the relaxed prior forgets half of the entropy", LOWER_BOUND, STEP("dvaes_exp-2-5")):
    text("relaxed_priors.mean_field_bound", "« + entropy_of_means(right) → »")
with fault("a kernel of mean field forgets log r0", KERNEL_BOUND):
    text("relaxed_priors.mean_field_bound", "bound += «base → 0.0 * base»")
with fault("a kernel of mean field takes halves too large", KERNEL_REFUSES):
    text("gpu_kernels.mean_field._form", "if «units <= padded → True» and")

# The Gaussian integral.
with fault("the Gaussian integral's λ has a gradient", "TestGaussianIntegral.test_gradient[rbm]"):
    within("gram_powers", "tf.stop_gradient", same)
with fault("the Gaussian integral forgets the determinant", INTEGRAL):
    result("log_det_identity_minus_gram", tf.zeros_like)
with fault("the Gaussian integral's determinant has no gradient", INTEGRAL):
    result("log_det_identity_minus_gram", tf.stop_gradient)
with fault("the Gaussian integral's quadratic form has the factor 1", INTEGRAL):
    text("GaussianIntegralPrior.unnormalized_log_density", "- «0.5 *  → »quadratic")
with fault("the Gaussian integral forgets λ/2 in the field", INTEGRAL):
    text("GaussianIntegralPrior.unnormalized_log_density", "rbm.left_bias« - 0.5 * scale → »")
