"""Faults of what a run evaluates, keeps, finds again and reports."""

from tests.faults import argument, cases, fault, result, text, within, wrapped
from tests.faults.common import BATCHES, BEST, BLOCKS, FORGOTTEN, SAMPLES, nothing

CHOICE = cases("test_the_choice_of_the_best_model")
JUDGED = cases("test_a_contradicted_log_z_is_not_called_checked")
CARRIED = "test_four_steps_are_two_saved_restored_and_two[weights carried]"
SAVED_LATER = cases("test_a_model_that_cannot_be_written_is_written_later_as_it_was")(
    "best", "kept"
)
ALIVE = "test_living_process_of_this_machine_keeps_it[True]"
ENDED = cases("test_lock_of_a_process_that_ended_is_taken")
PLACES = cases("test_the_examples_do_not_collide_in_any_order")("quickstart snippet notebook")
FOREIGN = cases("test_what_is_damaged_or_of_another_run_is_refused")
OTHER_RUN = (
    *FOREIGN("result of another", "result of another, exported", "result of another, shown"),
    *FOREIGN("another checkpoint"),
    "test_a_result_of_another_run_is_named_and_not_counted[fields1-base_lr: 0.5 there, 0.003 here]",
)
MODES = (
    "test_each_mode_heeds_a_flag_or_says_that_it_does_not_know_it",
    "test_a_run_without_a_mode_is_not_trained",
)
LOST = (
    *cases("test_a_lost_best_model_is_read_from_another_checkpoint_of_its_step")(
        "damaged", "missing"
    ),
    "test_the_newest_checkpoint_has_the_best_model_if_it_is_of_that_step",
)
NO_LOCK = "test_what_is_no_file_ends_with_one_line_that_helps[directory-lock.json]"
DIRECTORIES = cases("test_any_directory_will_do")("brackets", "not", "backslash", "no text")


def written_or_not(write, saver):
    """Forgets models that wait whether they could be written or not."""
    try:
        write(saver)
    finally:
        saver._waiting.clear()


# Which model is the best.
with fault("the best model is chosen by the test set", BEST):
    text(
        "Monitor.evaluate",
        '_is_better(progress, values["«val → test»',
        'best_step = values["«val → test»/',
    )
with fault("the worst model is kept", BEST):
    text("monitor._is_better", "val_nll «< → >» progress")
with fault("any model better than nothing is kept", BEST):
    text("Monitor.evaluate", "«progress.best_val_nll → _», progress.best_step =")
with fault("the newest evaluation replaces the best model", BEST):
    text("monitor._is_better", "trusted« and val_nll < progress.best_val_nll → »")
with fault("an evaluation that is not finite wins", CHOICE("NaN first", "never finite")):
    within("monitor._is_better", "math.isfinite", lambda *_: True)
with fault("a model is chosen by a log Z that is not to be trusted", CHOICE("failing at last")):
    argument("monitor._is_better", trusted=lambda _: True)
with fault("a model of no update can win", "test_a_model_that_took_no_update_is_never_the_best"):
    text("monitor._is_better", "«progress.updates == 0 or  → »")
with fault("a run untrained has a result", "test_a_run_without_a_result_says_why[nothing trained]"):
    wrapped("Run._check_trained", nothing)
with fault("a contradicted log Z is called checked", JUDGED("reverse five errors below")):
    text("LogPartition.doubts", "«self.exact is not None → True»")
with fault("the effective sample size of AIS is not looked at", JUDGED("an error that cannot say")):
    text("ess_doubt", "«ess >= least_ess(count) → True»")

# What the console shows.
with fault(
    "the KL weight beside mean losses is that of the last step",
    "test_the_logged_loss_is_the_mean_of_each_steps_objective",
):
    text(
        "Monitor._mean_kl_weight",
        "tf.range(«max(progress.summarized_step, 0) → progress.step - 1»,",
    )

# What TensorBoard shows.
with fault(
    "the norm is of the mean gradient",
    "test_gradient_norms_are_of_the_parts_and_of_the_last_updates",
):
    text("adam.mean_square", "state.«second → first»")
with fault(
    "a step's time is of all windows so far",
    "test_step_times_are_those_of_their_window_and_not_the_compilers",
):
    text("Run._boundary", "self._timed = «(0.0, 0) → self._timed»")
with fault(
    "the untrusted log Z is shown beside AIS",
    "test_what_a_summary_writes_is_described[dvaes_gi-pa]",
):
    text("Summaries.scalars", '«TRACKED if name == "log_z/train" else name → name»')

# What is evaluated, with what.
with fault("an unknown error of the test set is 0", "test_a_result[one test image]"):
    text(
        "likelihood_record",
        "math.hypot(below, «test_set → known(test_set) or 0.0»)",
        "math.hypot(above, «test_set → known(test_set) or 0.0»)",
    )
with fault("the final numbers are of the last weights", BEST, SAMPLES):
    within("Run._finish", "Saver.restore_best", nothing)
_RESTORED = "self._saver.restore_best(progress.best_step)\n    "
_STATE = "chains = self.program.chains()\n    "
with fault("the final AIS has the chains of the last step", BEST):
    text("Run._finish", f"«{_RESTORED}{_STATE} → {_STATE}{_RESTORED}»")
with fault("the last evaluation is left out", BEST):
    text("Run._boundary", "« or at_end → »)")
with fault("validation and test images are exchanged in evaluations", BEST, SAMPLES):
    text("result.measure", "(dataset.«validation → test», S", "(dataset.«test → validation», num")
with fault("the test set has the samples of the selection in the end", SAMPLES):
    text("evaluate_model", "chains, key, «samples → SELECTION_SAMPLES», check")
with fault("evaluation takes the training batch", SAMPLES):
    text("result.measure", "«config.eval_batchsize → config.train_batchsize»")
with fault("log Z is subtracted", BEST, "test_errors_add_in_squares"):
    text("evaluation.normalized", "(n, «1.0 → -1.0», log_z)")
with fault("log Z is added twice", BEST, "test_errors_add_in_squares"):
    wrapped("evaluation.normalized", lambda f, found, log_z: f(f(found, log_z), log_z))
with fault("log Z is left out of the validation NLL", BEST):
    text("Monitor.evaluate", "«likelihood → found».nll")
with fault("all evaluations draw the same samples", SAMPLES, BLOCKS):
    argument("Monitor._key", step=lambda _: 0)
with fault("validation and test share a key", SAMPLES):
    text("result.measure", "num_samples, «EvaluationKey.TEST → use», progress")
with fault("every call begins with the batches of the first", BATCHES):
    within("Run._advance", "call_indices", lambda f, *a: f(*a[:3], 0, *a[4:]))

# What checkpoints hold.
for _field in ("averages", "adam", "sampler", "metric_sums"):
    with fault(f"a resumed run forgets its {_field}", CARRIED):
        text("Saver.restore", FORGOTTEN.format(_field))
with fault("the best model leaves out batch norm's averages", BEST):
    text("TrainState.with_model", "averages=«model → self».averages")
with fault("the best model leaves out the chains", BEST):
    text("TrainState.with_model", "sampler=«model → self».sampler")
_resumed_at = [0]


def _remember(progress):
    _resumed_at[0] = progress.step if progress else 0
    return progress


with fault("a resumed run draws its batches from the first on (nanoGPT)", CARRIED):
    result("Saver.restore", _remember)
    argument("call_indices", first_step=lambda step: step - _resumed_at[0])

# How they are written and found again.
with fault("the path of a checkpoint is taken for a pattern", DIRECTORIES):
    text("checkpoint_store._prefix", "«opened if os.path.isdir(opened) else  → »directory")
with fault("a lost best model is looked for in no other checkpoint", LOST):
    text("_read_model", 'in («"best", "kept", "latest" → "best",»)')
with fault("a lost best model is not noticed", "test_what_an_error_advises_helps[best lost]"):
    text("Saver.restore", 'if «best is None or self._store.files("best", best) → True»:')
with fault("a kept model that cannot be written is given up", SAVED_LATER):
    wrapped("Saver._write_waiting", written_or_not)
with fault("a model that is written later has the weights of then", SAVED_LATER):
    text(
        "Saver._write_waiting",
        '"step"], record, «leaves → named_leaves(self._program.state.model)»)',
    )
with fault("a checkpoint gets ahead of a model that waits to be written", SAVED_LATER):
    within("Saver.save", "Saver._write_waiting", nothing)

# Locks, signals, consoles and places.
with fault("any process of the holder's number is the holder", ENDED("number in other hands")):
    text("lock._alive", "«started == holder.started → bool(started)»")
with fault("a process that nobody waited for lives", ENDED("not waited for")):
    text("lock._started", '«"" if fields[0] in "ZX" else  → »fields[19]')
with fault("numbers of processes outlast a start of the machine", ENDED("rebooted")):
    text("lock._alive", "«holder.machine == me.machine and  → »")
with fault("what lies in the lock's place and is none is waited for", NO_LOCK):
    text("RunLock._dead", "«not os.path.lexists(self.path) → True»")
with fault("another user's process counts as dead", ALIVE):
    text("lock._started", '(PermissionError, OverflowError):\n        «pass → return ""»')
with fault("kill -INT reaches no such job", "test_an_ignored_interrupt_counts_if_it_was_sent"):
    text("SignalWatch.requested", "«found.si_code <= 0 → False»")
with fault("a terminal that knows no ± ends the run", "test_from_python_too[ascii]"):
    within("process.say", "text.encodable", lambda _, text, encoding: text)
with fault("runs of one name and other settings have one directory", PLACES):
    text("_place_for", "return «_first_free(path, found.__contains__) → path»")
with fault("a run that lies beside another is not found again", PLACES):
    text("_place_for", "if «not _differences(place, run) → False»:")
with fault("other settings are one trial", "test_what_decides_the_numbers_makes_another_trial"):
    text("Summaries.start", "«-{digest(config.to_json())[:12]} → »")

# What belongs to a run, and what is asked for.
with fault("a result of another run counts", OTHER_RUN):
    wrapped("_check_belongs", nothing)
with fault("a changed mean is not noticed", FOREIGN("one pixel of the mean")):
    text("read_bound", 'if «record.pop("checksum", None) != digest(record) → False»:')
with fault("other formats are read", FOREIGN("format 3 of config")):
    text("read_bound", "«found != FORMAT → False»")
with fault("own data are known by their path", "test_own_data_are_known_by_their_content"):
    within("RunConfig.binding", "ExperimentConfig.has_own_data", lambda *_: False)
with fault("where own data lie now is not heeded", "test_own_data_are_found_where_they_lie_now"):
    text("find_data", "«moved_to or config.dataset → config.dataset»")
with fault("a flag that the mode does not know is passed over", MODES):
    text("command_line.check_known", "«mode not in setting.known_by → False»")
with fault("the seed of images is not heeded", "test_the_seed_of_a_mode_is_that_of_its_draws"):
    text("TrainedModel.__init__", "key(«self.config.seed → self._run.config.seed»)")
