"""Faults of what a run evaluates, keeps and reports."""

from tests.faults import change, fault

SELECTION = "runs/test_selection.py::test_"


BEST = SELECTION + "the_best_validation_model_is_what_counts"


SAMPLES = SELECTION + "samples_batches_and_keys_of_evaluations"


BATCHES = SELECTION + "batches_of_a_run"

FAULTS = (
    fault(
        "the best model is chosen by the test set",
        change(
            "dvae.runs.monitor:Monitor.evaluate",
            'values["val/neg_ll"] >= progress',
            'values["test/neg_ll"] >= progress',
            'progress.best_step = values["val/neg_ll"], step',
            'progress.best_step = values["test/neg_ll"], step',
        ),
        BEST,
    ),
    fault(
        "the worst model is kept",
        change(
            "dvae.runs.monitor:Monitor.evaluate",
            'values["val/neg_ll"] >= progress.best_val_nll',
            'progress.best_step is not None and values["val/neg_ll"] < progress.best_val_nll',
        ),
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
            "likelihood.nll + log_z.best()",
            "likelihood.nll - log_z.best()",
        ),
        BEST,
        "runs/test_result.py::TestRecord::test_errors_add_in_squares",
    ),
    fault(
        "log Z is left out of the validation NLL",
        change(
            "dvae.runs.monitor:Monitor.evaluate",
            'likelihood.nll + values["log_z/ais"]',
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
