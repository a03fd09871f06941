"""Faults of what is said of arguments, settings and files that mean nothing."""

from tests.faults import change, fault

ARGUMENTS = "samplers/test_arguments.py"
EVENTS = "runs/test_directory.py::test_events_that_do_not_parse_are_set_aside"

FAULTS = (
    fault(
        "none of what is counted is enough",
        change("samplers.checks:whole", "if value < least", "if value < least - 1"),
        f"{ARGUMENTS}::test_what_is_counted_is_a_whole_number_from_one[num_temperatures-linear]",
        f"{ARGUMENTS}::test_what_is_counted_is_a_whole_number_from_one[num_sweeps-pcd]",
    ),
    fault(
        "AIS may end before the RBM",
        change("samplers.checks:temperatures", "known[-1] != 1.0", "known[-1] > 1.0"),
        f"{ARGUMENTS}::test_temperatures_rise_from_0_to_1[half of the way]",
    ),
    fault(
        "runs of other settings are one trial",
        change("dvae.runs.summaries:Summaries.start", "-{digest(config.to_json())[:12]}", ""),
        "runs/test_summaries.py::test_what_decides_the_numbers_makes_another_trial",
    ),
    fault(
        "events behind the damage of a file are lost without a word",
        change(
            "dvae.runs.directory:_rewrite_events",
            'if "truncated record" not in str(error)',
            "if False",
        ),
        f"{EVENTS}[noise]",
        f"{EVENTS}[text]",
    ),
)
