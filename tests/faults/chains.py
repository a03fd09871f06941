"""Faults of the prior's chains."""

from tests.faults import change, fault, one_step

FAULTS = (
    fault(
        "PCD starts anew at each step",
        change(
            "samplers.pcd:step",
            "state.chains, key",
            "uniform_chains(key, *state.chains.left.shape, state.chains.right.shape[1]), key",
        ),
        *one_step("dvaepp_exp-1-5"),
    ),
    fault(
        "one sweep fewer",
        change(
            "samplers.gibbs:sweeps",
            "lambda step, *_: step < num_sweeps",
            "lambda step, *_: step < num_sweeps - 1",
        ),
        *one_step("dvaepp_exp-1-5"),
    ),
    fault(
        "the sampler ignores --num_sweeps",
        change(
            "dvae.prior_sampler:PersistentContrastiveDivergence.step",
            "self._config.num_sweeps",
            "40",
        ),
        *one_step("dvaepp_exp-1-5"),
    ),
    fault(
        "the sampler that --sampler names is not the one that runs",
        change(
            "dvae.prior_sampler:PriorSampler.__init__", "SAMPLERS[config.sampler]", 'SAMPLERS["pa"]'
        ),
        *one_step("dvaepp_exp-1-5"),
    ),
    fault(
        "left and right draws of a sweep share their numbers",
        change("samplers.gibbs:sweeps", "2 * step + 1, group", "2 * step, group"),
        "samplers/test_gibbs.py::test_keys_sweeps_and_halves_draw_different_numbers",
        "dvae/test_independence.py::test_no_block_is_drawn_twice",
    ),
    fault(
        "the halves of the chains share their numbers",
        change(
            "samplers.gibbs:sweeps",
            "left, key, 2 * step + 1, group)",
            "left, key, 2 * step + 1, 0)",
        ),
        "dvae/test_independence.py::test_no_block_is_drawn_twice",
        *one_step("dvaepp_exp-1-5"),
    ),
    fault(
        "all sweeps draw the same numbers",
        change("samplers.gibbs:sweeps", "key, 2 * step, group", "key, 0, group"),
        "dvae/test_independence.py::test_no_block_is_drawn_twice",
        *one_step("dvaepp_exp-1-5"),
    ),
    fault(
        "the left half is drawn with the right half's biases",
        change("samplers.gibbs:_sides", "to_left = rbm.left_bias", "to_left = rbm.right_bias"),
        *one_step("dvaepp_exp-1-5"),
    ),
    fault(
        "the couplings lie the other way round",
        change("samplers.gibbs:_sides", "tf.transpose(rbm.coupling)", "rbm.coupling"),
        *one_step("dvaepp_exp-1-5"),
    ),
    fault(
        "the population for log Z draws the numbers of the chains",
        change("dvae.prior_sampler:PriorSampler.step", "keys[1],", "keys[0],"),
        "dvae/test_independence.py::test_no_block_is_drawn_twice",
    ),
    fault(
        "first chains are all zero",
        change("samplers.rbm:uniform_chains", "tf.int32) < 0", "tf.int32) < -(2**31)"),
        "samplers/test_gibbs.py::test_uniform_chains_are_fair",
        "samplers/test_pcd.py::test_init_is_fair",
    ),
    fault(
        "the energy has the wrong sign",
        change("samplers.rbm:energy", "return -(", "return ("),
        *one_step("dvaepp_exp-1-1"),
    ),
    fault(
        "the energy forgets the right half's biases",
        change(
            "samplers.rbm:energy",
            "left_terms + tf.linalg.matvec(chains.right, rbm.right_bias)",
            "left_terms + 0.0 * tf.linalg.matvec(chains.right, rbm.right_bias)",
        ),
        *one_step("dvaepp_exp-1-1"),
    ),
)
