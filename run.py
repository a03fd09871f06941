"""Trains and evaluates discrete VAEs with Boltzmann-machine priors: DVAE, DVAE++ and DVAE#.

The flags of the 2018 command line keep their names and defaults. See README.md.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from absl import flags, logging

from configs import command_line
from configs.errors import UserError
from configs.paper import DATASETS, STRUCTURES, ExperimentConfig, build_config
from configs.registry import BASELINES, SAMPLERS
from dvae.runs import process

FLAGS = flags.FLAGS
MODES = ("train", "time", "evaluate", "generate", "log_z", "export")

# Published flags.
flags.DEFINE_string("data_dir", "./data", "where data sets are found, or downloaded to")
FLAGS.set_default("log_dir", "./logs")  # absl.logging owns the flag of this name
flags.DEFINE_string(
    "dataset", "binarized_mnist", f"{', '.join(DATASETS)}, or the path of an .npz file"
)
flags.DEFINE_string("struct", "2-layer-nonlin", f"model structure: {', '.join(STRUCTURES)}")
flags.DEFINE_string("baseline", "dvaes_power", f"method: {', '.join(BASELINES)}")
flags.DEFINE_bool("qupa", True, "published name: --sampler=pa if True, --sampler=pcd if False")
flags.DEFINE_integer("k", 1, "samples per image in training")
flags.DEFINE_float("beta", None, "sharpness of the smoothing; default: the published one")
flags.DEFINE_integer("num_train_iter", 1_000_000, "training steps; schedules follow it")
flags.DEFINE_integer("train_batchsize", 100, "images per training step")
flags.DEFINE_integer("eval_batchsize", None, "images per evaluation batch; default: as published")
flags.DEFINE_integer("eval_iw_samples", 4000, "importance samples of the final test likelihood")
flags.DEFINE_float("base_lr", 3e-3, "base learning rate of Adam")
flags.DEFINE_integer("input_size", 784, "pixels per image; follows the data when not given")

# The run.
flags.DEFINE_enum("mode", "train", MODES, "what to do")
flags.DEFINE_string(
    "run", None, "run directory, or exported model, for --mode=evaluate, generate, log_z and export"
)
flags.DEFINE_string(
    "out_dir",
    None,
    "where these modes write; default: the run directory, for exported models LOG_DIR/models/NAME; "
    "--mode=export: models/<dataset>-<struct>-<baseline>-k<k>",
)
flags.DEFINE_integer("seed", 0, "same seed, same machine: same numbers")
flags.DEFINE_bool("fresh", False, "move an old run in the same directory aside and start anew")
flags.DEFINE_integer("eval_every", None, "steps between evaluations; default: as published")
flags.DEFINE_integer("summary_every", 1000, "steps between TensorBoard summaries")
flags.DEFINE_float("checkpoint_minutes", 10.0, "longest time between checkpoints")
flags.DEFINE_float(
    "max_unsaved_minutes", 60.0, "end the run when no checkpoint could be written for so long"
)
flags.DEFINE_list(
    "keep_steps", [], "steps whose model (weights and chains) is kept, such as 10000,30000"
)
flags.DEFINE_string(
    "compile_cache",
    str(process.compile_cache_directory() or ""),
    "directory that keeps compiled programs, so that a second start is quick; empty: none",
)
flags.DEFINE_integer("step", None, "model of this step instead of the best; see --keep_steps")
flags.DEFINE_integer("num_images", 100, "images that --mode=generate draws")

# The prior's sampler and log Z.
flags.DEFINE_string(
    "sampler",
    None,
    f"chains that feed the gradient of log Z: {', '.join(SAMPLERS)} (population annealing, "
    "persistent contrastive divergence); default: as --qupa says",
)
flags.DEFINE_integer("num_chains", 1000, "chains, or population size, of the prior's sampler")
flags.DEFINE_integer("num_sweeps", 40, "block-Gibbs sweeps per training step")
flags.DEFINE_float(
    "resample_threshold", 1.0, "resample the population when ESS/size is below this; 1: always"
)
flags.DEFINE_enum(
    "log_z_population",
    "shared",
    ["shared", "separate", "none"],
    "population that tracks log Z in training: the gradient's (as published; untrusted), "
    "one of its own (a true estimate, costs its share of sampling), or none",
)
flags.DEFINE_integer("log_z_chains", 1000, "size of the separate log Z population")
flags.DEFINE_integer("ais_chains", 1024, "chains of annealed importance sampling")
flags.DEFINE_integer("ais_temperatures", 1000, "temperatures of annealed importance sampling")
flags.DEFINE_enum(
    "ais_base",
    "uniform",
    ["uniform", "fitted"],
    "start of AIS: fair bits as published, or units with the chains' means; a run that was begun "
    "with one goes on with it unless this is given",
)

_SAME_NAME = (
    "dataset struct baseline k beta num_train_iter train_batchsize eval_batchsize "
    "eval_iw_samples base_lr seed eval_every summary_every num_chains num_sweeps "
    "resample_threshold log_z_population log_z_chains ais_chains ais_temperatures ais_base"
).split()
# What --mode=evaluate and log_z may measure with other settings than the run's own.
_MEASURING = "eval_iw_samples eval_batchsize ais_chains ais_temperatures ais_base".split()


def _sampler() -> str:
    published = "pa" if FLAGS.qupa else "pcd"
    if FLAGS.sampler is None:
        return published
    if FLAGS["qupa"].present and FLAGS.sampler != published:
        raise UserError(
            f"--qupa={FLAGS.qupa} means --sampler={published}: leave one of the two out"
        )
    return FLAGS.sampler


def config_from_flags(**changed: Any) -> ExperimentConfig:
    """The configuration that the flags ask for, some fields of `ExperimentConfig` changed."""
    fields = {name: getattr(FLAGS, name) for name in _SAME_NAME}
    fields |= {"sampler": _sampler(), "input_size": FLAGS.input_size}
    return build_config(**(fields | changed))


def _given_input_size() -> int | None:
    return FLAGS.input_size if FLAGS["input_size"].present else None


def _keep_steps() -> tuple[int, ...]:
    try:
        return tuple(sorted({int(text) for text in FLAGS.keep_steps}))
    except ValueError:
        raise UserError(
            f"--keep_steps={','.join(FLAGS.keep_steps)} must be whole numbers"
        ) from None


def _train() -> int:
    config = config_from_flags()  # bad settings end it before data are read
    keep_steps = _keep_steps()
    from dvae.runs.checkpoints import RunOptions
    from dvae.runs.commands import train
    from dvae.runs.directory import RunDirectory

    if not (FLAGS["ais_base"].present or FLAGS.fresh):
        config = RunDirectory(config.run_directory(FLAGS.log_dir)).with_base_of_before(config)
    given = {name: getattr(FLAGS, name) for name in (*_SAME_NAME, "data_dir")}
    given |= {"sampler": config.sampler, "ais_base": config.ais_base}
    flags_text = "\n".join(f"--{name}={value}" for name, value in given.items())
    options = RunOptions(
        FLAGS.checkpoint_minutes, FLAGS.max_unsaved_minutes, flags_text, keep_steps
    )
    return train(
        config,
        data_dir=FLAGS.data_dir,
        input_size=_given_input_size(),
        run_path=config.run_directory(FLAGS.log_dir),
        fresh=FLAGS.fresh,
        options=options,
    )


def _time() -> int:
    config = config_from_flags()
    from dvae.runs.timing import time_run

    return time_run(config, data_dir=FLAGS.data_dir, input_size=_given_input_size())


def _run_path() -> Path:
    if FLAGS.run is None:
        raise UserError(f"--mode={FLAGS.mode} needs --run=DIR, the directory of a run")
    return Path(FLAGS.run)


def _of_run(command: str) -> Callable[[], int]:
    """A mode that works on a finished or unfinished run."""

    def go() -> int:
        path = _run_path()
        from dvae.runs import commands
        from dvae.runs.directory import RunDirectory

        changed = {name: getattr(FLAGS, name) for name in _MEASURING if FLAGS[name].present}
        return getattr(commands, command)(
            path,
            changed,
            data_dir=FLAGS.data_dir,
            step=FLAGS.step,
            num_images=FLAGS.num_images,
            out_dir=Path(FLAGS.out_dir or RunDirectory(path).output(FLAGS.log_dir)),
        )

    return go


def _export() -> int:
    path = _run_path()
    from dvae.runs.commands import export

    return export(path, Path(FLAGS.out_dir) if FLAGS.out_dir else None, FLAGS.data_dir)


def main() -> int:
    """Runs the mode that the flags ask for; returns the exit code."""
    commands = {
        "train": _train,
        "evaluate": _of_run("evaluate"),
        "generate": _of_run("generate"),
        "log_z": _of_run("log_z"),
        "export": _export,
        "time": _time,
    }
    if not FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)
    if not FLAGS.compile_cache and FLAGS["compile_cache"].present:
        return commands[FLAGS.mode]()
    process.enable_compile_cache(Path(FLAGS.compile_cache) if FLAGS.compile_cache else None)
    try:
        with process.compile_cache_guard():
            return commands[FLAGS.mode]()
    except process.CompileCacheSuspected as error:
        # A run goes on from its newest checkpoint.
        logging.warning(
            "TensorFlow failed (%s): starting again without the compile cache %s, which may be "
            "damaged or its disk full; if that helps, remove it",
            error,
            FLAGS.compile_cache,
        )
        process.start_again_without_compile_cache()


def program() -> None:
    """run.py, and the console script dvae-run."""
    command_line.start(main)


if __name__ == "__main__":
    program()
