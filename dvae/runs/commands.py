"""What run.py can do, free of flags: train, evaluate, generate, log_z, export."""

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np

import data
from configs.errors import UserError
from configs.files import replacing
from configs.paper import ExperimentConfig
from dvae.runs import log_z_table, memory, result
from dvae.runs.checkpoints import RunOptions
from dvae.runs.directory import RunDirectory
from dvae.runs.export import export_run
from dvae.runs.loop import Run
from dvae.runs.pictures import grid, write_png
from dvae.runs.process import Stopped, device_name, say
from dvae.runs.records import read_result, write_json
from dvae.runs.trained_model import TrainedModel


def train(
    config: ExperimentConfig,
    *,
    data_dir: str,
    input_size: int | None,
    run_path: Path,
    fresh: bool,
    options: RunOptions,
) -> int:
    """Trains, or goes on training, and prints the result; returns the exit code.

    Raises:
      UserError: the user can mend what is wrong.
    """
    try:
        path = train_run(config, data_dir, input_size, run_path, fresh, options)
    except Stopped as stop:
        say(f"stopped by {stop}; the same command goes on from here")
        return stop.exit_code
    return _present(RunDirectory(path).result)


def train_run(
    config: ExperimentConfig,
    data_dir: str,
    input_size: int | None,
    run_path: Path,
    fresh: bool,
    options: RunOptions,
) -> Path:
    """Trains to the end from wherever the run stands; a finished one is left as it is.

    Args:
      run_path: of the run; should one of other settings lie there, this one lies beside it.

    Returns:
      The run's directory.

    Raises:
      UserError: the user can mend what is wrong.
      Stopped: a signal asked for it; a checkpoint was written.
    """
    dataset = data.load(config.dataset, data_dir, input_size)
    config = dataclasses.replace(config, input_size=dataset.input_size)
    if config.train_batchsize > len(dataset.train):
        raise UserError(
            f"--train_batchsize={config.train_batchsize} exceeds the {len(dataset.train)} "
            f"training images of {config.dataset}"
        )
    memory.check_training(config, dataset)
    say(
        f"{config.baseline}, {config.struct}, k={config.k}, sampler {config.sampler}, "
        f"beta {config.beta:g}, seed {config.seed} on {device_name()} ({os.cpu_count()} cores)"
    )
    say(f"data: {dataset.notes}")
    directory = RunDirectory.of_run(run_path, config, dataset.sha256, fresh)
    say(f"run: {directory.path}")
    try:
        directory.keep_data_facts(dataset)
        if directory.result.exists():
            read_result(directory.result)
            say("this run is finished")
        else:
            Run(config, dataset, directory, options).train()
    finally:
        directory.unlock()
    return directory.path


def _present(path: Path) -> int:
    """Prints a result and, as the last line, where it is."""
    record = read_result(path)
    try:
        result.announce(record)
    except KeyError as error:
        raise UserError(f"{path} is damaged: it lacks {error}; restore it") from None
    say(f"result: {path}")
    return 0


def evaluate(
    path: Path,
    changed: dict[str, Any],
    *,
    data_dir: str,
    dataset: str | None = None,
    step: int | None,
    num_images: int,
    out_dir: Path,
) -> int:
    """log Z and test NLL of a run's best model, without training; writes evaluation.json."""
    del num_images
    trained = TrainedModel(path, data_dir, step, dataset, **changed)
    say(f"evaluating {path}, step {trained.step}, on {device_name()}")
    record = trained.evaluate()
    result.announce(record)
    target = out_dir / "evaluation.json"
    _write(target, {"run": str(path), "step": trained.step, "seed": trained.config.seed, **record})
    say(f"result: {target}")
    return 0


def generate(
    path: Path,
    changed: dict[str, Any],
    *,
    data_dir: str,
    dataset: str | None = None,
    step: int | None,
    num_images: int,
    out_dir: Path,
) -> int:
    """Draws images from a run's prior; writes generated.png and generated.npz (means)."""
    if num_images < 1:
        raise UserError(f"--num_images={num_images} must be at least 1")
    trained = TrainedModel(path, data_dir, step, dataset, **changed)
    latents = trained.sample_latents(num_images)
    means = trained.decode(latents).reshape(num_images, -1)
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        write_png(out_dir / "generated.png", grid(means, trained.image_shape, 10))
        with replacing(out_dir / "generated.npz") as file:
            np.savez_compressed(file, means=means, latents=latents)
    except OSError as error:
        raise _unwritable(out_dir, error) from None
    say(f"{num_images} images: {out_dir / 'generated.png'}, {out_dir / 'generated.npz'}")
    return 0


def log_z(
    path: Path,
    changed: dict[str, Any],
    *,
    data_dir: str,
    dataset: str | None = None,
    step: int | None,
    num_images: int,
    out_dir: Path,
) -> int:
    """Prints what every estimator says of log Z; writes log_z.json."""
    del num_images
    trained = TrainedModel(path, data_dir, step, dataset, **changed)
    rows = trained.log_partition_table()
    say(log_z_table.format_table(rows))
    record = {"run": str(path), "step": trained.step, "estimators": rows}
    _write(out_dir / "log_z.json", record)
    say(f"result: {out_dir / 'log_z.json'}")
    return 0


def export(path: Path, target: Path | None) -> int:
    """Writes a finished run's best model as a small directory; see `dvae.runs.export`."""
    found = export_run(path, target)
    size = sum(file.stat().st_size for file in found.rglob("*") if file.is_file())
    say(f"exported: {found} ({size / 1e6:.1f} MB), described by {found / 'README.md'}")
    return 0


def _unwritable(path: Path, error: OSError) -> UserError:
    return UserError(f"cannot write to {path} ({error.strerror}): choose another --out_dir")


def _write(path: Path, record: dict[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, record)
    except OSError as error:
        raise _unwritable(path.parent, error) from None
