"""Faults of the prior's chains, of population annealing and of what estimates log Z."""

import math

import tensorflow as tf

from configs.registry import SAMPLERS
from samplers import counter_random
from samplers.rbm import Chains
from tests.faults import argument, cases, entry, fault, result, text, value, within, wrapped
from tests.faults.common import BLOCKS, STEP, negative, zeros

PCD, ENERGY = STEP("dvaepp_exp-1-5"), STEP("dvaepp_exp-1-1")
ALWAYS, BY_ESS = STEP("dvae_spike_exp-1-1"), STEP("dvaepp_exp-1-1")
UNBIASED = cases("test_log_partition_is_unbiased")
FORWARD = cases("test_forward_is_unbiased")
REVERSE = "test_reverse_from_exact_samples_is_unbiased[arbitrary]"
PLAIN = "test_log_mean_exp_and_ess_are_the_plain_formulas[0.0]"
STATIONARY = "test_stationary_moments[20000-dtype0]", "test_exact_samples_stay_exact[1]"
FAIR = "test_uniform_chains_are_fair", "test_init_is_fair"
WEIGHTS = (
    "test_weights_are_unbiased[1]",
    "test_undirected.TestEvaluation.test_likelihood_is_unbiased[1]",
)
FOLLOW = "test_persistent_posterior.TestChains.test_follow"
COUNTED = cases("test_what_is_counted_is_a_whole_number_from_one")


def from_old_halves(_, rbm, chains, key, num_sweeps, inverse_temperature=1.0, concurrent=None):
    """Both halves are drawn from the old state at once: their means are right, not their joint."""
    scale = tf.cast(inverse_temperature, rbm.coupling.dtype)

    def body(step, left, right):
        to_left = rbm.left_bias + tf.matmul(right, rbm.coupling, transpose_b=True)
        fields = to_left, rbm.right_bias + tf.matmul(left, rbm.coupling)
        draw = counter_random.bernoulli_logits
        return step + 1, *(draw(key, scale * f, 2 * step + i) for i, f in enumerate(fields))

    start = tf.constant(0), chains.left, chains.right
    return Chains(*tf.while_loop(lambda step, *_: step < num_sweeps, body, start)[1:])


def by_temperatures(f, rbm, base, key, num_chains=1024, num_temperatures=1000):
    """AIS whose sum of weights is divided by the number of temperatures, not of chains."""
    found = f(rbm, base, key, num_chains, num_temperatures)
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
with fault("the right half is drawn from the old left half (rbms)", STATIONARY):
    wrapped("gibbs.sweeps", from_old_halves)
with fault("the left half is drawn with the right half's biases", PCD):
    text("gibbs._sides", "to_left = rbm.«left → right»_bias")
with fault("the couplings lie the other way round", PCD):
    text("gibbs._sides", "«tf.transpose → »(rbm.coupling)")
with fault("first chains are all zero", FAIR):
    result("uniform_chains", zeros)
with fault("the energy has the wrong sign", ENERGY):
    result("rbm.energy", negative)
with fault("the energy forgets the right half's biases", ENERGY):
    argument("rbm.energy", rbm=lambda rbm: rbm._replace(right_bias=0.0 * rbm.right_bias))

# Population annealing.
with fault("weights have the wrong sign", STEP("dvaepp_exp-1-1", "dvae_spike_exp-1-1")):
    within("population_annealing.step", "rbm.energy", lambda f, *a: -f(*a))
with fault("weights do not carry over", BY_ESS):
    argument("_reweight", state=lambda state: state._replace(log_weights=zeros(state.log_weights)))
with fault("weights stay after resampling", ALWAYS):
    text("_reweight", "«tf.zeros_like → »(log_weights), tf")
with fault("the population is not resampled", ALWAYS):
    text("_reweight", "«resampled → kept»() if always")
with fault("the population is resampled whatever its ESS", BY_ESS):
    text("_reweight", "(ess < «threshold → 2.0» * size)")
with fault("the population sweeps at the old parameters", BY_ESS, ALWAYS):
    text("population_annealing.step", "gibbs.sweeps(«here → origin»")
with fault("the population forgets which parameters it is at", UNBIASED("never")):
    text("population_annealing.step", "chains=chains«, rbm=here → »")
with fault("resampling and sweeps share a key", BLOCKS, BY_ESS):
    text("population_annealing.step", "state.chains, keys[«1 → 0»]")
with fault("the offspring of a weight is off by one place", "test_systematic_ancestors", ALWAYS):
    text("systematic_ancestors", "tf.cumsum(ends[:size])« →  + 1»")
with fault("every member has a uniform number of its own", "test_systematic_ancestors"):
    text("systematic_ancestors", "uniform(key, [« → size»], log")
with fault("log Z grows by the plain mean of new weights (SMC)", UNBIASED("never", "by ESS")):
    text("_reweight", "tf.cast(«log_ratio → log_mean_exp(change)», tf.float64)")
with fault("a separate population is never bridged", "test_separate[4.0-True]"):
    value("_TRACKER_BRIDGE_ESS", 0.0)

# Estimators of log Z.
with fault("AIS sweeps before it weights (rbms)", FORWARD("uniform"), REVERSE):
    wrapped("ais._log_weight_and_sweep", lambda f, r, b, z, *a: f(r, b, f(r, b, z, *a)[1], *a))
with fault("AIS divides by the number of temperatures (TFP)", "test_ais.test_estimate"):
    wrapped("ais.log_partition_estimate", by_temperatures)
with fault("the biases' part of AIS's weight has the wrong sign (blackjax)", FORWARD("uniform")):
    text("ais._log_weight_and_sweep", "increment = («new - old → old - new»)")
with fault("the fitted base is not clipped", "test_ais.test_bases"):
    value("_BASE_MEAN_CLIP", 1e-6)
with fault("the base's own log Z is left out", FORWARD("arbitrary")):
    result("base_log_partition", zeros)
with fault("AIS starts from fair bits whatever its base", FORWARD("arbitrary")):
    text("ais._run", "tf.broadcast_to(« → 0.0 * »base.left_bias")
with fault("reverse AIS runs upwards", REVERSE):
    within("ais._run_reverse", "tf.reverse", lambda _, values, axis: values)
with fault("AIS ends before the RBM", FORWARD("arbitrary")):
    argument("ais._anneal", temperatures=lambda values: values[:-1])
with fault("the mean of AIS's weights is taken of their logarithms", PLAIN):
    wrapped("log_mean_exp", lambda _, log_weights: tf.reduce_mean(log_weights))
with fault("the error of log Z is that of one chain", "test_log_mean_estimate_is_the_delta_method"):
    text("log_mean_estimate", "« / (count - 1.0) → »")
with fault("exact log Z forgets the left biases", "test_exact.test_log_partition[1.0-shape0]"):
    argument("left_log_marginal", rbm=lambda rbm: rbm._replace(left_bias=zeros(rbm.left_bias)))
with fault("the base of --ais_base is the other one", "test_bases_go_by_name"):
    text("make_base", 'name «= → !»= "fitted"')
with fault("the quick log Z has the uniform base", "test_the_base_that_is_asked_for_is_used"):
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
with fault("AIS of posteriors sweeps at the temperature before", "test_weighted_states"):
    text("row_rbms._anneal", "tf.cast(index« →  - 1», product.dtype)")
with fault("an image's chains are swept once less", "test_row_rbms.test_sweeps[1]", FOLLOW):
    argument("row_rbms.sweeps", num_sweeps=lambda number: number - 1)

# What is said of arguments that mean nothing.
with fault("nothing counts as a number", COUNTED("num_temperatures-linear", "num_sweeps-pcd")):
    argument("checks.whole", least=lambda least: least - 1)
with fault("AIS may end before 1", "test_temperatures_rise_from_0_to_1[half of the way]"):
    text("checks.temperatures", "known[-1] «!= → >» 1.0")
