"""Faults of undirected posteriors: their encoder, their chains, their evaluation and modes."""

from dataclasses import replace

from configs.registry import BASELINES
from tests.faults import change, constant, entry, fault

_TESTS = "dvae/test_undirected.py::"
_TRAINING = "dvae/test_persistent_posterior.py::"
SPINS = _TESTS + "test_posteriors_are_of_spins[deep]"
LIKELIHOOD = _TESTS + "TestEvaluation::test_likelihood_is_unbiased[1]"
K1, K3 = (_TRAINING + f"TestGradient::test_step[pwl-{k}]" for k in (1, 3))
FOLLOW = _TRAINING + "TestChains::test_follow"
OWN = _TRAINING + "TestChains::test_each_image_has_its_own"
COMPILED = _TRAINING + "TestChains::test_compiled_equals_eager"
RESUME = _TRAINING + "TestChains::test_resumes_bit_for_bit"
WEIGHTS = "samplers/test_row_rbms.py::TestAnneal::test_weights_are_unbiased[1]"
STATES = "samplers/test_row_rbms.py::TestAnneal::test_weighted_states"

FAULTS = (
    fault(
        "couplings of a posterior are not divided by the root of the units",
        change(
            "dvae.undirected:UndirectedEncoder.posteriors",
            "COUPLING_SCALE / math.sqrt(self.num_left)",
            "COUPLING_SCALE",
        ),
        SPINS,
    ),
    fault(
        "biases of a posterior are those of its spins",
        change(
            "dvae.undirected:UndirectedEncoder.posteriors",
            "left - tf.reduce_sum(coupling, axis=2)",
            "left",
        ),
        SPINS,
    ),
    fault(
        "couplings of a posterior are half as large",
        change("dvae.undirected:UndirectedEncoder.posteriors", "2.0 * POSTERIOR_SCALE", "2.0"),
        SPINS,
    ),
    fault(
        "couplings are normalised over the batch in evaluation",
        change(
            "dvae.undirected:UndirectedEncoder.image_products",
            "self.posteriors(images, False)",
            "self.posteriors(images, True)",
        ),
        SPINS,
    ),
    fault(
        "chains follow the posterior of evaluation",
        change(
            "dvae.undirected:UndirectedEncoder.follow",
            "self.posteriors(images, True)",
            "self.posteriors(images, False)",
        ),
        K1,
        FOLLOW,
    ),
    fault(
        "chains are swept less often",
        constant("configs.paper:POSTERIOR_SWEEPS", 9),
        FOLLOW,
    ),
    fault(
        "the left half is drawn and not averaged",
        change(
            "dvae.undirected:UndirectedEncoder.relaxed",
            "Chains(tf.sigmoid(left_logits), right)",
            "Chains(draw(left_logits, keys[1]), right)",
        ),
        K1,
        K3,
    ),
    fault(
        "the prior's energy is not half averaged",
        change(
            "dvae.kl:half_averaged_log_ratio",
            "tf.concat([left,",
            "tf.concat([encoding.relaxed[:, :num_left],",
        ),
        K1,
        K3,
    ),
    fault(
        "log q lets gradients into the posterior's own parameters",
        change(
            "dvae.undirected:UndirectedEncoder.relaxed",
            "RBM(*map(tf.stop_gradient, rbm))",
            "rbm",
        ),
        K1,
        K3,
    ),
    fault(
        "the relaxed left half does not see the relaxed right half",
        change(
            "dvae.undirected:UndirectedEncoder.relaxed",
            "row_rbms.left_field(rbm, right)",
            "row_rbms.left_field(rbm, tf.stop_gradient(right))",
        ),
        K1,
    ),
    fault(
        "both halves are relaxed with one key",
        change("dvae.undirected:UndirectedEncoder.relaxed", "keys[0]", "keys[1]"),
        K1,
    ),
    fault(
        "chains begin anew at every step",
        change(
            "dvae.persistent_posterior:PersistentPosterior.step",
            "tf.cast(left, states.dtype)",
            "states",
        ),
        OWN,
    ),
    fault(
        "chains go to other images of the batch",
        change("dvae.train_state:with_rows", "indices[:, None]", "indices[::-1, None]"),
        OWN,
    ),
    fault(
        "chains of other images are continued",
        change(
            "dvae.train_state:rows_of", "tf.gather(state, indices)", "tf.gather(state, 0 * indices)"
        ),
        _TRAINING + "TestChains::test_starts_from_its_own",
    ),
    fault(
        "a bad batch moves its chains",
        change("dvae.train_step:TrainProgram.one_step", "tf.where(ok, *pair)", "pair[0]"),
        COMPILED,
    ),
    fault(
        "checkpoints leave out the chains of images",
        change(
            "dvae.train_state:TrainState.__init__",
            "self.image_states = image_states.variables",
            "pass",
        ),
        RESUME,
    ),
    fault(
        "a bound is logged that no step knows",
        change(
            "dvae.train_step:MetricNames.of",
            "bound if model.parts.estimator.knows_bound else None",
            "bound",
        ),
        _TRAINING + "test_takes_a_step[pwl-1-layer-lin-1]",
    ),
    fault(
        "AIS of posteriors leaves out the constant of spins",
        change("samplers.row_rbms:_anneal", "-0.25 *", "-0.0 *"),
        WEIGHTS,
        LIKELIHOOD,
    ),
    fault(
        "AIS of posteriors leaves out half of its base",
        change(
            "samplers.row_rbms:_anneal",
            "for bias in (left_bias, right_bias)",
            "for bias in (left_bias,)",
        ),
        WEIGHTS,
        LIKELIHOOD,
    ),
    fault(
        "AIS of posteriors stops before the last temperature",
        change("samplers.row_rbms:_anneal", "index <= num", "index < num"),
        WEIGHTS,
        LIKELIHOOD,
    ),
    fault(
        "AIS of posteriors sweeps at the temperature before",
        change(
            "samplers.row_rbms:_anneal",
            "tf.cast(index, product.dtype)",
            "tf.cast(index - 1, product.dtype)",
        ),
        STATES,
    ),
    fault(
        "all sweeps of an image's chains draw the same numbers",
        change("samplers.row_rbms:sweeps", "2 * index + 1", "1", "2 * index)", "0)"),
        "samplers/test_row_rbms.py::test_sweeps[2]",
        FOLLOW,
    ),
    fault(
        "chains are swept once less",
        change(
            "samplers.row_rbms:sweeps",
            "index < num_sweeps",
            "index < num_sweeps - 1",
        ),
        "samplers/test_row_rbms.py::test_sweeps[1]",
        FOLLOW,
    ),
    fault(
        "importance weights leave out log Z of the posterior",
        change(
            "dvae.undirected:UndirectedEncoder.sample_binary",
            "- tf.cast(log_weights, tf.float32)",
            "",
        ),
        LIKELIHOOD,
    ),
    fault(
        "importance weights have a chain's weight for another's",
        change(
            "dvae.undirected:UndirectedEncoder.sample_binary",
            "tf.cast(log_weights, tf.float32)",
            "tf.roll(tf.cast(log_weights, tf.float32), 1, axis=1)",
        ),
        LIKELIHOOD,
    ),
    fault(
        "a mode needs only five samples",
        change("dvae.undirected:modes_from", "counts > MODE_HITS", "counts >= MODE_HITS"),
        _TESTS + "TestModes::test_hits",
    ),
    fault(
        "mean field is cut short before modes are counted",
        constant("configs.paper:MODE_ITERATIONS", 1),
        _TESTS + "TestModes::test_a_field_leaves_one",
    ),
    fault(
        "undirected posteriors take several groups",
        entry(
            "configs.registry:BASELINES",
            "dvaess_pwl",
            replace(BASELINES["dvaess_pwl"], most_groups=None),
        ),
        _TESTS + "test_one_group_only",
    ),
)
