"""Faults of the prior's chains, of population annealing and of what estimates log Z."""

import contextlib
import math

import tensorflow as tf

from configs.registry import SAMPLERS
from tests.faults import argument, cases, entry, fault, result, text, value, within, wrapped
from tests.faults.common import BLOCKS, FOLLOW, STEP, WEIGHTS, negative, zeros

PCD, ENERGY = STEP("dvaepp_exp-1-5"), STEP("dvaepp_exp-1-1")
ALWAYS, BY_ESS = STEP("dvae_spike_exp-1-1"), STEP("dvaepp_exp-1-1")
UNBIASED = cases("test_log_partition_is_unbiased")
PLAIN = "test_log_mean_exp_and_ess_are_the_plain_formulas[0.0]"
STATIONARY = "test_stationary_moments[20000-dtype0-temperatures0]"
AIS = cases("test_annealed_importance_sampling")
UNIFORM, FITTED = AIS("rbm-uniform"), AIS("rbm-fitted")
BRIDGED = cases("test_energy_models.test_population_annealing")("graph-0.7", "made here-0.7")
ENUMERATION = cases("test_energy_models.test_enumeration")
BASE_IS_USED = "test_the_base_that_is_asked_for_is_used"
LINEAR = AIS("graph-fitted", "made here-fitted")
SWEPT = "path.sweep(state, counter_random.fold_in(key, step), new)"
COUNTED = cases("test_what_is_counted_is_a_whole_number_from_one")
STARTS = "test_a_run_keeps_the_layout_that_it_starts_with[cpu]"
NO_KERNEL = cases("test_what_no_kernel_does_is_done_without")
KERNEL_BITS = cases("test_bits_are_those_without_a_kernel")
SET = "test_what_is_set_counts_and_else_what_is_seen[gpu]"


def by_temperatures(f, model, params, base, key, num_chains=1024, num_temperatures=1000):
    """AIS whose sum of weights is divided by the number of temperatures, not of chains."""
    found = f(model, params, base, key, num_chains, num_temperatures)
    return found._replace(value=found.value + math.log(num_chains / num_temperatures))


# The prior's chains.
with fault("PCD starts anew at each step", PCD):
    argument("pcd.step", state=zeros)
with fault("one sweep fewer", PCD):
    argument("gibbs.sweeps", num_sweeps=lambda number: number - 1)
with fault("the sampler ignores --num_sweeps", PCD):
    argument("pcd.step", num_sweeps=lambda _: 40)
with fault("the sampler that --sampler names is not the one that runs", PCD):
    entry("SAMPLERS", "pcd", lambda _: SAMPLERS["pa"])
with fault("a class is drawn from the old state of the others (rbms)", STATIONARY):
    text("gibbs.sweeps", "«state → old = state; state» = [list", "[«state → old»[source][group]")
with fault("the left half is drawn with the right half's biases", PCD):
    text("RBM.blocks", "Block(params.«left → right»_bias, tf")
with fault("the couplings lie the other way round", PCD):
    text("RBM.blocks", "«tf.transpose → »(params.coupling)")
with fault("first chains are all zero", "test_uniform_chains_are_fair"):
    result("EnergyModel.start", zeros)
with fault("the energy has the wrong sign", ENERGY):
    result("RBM.energy", negative)
with fault("the energy forgets the right half's biases", ENERGY):
    argument("RBM.energy", params=lambda rbm: rbm._replace(right_bias=0.0 * rbm.right_bias))

# Boltzmann machines on graphs, and what is written for every model.
with fault("each coupling of a graph counts twice", ENUMERATION("graph")):
    text("BoltzmannMachine.energy", "order[None]) + «0.5 → 1.0» *")
with fault("the energy of a graph has its biases in another order", ENUMERATION("graph")):
    text("BoltzmannMachine.energy", "«_spread(params.bias, order[None]) → params.bias»")
with fault("a path keeps the energies of another state", "test_a_path_weighs_each_state_anew"):
    text("LinearPath.log_ratio", "if «state is not self._seen[0] → self._seen[0] is None»")
with fault("without couplings no sweep is taken", "test_units_without_edges"):
    text("BoltzmannMachine.sweeps", "least(num_sweeps, «1 → 0»)")
with fault("a class of a graph has the biases of another", "test_boltzmann.test_sweeps[products]"):
    text("BoltzmannMachine.blocks", "tf.gather(params.bias, «units → self.classes[0]»)")
with fault("classes are put together in the order of their units", "test_units_and_states"):
    wrapped("BoltzmannMachine.units", lambda _, self, state: tf.concat(state, axis=1))
with fault("the class that is summed out is left out", ENUMERATION("graph")):
    text("BoltzmannMachine.log_marginal", "«tf.nn.softplus(field) → 0.0 * field»")
with fault("sweeps on a path forget its base", "test_boltzmann.test_sweeps[products]"):
    argument("gibbs._field", base=lambda _: None)
with fault(
    "a base enters sweeps with the weight of the model", "test_boltzmann.test_sweeps[products]"
):
    text("gibbs._field", "base = «(1.0 - scale) → scale» * base")
with fault("a path weighs by the model's energy alone", LINEAR):
    text("LinearPath.__init__", "«model.independent(base) → model.independent(0.0 * base)»")
with fault("a path starts from fair bits", LINEAR):
    text("LinearPath.start", "broadcast_to(« → 0.0 * »self._base")
with fault("moments have the sign of the energy", ENUMERATION("made here")):
    text("EnergyModel.moments", "terms = «- → »self.energy")
with fault("bridges reweight the whole way", BRIDGED):
    text("population_annealing.step", "_reweight(state, «share * → » change")

# Population annealing.
with fault("weights have the wrong sign", STEP("dvaepp_exp-1-1", "dvae_spike_exp-1-1")):
    within("population_annealing.step", "RBM.energy", lambda f, *a: -f(*a))
with fault("weights do not carry over", BY_ESS):
    argument("_reweight", state=lambda state: state._replace(log_weights=zeros(state.log_weights)))
with fault("weights stay after resampling", ALWAYS):
    text("_reweight", "«tf.zeros_like → »(log_weights), tf")
with fault("the population is not resampled", ALWAYS):
    text("_reweight", "«resampled → kept»() if always")
with fault("the population is resampled whatever its ESS", BY_ESS):
    text("_reweight", "(ess < «threshold → 2.0» * size)")
with fault("the population sweeps at the old parameters", BY_ESS, ALWAYS):
    text("population_annealing.step", "model.sweeps(«here → origin»")
with fault("the population forgets which parameters it is at", UNBIASED("never")):
    text("population_annealing.step", "chains=chains«, params=here → »")
with fault("resampling and sweeps share a key", BLOCKS, BY_ESS):
    text("population_annealing.step", "state.chains, keys[«1 → 0»]")
with fault("the offspring of a weight is off by one place", "test_systematic_ancestors", ALWAYS):
    text("systematic_ancestors", "tf.minimum(below« →  + 1», size - 1)")
with fault("every member has a uniform number of its own", "test_systematic_ancestors"):
    text("systematic_ancestors", "uniform(key, [« → size»], shares")
with fault("log Z grows by the plain mean of new weights (SMC)", UNBIASED("never", "by ESS")):
    text("_reweight", "(«log_ratio → tf.math.log(tf.reduce_mean(tf.exp(change)))», tf.float64)")

# Estimators of log Z.
with fault("AIS sweeps before it weights (rbms)", UNIFORM):
    text("ais._anneal", f"path.log_ratio(«state → {SWEPT}», old")
with fault("AIS divides by the number of temperatures (TFP)", BASE_IS_USED):
    wrapped("ais.log_partition_estimate", by_temperatures)
with fault("the biases' part of AIS's weight has the wrong sign (blackjax)", UNIFORM):
    text("MarginalPath.log_ratio", "tf.reshape(«new - old → old - new», [-1])")
with fault("the fitted base is not clipped", "test_energy_models.test_bases"):
    argument("fitted_base", clip=lambda _: 1e-6)
with fault("the base's own log Z is left out", FITTED):
    result("base_log_partition", zeros)
with fault("AIS starts from fair bits whatever its base", FITTED):
    text("MarginalPath.start", "tf.broadcast_to(« → 0.0 * »self._left")
with fault("reverse AIS runs upwards", FITTED):
    within("ais._run_reverse", "tf.reverse", lambda _, values, axis: values)
with fault("AIS ends before the RBM", FITTED):
    argument("ais._anneal", temperatures=lambda values: values[:-1])
with fault("the mean of AIS's weights is taken of their logarithms", PLAIN):
    wrapped("log_mean_exp", lambda _, *arguments: tf.reduce_mean(*arguments))
with fault("the error of log Z is that of one chain", "test_log_mean_estimate_is_the_delta_method"):
    text("log_mean_estimate", "« / (count - 1.0) → »")
with fault("exact log Z forgets the left biases", "test_exact.test_log_partition[1.0-shape0]"):
    argument("left_log_marginal", params=lambda p: p._replace(left_bias=zeros(p.left_bias)))
with fault("the base of --ais_base is the other one", "test_bases_go_by_name"):
    text("make_base", 'name «= → !»= "fitted"')
with fault("the quick log Z has the uniform base", BASE_IS_USED):
    within("log_partition.estimate", "make_base", lambda f, _, *a: f("uniform", *a))
with fault("the result prefers AIS to the exact value", "test_exact_log_z_replaces_ais"):
    wrapped("LogPartition.best", lambda _, self: self.value)
with fault("the interval leaves out the reverse estimate", "test_disagreement_widens_it[7.5]"):
    text("LogPartition.interval", "if «abs(self.reverse - self.value) → -1.0» > Z95")

# Chains and AIS of undirected posteriors.
with fault("AIS of posteriors leaves out the constant of spins", WEIGHTS):
    text("row_rbms._anneal", "-0.«25 → 0» *")
with fault("AIS of posteriors leaves out half of its base", WEIGHTS):
    text("row_rbms._anneal", "for bias in (left_bias, «right_bias → »)")
with fault("AIS of posteriors sweeps at the temperature before", "test_weights_are_unbiased[2]"):
    text("row_rbms._anneal", "tf.cast(index« →  - 1», product.dtype)")
with fault("an image's chains are swept once less", "test_row_rbms.test_sweeps[1]", FOLLOW):
    argument("row_rbms.sweeps", num_sweeps=lambda number: number - 1)

# What is said of arguments that mean nothing.
with fault("nothing counts as a number", COUNTED("num_temperatures-linear", "num_sweeps-pcd")):
    argument("checks.whole", least=lambda least: least - 1)
with fault("AIS may end before 1", "test_temperatures_rise_from_0_to_1[(0.0, 0.5)]"):
    text("checks.temperatures", "known[-1] «!= → >» 1.0")

# What programs are laid out for.
with fault("a layout has another one's program", "test_no_layout_gets_the_program_of_another"):
    text("hardware.Program._current", 'key = «layout() → "cpu"»,')
with fault("a layout stays when its context is left", SET):
    result("hardware.use", contextlib.nullcontext)
with fault("a GPU is not seen", SET):
    text("hardware.layout", '"«gpu → cpu»" if')
with fault("a run is laid out for a CPU wherever it is", STARTS):
    text("isolation.isolated", "hardware.use(«hardware.layout() → 'cpu'»)")

# Where kernels of our own are taken, and what they are given.
with fault("a program is not made anew for kernels", "test_a_program_for_kernels_is_no_other"):
    text("hardware.Program._current", "«kernel_gpu() → None»")
with fault("programs for a CPU take a kernel", "test_only_a_gpu_that_can_hold_a_kernel_takes_it"):
    text("hardware.kernel_gpu", "if «on_gpu() → True»")
with fault("a kernel is taken beyond a GPU's memory", "test_only_a_gpu_that_holds_it_gets_it"):
    text("embedded.fits", "return «gpu.shared_memory >= kernel.shared_memory → True»")
with fault(
    "a kernel is held against no memory",
    "test_the_driver_says_what_a_gpu_can_hold",
):
    value("hardware._SHARED_MEMORY", 76)
with fault("a kernel leaves chains out", NO_KERNEL("model0-20-1-dtype0", "model1-5-1-dtype1")):
    text("gpu_kernels.sweeps.holds", "% «(4 * parts) → 1» == 0")
with fault("a kernel takes the chains for one part", KERNEL_BITS("sweeps_resident_128-plain")):
    argument("gpu_kernels.sweeps.sweeps", parts=lambda parts: 1)
with fault("a kernel knows no base", KERNEL_BITS("sweeps_streamed_128-path per chain")):
    argument("gpu_kernels.sweeps.sweeps", base=lambda base: None)
with fault("a kernel counts a matrix three times", KERNEL_BITS("sweeps_streamed_256-plain")):
    text("sweeps._parts", "rest -= «upper → 0.0 * upper»")
with fault("a kernel is given a matrix the other way", KERNEL_BITS("sweeps_streamed_128-plain")):
    argument("gpu_kernels.sweeps.sweeps", couplings=lambda both: both[::-1])
with fault("a kernel that cannot be is no error", "test_on_says_why_it_cannot_be[no GPU]"):
    text("gpu_kernel.taken", 'setting == "«on → none»"')
