"""Faults of the KL terms."""

from tests.faults import change, constant, fault, one_step

FAULTS = (
    fault(
        "the entropy has the wrong sign",
        change("dvae.kl:negative_entropy", "return tf.reduce_sum", "return -tf.reduce_sum"),
        *one_step("dvaepp_exp-1-1", "dvaepp_exp-2-5"),
    ),
    fault(
        "the closed form forgets the prior",
        change("dvae.kl:factorial_kl", " + prior.energy(params, tf.sigmoid(logits))", ""),
        *one_step("dvaepp_exp-1-1", "dvae_spike_exp-1-5"),
    ),
    fault(
        "DVAE++ has q for ν in the coupling term",
        change("dvae.kl:smoothed_kl", "tf.matmul(nu, rbm", "tf.matmul(q.left, rbm"),
        *one_step("dvaepp_exp-2-5", "dvaepp_power-2-1"),
    ),
    fault(
        "DVAE++ has ν for q in the bias term too",
        change("dvae.kl:smoothed_kl", "matvec(q.left, rbm", "matvec(nu, rbm"),
        *one_step("dvaepp_exp-2-5", "dvaepp_power-2-1"),
    ),
    fault(
        "no gradient flows through ζ into ν",
        change(
            "dvae.kl:smoothed_kl",
            "smoothing.log_ratio(left_relaxed)",
            "tf.stop_gradient(smoothing.log_ratio(left_relaxed))",
        ),
        *one_step("dvaepp_exp-2-5", "dvaepp_power-2-1"),
    ),
    fault(
        "one group has the KL of several",
        change("dvae.baselines:dvaepp", "structure.num_groups == 1", "structure.num_groups == 0"),
        *one_step("dvaepp_exp-1-1"),
    ),
    fault(
        "several groups have the KL of one",
        change("dvae.baselines:dvaepp", "structure.num_groups == 1", "structure.num_groups >= 1"),
        *one_step("dvaepp_exp-2-5"),
    ),
    fault(
        "several groups of DVAE have the KL of one",
        change("dvae.baselines:dvae", "structure.num_groups == 1", "structure.num_groups >= 1"),
        *one_step("dvae_spike_exp-2-5"),
    ),
    fault(
        "the correction of DVAE is left out",
        change(
            "dvae.kl:spike_kl_gradient", "rbm.left_bias + correction * tf", "rbm.left_bias + tf"
        ),
        *one_step("dvae_spike_exp-2-5"),
    ),
    fault(
        "the last group of DVAE has spikes for q",
        change("dvae.kl:spike_kl_gradient", "tf.where(last[None, :], q, spikes)", "spikes"),
        *one_step("dvae_spike_exp-2-5"),
    ),
    fault(
        "the states of DVAE let gradients through",
        change(
            "dvae.kl:spike_kl_gradient",
            "tf.stop_gradient(tf.where(last[None, :], q, spikes))",
            "tf.where(last[None, :], q, spikes)",
        ),
        *one_step("dvae_spike_exp-2-5"),
    ),
    fault(
        "the field of DVAE lets gradients through",
        change("dvae.kl:spike_kl_gradient", "tf.stop_gradient(logits - field)", "(logits - field)"),
        *one_step("dvae_spike_exp-2-5"),
    ),
    fault(
        "the biases of DVAE stand at s instead of q",
        change(
            "dvae.kl:spike_kl_gradient", "energy(biases_only, q_halves)", "energy(biases_only, s)"
        ),
        *one_step("dvae_spike_exp-2-5"),
    ),
    fault(
        "q of DVAE's gradient is clipped elsewhere",
        constant("dvae.kl:SPIKE_Q_CLIP", 0.99),
        "dvae/test_kl.py::TestSpike::test_clips",
    ),
    fault(
        "the relaxed KL has the wrong sign",
        change(
            "dvae.kl:relaxed_log_ratio", "encoding.log_q - relaxed", "-encoding.log_q + relaxed"
        ),
        *one_step("dvaes_exp-2-5", "dvaes_gi-1-5"),
    ),
    fault(
        "the relaxed KL forgets the posterior",
        change("dvae.kl:relaxed_log_ratio", "encoding.log_q - relaxed", "-relaxed"),
        *one_step("dvaes_exp-2-5", "dvaes_gi-1-5"),
    ),
)
