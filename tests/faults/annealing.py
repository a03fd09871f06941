"""Faults of population annealing."""

from tests.faults import change, fault, one_step

FAULTS = (
    fault(
        "weights have the wrong sign",
        change("samplers.population_annealing:step", "change = -energy", "change = energy"),
        *one_step("dvaepp_exp-1-1", "dvae_spike_exp-1-1"),
    ),
    fault(
        "weights do not carry over",
        change("samplers.population_annealing:_reweight", "state.log_weights + change", "change"),
        *one_step("dvaepp_exp-1-1"),
    ),
    fault(
        "weights stay after resampling",
        change(
            "samplers.population_annealing:_reweight",
            "tf.zeros_like(log_weights), tf",
            "log_weights, tf",
        ),
        *one_step("dvae_spike_exp-1-1"),
    ),
    fault(
        "the population is not resampled",
        change(
            "samplers.population_annealing:_reweight", "resampled() if always", "kept() if always"
        ),
        *one_step("dvae_spike_exp-1-1"),
    ),
    fault(
        "the population is resampled whatever its ESS",
        change(
            "samplers.population_annealing:_reweight",
            "(ess < threshold * size)",
            "(ess < 2.0 * size)",
        ),
        *one_step("dvaepp_exp-1-1"),
    ),
    fault(
        "the population sweeps at the old parameters",
        change("samplers.population_annealing:step", "gibbs.sweeps(here", "gibbs.sweeps(origin"),
        *one_step("dvaepp_exp-1-1", "dvae_spike_exp-1-1"),
    ),
    fault(
        "the population forgets which parameters it is at",
        change("samplers.population_annealing:step", "chains=chains, rbm=here", "chains=chains"),
        "samplers/test_population_annealing.py::test_log_partition_is_unbiased[never]",
    ),
    fault(
        "resampling and sweeps share a key",
        change(
            "samplers.population_annealing:step", "state.chains, keys[1]", "state.chains, keys[0]"
        ),
        "dvae/test_independence.py::test_no_block_is_drawn_twice",
        *one_step("dvaepp_exp-1-1"),
    ),
    fault(
        "the offspring of a weight is off by one place",
        change(
            "samplers.population_annealing:systematic_ancestors",
            "tf.cumsum(ends[:size])",
            "tf.cumsum(ends[:size]) + 1",
        ),
        "samplers/test_population_annealing.py::test_systematic_ancestors",
        *one_step("dvae_spike_exp-1-1"),
    ),
    fault(
        "every member has its own uniform number: multinomial in part",
        change(
            "samplers.population_annealing:systematic_ancestors",
            "counter_random.uniform(key, [], log",
            "counter_random.uniform(key, [size], log",
        ),
        "samplers/test_population_annealing.py::test_systematic_ancestors",
    ),
)
