"""Faults of priors on graphs: their edges, their sweeps, what methods make of them, tempering."""

import tensorflow as tf

from tests.faults import argument, cases, fault, result, text, within, wrapped
from tests.faults.common import negative

BAD = cases("test_graphs.test_bad_files")
SWEPT, FIELDS = cases("test_boltzmann.test_sweeps"), cases("test_fields_of_classes")
LOOP = "test_a_loop_of_one_temperature"
SAME = cases("test_of_an_rbm_they_are_its_own")
BOUND = cases("TestMeanField.test_value_and_bound")
INTEGRAL = "TestGaussianIntegral.test_value[strip-1.0-5.0]"
COLD, LADDER = "test_the_cold_ends_sample_the_model", "test_the_ladder_adapts_after_a_window"


def all_at_once(_, model, params, fields: tf.Tensor) -> tf.Tensor:
    """Mean field that updates all classes from the old means."""
    means = tf.fill(fields.shape, 0.5)
    for _ in range(5):
        means = tf.sigmoid(model.field(params, means) + fields)
    return means


# Edges, and where they are kept.
with fault("a part of a graph grows in all directions alike", "test_part_of_a_graph"):
    text("graphs.part", "key=lambda node: («-inside[node] → 0», away")
with fault("a part of a graph forgets colours", "test_part_of_a_graph"):
    text("graphs.part", "key=lambda node: («graph.colour[node] → 0», node)")
with fault("parts of a graph are joined within", "test_graphs.test_named"):
    text("graphs.partite", "if part[i] «!= → ==» part[j]")
with fault("an edge may be in a file twice", BAD("twice")):
    text("graphs.read_edges", "if seen.setdefault(edge, number) «!= number → is None»")
with fault("a file's nodes may be apart", BAD("disconnected")):
    text("graphs.read_edges", "if len(reached) «< → >» num_nodes")
with fault("a node may be joined to itself", BAD("self-loop")):
    text("graphs._checked_edge", "if i «== → > » j")
with fault("a run's directory does not say its prior", "test_a_record_without_a_prior_is_an_rbm"):
    text("ExperimentConfig.run_directory", 'if self.prior «!= → ==» "rbm"')
with fault("--prior is not heeded", "test_a_record_without_a_prior_is_an_rbm"):
    wrapped("graphs.with_prior", lambda f, structure, _: f(structure, "rbm"))
with fault("a configuration forgets its edges", "test_a_file_in_a_configuration"):
    text("ExperimentConfig.to_json", "if «not self.structure.edges → True»")

# Sweeps over classes in a loop.
with fault("a missing neighbour is the first unit", FIELDS("lists")):
    text("class_loop.layout_of", "fill) for fill in («end, len(edges) → 0, 0»))")
with fault("units that no edge joins have the first coupling", FIELDS("rows")):
    text("class_loop.layout_of", "for fill in (end, «len(edges) → 0»))")
with fault("all classes of a loop have the first one's biases", SWEPT("lists", "rows")):
    text("class_loop.sweeps", "state, index) + bias[«index → 0»]")
with fault("classes of a loop share random numbers", SWEPT("lists", "rows")):
    text("class_loop.sweeps", "bernoulli_exponents(key, exponents, «step → 0», group)")
with fault("halves of the chains share random numbers", LOOP):
    text("class_loop.sweeps", "exponents, step, «group → 0»)")
with fault("a temperature leaves biases of a loop as they are", LOOP):
    text("class_loop.sweeps", "scale * weights, «scale * bias → bias»")
with fault("sweeps of a loop forget their base", SWEPT("lists", "rows")):
    argument("class_loop.sweeps", base=lambda _: None)

with fault("bits of spins forget their couplings' share of the biases", "test_bits_and_spins"):
    text("boltzmann.bits", "2.0 * field« - 2.0 * _sums(model, coupling) → »")

# What methods make of them.
with fault("DVAE++ on a graph has q for ν", SAME("smoothed")):
    within("SmoothedGroups.__call__", "Smoothing.log_ratio", lambda _, self, zeta: 0.0 * zeta)
with fault("DVAE++ on a graph has ν for q in the later group", SAME("smoothed")):
    text("SmoothedGroups.__call__", "tf.where(group == index, «q → nu», before)")
with fault("DVAE on a graph corrects nothing", SAME("spike")):
    text("SpikeGroups.__call__", "part + «correction *  → »(whole - part)")
with fault("the biases of DVAE on a graph stand at s", SAME("spike")):
    text("SpikeGroups.__call__", "energy(biases, tf.stop_gradient(«q → states»))")
with fault("fields have the sign of the energy", SAME("spike")):
    result("EnergyModel.field", negative)
with fault("mean field on a graph updates all classes at once", BOUND("strip-lists", "strip-rows")):
    wrapped("graph_relaxed_priors.mean_field", all_at_once)
with fault("mean field on a graph forgets B(ζ)", BOUND("strip-products", "strip-lists")):
    argument("graph_relaxed_priors.mean_field", fields=lambda fields: 0.0 * fields)
with fault("λ of a graph is made of the spectral norm", "test_the_spectrum_is_not_symmetric"):
    text(
        "GraphGaussianIntegralPrior.precision",
        "least = «_largest(powers, _SHIFTED_SQUARINGS - 1) - shift → shift»",
    )
with fault("the Gaussian integral of a graph forgets the determinant", INTEGRAL):
    result("log_det_precision", tf.zeros_like)
with fault(
    "the determinant of a graph has no gradient", "TestGaussianIntegral.test_gradient[strip]"
):
    result("log_det_precision", tf.stop_gradient)

# Parallel tempering in training.
with fault("the hot ends feed the gradient", COLD):
    text("ParallelTempering._cold", "part[«count - 1 → 0» :: count]")
with fault("the ladder moves at a window's start", LADDER):
    text("ParallelTempering.step", "LADDER_WINDOW == «LADDER_WINDOW - 1 → 0»")
with fault("the ladder moves the whole way", LADDER):
    text("ParallelTempering.step", "«0.5 * (state.temperatures + wanted) → wanted»")
with fault("a window counts the rounds of those before", LADDER):
    text("ParallelTempering.step", "tf.where(adapt, «0.0 → rounds», rounds)")
with fault(
    "the ladder spreads acceptances", cases("test_equal_rejections")("[0.1, 0.4, 0.2, 0.3]")
):
    argument("equal_rejections", rejections=lambda rejections: 1.0 - rejections)
