"""Faults of constants: each is another number, in one place."""

import signal

from tests.faults import cases, entry, fault, value
from tests.faults.common import SAMPLES, STEP

CONSTANT, MODES = cases("test_constant"), cases("test_slow_means")
EVALUATION, WARM_UP = "test_published.test_evaluation", "test_kl_weight"
WATCHED = cases("test_a_watch_knows_every_one")
GIVEN = cases("test_relaxed_at_given_uniform_numbers")
CONCRETE, LINEAR = GIVEN("Concrete-concrete-4.0"), GIVEN("PiecewiseLinear-piecewise_linear-4.0")
ONE, MEAN_FIELD = STEP("dvaes_exp-1-5"), STEP("dvaes_exp-2-5", "dvaes_gauss-1-1")
STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
ROTATED = (13, 15, 26, 6, 17, 29, 16, 25)
STAGES = ((0.02, 10.0), (0.6, 1.0), (0.75, 3.0), (0.95, 10.0), (1.0, 30.0))
FOR_ALL, COUPLING = {"momentum": 0.8, "epsilon": 1e-2}, CONSTANT("COUPLING_NORM")
NO_KL = cases("test_log_partition_completes_the_metrics")("dvae_spike_exp-1-train/neg_elbo-None")

for name, new, *tests in (
    # What the papers say, and the 2018 command line.
    ("KERNEL_INIT_GAIN", 2.0, CONSTANT("KERNEL_INIT_GAIN")),
    ("WEIGHT_DECAY", 1e-5, CONSTANT("WEIGHT_DECAY"), ONE),
    ("MEAN_CLIP", (0.01, 0.99), CONSTANT("MEAN_CLIP"), ONE),
    ("KL_WARMUP_FRACTION", 0.29, WARM_UP, STEP("dvae_spike_exp-2-5")),
    ("LEARNING_RATE_STAGES", STAGES, CONSTANT("LEARNING_RATE_STAGES"), STEP("dvaepp_power-2-1")),
    ("MEAN_FIELD_ITERATIONS", 4, MEAN_FIELD),
    ("LAMBDA_MARGIN", 1.0, STEP("dvaes_gi-1-5")),
    ("SELECTION_SAMPLES", 10, EVALUATION, SAMPLES),
    # Of posteriors and smoothing distributions.
    ("POWER_OFFSET", 1e-5, "test_power_at_its_ends"),
    ("UNIFORM_SHARE", 0.1, STEP("dvaes_unexp-1-5")),
    ("SPIKE_CLIP", 1e-4, "test_clipped_at_the_ends"),
    ("SPIKE_Q_CLIP", 0.99, "test_clips"),
    ("SHIFTED_Q_CLIP", 1e-3, "TestShiftedGaussian.test_log_density"),
    ("CONCRETE_CLIP", 1e-3, CONCRETE),
    ("SLOPE_OFFSET", 1e-3, LINEAR, STEP("pwl-1-1")),
    ("COUPLING_NORM", FOR_ALL, "test_statistics_of_couplings_move_slowly", COUPLING),
    ("POSTERIOR_TEMPERATURES", 100, "test_temperatures_of_a_posterior"),
    ("MODE_HITS", 4, "test_hits"),
    ("MODE_ITERATIONS", 20, MODES("0.955-1")),
    ("MODE_ROUNDING", 0.02, MODES("0.965-2")),
    ("MOST_MULTISETS", 2**24, "TestTooManyStates.test_limits[2-8]"),
    # Of samplers and random numbers.
    ("_ROTATIONS", ROTATED, "test_published_vectors[13-counter0-key0-expected0]"),
    ("FAMILY_WINDOW", 1, "test_families_are_counted_anew_every_hundred_steps"),
    ("_TRACKER_BRIDGE_ESS", 0.0, "test_separate[4.0-True]"),
    # Of data and runs.
    ("BINARISATION_SEED", 0, "test_omniglot_is_transposed_split_and_binarised"),
    ("SPLIT_SEED", 1, "test_the_digits_are_always_the_same"),
    ("LEASE_SECONDS", 45.0, "test_lock"),
    ("signals.STOPPING", STOPPING, WATCHED("SIGUSR2", "SIGXCPU")),
    # Of metrics: what is no KL is called one, and has log Z in it.
    ("GradientOnly.name", "obj/kl", NO_KL),
    ("GradientOnly.log_partition", 1.0, NO_KL),
):
    with fault(f"{name} is {new}", *tests):
        value(name, new)

# Keras' own numbers, and others of Adam.
for table, key, new, step in (
    ("BATCH_NORM", "momentum", 0.99, "dvaepp_exp-1-1"),
    ("BATCH_NORM", "epsilon", 1e-3, "dvaepp_exp-1-1"),
    ("ADAM", "beta_1", 0.5, "dvaes_exp-1-5"),
    ("ADAM", "beta_2", 0.99, "dvaes_exp-1-5"),
    ("ADAM", "epsilon", 1e-7, "dvaes_exp-1-5"),
):
    with fault(f"{key} of {table} is {new}", CONSTANT(table), STEP(step)):
        entry(f"paper.{table}", key, lambda _, new=new: new)
