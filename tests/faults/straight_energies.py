"""Faults of the methods of straight energies and of their doubly reparameterised gradients."""

from configs.registry import BASELINES
from tests.faults import change, constant, entry, fault

CALL = "dvae.doubly_reparameterized:DoublyReparameterized.estimate"
ALONG = "dvae.doubly_reparameterized:DoublyReparameterized.along_samples"
RELAXATIONS = "dvae/test_straight_relaxations.py::"
ESTIMATOR = "dvae/test_doubly_reparameterized.py::"
OF_CONCRETE = f"{RELAXATIONS}test_relaxed_at_given_uniform_numbers[Concrete-concrete-4.0]"
OF_PWL = f"{RELAXATIONS}test_relaxed_at_given_uniform_numbers[PiecewiseLinear-piecewise_linear-4.0]"


def steps(*cases: str) -> tuple[str, ...]:
    """Names of the comparison of a training step with the reference, such as "pwl-2-5"."""
    return tuple(f"dvae/test_straight_step.py::test_a_step_of_each_kind[{case}]" for case in cases)


RELAXATION_FAULTS = (
    fault(
        "the noise of Concrete is not sharpened",
        change(
            "dvae.straight_relaxations:Concrete.sample",
            "self.sharpness * (params.logits + noise)",
            "self.sharpness * params.logits + noise",
        ),
        OF_CONCRETE,
        *steps("gumbolt-1-5", "concrete-2-1"),
    ),
    fault(
        "the noise of Concrete is clipped elsewhere",
        constant("dvae.straight_relaxations:CONCRETE_CLIP", 1e-3),
        OF_CONCRETE,
    ),
    fault(
        "no gradient flows through the slope of the line",
        change(
            "dvae.straight_relaxations:PiecewiseLinear.sample",
            "(q * (1.0 - q) + SLOPE_OFFSET)",
            "tf.stop_gradient(q * (1.0 - q) + SLOPE_OFFSET)",
        ),
        OF_PWL,
        *steps("pwl-1-1", "pwl-2-5"),
    ),
    fault(
        "the line is steeper where q is nearly certain",
        constant("dvae.straight_relaxations:SLOPE_OFFSET", 1e-3),
        OF_PWL,
        *steps("pwl-1-1"),
    ),
    fault(
        "the line passes one half at ρ = q",
        change("dvae.straight_relaxations:PiecewiseLinear.sample", "rho - (1.0 - q)", "rho - q"),
        f"{RELAXATIONS}test_fraction_above_one_half[PiecewiseLinear]",
        OF_PWL,
    ),
    fault(
        "straight-through lets the whole gradient through",
        change(
            "dvae.straight_relaxations:StraightThrough.sample",
            "tf.sigmoid(params.logits)",
            "params.logits",
        ),
        f"{RELAXATIONS}test_order_of_accuracy[StraightThrough]",
        *steps("st-1-1", "st-4-5"),
    ),
    fault(
        "hard bits are the likelier ones",
        change(
            "dvae.straight_relaxations:_bits",
            "return counter_random.bernoulli_logits(key, params.logits)",
            "return tf.cast(params.logits > 0.0, tf.float32)",
        ),
        f"{RELAXATIONS}test_fraction_above_one_half[ReinMax]",
        *steps("st-1-1"),
    ),
    fault(
        "hard bits keep a rounding error of their gradient's source",
        change(
            "dvae.straight_relaxations:_with_gradient_of",
            "tf.stop_gradient(values) + (source - tf.stop_gradient(source))",
            "source + tf.stop_gradient(values - source)",
        ),
        f"{RELAXATIONS}test_hard_at_given_bits[1.0]",
    ),
    fault(
        "ReinMax forgets to take half of straight-through away",
        change("dvae.straight_relaxations:ReinMax.sample", "0.5 * q * (1.0 - q)", "0.0 * q"),
        f"{RELAXATIONS}test_order_of_accuracy[ReinMax]",
        *steps("reinmax-1-1"),
    ),
    fault(
        "ReinMax takes its slope at q instead of between q and z",
        change("dvae.straight_relaxations:ReinMax.sample", "0.5 * (q + bits)", "q"),
        f"{RELAXATIONS}test_order_of_accuracy[ReinMax]",
        *steps("reinmax-2-5"),
    ),
    fault(
        "the slope of ReinMax lets gradients through",
        change(
            "dvae.straight_relaxations:ReinMax.sample",
            "middle = tf.stop_gradient(0.5 * (q + bits))",
            "middle = 0.5 * (q + bits)",
        ),
        f"{RELAXATIONS}test_hard_at_given_bits[1.0]",
        *steps("reinmax-1-5"),
    ),
    fault(
        "straight log q takes q for 1-q",
        change(
            "dvae.straight_relaxations:StraightRelaxation.log_density",
            "labels=relaxed",
            "labels=1.0 - relaxed",
        ),
        f"{RELAXATIONS}test_kl_term_of_any_prior[pwl]",
        *steps("gumbolt-1-1", "st-2-1"),
    ),
    fault(
        "the straight KL term takes the prior's energy away",
        change("dvae.kl:straight_log_ratio", "encoding.log_q + prior", "encoding.log_q - prior"),
        f"{RELAXATIONS}test_kl_term_of_any_prior[st]",
        *steps("concrete-1-1"),
    ),
)

ESTIMATOR_FAULTS = (
    fault(
        "the encoder's weights are not squared",
        change(CALL, "tf.square(weights)", "weights"),
        *steps("pwl-1-5", "st-4-5"),
    ),
    fault(
        "the encoder's weights are squared whatever the KL's weight is",
        change(CALL, "kl_weight * tf.square(weights) + (1.0 - kl_weight) * weights", "weights**2"),
        *steps("pwl-4-5"),
    ),
    fault(
        "the weights let gradients through",
        change(
            CALL,
            "tf.stop_gradient(tf.nn.softmax(log_weights, axis=1))",
            "tf.nn.softmax(log_weights, axis=1)",
        ),
        *steps("concrete-2-5"),
        f"{ESTIMATOR}test_generative_gradient_is_the_plain_one[2-5]",
    ),
    fault(
        "weights are normalised over images",
        change(CALL, "softmax(log_weights, axis=1)", "softmax(log_weights, axis=0)"),
        *steps("reinmax-2-5"),
    ),
    fault(
        "samples of an image count as their sum without weights",
        change(CALL, "1.0 / log_weights.shape[1]", "2.0 / log_weights.shape[1]"),
        *steps("pwl-1-1"),
    ),
    fault(
        "the generative term reaches the encoder too",
        change(CALL, "params, _stopped(encoding)", "params, encoding"),
        *steps("pwl-1-1", "st-2-5"),
    ),
    fault(
        "the encoder's term reaches the prior too",
        change(CALL, "images, _stopped(params)", "images, params"),
        *steps("concrete-1-1"),
        f"{ESTIMATOR}test_generative_gradient_is_the_plain_one[1-1]",
    ),
    fault(
        "nothing is frozen",
        change("dvae.networks:frozen", "tf.stop_gradient(v.value)", "v.value"),
        f"{ESTIMATOR}test_frozen_within_another_scope",
        *steps("st-1-1", "pwl-4-5"),
    ),
    fault(
        "the parameters of log q move along with the samples",
        change(ALONG, "encoding.relaxed, own)", "encoding.relaxed, encoding.params)"),
        *steps("st-1-1", "pwl-2-5"),
    ),
    fault(
        "log q does not feel the samples of earlier groups",
        change(
            ALONG,
            "params_at(images, encoding.relaxed,",
            "params_at(images, tf.stop_gradient(encoding.relaxed),",
        ),
        *steps("pwl-2-1", "reinmax-4-5"),
    ),
    fault(
        "the logged objective is the surrogate",
        change(CALL, "model.objective(generative, kl_weight)", "tf.reduce_mean(surrogate)"),
        *steps("st-1-1"),
        f"{ESTIMATOR}test_generative_gradient_is_the_plain_one[1-5]",
    ),
    fault(
        "batch-norm averages move twice",
        change(CALL, "with frozen_model:", "if True:"),
        *steps("pwl-1-1", "st-2-5"),
    ),
    fault(
        "logits at given latents are those of other groups",
        change("dvae.encoder:Encoder.params_at", "earlier[:group]", "earlier[::-1][:group]"),
        *steps("pwl-2-1", "concrete-4-5"),
    ),
    fault(
        "GumBolt has the other methods' gradient",
        entry("configs.registry:BASELINES", "gumbolt", BASELINES["concrete"]),
        f"{RELAXATIONS}test_sharpness_and_weighting",
        *steps("gumbolt-1-1", "gumbolt-2-5"),
    ),
    fault(
        "Concrete has GumBolt's gradient",
        entry("configs.registry:BASELINES", "concrete", BASELINES["gumbolt"]),
        *steps("concrete-1-1"),
    ),
)
FAULTS = RELAXATION_FAULTS + ESTIMATOR_FAULTS
