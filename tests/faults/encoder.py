"""Faults of the encoder."""

from tests.faults import change, fault, one_step

INDEPENDENT = "dvae/test_independence.py::test_no_block_is_drawn_twice"

FAULTS = (
    fault(
        "images are not centred",
        change(
            "dvae.encoder:Encoder.image_products",
            "images - self._mean",
            "images + 0.0 * self._mean",
        ),
        *one_step("dvaes_exp-1-5"),
    ),
    fault(
        "all groups draw from one key in training",
        change("dvae.encoder:Encoder.sample", "counter_random.fold_in(key, group)", "key"),
        *one_step("dvaes_exp-2-5"),
        INDEPENDENT,
    ),
    fault(
        "all groups draw from one key in evaluation",
        change("dvae.encoder:Encoder.sample_binary", "counter_random.fold_in(key, group)", "key"),
        INDEPENDENT,
    ),
    fault(
        "later groups see binary latents in training",
        change(
            "dvae.encoder:Encoder.sample",
            "group, relaxed, num_samples",
            "group, [tf.round(r) for r in relaxed], num_samples",
        ),
        *one_step("dvaes_exp-2-5"),
    ),
    fault(
        "no gradient flows into earlier groups",
        change(
            "dvae.encoder:Encoder.sample",
            "group, relaxed, num_samples",
            "group, [tf.stop_gradient(r) for r in relaxed], num_samples",
        ),
        *one_step("dvaes_exp-2-5"),
    ),
    fault(
        "samples are tiled where images are repeated",
        change(
            "dvae.encoder:Encoder.group_params",
            "tf.repeat(output, num_samples, axis=0)",
            "tf.tile(output, [num_samples, 1])",
        ),
        *one_step("dvaes_exp-1-5"),
    ),
    fault(
        "images are tiled in later groups",
        change(
            "dvae.encoder:Encoder.group_params",
            "tf.repeat(products[group], num_samples, axis=0)",
            "tf.tile(products[group], [num_samples, 1])",
        ),
        *one_step("dvaes_exp-2-5"),
    ),
    fault(
        "later groups do not see the image",
        change(
            "dvae.encoder:Encoder.group_params",
            "tf.repeat(products[group], num_samples, axis=0)",
            "0.0 * tf.repeat(products[group], num_samples, axis=0)",
        ),
        *one_step("dvaes_exp-2-5"),
    ),
    fault(
        "log q is averaged over units",
        change(
            "dvae.encoder:with_log_density",
            "tf.reduce_sum(log_density",
            "tf.reduce_mean(log_density",
        ),
        *one_step("dvaes_exp-1-5"),
    ),
    fault(
        "no gradient flows through log q",
        change(
            "dvae.encoder:with_log_density",
            "posterior.log_density(relaxed, params)",
            "tf.stop_gradient(posterior.log_density(relaxed, params))",
        ),
        *one_step("dvaes_exp-1-5"),
    ),
    fault(
        "log q of the last group alone counts in evaluation",
        change("dvae.encoder:Encoder.sample_binary", "log_prob += log_b", "log_prob = log_b"),
        "dvae/test_evaluation.py::TestAgainstEnumeration::test_per_image",
        "dvae/test_networks.py::TestEncoder::test_binary_samples",
    ),
    fault(
        "the encoder starts from the networks of another seed",
        change(
            "dvae.encoder:Encoder.__init__", "layer_seed(seed, 1, group)", "layer_seed(seed, 1)"
        ),
        "dvae/test_networks.py::TestEncoder::test_groups_start_from_weights_of_their_own",
    ),
)
