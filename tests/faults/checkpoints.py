"""Faults of what is kept of a run, and of what it goes on with."""

from tests.faults import change, fault

BEST = "runs/test_selection.py::test_the_best_validation_model_is_what_counts"
RESUME = "runs/test_resume.py::test_four_steps_are_two_saved_restored_and_two[weights carried]"

FAULTS = (
    fault(
        "checkpoints leave out batch norm's averages",
        change(
            "dvae.runs.checkpoints:Saver.__init__",
            "model=_tensors(program.model.variables)",
            "model=_tensors(program.model.trainable_variables)",
        ),
        RESUME,
    ),
    fault(
        "the best model leaves out batch norm's averages",
        change(
            "dvae.runs.checkpoints:_model_store",
            "_tensors(model.variables)",
            "_tensors(model.trainable_variables)",
        ),
        BEST,
    ),
    fault(
        "the best model leaves out the chains",
        change("dvae.runs.checkpoints:_model_store", "chains=sampler_variables", "chains=[]"),
        BEST,
    ),
    fault(
        "checkpoints leave out Adam's slots",
        change(
            "dvae.runs.checkpoints:Saver.__init__",
            "_tensors(program.optimizer.adam.variables)",
            "_tensors([])",
        ),
        RESUME,
    ),
    fault(
        "checkpoints leave out the step, the chains and the metrics",
        change("dvae.runs.checkpoints:Saver.__init__", "state=program.state,", ""),
        RESUME,
    ),
    fault(
        "the newest evaluation replaces the best model",
        change(
            "dvae.runs.monitor:_is_better",
            "return trusted and val_nll < progress.best_val_nll",
            "return trusted",
        ),
        BEST,
    ),
)
