"""Faults of estimators of log Z."""

from tests.faults import change, constant, fault

RESULT = "samplers/test_log_partition.py::"

FAULTS = (
    fault(
        "the fitted base is not clipped",
        constant("samplers.ais:_BASE_MEAN_CLIP", 1e-6),
        "samplers/test_ais.py::test_bases",
    ),
    fault(
        "the base's own log Z is left out",
        change(
            "samplers.ais:_run",
            "log_weights + tf.cast(base_log_partition(base), tf.float64)",
            "log_weights",
        ),
        "samplers/test_ais.py::test_forward_is_unbiased[arbitrary]",
    ),
    fault(
        "AIS starts from fair bits whatever its base",
        change(
            "samplers.ais:_run",
            "tf.broadcast_to(base.left_bias",
            "tf.broadcast_to(0.0 * base.left_bias",
        ),
        "samplers/test_ais.py::test_forward_is_unbiased[arbitrary]",
    ),
    fault(
        "reverse AIS runs upwards",
        change("samplers.ais:_run_reverse", "tf.reverse(temperatures, axis=[0])", "temperatures"),
        "samplers/test_ais.py::test_reverse_from_exact_samples_is_unbiased[arbitrary]",
    ),
    fault(
        "AIS ends before the RBM",
        change("samplers.ais:_anneal", "temperatures.shape[0] - 1", "temperatures.shape[0] - 2"),
        "samplers/test_ais.py::test_forward_is_unbiased[arbitrary]",
    ),
    fault(
        "the mean of AIS's weights is taken of their logarithms",
        change(
            "samplers.diagnostics:log_mean_exp",
            "tf.reduce_logsumexp(log_weights) - tf.math.log(count)",
            "tf.reduce_mean(log_weights)",
        ),
        "samplers/test_diagnostics.py::test_log_mean_exp_and_ess_are_the_plain_formulas[0.0]",
    ),
    fault(
        "the standard error of log Z is that of one chain",
        change("samplers.diagnostics:log_mean_estimate", " / (count - 1.0)", ""),
        "samplers/test_diagnostics.py::test_log_mean_estimate_is_the_delta_method",
    ),
    fault(
        "exact log Z forgets the left biases",
        change("samplers.rbm:left_log_marginal", "tf.linalg.matvec(left, rbm.left_bias) + ", ""),
        "samplers/test_exact.py::test_log_partition[1.0-shape0]",
    ),
    fault(
        "the base of --ais_base is the other one",
        change("samplers.log_partition:make_base", 'name == "fitted"', 'name != "fitted"'),
        RESULT + "test_bases_go_by_name",
    ),
    fault(
        "the result prefers AIS to the exact value",
        change(
            "samplers.log_partition:LogPartition.best",
            "self.value if self.exact is None else self.exact",
            "self.value",
        ),
        "runs/test_result.py::TestRecord::test_exact_log_z_replaces_ais",
    ),
    fault(
        "the interval of log Z does not reach the reverse estimate",
        change(
            "samplers.log_partition_value:LogPartition.interval",
            "if abs(self.reverse - self.value) > Z95",
            "if False and Z95",
        ),
        "runs/test_result.py::TestInterval::test_disagreement_widens_it[7.5]",
    ),
)
