"""Faults that leave a mean as it is, constants, and what no real data are needed for."""

from tests.faults import change, constant, entry, fault

_FORMULA = "dvae/test_estimator_formulas.py::test_"
_CONSTANT = "configs/test_constants.py::"
_MODES = "dvae/test_undirected.py::TestModes::test_slow_means"

FAULTS = (
    fault(
        "each sample is compared with one other",
        change(
            "dvae.score_function:mean_of_others",
            "(total - values) / (values.shape[1] - 1.0)",
            "tf.roll(values, 1, axis=1) + 0.0 * total",
        ),
        _FORMULA + "of_samples[loo-1]",
        _FORMULA + "of_samples[vimco-2]",
    ),
    fault(
        "VIMCO takes the arithmetic mean of the other weights",
        change(
            "dvae.score_function:bounds_without_each",
            "mean_of_others(log_weights)[:, :, None]",
            "tf.math.log(mean_of_others(tf.exp(log_weights)))[:, :, None]",
        ),
        _FORMULA + "of_samples[vimco-1]",
        _FORMULA + "of_samples[vimco-2]",
    ),
    fault(
        "DisARM's partners go on with the noise of another pair",
        change(
            "dvae.disarm:Disarm._chains",
            "[noise] * num_chains + [-noise]",
            "[noise] + [tf.roll(noise, 1, 2)] * (num_chains - 1) + [-noise]",
        ),
        _FORMULA + "disarm[2]",
        _FORMULA + "disarm[4]",
    ),
    fault(
        "RODEO's coefficients lower the norm of each sample's gradient",
        change(
            "dvae.rodeo:Rodeo.__call__",
            "tf.square(tf.reduce_mean(gradient, axis=1)), axis=1)",
            "tf.reduce_mean(tf.square(gradient), axis=1), axis=1)",
        ),
        _FORMULA + "rodeo[1]",
        _FORMULA + "rodeo[2]",
    ),
    fault(
        "the quick log Z has the uniform base whatever is asked for",
        change(
            "samplers.log_partition:estimate", "make_base(settings.base,", 'make_base("uniform",'
        ),
        "samplers/test_log_partition.py::test_the_base_that_is_asked_for_is_used",
    ),
    fault(
        "couplings are normalised as the other layers are",
        constant("configs.paper:COUPLING_NORM", {"momentum": 0.8, "epsilon": 1e-2}),
        "dvae/test_undirected.py::test_statistics_of_couplings_move_slowly",
        _CONSTANT + "test_constant[COUPLING_NORM]",
    ),
    fault(
        "means are rounded more coarsely before modes are counted",
        constant("configs.paper:MODE_ROUNDING", 0.02),
        _MODES + "[0.965-2]",
    ),
    fault(
        "mean field takes half of its iterations before modes are counted",
        constant("configs.paper:MODE_ITERATIONS", 20),
        _MODES + "[0.955-1]",
    ),
    fault(
        "posteriors are annealed at fewer temperatures",
        constant("configs.paper:POSTERIOR_TEMPERATURES", 100),
        "dvae/test_undirected.py::test_temperatures_of_a_posterior",
    ),
    fault(
        "a lock's lease is two beats",
        constant("dvae.runs.lock:LEASE_SECONDS", 45.0),
        _CONSTANT + "TestRelations::test_lock",
    ),
    fault(
        "a process of another user counts as dead",
        change(
            "dvae.runs.lock:_started",
            "except (PermissionError, OverflowError):\n        pass",
            'except (PermissionError, OverflowError):\n        return ""',
        ),
        "runs/test_lock.py::test_living_process_of_another_user_keeps_it",
    ),
    fault(
        "a separate population is never bridged",
        constant("dvae.prior_sampler:_TRACKER_BRIDGE_ESS", 0.0),
        "dvae/test_priors.py::TestTrackedLogPartition::test_separate[4.0-True]",
    ),
    fault(
        "the digits are split in another way",
        constant("data.digits:SPLIT_SEED", 1),
        "data/test_published.py::test_the_digits_are_always_the_same",
    ),
    fault(
        "the digest forgets the type of its arrays",
        change("data.dataset:digest", "{array.shape} {array.dtype.str}", "{array.shape}"),
        "data/test_published.py::test_a_digest_is_of_shape_type_and_bytes",
    ),
    fault(
        "a published digest has another last digit",
        entry(
            "data.binarized_mnist:PUBLISHED_SHA256",
            "valid",
            "1de3d397c40fe8eeb33dafd4099a1f665ec01e96d9be234aaeeac8a34930e2e3",
        ),
        _CONSTANT + "test_published_files",
    ),
)
