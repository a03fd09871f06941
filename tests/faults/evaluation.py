"""Faults of the test likelihood."""

from tests.faults import change, fault

INDEPENDENT = "dvae/test_independence.py::test_no_block_is_drawn_twice"


ENUMERATION = "dvae/test_evaluation.py::TestAgainstEnumeration::test_per_image"


PLACES = "dvae/test_evaluation.py::test_batches_and_passes_change_no_number"


COPIES = "dvae/test_independence.py::test_evaluation_of_equal_images_differs[dvaes_exp-2-4]"

FAULTS = (
    fault(
        "the prior is left out of the importance weights",
        change("dvae.evaluation:Evaluator.log_weights", "log_prior - log_q", "-log_q"),
        ENUMERATION,
    ),
    fault(
        "log q is left out of the importance weights",
        change("dvae.evaluation:Evaluator.log_weights", "log_prior - log_q", "log_prior"),
        ENUMERATION,
    ),
    fault(
        "the NLL forgets the number of samples",
        change("dvae.evaluation:Evaluator.per_image", " - math.log(num_samples))", ")"),
        ENUMERATION,
    ),
    fault(
        "samples beyond the number asked for count",
        change(
            "dvae.evaluation:Evaluator._batch",
            "samples < num_samples",
            "samples < num_samples + per_pass",
        ),
        "dvae/test_evaluation.py::TestDeterministic::test_batches[700-4]",
    ),
    fault(
        "all passes of an evaluation draw the same samples",
        change(
            "dvae.evaluation:Evaluator._batch",
            "fold_in(image_keys[:, None], samples)",
            "fold_in(image_keys[:, None], tf.range(per_pass))",
        ),
        PLACES + "[11-22]",
    ),
    fault(
        "all batches of an evaluation draw the same samples",
        change(
            "dvae.evaluation:Evaluator.per_image", "tf.constant(starts[index])", "tf.constant(0)"
        ),
        INDEPENDENT,
        COPIES,
    ),
    fault(
        "the samples of an image follow its batch",
        change(
            "dvae.evaluation:Evaluator.per_image",
            "tf.constant(starts[index])",
            "tf.constant(index * 1000)",
        ),
        PLACES + "[4-800]",
    ),
    fault(
        "a single sample has an error of 0",
        change("dvae.evaluation:Evaluator.per_image", "math.nan", "0.0"),
        "dvae/test_evaluation.py::TestDeterministic::test_batches[1-11]",
    ),
    fault(
        "the last short batch is left out",
        change(
            "dvae.evaluation:Evaluator.per_image",
            "range(0, len(images), batch_size)",
            "range(0, len(images) - len(images) % batch_size, batch_size)",
        ),
        "dvae/test_evaluation.py::TestDeterministic::test_batches[700-4]",
    ),
    fault(
        "padding counts as images",
        change(
            "dvae.evaluation:Evaluator.per_image", "[: len(batch)] for s in sums", "for s in sums"
        ),
        "dvae/test_evaluation.py::TestDeterministic::test_batches[700-4]",
    ),
    fault(
        "the decoder moves its averages in evaluation",
        change("dvae.evaluation:Evaluator.log_weights", "training=False", "training=True"),
        ENUMERATION,
    ),
    fault(
        "the encoder uses batch statistics in evaluation",
        change("dvae.encoder:Encoder.sample_binary", "num_samples, False)", "num_samples, True)"),
        ENUMERATION,
    ),
    fault(
        "the streaming sum forgets to rescale",
        change("dvae.evaluation:_add", "sums.first * scale", "sums.first"),
        "dvae/test_evaluation.py::test_streaming_sums",
    ),
    fault(
        "the error of the NLL is that of one image",
        change(
            "dvae.evaluation:reduce_images",
            "np.sqrt(np.sum(per_image.variance)) / count",
            "np.sqrt(np.sum(per_image.variance) / count)",
        ),
        "dvae/test_evaluation.py::test_reduce_images_divides_by_the_count",
    ),
    fault(
        "rows beyond the first hundred are drawn as those",
        change(
            "dvae.runs.trained_model:_block_key",
            "counter_random.fold_in(key, block) if block else key",
            "key",
        ),
        "runs/test_isolation.py::test_any_number_is_compiled_once",
    ),
)
