"""What run.py can do, free of flags: train, time, evaluate, generate, log_z, export."""

import dataclasses
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from configs.errors import UserError, name_of
from configs.experiment import ExperimentConfig
from configs.files import replacing, writing_to
from data.dataset import Dataset
from dvae.priors import energy_model
from dvae.runs import memory, result, timing
from dvae.runs.checkpoints import RunOptions, starting_point
from dvae.runs.directory import RunDirectory
from dvae.runs.export import export_run
from dvae.runs.json_files import write_json
from dvae.runs.loop import Run
from dvae.runs.pictures import grid, write_png
from dvae.runs.process import Stopped, device_name, num_cores, say
from dvae.runs.records import read_result
from dvae.runs.trained_model import TrainedModel
from samplers import log_z_table

_DARK = 0.02  # grey values all below this are more likely a mistake in scaling
_ELSEWHERE = f"choose another {name_of('out_dir')}"


def train(config: ExperimentConfig, dataset: Dataset, **how: Any) -> int:
    """`train_run` as a program; returns the exit code. Raises UserError."""
    try:
        train_run(config, dataset, **how)
    except Stopped as stop:
        say(f"stopped by {stop}; the same command goes on from here")
        return stop.exit_code
    return 0


def _fitted(config: ExperimentConfig, dataset: Dataset) -> ExperimentConfig:
    """A configuration with the size of its data. Raises UserError if the two do not fit."""
    config = dataclasses.replace(config, input_size=dataset.input_size)
    if config.train_batchsize > len(dataset.train):
        raise UserError(
            f"{name_of('train_batchsize')}={config.train_batchsize} exceeds the "
            f"{len(dataset.train)} training images of {name_of('dataset')}; choose fewer"
        )
    memory.check_training(config, dataset)
    return config


def train_run(
    config: ExperimentConfig,
    dataset: Dataset,
    run_path: Path,
    fresh: bool,
    options: RunOptions,
    write_data: Callable[[], None] | None = None,
) -> Path:
    """Trains to the end from wherever the run stands, and prints the result.

    A finished one is left as it is.

    Args:
      run_path: of the run; should one of other settings lie there, this one lies beside it.
      write_data: writes the file of images that were given as arrays; not called for a run that is
        refused.

    Returns:
      The run's directory.

    Raises:
      UserError: the user can mend what is wrong.
      Stopped: a signal asked for it; a checkpoint was written.
    """
    config = _fitted(config, dataset)
    if options.start_from is not None:
        start = starting_point(Path(options.start_from), config)
        config = dataclasses.replace(config, started_from=start["checkpoint"])
        options = dataclasses.replace(options, start=start)
    beta = f"beta {config.beta:g}, " if config.has_sharpness else ""
    cores = num_cores()
    say(
        f"{config.baseline}, {config.structure_name}, k={config.k}, sampler {config.sampler}, "
        f"{beta}seed {config.seed} on {device_name()} ({cores} core{'s' * (cores > 1)})"
    )
    if config.prior != "rbm":
        say(f"prior: {config.prior}, {energy_model(config.structure)}")
    say(f"data: {dataset.notes}")
    if (most := dataset.grey(dataset.train.max())) < _DARK:
        logging.warning("no training image has a value above %.2g: divided by 255 twice?", most)
    directory = RunDirectory.of_run(run_path, config, dataset.sha256, fresh)
    say(f"run: {directory.path}")
    try:
        if write_data is not None:
            write_data()
        directory.keep_data_facts(dataset)
        if directory.result.exists():
            read_result(directory.result)
            say("this run is finished")
        else:
            Run(config, dataset, directory, options).train()
        _show_result(directory)
    finally:
        directory.unlock()
    return directory.path


def _show_result(directory: RunDirectory) -> None:
    result.announce(read_result(directory.result))
    say(f"result: {directory.result}")


def time(config: ExperimentConfig, dataset: Dataset) -> int:
    """Prints how long a run would take here; the last line is `timing.measure`'s result as JSON."""
    config = _fitted(config, dataset)
    measured = timing.measure(config, dataset)
    say(
        f"{config.baseline}, {config.structure_name}, k={config.k}, sampler {config.sampler} on "
        f"{device_name()}: {measured['ms_per_step']:.1f} ms per step, {measured['hours']:.2f} h "
        f"for {config.num_train_iter} steps and their evaluations"
    )
    say(f"measured: {json.dumps(measured, allow_nan=False)}")
    return 0


def evaluate(model: TrainedModel, out_dir: Path) -> int:
    """log Z and test NLL of a run's model, without training; writes evaluation.json."""
    say(f"evaluating {model.path}, step {model.step}, on {device_name()}")
    record = model.evaluate()
    result.announce(record)
    return _keep(out_dir / "evaluation.json", model, {"seed": model.config.seed, **record})


def generate(model: TrainedModel, out_dir: Path, num_images: int) -> int:
    """Draws images from a run's prior; writes generated.png and generated.npz (means)."""
    latents = model.sample_latents(num_images)
    means = model.decode(latents).reshape(num_images, -1)
    picture, arrays = out_dir / "generated.png", out_dir / "generated.npz"
    with writing_to(out_dir, _ELSEWHERE):
        write_png(picture, grid(means, model.image_shape, 10))
        with replacing(arrays) as file:
            np.savez_compressed(file, means=means, latents=latents)
    say(f"{num_images} images: {picture}, {arrays}")
    return 0


def log_z(model: TrainedModel, out_dir: Path) -> int:
    """Prints what every estimator says of log Z; writes log_z.json."""
    rows = model.log_partition_table()
    say(log_z_table.format_table(rows))
    return _keep(out_dir / "log_z.json", model, {"estimators": rows})


def export(path: Path, target: Path | None) -> int:
    """Writes a finished run's best model as a small directory; see `dvae.runs.export`."""
    found = export_run(path, target)
    size = sum(file.stat().st_size for file in found.rglob("*") if file.is_file())
    say(f"exported: {found} ({size / 1e6:.1f} MB), described by {found / 'README.md'}")
    return 0


def _keep(path: Path, model: TrainedModel, record: dict[str, Any]) -> int:
    """Writes what was found of a model, and says where."""
    with writing_to(path.parent, _ELSEWHERE):
        write_json(path, {"run": str(model.path), "step": model.step, **record})
    say(f"result: {path}")
    return 0
