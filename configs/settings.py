"""Every setting of the program, once: what is not here is no flag and no argument of Python.

From it come the flags of run.py and run_table.py with their help, the fields of
`ExperimentConfig`, the arguments of `dvae.train`, the tables of flags in docs/running.md and
docs/tables.md, the axes of tables, and which mode knows which setting.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from configs.datasets import DATASETS
from configs.registry import BASELINES, SAMPLERS, STRUCTURES
from configs.setting import MAX_FLOAT, MAX_SIZE, MAX_STEPS, MIN_FLOAT, Setting

MODES = ("train", "time", "evaluate", "generate", "log_z", "export")
_TRAINING = ("train", "time")
_RUN = (*_TRAINING, "table", "python")  # a setting of each run
_CELL = (*_TRAINING, "python")  # run_table.py has an axis for it
_ON_RUN = ("evaluate", "generate", "log_z")  # what works on a run that is there


def _ranged(kind: type, least: float, most: float) -> Callable[..., Setting]:
    def make(name: str, default: Any, help: str, known_by: Any, *more: str, **rest: Any) -> Setting:
        return Setting(name, default, help, kind, known_by, *more, **rest, least=least, most=most)

    return make


_count, _steps = _ranged(int, 1, MAX_SIZE), _ranged(int, 1, MAX_STEPS)
_OF_STRUCT = dict(decides="training", unset="that of struct")
_positive = _ranged(float, MIN_FLOAT, MAX_FLOAT)


# What of a structure can be set on its own: `ExperimentConfig.structure` holds it.
STRUCTURAL = ("prior", "num_latents", "num_groups", "num_hidden_layers", "hidden_units")


def by_name(*settings: Setting) -> dict[str, Setting]:
    """Settings by their names, in the order given."""
    return {setting.name: setting for setting in settings}


# The flags of the published command line come first and keep their names and defaults.
SETTINGS = by_name(
    Setting(
        "dataset",
        next(iter(DATASETS)),
        f"{', '.join(DATASETS)}, or the path of an .npz file; to evaluate, where it lies now",
        Path,
        (*_CELL, "evaluate"),
        "training",
        axis="datasets",
    ),
    Setting(
        "data_dir",
        None,
        "where data sets are found, or downloaded to",
        Path,
        (*_RUN, "evaluate"),
        unset="datasets, or ./data where only that has the files",
    ),
    Setting(
        "log_dir",
        "./logs",
        "where runs go, as LOG_DIR/<dataset>/<struct>/<baseline>/<k>/<prior, sampler, beta, seed>/",
        Path,
        (*_CELL, *_ON_RUN),
    ),
    Setting(
        "struct",
        "2-layer-nonlin",
        f"model structure: {', '.join(STRUCTURES)}",
        str,
        _CELL,
        "training",
        axis="structs",
    ),
    Setting(
        "baseline",
        "dvaes_power",
        f"method: {', '.join(BASELINES)}",
        str,
        _CELL,
        "training",
        axis="baselines",
    ),
    Setting(
        "prior",
        None,
        "couplings between latents: rbm, independent, complete, partite:N, pegasus:M, zephyr:M, or "
        "the path of a file of edges",
        Path,
        _CELL,
        decides="training",
        unset="that of struct: rbm",
        axis="priors",
    ),
    Setting(
        "sampler",
        None,
        f"chains that feed the gradient of log Z: {', '.join(SAMPLERS)} (population annealing, "
        "persistent contrastive divergence, parallel tempering)",
        str,
        _CELL,
        "training",
        axis="samplers",
        unset="pa, or what qupa says",
        field="pa",
    ),
    Setting(
        "qupa",
        True,
        "the published name: True is --sampler=pa, False is --sampler=pcd",
        bool,
        _TRAINING,
        axis="samplers",
    ),
    _count("num_latents", None, "binary latents in all groups together", _RUN, **_OF_STRUCT),
    _count("num_groups", None, "groups of latents, sampled in turn", _RUN, **_OF_STRUCT),
    _ranged(int, 0, 100)(
        "num_hidden_layers",
        None,
        "hidden layers of each group's encoder and of the decoder",
        _RUN,
        **_OF_STRUCT,
    ),
    _count("hidden_units", None, "units of a hidden layer", _RUN, **_OF_STRUCT),
    _count("k", 1, "samples per image in training", _CELL, "training", axis="ks"),
    _positive(
        "beta", None, "sharpness of the smoothing", _RUN, "training", unset="published", field=30.0
    ),
    _steps(
        "num_train_iter", 1_000_000, "training steps; all schedules follow it", _RUN, "training"
    ),
    _count("train_batchsize", 100, "images per training step", _RUN, "training"),
    _count(
        "eval_batchsize",
        None,
        "images per evaluation batch",
        (*_RUN, "evaluate"),
        "rounding",
        unset="published",
        field=1000,
    ),
    _count(
        "eval_iw_samples",
        4000,
        "importance samples of the final test likelihood",
        (*_RUN, "evaluate"),
        "measurement",
    ),
    _positive("base_lr", 3e-3, "base learning rate of Adam", _RUN, "training"),
    _count(
        "input_size", 784, "pixels per image; follows the data when not given", _RUN, "training"
    ),
    Setting(
        "mode", "train", "what to do; time: how long would it take?", str, MODES, choices=MODES
    ),
    Setting(
        "run",
        None,
        "directory of a run, or of an exported model, for evaluate, generate, log_z and export",
        Path,
        (*_ON_RUN, "export"),
        unset="",
    ),
    Setting(
        "out_dir",
        None,
        "where these modes write; exported models are left as they are: "
        "LOG_DIR/models/NAME; --mode=export: exported/NAME",
        Path,
        (*_ON_RUN, "export"),
        unset="the run directory",
    ),
    _steps(
        "step",
        None,
        "the model of a step of --keep_steps instead of the best",
        _ON_RUN,
        unset="best",
    ),
    Setting(
        "seed",
        0,
        "same seed, same machine: same numbers; of a run's images and measurements "
        "another one gives other draws",
        int,
        (*_CELL, *_ON_RUN),
        "training",
        axis="seeds",
        least=0,
        most=2**31 - 1,
    ),
    Setting(
        "start_from",
        None,
        "a run, or an exported model, from whose best weights and chains a new run starts; its "
        "schedules begin anew",
        Path,
        ("train", "python"),
        unset="new weights",
    ),
    Setting(
        "fresh", False, "move an old run in the same directory aside and start anew", bool, _CELL
    ),
    _steps(
        "eval_every",
        None,
        "steps between evaluations",
        _RUN,
        "training",
        unset="20,000; 10,000 in runs of up to 100,000 steps; a fourth of those below 10,000",
        field=20_000,
    ),
    _steps(
        "summary_every",
        None,
        "steps between TensorBoard summaries",
        _RUN,
        "rounding",
        unset="1000; a tenth of runs below 10,000 steps",
        field=1000,
    ),
    Setting("checkpoint_minutes", 10.0, "longest time between checkpoints", float, _RUN, least=0),
    Setting(
        "max_unsaved_minutes",
        60.0,
        "end the run when no checkpoint could be written for so long",
        float,
        _RUN,
        least=0,
    ),
    Setting(
        "keep_steps",
        (),
        "steps whose model (weights and chains, small) is kept as "
        "checkpoints/kept-<step>, such as 10000,30000",
        tuple,
        _RUN,
        unset="none",
        least=1,
    ),
    Setting(
        "compile_cache",
        None,
        "directory that keeps compiled programs, so that a second start is quick; empty: none",
        Path,
        (*MODES, "table"),
        unset="$XDG_CACHE_HOME/dvae-xla or ~/.cache/dvae-xla",
    ),
    Setting(
        "gpu_kernel",
        "off",
        "sweeps and mean field of an RBM prior as one kernel of a GPU each: auto (where a GPU can "
        "hold it), on (or an error), off; it has not run on a GPU yet",
        str,
        (*(mode for mode in MODES if mode != "export"), "table"),
        choices=("auto", "on", "off"),
    ),
    _count("num_images", 100, "images that --mode=generate draws", ("generate",)),
    _count(
        "num_chains", 1000, "chains, or population size, of the prior's sampler", _RUN, "training"
    ),
    _count("num_sweeps", 40, "block-Gibbs sweeps per training step", _RUN, "training"),
    Setting(
        "num_temperatures",
        16,
        "temperatures of --sampler=pt, among which num_chains are divided; the coldest feed the "
        "gradient",
        int,
        _RUN,
        "training",
        least=2,
        most=1000,
    ),
    Setting(
        "resample_threshold",
        1.0,
        "resample the population when ESS/size is below this; 1: always",
        float,
        _RUN,
        "training",
        least=MIN_FLOAT,
        most=1.0,
    ),
    Setting(
        "log_z_population",
        "shared",
        "population that tracks log Z in training: shared (the "
        "gradient's, as published; untrusted), separate (one of its own: a true estimate, costs "
        "its share of sampling), none",
        str,
        _RUN,
        "training",
        choices=("shared", "separate", "none"),
    ),
    _count("log_z_chains", 1000, "size of the separate log Z population", _RUN, "training"),
    _count(
        "ais_chains",
        1024,
        "chains of annealed importance sampling",
        (*_RUN, "evaluate", "log_z"),
        "measurement",
    ),
    _count(
        "ais_temperatures",
        1000,
        "temperatures of annealed importance sampling",
        (*_RUN, "evaluate", "log_z"),
        "measurement",
    ),
    Setting(
        "ais_base",
        "uniform",
        "start of AIS: uniform (fair bits, as published) or fitted (to the chains' means)",
        str,
        (*_RUN, "evaluate", "log_z"),
        "measurement",
        choices=("uniform", "fitted"),
    ),
)
