"""Faults of settings: names, tables, flags and constants."""

from configs.paper import Structure
from configs.registry import BASELINES
from tests.faults import change, constant, entry, fault

PUBLISHED = "configs/test_published.py::test_"
CONSTANT = "configs/test_constants.py::test_constant["


SELECTION = "runs/test_selection.py::test_"


SAMPLES = SELECTION + "samples_batches_and_keys_of_evaluations"


def _sharpness(line: str) -> str:
    padded = f"{line.split()[0]:15s} {line.split()[1]:14s} {line.split(maxsplit=2)[2]}"
    return f"{PUBLISHED}sharpness[{padded}]"


def _other_sharpness(patch) -> None:
    """Of one baseline, data set and structure."""
    table = BASELINES["dvaes_exp"].sharpness["omniglot"]
    patch.setitem(table, "4-layer-nonlin", 10.0)


FAULTS = (
    fault(
        "the sharpness of one cell of the table is another",
        _other_sharpness,
        _sharpness("omniglot 4-layer-nonlin 4 10 30 25 25  8 16 20"),
    ),
    fault(
        "data sets without a sharpness of their own take that of omniglot",
        change(
            "configs.registry:Baseline.published_sharpness",
            'self.sharpness["binarized_mnist"]',
            'self.sharpness["omniglot"]',
        ),
        PUBLISHED + "sharpness_of_other_data_is_that_of_mnist_and_beta_overrides_it",
    ),
    fault(
        "--beta is not heeded",
        change("configs.paper:build_config", "**(published | fields)", "**(fields | published)"),
        PUBLISHED + "sharpness_of_other_data_is_that_of_mnist_and_beta_overrides_it",
        PUBLISHED + "every_flag_reaches_its_field",
    ),
    fault(
        "a flag does not reach the configuration",
        change(
            "run:config_from_flags",
            "if setting.decides}",
            'if setting.decides and name != "num_chains"}',
        ),
        PUBLISHED + "every_flag_reaches_its_field",
    ),
    fault(
        "--qupa is the wrong way round",
        change("run:_sampler", '"pa" if FLAGS.qupa else "pcd"', '"pcd" if FLAGS.qupa else "pa"'),
        PUBLISHED + "every_flag_reaches_its_field",
        PUBLISHED + "defaults",
    ),
    fault(
        "the evaluation batch of omniglot is that of MNIST",
        entry("configs.paper:EVAL_BATCH_SIZE", "omniglot", 1000),
        PUBLISHED + "evaluation",
    ),
    fault(
        "evaluations come half as often in short runs",
        change("configs.paper:build_config", "10_000 if config", "20_000 if config"),
        PUBLISHED + "evaluation",
    ),
    fault(
        "100,000 steps count as a long run",
        change("configs.paper:build_config", "<= 100_000", "< 100_000"),
        PUBLISHED + "evaluation",
    ),
    fault(
        "the structure of a name is another",
        entry(
            "configs.paper:STRUCTURES",
            "4-layer-nonlin",
            Structure(4, 50, 2),
        ),
        PUBLISHED + "structures[4-layer-nonlin]",
    ),
    fault(
        "the default structure is trained whatever --struct says",
        change(
            "configs.paper:build_config",
            "structure=STRUCTURES[config.struct]",
            'structure=STRUCTURES["2-layer-nonlin"]',
        ),
        PUBLISHED + "structures[4-layer-nonlin]",
        PUBLISHED + "structures[1-layer-lin]",
    ),
    fault(
        "a baseline has the smoothing of another",
        entry("configs.registry:BASELINES", "dvaes_unexp", BASELINES["dvaes_exp"]),
        PUBLISHED + "what_each_baseline_is_made_of",
    ),
    fault(
        "batch norm's momentum is Keras' own",
        entry("configs.paper:BATCH_NORM", "momentum", 0.99),
        CONSTANT + "BATCH_NORM]",
        "dvae/test_reference_step.py::test_a_step_of_each_kind[dvaepp_exp-1-1]",
    ),
    fault(
        "batch norm's epsilon is Keras' own",
        entry("configs.paper:BATCH_NORM", "epsilon", 1e-3),
        CONSTANT + "BATCH_NORM]",
        "dvae/test_reference_step.py::test_a_step_of_each_kind[dvaepp_exp-1-1]",
    ),
    fault(
        "Adam's first moment is another",
        entry("configs.paper:ADAM", "beta_1", 0.5),
        CONSTANT + "ADAM]",
        "dvae/test_reference_step.py::test_a_step_of_each_kind[dvaes_exp-1-5]",
    ),
    fault(
        "Adam's second moment is another",
        entry("configs.paper:ADAM", "beta_2", 0.99),
        CONSTANT + "ADAM]",
        "dvae/test_reference_step.py::test_a_step_of_each_kind[dvaes_exp-1-5]",
    ),
    fault(
        "Adam's epsilon is Keras' own",
        entry("configs.paper:ADAM", "epsilon", 1e-7),
        CONSTANT + "ADAM]",
        "dvae/test_reference_step.py::test_a_step_of_each_kind[dvaes_exp-1-5]",
    ),
    fault(
        "the best model is chosen by 10 samples",
        constant("configs.paper:SELECTION_SAMPLES", 10),
        PUBLISHED + "evaluation",
        SAMPLES,
    ),
    fault(
        "AIS starts from fair bits whatever --ais_base says",
        change("dvae.runs.result:ais_settings", "config.ais_base", '"uniform"'),
        SAMPLES,
    ),
    fault(
        "AIS of evaluations has the quick number of temperatures",
        change(
            "dvae.runs.monitor:Monitor.evaluate",
            "ais_settings(config)",
            "ais_settings(config)._replace(num_temperatures=100)",
        ),
        SAMPLES,
    ),
    fault(
        "AIS takes as many chains as the sampler",
        change("dvae.runs.result:ais_settings", "config.ais_chains", "config.num_chains"),
        SAMPLES,
    ),
)
