"""Faults of what is asked for and of what belongs to a run: flags, own data, bound files."""

from tests.faults import change, fault

_BINDING = "runs/test_binding.py::test_"
_FLAGS = "runs/test_run.py::test_"

FAULTS = (
    fault(
        "a result of another run counts",
        change("dvae.runs.records:read_result", "_check_belongs(path, record)", "pass"),
        _BINDING + "a_result_of_another_run_is_refused_by_all_that_reads_one",
        "tables/test_results.py::test_a_result_of_another_run_is_named_and_not_counted[fields1-"
        "base_lr: 0.5 there, 0.003 here]",
    ),
    fault(
        "a result of another checkpoint counts",
        change("dvae.runs.records:_check_belongs", 'found != record.get("checkpoint")', "False"),
        _BINDING + "a_result_of_another_checkpoint_is_refused",
    ),
    fault(
        "a changed mean of the training images is taken for the model's",
        change("dvae.runs.records:read_bound", "read_checked(path)", "read_json(path)"),
        _BINDING + "a_mean_that_is_not_that_of_the_data_is_refused",
    ),
    fault(
        "files of another format are read",
        change("dvae.runs.records:read_bound", "found != FORMAT", "False"),
        _BINDING + "another_format_is_refused_in_one_line[config.json]",
    ),
    fault(
        "own data are known by their path",
        change("dvae.runs.records:RunConfig.binding", "self.config.has_own_data", "False"),
        "runs/test_directory.py::test_own_data_are_known_by_their_content",
    ),
    fault(
        "where own data lie now is not heeded",
        change(
            "dvae.runs.trained_model:TrainedModel.dataset",
            "self._dataset or self.config.dataset",
            "self.config.dataset",
        ),
        "runs/test_interface.py::test_own_data_are_found_where_they_lie_now",
    ),
    fault(
        "a flag that the mode does not know is passed over",
        change("configs.command_line:check_known", "mode not in setting.known_by", "False"),
        _FLAGS + "each_mode_heeds_a_flag_or_says_that_it_does_not_know_it",
        _FLAGS + "a_run_without_a_mode_is_not_trained",
    ),
    fault(
        "the seed of a finished run's images is not heeded",
        change(
            "dvae.runs.trained_model:TrainedModel.__init__",
            "counter_random.key(self.config.seed)",
            "counter_random.key(trained.seed)",
        ),
        "runs/test_interface.py::test_the_seed_of_a_mode_is_that_of_its_draws",
    ),
)
