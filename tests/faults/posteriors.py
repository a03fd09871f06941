"""Faults of the relaxed posteriors."""

from tests.faults import change, constant, fault, one_step

INDEPENDENT = "dvae/test_independence.py::test_no_block_is_drawn_twice"

FAULTS = (
    fault(
        "z and ζ are drawn from one key",
        change("dvae.posteriors:MixturePosterior.sample", "binary, keys[1]", "binary, keys[0]"),
        *one_step("dvaes_exp-1-5", "dvaepp_power-1-5"),
        INDEPENDENT,
    ),
    fault(
        "the implicit gradient has the wrong sign",
        change(
            "dvae.posteriors:MixturePosterior.sample",
            "cdf_at_0(relaxed) - self.smoothing.cdf_at_1(relaxed)",
            "cdf_at_1(relaxed) - self.smoothing.cdf_at_0(relaxed)",
        ),
        *one_step("dvaes_gauss-1-5", "dvaepp_power-1-5"),
    ),
    fault(
        "the implicit gradient is with respect to q instead of the logit",
        change(
            "dvae.posteriors:MixturePosterior.sample",
            "upstream * q * (1.0 - q) * difference",
            "upstream * difference",
        ),
        *one_step("dvaes_gauss-1-5"),
    ),
    fault(
        "log q takes 1-q for q",
        change(
            "dvae.posteriors:MixturePosterior.log_density",
            "log_density_at_1(relaxed) + tf.math.log_sigmoid(params",
            "log_density_at_1(relaxed) + tf.math.log_sigmoid(-params",
            "log_density_at_0(relaxed) + tf.math.log_sigmoid(-params",
            "log_density_at_0(relaxed) + tf.math.log_sigmoid(params",
        ),
        *one_step("dvaes_gauss-1-5"),
    ),
    fault(
        "the spike lies at 1",
        change(
            "dvae.posteriors:SpikeExponentialPosterior.sample",
            "tf.zeros_like(value)",
            "tf.ones_like(value)",
        ),
        *one_step("dvae_spike_exp-2-5"),
    ),
    fault(
        "the spike is taken with probability q",
        change("dvae.posteriors:SpikeExponentialPosterior.sample", "rho < 1.0 - q", "rho < q"),
        *one_step("dvae_spike_exp-2-5"),
    ),
    fault(
        "spike-and-exponential is mirrored",
        change(
            "dvae.posteriors:SpikeExponentialPosterior.sample",
            "tf.math.expm1(self.sharpness) * fraction) / self.sharpness",
            "tf.math.expm1(-self.sharpness) * fraction) / -self.sharpness",
        ),
        *one_step("dvae_spike_exp-2-5"),
    ),
    fault(
        "no gradient flows through the percentile of spike-and-exponential",
        change(
            "dvae.posteriors:SpikeExponentialPosterior.sample",
            "tf.maximum(rho + q - 1.0, 0.0) / q",
            "tf.stop_gradient(tf.maximum(rho + q - 1.0, 0.0) / q)",
        ),
        *one_step("dvae_spike_exp-2-5"),
    ),
    fault(
        "q of spike-and-exponential is not clipped",
        constant("dvae.posteriors:SPIKE_CLIP", 0.0),
        "dvae/test_posteriors.py::TestSpikeExponential::test_clipped_at_the_ends",
    ),
    fault(
        "q of spike-and-exponential is clipped at 1e-4",
        constant("dvae.posteriors:SPIKE_CLIP", 1e-4),
        "dvae/test_posteriors.py::TestSpikeExponential::test_clipped_at_the_ends",
    ),
    fault(
        "the shift of the Gaussian mixture is twice as wide",
        change("dvae.posteriors:ShiftedGaussianPosterior.split", "0.5 * (tf", "1.0 * (tf"),
        *one_step("dvaes_gi-1-5"),
    ),
    fault(
        "logits and shifts of the Gaussian mixture are exchanged",
        change(
            "dvae.posteriors:ShiftedGaussianPosterior.split",
            "logits, raw_shift =",
            "raw_shift, logits =",
        ),
        *one_step("dvaes_gi-1-5"),
    ),
    fault(
        "groups of the Gaussian mixture have each other's scale",
        change(
            "dvae.posteriors:ShiftedGaussianPosterior.split",
            "self.raw_scales[group]",
            "self.raw_scales[group - 1]",
        ),
        *one_step("dvaes_gi-2-5"),
    ),
    fault(
        "the smallest scale of the Gaussian mixture is another",
        change("dvae.posteriors:_scale", "tensor(raw)) + 0.05", "tensor(raw)) + 0.01"),
        *one_step("dvaes_gi-1-5"),
    ),
    fault(
        "the gradient of the scale forgets the shift, as in 2018",
        change(
            "dvae.posteriors:ShiftedGaussianPosterior.sample",
            "d_scale = (1.0 - responsibility) * at_0 + responsibility * at_1",
            "d_scale = (1.0 - responsibility) * at_0 + responsibility * at_1 + shift / scale",
        ),
        *one_step("dvaes_gi-1-5"),
    ),
    fault(
        "no gradient reaches the shift",
        change(
            "dvae.posteriors:ShiftedGaussianPosterior.sample",
            "upstream,\n                ",
            "0.0 * upstream,\n                ",
        ),
        *one_step("dvaes_gi-1-5"),
    ),
    fault(
        "responsibilities are plain probabilities",
        change(
            "dvae.posteriors:ShiftedGaussianPosterior.sample",
            "tf.sigmoid(logits + normal.log_prob(at_1) - normal.log_prob(at_0))",
            "q",
        ),
        *one_step("dvaes_gi-1-5"),
    ),
    fault(
        "z and the noise of the Gaussian mixture share a key",
        change(
            "dvae.posteriors:ShiftedGaussianPosterior.sample",
            "counter_random.normal(keys[1]",
            "counter_random.normal(keys[0]",
        ),
        *one_step("dvaes_gi-1-5"),
    ),
    fault(
        "log(1-q) of the Gaussian mixture is not clipped",
        constant("dvae.posteriors:SHIFTED_Q_CLIP", 0.0),
        "dvae/test_posteriors.py::TestShiftedGaussian::test_log_density",
    ),
    fault(
        "log(1-q) of the Gaussian mixture is clipped elsewhere",
        constant("dvae.posteriors:SHIFTED_Q_CLIP", 1e-3),
        "dvae/test_posteriors.py::TestShiftedGaussian::test_log_density",
    ),
)
