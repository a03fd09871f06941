"""Faults of objectives and schedules."""

from tests.faults import change, constant, fault, one_step

FAULTS = (
    fault(
        "K > 1 trains the ELBO",
        change(
            "dvae.model:DVAE.objective",
            "objectives.importance_weighted_bound",
            "objectives.elbo",
        ),
        *one_step("dvaes_exp-2-5", "dvaes_gi-1-5"),
    ),
    fault(
        "every baseline trains the importance-weighted bound",
        change("dvae.model:DVAE.importance_weighted", "self.parts.importance_weighted and", ""),
        *one_step("dvaepp_exp-2-5", "dvae_spike_exp-2-5"),
    ),
    fault(
        "K samples count as their sum",
        change(
            "dvae.objectives:importance_weighted_bound",
            "tfp.math.reduce_logmeanexp",
            "tf.reduce_logsumexp",
        ),
        "dvae/test_objectives.py::TestReductions::test_importance_weighted_bound",
        *one_step("dvaes_exp-2-5"),
    ),
    fault(
        "log mean exp runs over images",
        change("dvae.objectives:importance_weighted_bound", "axis=1", "axis=0"),
        *one_step("dvaes_exp-2-5"),
    ),
    fault(
        "the KL's warm-up is left out",
        change("dvae.objectives:log_weights", "kl_weight * kl", "kl"),
        *one_step("dvaes_unexp-1-5", "dvae_spike_exp-2-5"),
    ),
    fault(
        "the ELBO is a sum over samples",
        change(
            "dvae.objectives:elbo",
            "tf.reduce_mean(log_weights)",
            "tf.reduce_mean(tf.reduce_sum(log_weights, 1))",
        ),
        *one_step("dvaepp_exp-2-5"),
    ),
    fault(
        "what is no KL goes by the name of one",
        change(
            "dvae.train_step:MetricNames.of",
            '"obj/kl" if model.parts.kl_is_value else "obj/kl_gradient_surrogate"',
            '"obj/kl"',
        ),
        "dvae/test_train_terms.py::TestTerms::test_log_partition_completes_the_metrics"
        "[dvae_spike_exp-1-train/neg_elbo-None]",
    ),
    fault(
        "the warm-up ends at another share",
        constant("configs.paper:KL_WARMUP_FRACTION", 0.29),
        "dvae/test_schedules.py::test_kl_weight",
        *one_step("dvae_spike_exp-2-5"),
    ),
    fault(
        "the warm-up never ends",
        change(
            "dvae.schedules:kl_weight",
            "tf.minimum(fraction / KL_WARMUP_FRACTION, 1.0)",
            "fraction / KL_WARMUP_FRACTION",
        ),
        "dvae/test_schedules.py::test_kl_weight",
        *one_step("dvaepp_exp-2-5"),
    ),
    fault(
        "a boundary of the rates is off by a step",
        change("dvae.schedules:learning_rate", "fraction < until", "fraction <= until"),
        *one_step("dvaepp_exp-2-1", "dvaepp_power-1-1", "dvae_spike_exp-2-1", "dvaepp_power-2-1"),
    ),
    fault(
        "the rate of the last stage is another",
        constant(
            "configs.paper:LEARNING_RATE_STAGES",
            ((0.02, 10.0), (0.60, 1.0), (0.75, 3.0), (0.95, 10.0), (1.0, 30.0)),
        ),
        "configs/test_constants.py::test_constant[LEARNING_RATE_STAGES]",
        *one_step("dvaepp_power-2-1"),
    ),
)
