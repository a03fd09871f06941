"""Faults by which runs and models are lost: paths, locks, signals, encodings, directories."""

import signal

from tests.faults import change, fault

_LOCK = "runs/test_lock.py::test_"
_SAVED_LATER = "runs/test_saving.py::test_a_model_that_cannot_be_written_is_written_later_as_it_was"
_ADVICE = "runs/test_advice.py::test_"
_PLACES = (
    "runs/test_places.py::test_the_examples_do_not_collide_in_any_order"
    "[quickstart snippet notebook]"
)

FAULTS = (
    fault(
        "TensorFlow takes the path of a checkpoint for a pattern",
        change(
            "dvae.runs.checkpoint_store:_prefix",
            "opened if os.path.isdir(opened) else directory",
            "directory",
        ),
        *(
            f"runs/test_checkpoints.py::test_any_directory_will_do[{name}]"
            for name in ("brackets", "not", "backslash", "no text")
        ),
    ),
    fault(
        "a lost best model is looked for in no other checkpoint of its step",
        change(
            "dvae.runs.checkpoints:_read_model", "in sources.items()", "in [*sources.items()][:1]"
        ),
        _ADVICE + "a_lost_best_model_is_read_from_another_checkpoint_of_its_step[damaged]",
        _ADVICE + "a_lost_best_model_is_read_from_another_checkpoint_of_its_step[missing]",
        _ADVICE + "the_newest_checkpoint_has_the_best_model_if_it_is_of_that_step",
    ),
    fault(
        "a run that goes on does not notice that its best model is lost",
        change(
            "dvae.runs.checkpoints:Saver.restore",
            'best is not None and not self._best.is_sound("best", best)',
            "best is None",
        ),
        _ADVICE + "what_an_error_advises_helps[best lost]",
    ),
    fault(
        "any process of the holder's number is the holder",
        change("dvae.runs.lock:_alive", 'started == holder["started"]', "bool(started)"),
        _LOCK + "lock_of_a_process_that_ended_is_taken[number in other hands]",
    ),
    fault(
        "a process that nobody waited for lives",
        change("dvae.runs.lock:_started", '"" if fields[0] in "ZX" else fields[19]', "fields[19]"),
        _LOCK + "lock_of_a_process_that_ended_is_taken[not waited for]",
    ),
    fault(
        "numbers of processes outlast a start of the machine",
        change("dvae.runs.lock:_alive", 'holder["machine"] == me["machine"] and ', ""),
        _LOCK + "lock_of_a_process_that_ended_is_taken[rebooted]",
    ),
    fault(
        "what lies in the lock's place and is none is waited for",
        change("dvae.runs.lock:RunLock._remove_if_dead", "not os.path.lexists(self.path)", "True"),
        _LOCK + "what_is_no_file_ends_with_one_line_that_helps[directory-lock.json]",
    ),
    fault(
        "a kept model that cannot be written is given up",
        change(
            "dvae.runs.checkpoints:Saver._save_model",
            "self._waiting[place] = (self._best.copied(), record)",
            "pass",
        ),
        _SAVED_LATER + "[best]",
        _SAVED_LATER + "[kept]",
    ),
    fault(
        "a model that is written later has the weights of then",
        change(
            "dvae.runs.checkpoints:Saver._save_model",
            "self._best.copied(), record",
            "self._best, record",
        ),
        _SAVED_LATER + "[best]",
        _SAVED_LATER + "[kept]",
    ),
    fault(
        "a checkpoint gets ahead of a model that waits to be written",
        change("dvae.runs.checkpoints:Saver.save", "self._write_waiting()", "pass"),
        _SAVED_LATER + "[best]",
        _SAVED_LATER + "[kept]",
    ),
    fault(
        "batch systems announce the end in vain",
        lambda patch: patch.setattr(
            "dvae.runs.process.STOPPING", (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        ),
        "runs/test_signals.py::test_a_watch_knows_every_one[SIGUSR2]",
        "runs/test_signals.py::test_a_watch_knows_every_one[SIGXCPU]",
    ),
    fault(
        "kill -INT does not reach a job in a script's background",
        change("dvae.runs.process:SignalWatch.requested", "found.si_code <= 0", "False"),
        "runs/test_signals.py::test_an_ignored_interrupt_counts_if_it_was_sent",
    ),
    fault(
        "a terminal that knows no ± ends the run",
        change("dvae.runs.process:say", "encodable(printable(message), encoding)", "message"),
        "runs/test_encodings.py::test_from_python_too[ascii]",
    ),
    fault(
        "runs of one name and other settings have one directory",
        change("dvae.runs.places:place_for", "place in found and not fresh", "False"),
        _PLACES,
    ),
    fault(
        "a run that lies beside another is not found again",
        change("dvae.runs.places:place_for", "if not differences(place, run):", "if False:"),
        _PLACES,
    ),
)
