"""Faults of what draws: numbers that two halves, chains or steps share, and numbers left out."""

from tests.faults import change, constant, fault


def _kernel(*names: str) -> tuple[str, ...]:
    """Kernels of the samplers, by their names in the table of the test."""
    file = "samplers/test_independence.py"
    return tuple(f"{file}::test_numbers_of_its_own[{name}]" for name in names)


def _method(*names: str) -> tuple[str, ...]:
    """A step of a method."""
    file = "dvae/test_independence.py"
    return tuple(f"{file}::test_no_method_draws_a_block_twice[{name}]" for name in names)


_FILE = "dvae/test_independence.py::"
_ROWS = "dvae/test_independence.py::test_evaluation_of_equal_images_differs[dvaess_pwl-1-12]"

FAULTS = (
    fault(
        "both halves of a sweep share a stream",
        change("samplers.gibbs:sweeps", "2 * step + 1, group", "2 * step, group"),
        *_kernel("sweeps"),
    ),
    fault(
        "the two halves of the chains share their numbers",
        change("samplers.gibbs:_draw", "stream, first_part)", "stream, 0)"),
        *_kernel("sweeps"),
    ),
    fault(
        "both halves of an image's chains share a stream",
        change("samplers.row_rbms:sweeps", "2 * index + 1", "2 * index"),
        *_kernel("rows, sweeps"),
        *_method("dvaess_pwl"),
    ),
    fault(
        "both halves share a stream in AIS of posteriors",
        change("samplers.row_rbms:_anneal", "left_logits, 2 * index + 1", "left_logits, 2 * index"),
        *_kernel("rows, AIS"),
        _ROWS,
    ),
    fault(
        "both halves of the base of posteriors share a stream",
        change("samplers.row_rbms:_anneal", "base(right_bias, 1)", "base(right_bias, 0)"),
        *_kernel("rows, AIS"),
    ),
    fault(
        "AIS of posteriors takes half of its temperatures",
        change(
            "samplers.row_rbms:_anneal",
            "index <= num_temperatures",
            "index <= num_temperatures // 2",
        ),
        *_kernel("rows, AIS"),
    ),
    fault(
        "both halves of AIS share a stream",
        change("samplers.ais:_log_weight_and_sweep", "left_field, stream=1", "left_field"),
        *_kernel("AIS", "reverse AIS"),
    ),
    fault(
        "all temperatures of AIS share their numbers",
        change("samplers.ais:_anneal", "counter_random.fold_in(key, step)", "key"),
        *_kernel("AIS", "log Z, estimate"),
    ),
    fault(
        "the quick log Z takes half of its temperatures",
        change(
            "samplers.ais:log_partition_estimate",
            "linear_temperatures(num_temperatures,",
            "linear_temperatures(num_temperatures // 2,",
        ),
        *_kernel("log Z, estimate"),
    ),
    fault(
        "both bases of a table share a key",
        change("samplers.log_partition:estimators", "keys[_TABLE_FITTED]", "keys[_TABLE_UNIFORM]"),
        *_kernel("log Z, all"),
    ),
    fault(
        "swaps share numbers with sweeps",
        change("samplers.tempering:step", "stream=2", "stream=0"),
        *_kernel("tempering, a round"),
    ),
    fault(
        "all ladders swap by the same numbers",
        change("samplers.tempering:step", "key, forward.shape, f", "key, forward.shape[1:], f"),
        *_kernel("tempering, a round"),
    ),
    fault(
        "all rounds of tempering share their numbers",
        change("samplers.tempering:_run", "counter_random.fold_in(keys[1], now)", "keys[1]"),
        *_kernel("tempering"),
    ),
    fault(
        "tempering has no burn-in",
        change("samplers.tempering:log_partition_estimate", "num_rounds // 4 if", "0 if"),
        *_kernel("log Z, all"),
    ),
    fault(
        "all bridges of a step share their numbers",
        change("samplers.population_annealing:step", "counter_random.fold_in(key, index)", "key"),
        *_kernel("population, bridged"),
    ),
    fault(
        "bridges are judged as if weights were equal",
        change(
            "samplers.population_annealing:_largest_bridge",
            "tf.nn.log_softmax(log_weights)",
            "tf.nn.log_softmax(0.0 * log_weights)",
        ),
        "samplers/test_population_annealing.py::"
        "test_bridges_are_judged_by_the_weights_so_far[True-1]",
    ),
    fault(
        "both halves of an exact sample share a key",
        change("samplers.exact:samples", "keys[1], logits", "keys[0], logits"),
        *_kernel("exact samples", "log Z, measure exactly"),
    ),
    fault(
        "groups share their numbers in evaluation",
        change("dvae.encoder:Encoder.sample_binary", "counter_random.fold_in(key, group)", "key"),
        _FILE + "test_evaluation_of_equal_images_differs[dvaes_exp-2-4]",
    ),
    fault(
        "images whose modes are counted share their numbers",
        change(
            "dvae.undirected:UndirectedEncoder.count_modes",
            "counter_random.fold_in(key, first)",
            "key",
        ),
        _FILE + "test_modes_of_images_are_counted_apart",
    ),
    fault(
        "uniform + exponential chooses by the number that it returns",
        change("dvae.smoothing:UniformExponential.sample_at_0", "keys[1], shape", "keys[0], shape"),
        *_method("dvaes_unexp"),
    ),
    fault(
        "groups of RODEO share their numbers",
        change("dvae.rodeo:Rodeo._forward", "counter_random.fold_in(key, group)", "key"),
        *_method("rodeo"),
    ),
    fault(
        "all chains of an image start alike",
        change(
            "dvae.persistent_posterior:PersistentPosterior.init_states",
            "[num_images, model.config.k, model",
            "[num_images, 1, model",
            "tf.cast(signs < 0, tf.uint8)",
            "tf.repeat(tf.cast(signs < 0, tf.uint8), model.config.k, axis=1)",
        ),
        *_method("dvaess_pwl"),
    ),
    fault(
        "all evaluations draw the same samples",
        change(
            "dvae.runs.monitor:Monitor._key",
            "self._run_key, stream), step)",
            "self._run_key, stream), 0)",
        ),
        _FILE + "test_no_block_is_drawn_twice",
    ),
    fault(
        "the final likelihood takes the samples of the validation",
        change("dvae.runs.result:evaluate_model", "config.eval_iw_samples,", "SELECTION_SAMPLES,"),
        _FILE + "test_as_many_samples_as_asked_for",
    ),
    fault(
        "samples of the prior have half of their sweeps",
        change("dvae.priors:RBMPrior.samples", "(SAMPLE_SWEEPS)", "(SAMPLE_SWEEPS // 2)"),
        _FILE + "test_samples_of_the_prior_part",
    ),
    fault(
        "families are counted anew at every step",
        constant("dvae.prior_sampler:FAMILY_WINDOW", 1),
        "dvae/test_priors.py::test_families_are_counted_anew_every_hundred_steps",
    ),
)
