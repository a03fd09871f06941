"""Faults of decoder and likelihood."""

from tests.faults import change, constant, fault, one_step

FAULTS = (
    fault(
        "the decoder has no offset",
        change("dvae.decoder:Decoder.outputs", " + self._offset", ""),
        *one_step("dvaes_exp-1-5"),
    ),
    fault(
        "the offset is the mean itself",
        change("dvae.likelihood:Bernoulli.offset", "np.log(mean) - np.log1p(-mean)", "mean"),
        *one_step("dvaes_exp-1-5"),
    ),
    fault(
        "the mean is clipped elsewhere",
        constant("configs.paper:MEAN_CLIP", (0.01, 0.99)),
        "configs/test_constants.py::test_constant[MEAN_CLIP]",
        *one_step("dvaes_exp-1-5"),
    ),
    fault(
        "log p(x|z) is averaged over pixels in training",
        change("dvae.likelihood:Bernoulli.log_prob", "-tf.reduce_sum(loss", "-tf.reduce_mean(loss"),
        *one_step("dvaes_exp-1-5"),
    ),
    fault(
        "log p(x|z) has the wrong sign",
        change("dvae.likelihood:Bernoulli.log_prob", "return -tf", "return tf"),
        *one_step("dvaes_exp-1-5"),
    ),
    fault(
        "log p(x|z) of evaluation takes the images for their complement",
        change("dvae.likelihood:log_bernoulli", "1.0 - 2.0 * bits", "2.0 * bits - 1.0"),
        "dvae/test_evaluation.py::TestAgainstEnumeration::test_per_image",
    ),
    fault(
        "samples and images are exchanged in the likelihood",
        change(
            "dvae.model:DVAE.terms",
            "tf.reshape(outputs, [images.shape[0], -1, outputs.shape[1]])",
            "tf.reshape(outputs, [-1, images.shape[0], outputs.shape[1]])\n"
            "    grouped = tf.transpose(grouped, [1, 0, 2])",
        ),
        *one_step("dvaes_exp-1-5"),
    ),
    fault(
        "samples and images are exchanged in the KL",
        change(
            "dvae.model:DVAE.terms",
            "encoding), log_likelihood.shape)",
            "encoding), log_likelihood.shape[::-1])\n    kl = tf.transpose(kl)",
        ),
        *one_step("dvaes_exp-1-5"),
    ),
    fault(
        "the decoder sees rounded latents",
        change(
            "dvae.model:DVAE.terms",
            "outputs(encoding.relaxed",
            "outputs(tf.round(encoding.relaxed)",
        ),
        *one_step("dvaes_exp-1-5"),
    ),
)
