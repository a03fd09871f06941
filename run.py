"""Trains and evaluates discrete VAEs with Boltzmann-machine priors: DVAE, DVAE++ and DVAE#.

The flags of the 2018 command line keep their names and defaults. See README.md.
"""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from absl import flags, logging

import data
from configs import command_line
from configs.command_line import given, value
from configs.errors import UserError
from configs.experiment import ExperimentConfig, build_config
from configs.settings import SETTINGS
from data.dataset import Dataset
from dvae.runs import compile_cache, isolation, noise, process
from dvae.runs.records import read_config

FLAGS = flags.FLAGS
EXAMPLES = """Examples:

  python run.py --dataset=digits --struct=1-layer-nonlin --num_train_iter=2000
  python run.py --mode=log_z --run=logs/digits/1-layer-nonlin/dvaes_power/1/pa_beta40_seed0
  python run.py --mode=generate --run=logs/digits/1-layer-nonlin/dvaes_power/1/pa_beta40_seed0
  python run.py --dataset=binarized_mnist --struct=1-layer-nonlin --data_dir=datasets
"""

command_line.define(SETTINGS.values())


def _value(name: str) -> Any:
    return value(SETTINGS[name])


def _sampler() -> str:
    published = "pa" if FLAGS.qupa else "pcd"
    if FLAGS.sampler is None:
        return published
    if given(SETTINGS["qupa"]) and FLAGS.sampler != published:
        raise UserError(
            f"--qupa={FLAGS.qupa} means --sampler={published}: leave one of the two out"
        )
    return FLAGS.sampler


def config_from_flags(**changed: Any) -> ExperimentConfig:
    """The configuration that the flags ask for, some fields of `ExperimentConfig` changed."""
    fields = {name: FLAGS[name].value for name, setting in SETTINGS.items() if setting.decides}
    return build_config(**(fields | {"sampler": _sampler()} | changed))


# What each mode does: a function of no arguments, made once the flags have been checked, before
# anything slow is imported.
Job = Callable[[], int]


def _data(config: ExperimentConfig) -> Dataset:
    """The data of a configuration: read before TensorFlow is, so that an error shows at once."""
    size = FLAGS.input_size if given(SETTINGS["input_size"]) else None
    return data.load(config.dataset, _value("data_dir"), size)


def _with_kernels(config: ExperimentConfig, job: Job) -> Job:
    def go() -> int:
        from dvae.runs import gpu_kernel

        with gpu_kernel.taken(_value("gpu_kernel"), config):
            return job()

    return go


def _train() -> Job:
    config = config_from_flags()
    names = ("checkpoint_minutes", "max_unsaved_minutes", "keep_steps", "start_from")
    options = {name: _value(name) for name in names}
    place = {"run_path": config.run_directory(_value("log_dir")), "fresh": FLAGS.fresh}
    dataset = _data(config)

    def go() -> int:
        from dvae.runs import commands
        from dvae.runs.checkpoints import RunOptions

        return commands.train(config, dataset, **place, options=RunOptions(**options))

    return _with_kernels(config, go)


def _time() -> Job:
    config = config_from_flags()
    dataset = _data(config)

    def go() -> int:
        from dvae.runs import commands

        return commands.time(config, dataset)

    return _with_kernels(config, go)


def _run_path() -> Path:
    if FLAGS.run is None:
        raise UserError(f"--mode={FLAGS.mode} needs --run=DIR, the directory of a run")
    path = Path(_value("run"))
    read_config(path)  # whether there is a run
    return path


def _out_dir() -> Path | None:
    return None if FLAGS.out_dir is None else Path(_value("out_dir"))


def _of_run(command: str, *more: str) -> Callable[[], Job]:
    """A mode that works on a finished or unfinished run. more: settings that it alone takes."""

    def checked() -> Job:
        path = _run_path()
        changed = {
            name: value(setting)
            for name, setting in SETTINGS.items()
            if setting.decides and name != "dataset" and given(setting)
        }
        dataset = _value("dataset") if given(SETTINGS["dataset"]) else None
        which = {"data_dir": _value("data_dir"), "step": _value("step"), "dataset": dataset}
        arguments = {name: _value(name) for name in more}

        def go() -> int:
            from dvae.runs import commands
            from dvae.runs.directory import RunDirectory

            out_dir = _out_dir() or RunDirectory(path).output(_value("log_dir"))
            model = commands.TrainedModel(path, **which, **changed)
            return getattr(commands, command)(model, out_dir, **arguments)

        return _with_kernels(read_config(path).config, go)

    return checked


def _export() -> Job:
    path = _run_path()

    def go() -> int:
        from dvae.runs import commands

        return commands.export(path, _out_dir())

    return go


_JOBS = {
    "train": _train,
    "time": _time,
    "evaluate": _of_run("evaluate"),
    "generate": _of_run("generate", "num_images"),
    "log_z": _of_run("log_z"),
    "export": _export,
}


def main() -> int:
    """Runs the mode that the flags ask for; returns the exit code."""
    if not FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)
    command_line.check_known(SETTINGS.values(), FLAGS.mode, f"--mode={FLAGS.mode}")
    job = _JOBS[FLAGS.mode]()
    cache = _value("compile_cache")
    cache = compile_cache.compile_cache_directory() if cache is None else cache
    guard = compile_cache.compile_cache_guard
    if cache == "":
        guard = contextlib.nullcontext
    else:
        compile_cache.enable_compile_cache(None if cache is None else Path(cache))
    try:
        with noise.dropped():
            process.import_libraries()
            with isolation.isolated(), guard():
                process.share_gpus()
                return job()
    except compile_cache.CompileCacheSuspected as error:
        # A run goes on from its newest checkpoint.
        logging.warning(
            "TensorFlow failed (%s): starting again without the compile cache %s, which may be "
            "damaged or its disk full; if that helps, remove it",
            error,
            cache,
        )
        compile_cache.start_again_without_compile_cache()


def program() -> None:
    """run.py, and the console script dvae-run."""
    os.environ["KERAS_BACKEND"] = "tensorflow"  # whatever the user's own programs run on
    command_line.start(main, f"{EXAMPLES}\n{__doc__}", [*SETTINGS.values()])


if __name__ == "__main__":
    program()
