"""Faults of the relaxed priors."""

from tests.faults import change, constant, fault, one_step

FAULTS = (
    fault(
        "mean field stops after four iterations",
        constant("dvae.relaxed_priors:MEAN_FIELD_ITERATIONS", 4),
        *one_step("dvaes_exp-2-5", "dvaes_gauss-1-1"),
    ),
    fault(
        "mean field lets gradients through",
        change(
            "dvae.relaxed_priors:MeanFieldPrior.unnormalized_log_density",
            "map(tf.stop_gradient, mean_field(rbm.coupling, left_field, right_field))",
            "mean_field(rbm.coupling, left_field, right_field)",
        ),
        *one_step("dvaes_exp-2-5", "dvaes_gauss-1-1"),
    ),
    fault(
        "mean field updates both halves from the old ones",
        change(
            "dvae.relaxed_priors:mean_field",
            "right = tf.sigmoid(product + right_field)",
            "before, right = right, tf.sigmoid(product + right_field)",
            "left = tf.fill(tf.shape(left_field), tf.constant(0.5, left_field.dtype))",
            "left = right = tf.fill(tf.shape(left_field), tf.constant(0.5, left_field.dtype))",
            "tf.matmul(right, coupling, transpose_b=True)",
            "tf.matmul(before, coupling, transpose_b=True)",
        ),
        *one_step("dvaes_exp-2-5", "dvaes_gauss-1-1"),
    ),
    fault(
        "the relaxed prior forgets B(ζ) of the right half",
        change(
            "dvae.relaxed_priors:MeanFieldPrior.unnormalized_log_density",
            "rbm.right_bias + right_ratio",
            "rbm.right_bias + 0.0 * right_ratio",
        ),
        *one_step("dvaes_exp-2-5", "dvaes_gauss-1-1"),
    ),
    fault(
        "the relaxed prior forgets log r0",
        change(
            "dvae.relaxed_priors:MeanFieldPrior.unnormalized_log_density",
            "bound += tf.reduce_sum(left_base, axis=1) + tf.reduce_sum(right_base, axis=1)",
            "bound += 0.0",
        ),
        *one_step("dvaes_exp-2-5", "dvaes_gauss-1-5"),
    ),
    fault(
        "the relaxed prior forgets the entropy of the right half",
        change(
            "dvae.relaxed_priors:MeanFieldPrior.unnormalized_log_density",
            " + entropy_of_means(means.right)",
            "",
        ),
        "dvae/test_priors.py::TestMeanField::test_lower_bound[Exponential(sharpness=6.0)]",
        *one_step("dvaes_exp-2-5"),
    ),
    fault(
        "the Gaussian integral's λ lets gradients through",
        change(
            "dvae.relaxed_priors:gram_powers",
            "tf.stop_gradient(tf.matmul(coupling, coupling, transpose_a=True))",
            "tf.matmul(coupling, coupling, transpose_a=True)",
        ),
        "dvae/test_priors.py::TestGaussianIntegral::test_gradient",
    ),
    fault(
        "the Gaussian integral's λ is β",
        change(
            "dvae.relaxed_priors:GaussianIntegralPrior.precision",
            "tf.maximum(largest_singular_value(powers) + LAMBDA_MARGIN, self.sharpness)",
            "tf.constant(self.sharpness)",
        ),
        *one_step("dvaes_gi-1-5"),
    ),
    fault(
        "the Gaussian integral's λ has another margin",
        constant("dvae.relaxed_priors:LAMBDA_MARGIN", 1.0),
        *one_step("dvaes_gi-1-5"),
    ),
    fault(
        "the Gaussian integral forgets the determinant",
        change(
            "dvae.relaxed_priors:GaussianIntegralPrior.unnormalized_log_density",
            "constant + 0.5 * log_det",
            "constant",
        ),
        *one_step("dvaes_gi-1-5"),
    ),
    fault(
        "the Gaussian integral's determinant has no gradient",
        change(
            "dvae.relaxed_priors:GaussianIntegralPrior.unnormalized_log_density",
            "0.5 * log_det",
            "0.5 * tf.stop_gradient(log_det)",
        ),
        *one_step("dvaes_gi-1-5"),
    ),
    fault(
        "the Gaussian integral's quadratic form has the factor 1",
        change(
            "dvae.relaxed_priors:GaussianIntegralPrior.unnormalized_log_density",
            "- 0.5 * quadratic",
            "- quadratic",
        ),
        *one_step("dvaes_gi-1-5"),
    ),
    fault(
        "the Gaussian integral forgets λ/2 in the field",
        change(
            "dvae.relaxed_priors:GaussianIntegralPrior.unnormalized_log_density",
            "rbm.left_bias - 0.5 * scale",
            "rbm.left_bias",
        ),
        *one_step("dvaes_gi-1-5"),
    ),
)
