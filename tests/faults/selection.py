"""Faults of what a run evaluates, keeps and reports."""

from tests.faults import change, fault

SELECTION = "runs/test_selection.py::test_"


BEST = SELECTION + "the_best_validation_model_is_what_counts"


SAMPLES = SELECTION + "samples_batches_and_keys_of_evaluations"


CHOICE = "runs/test_monitor.py::test_the_choice_of_the_best_model"


JUDGED = "runs/test_judged.py::"


BATCHES = SELECTION + "batches_of_a_run"

FAULTS = (
    fault(
        "the best model is chosen by the test set",
        change(
            "dvae.runs.monitor:Monitor.evaluate",
            '_is_better(progress, values["val/neg_ll"]',
            '_is_better(progress, values["test/neg_ll"]',
            'progress.best_step = values["val/neg_ll"], step',
            'progress.best_step = values["test/neg_ll"], step',
        ),
        BEST,
    ),
    fault(
        "the worst model is kept",
        change("dvae.runs.monitor:_is_better", "val_nll < progress", "val_nll > progress"),
        BEST,
    ),
    fault(
        "any model better than nothing is kept",
        change(
            "dvae.runs.monitor:Monitor.evaluate",
            "progress.best_val_nll, progress.best_step =",
            "_, progress.best_step =",
        ),
        BEST,
    ),
    fault(
        "an evaluation that is not finite wins",
        change("dvae.runs.monitor:_is_better", " or not math.isfinite(val_nll)", ""),
        CHOICE + "[NaN first]",
        CHOICE + "[never finite]",
    ),
    fault(
        "a model is chosen by a log Z that is not to be trusted",
        change("dvae.runs.monitor:_is_better", "return trusted and val_nll", "return val_nll"),
        CHOICE + "[failing at last]",
    ),
    fault(
        "a model that took no update can be the best",
        change("dvae.runs.monitor:_is_better", "progress.updates == 0 or ", ""),
        "runs/test_monitor.py::test_a_model_that_took_no_update_is_never_the_best",
    ),
    fault(
        "a run that took no update has a result",
        change("dvae.runs.loop:Run._check_trained", "self.progress.updates == 0", "False"),
        SELECTION + "a_run_without_a_result_says_why[nothing trained]",
    ),
    fault(
        "log Z whose check contradicts it is called checked",
        change(
            "samplers.log_partition_value:LogPartition.doubts", "self.exact is not None", "True"
        ),
        JUDGED + "TestTrust::test_a_contradicted_log_z_is_not_called_checked"
        "[reverse five errors below]",
    ),
    fault(
        "the effective sample size of AIS is not looked at",
        change("samplers.log_partition_value:ess_doubt", "ess >= least_ess(count)", "True"),
        JUDGED + "TestTrust::test_a_contradicted_log_z_is_not_called_checked"
        "[an error that cannot say]",
    ),
    fault(
        "an unknown error of the test set is 0",
        change(
            "dvae.runs.result:likelihood_record",
            "test_set = known(Z95 * likelihood.test_set_stderr)",
            "test_set = known(Z95 * likelihood.test_set_stderr) or 0.0",
        ),
        JUDGED + "TestUnknown::test_a_result[one test image]",
    ),
    fault(
        "the final numbers are of the last weights",
        change(
            "dvae.runs.loop:Run._finish", "self._saver.restore_best(progress.best_step)", "pass"
        ),
        BEST,
        SAMPLES,
    ),
    fault(
        "the final AIS has the chains of the last step",
        change(
            "dvae.runs.loop:Run._finish",
            "self._saver.restore_best(progress.best_step)\n"
            "    state = self.program.sampler_state()",
            "state = self.program.sampler_state()\n"
            "    self._saver.restore_best(progress.best_step)",
        ),
        BEST,
    ),
    fault(
        "the last evaluation is left out",
        change(
            "dvae.runs.loop:Run._boundary",
            "config.eval_every == 0 or at_end)",
            "config.eval_every == 0)",
        ),
        BEST,
    ),
    fault(
        "validation and test images are exchanged in evaluations",
        change(
            "dvae.runs.monitor:Monitor.evaluate",
            '("val", self._dataset.validation), ("test", self._dataset.test)',
            '("val", self._dataset.test), ("test", self._dataset.validation)',
        ),
        BEST,
        SAMPLES,
    ),
    fault(
        "the test set has the samples of the selection in the end",
        change(
            "dvae.runs.result:evaluate_model",
            "config.eval_iw_samples,\n            config.eval_b",
            "SELECTION_SAMPLES,\n            config.eval_b",
        ),
        SAMPLES,
    ),
    fault(
        "the final test likelihood is of the validation images",
        change(
            "dvae.runs.result:evaluate_model",
            "test = evaluator.likelihood(\n            dataset.test",
            "test = evaluator.likelihood(\n            dataset.validation",
        ),
        BEST,
        SAMPLES,
    ),
    fault(
        "evaluation takes the training batch",
        change(
            "dvae.runs.monitor:Monitor.evaluate", "config.eval_batchsize", "config.train_batchsize"
        ),
        SAMPLES,
    ),
    fault(
        "log Z is subtracted",
        change(
            "dvae.runs.result:likelihood_record",
            "nll = likelihood.nll + log_z.best()",
            "nll = likelihood.nll - log_z.best()",
        ),
        BEST,
        "runs/test_result.py::TestRecord::test_errors_add_in_squares",
    ),
    fault(
        "log Z is left out of the validation NLL",
        change(
            "dvae.runs.monitor:Monitor.evaluate",
            "likelihood.nll + log_z.best()",
            "likelihood.nll",
        ),
        BEST,
    ),
    fault(
        "evaluations of all steps share a key",
        change(
            "dvae.runs.monitor:Monitor._key",
            "counter_random.fold_in(stream_key(self._run_key, stream), step)",
            "stream_key(self._run_key, stream)",
        ),
        SAMPLES,
    ),
    fault(
        "validation and test share a key",
        change("dvae.runs.monitor:Monitor.evaluate", "counter_random.fold_in(key, index)", "key"),
        SAMPLES,
    ),
    fault(
        "every call begins with the batches of the first",
        change(
            "dvae.runs.loop:Run._advance",
            "config.seed, step, num_steps",
            "config.seed, 0, num_steps",
        ),
        BATCHES,
    ),
)
