"""Faults of the random numbers, and of draws that share theirs or leave some out."""

import tensorflow as tf

from tests.faults import argument, cases, fault, result, text, within, wrapped
from tests.faults.common import BLOCKS, COPIES, FOLLOW, SAMPLE_BINARY, STEP, WEIGHTS, one_key, same

VECTORS = "test_published_vectors[13-counter0-key0-expected0]"
KERNEL = cases("test_numbers_of_its_own")
METHOD = cases("test_no_method_draws_a_block_twice")
ONE, PCD = STEP("dvaes_exp-1-5"), STEP("dvaepp_exp-1-5")
REFERENCE = "test_numbers_are_those_of_the_reference[2-3-shape4]"
FOLDED = "test_fold_in_and_split_use_streams_of_their_own"

# The generator.
with fault("Threefry has twelve rounds", VECTORS, STEP("dvaes_exp-1-1")):
    argument("threefry_2x32", rounds=lambda rounds: rounds - 1)
with fault("fold_in forgets the number", FOLDED, ONE):
    argument("counter_random.fold_in", data=lambda _: 0)
with fault(
    "tensors under one key share their numbers",
    REFERENCE,
):
    argument("counter_random._blocks", stream=lambda _: 0)
with fault("bits of zero and one are exchanged", ONE):
    text("counter_random._hits", "+ u «< → >» 2.0")
with fault("the four draws of a block are one", "test_bits_of_a_block_shared_out", ONE):
    text("_four_draws", "«right_shift(word, _uint32(7 → left_shift(word, _uint32(6»)")
with fault("normal numbers have half the radius", STEP("dvaes_gauss-1-5")):
    result("counter_random.normal", lambda numbers: 0.5 * numbers)

# Sweeps.
with fault("both halves of a sweep share a stream", KERNEL("sweeps"), BLOCKS):
    text("gibbs.sweeps", "stream = num_classes * step« + index → »")
with fault("the two halves of the chains share their numbers", KERNEL("sweeps"), BLOCKS, PCD):
    text("gibbs._draw", "stream, «first_part → 0»)")
with fault("all sweeps draw the same numbers", BLOCKS, PCD):
    text("gibbs.sweeps", "stream = num_classes * «step → 0» +")
with fault("the population for log Z draws the numbers of the chains", BLOCKS):
    text("PriorChains.step", "keys[«1 → 0»],")
with fault("halves of image chains share a stream", KERNEL("rows, sweeps"), METHOD("dvaess_pwl")):
    text("row_rbms.sweeps", "2 * index« + 1 → »")
with fault("all sweeps of an image's chains are alike", "test_row_rbms.test_sweeps[2]", FOLLOW):
    text("row_rbms.sweeps", "«2 * index → 0» + 1", "«2 * index → 0»)")
with fault("samples of the prior have half of their sweeps", "test_samples_of_the_prior_part"):
    text("Prior.samples", "(SAMPLE_SWEEPS« →  // 2»)")

# AIS, tempering, population annealing, exact samples.
with fault("halves share streams in posterior AIS", KERNEL("rows, AIS"), COPIES("dvaess_pwl-1-12")):
    text("row_rbms._anneal", "left_logits, 2 * index« + 1 → »")
with fault("both halves of the base of posteriors share a stream", KERNEL("rows, AIS")):
    text("row_rbms._anneal", "base(right_bias, «1 → 0»)")
with fault("AIS of posteriors takes half of its temperatures", KERNEL("rows, AIS"), WEIGHTS):
    text("row_rbms._anneal", "index <= num_temperatures« →  // 2»")
with fault("both halves of AIS share a stream", KERNEL("AIS", "reverse AIS")):
    text("MarginalPath.sweep", "field, stream=«1 → 0»")
with fault("all temperatures of AIS share their numbers", KERNEL("AIS", "log Z, estimate")):
    within("ais._anneal", "counter_random.fold_in", same)
with fault("the quick log Z takes half of its temperatures", KERNEL("log Z, estimate")):
    argument("ais.log_partition_estimate", num_temperatures=lambda number: number // 2)
with fault("both bases of a table share a key", KERNEL("log Z, all")):
    text("log_z_table.estimators", "fitted, _TABLE_«FITTED → UNIFORM»")
with fault("swaps share numbers with sweeps", KERNEL("tempering, a round")):
    text("tempering.step", "uniform(keys[«1 → 0»], forward")
with fault("all ladders swap by the same numbers", KERNEL("tempering, a round")):
    text("tempering.step", "keys[1], forward.shape« → [1:]», f")
with fault("all rounds of tempering share their numbers", KERNEL("tempering")):
    within("tempering._run", "counter_random.fold_in", same)
with fault("tempering has no burn-in", KERNEL("log Z, all")):
    text("tempering.log_partition_estimate", "num_rounds «// 4 → * 0» if")
with fault("all bridges of a step share their numbers", KERNEL("population, bridged")):
    within("population_annealing.step", "counter_random.fold_in", same)
with fault("bridges take equal weights", "test_bridges_are_judged_by_the_weights_so_far[True-1]"):
    argument("_largest_bridge", log_weights=tf.zeros_like)
with fault("exact samples' halves share a key", KERNEL("exact samples", "log Z, measure exactly")):
    within("exact.samples", "counter_random.split", one_key)

# Methods.
with fault("groups share their numbers in evaluation", BLOCKS, COPIES("dvaes_exp-2-4")):
    within(SAMPLE_BINARY, "counter_random.fold_in", same)
with fault("images share the numbers of modes", "test_modes_of_images_are_counted_apart"):
    within("UndirectedEncoder.count_modes", "counter_random.fold_in", same)
with fault("groups of RODEO share their numbers", METHOD("rodeo")):
    within("Rodeo._slopes", "counter_random.fold_in", same)
with fault("all chains of an image start alike", METHOD("dvaess_pwl")):
    text("PersistentPosterior.init", "[num_images, «self.num_samples → 1», ")
    wrapped("PersistentPosterior.init", lambda f, *a: tf.repeat(f(*a), a[0].num_samples, 1))
