"""What run.py can do, free of flags: train, evaluate, generate, log_z."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

import data
from configs.errors import UserError
from configs.paper import ExperimentConfig, check_config
from data.dataset import Dataset
from dvae.evaluation import Evaluator
from dvae.runs import result
from dvae.runs.checkpoints import RunOptions, Saver
from dvae.runs.directory import RunDirectory
from dvae.runs.loop import Run
from dvae.runs.pictures import Inspector, grid, write_png
from dvae.runs.process import Stopped, device_name, say
from dvae.runs.records import read_result, write_json
from dvae.train_step import TrainProgram
from samplers import counter_random, gibbs

_EVALUATE_STREAM, _GENERATE_STREAM, _LOG_Z_STREAM = 6, 7, 8
_GENERATE_SWEEPS = 1000


def prepare_device() -> None:
    """GPU memory as it is needed, so that runs can share a GPU; deterministic operations."""
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
    tf.config.experimental.enable_op_determinism()


def train(
    config: ExperimentConfig,
    *,
    data_dir: str,
    input_size: int | None,
    run_path: Path,
    fresh: bool,
    checkpoint_minutes: float,
    max_unsaved_minutes: float,
    keep_steps: tuple[int, ...],
    flags_text: str,
) -> int:
    """Trains, or goes on training, and prints the result; returns the exit code.

    Raises:
      UserError: the user can mend what is wrong.
    """
    options = RunOptions(checkpoint_minutes, max_unsaved_minutes, flags_text, keep_steps)
    dataset = data.load(config.dataset, data_dir, input_size)
    config = dataclasses.replace(config, input_size=dataset.input_size)
    if config.train_batchsize > len(dataset.train):
        raise UserError(
            f"--train_batchsize={config.train_batchsize} exceeds the {len(dataset.train)} "
            f"training images of {config.dataset}"
        )
    prepare_device()
    say(
        f"{config.baseline}, {config.struct}, k={config.k}, sampler {config.sampler_name}, "
        f"beta {config.sharpness:g}, seed {config.seed} on {device_name()} ({os.cpu_count()} cores)"
    )
    say(f"data: {dataset.notes}")
    say(f"run: {run_path}")
    directory = RunDirectory(run_path)
    directory.open(config, dataset.sha256, fresh)
    try:
        if directory.result.exists():
            say("this run is finished; --fresh would start it anew")
            return _present(directory.result)
        Run(config, dataset, directory, options).train()
    except Stopped as stop:
        say(f"stopped by {stop}; the same command goes on from here")
        return stop.exit_code
    finally:
        directory.unlock()
    return _present(directory.result)


def _present(path: Path) -> int:
    """Prints a result and, as the last line, where it is."""
    result.announce(read_result(path))
    say(f"result: {path}")
    return 0


@dataclasses.dataclass(frozen=True)
class TrainedRun:
    """A run's best model, read back."""

    config: ExperimentConfig
    dataset: Dataset
    directory: RunDirectory
    program: TrainProgram


def load_run(path: Path, changed: dict[str, Any], data_dir: str) -> TrainedRun:
    """Rebuilds a run from its directory, with measuring settings changed."""
    directory = RunDirectory(path)
    config, data_sha256 = directory.read_config()
    config = dataclasses.replace(config, **changed)
    check_config(config)
    dataset = data.load(config.dataset, data_dir, config.input_size)
    if dataset.sha256 != data_sha256:
        raise UserError(
            f"the data in {data_dir} is not what {path} was trained on (sha256 {dataset.sha256} "
            f"here, {data_sha256} there): give its --data_dir"
        )
    prepare_device()
    program = TrainProgram(config, dataset)
    Saver(directory, program, RunOptions()).restore_best()
    return TrainedRun(config, dataset, directory, program)


def evaluate(path: Path, changed: dict[str, Any], *, data_dir: str, num_images: int) -> int:
    """log Z and test NLL of a run's best checkpoint, without training; writes evaluation.json."""
    del num_images
    run = load_run(path, changed, data_dir)
    config, program = run.config, run.program
    say(f"evaluating {path} on {device_name()}")
    record = result.evaluate_model(
        config,
        run.dataset,
        Evaluator(program.model),
        program.rbm(),
        program.sampler.chains(program.sampler_state()),
        counter_random.fold_in(counter_random.key(config.seed), _EVALUATE_STREAM),
    )
    result.announce(record)
    target = path / "evaluation.json"
    _write(target, {"run": str(path), **record})
    say(f"result: {target}")
    return 0


def generate(path: Path, changed: dict[str, Any], *, data_dir: str, num_images: int) -> int:
    """Draws images from a run's prior; writes generated.png and generated.npz (means)."""
    if num_images < 1:
        raise UserError(f"--num_images={num_images} must be at least 1")
    run = load_run(path, changed, data_dir)
    program = run.program
    key = counter_random.fold_in(counter_random.key(run.config.seed), _GENERATE_STREAM)
    kept = program.sampler.chains(program.sampler_state())
    # Chains repeat when more images are asked for than there are; the sweeps part them again.
    rows = tf.range(num_images) % kept.left.shape[0]
    start = type(kept)(*(tf.gather(half, rows) for half in kept))
    chains = tf.function(gibbs.sweeps, jit_compile=True)(
        program.rbm(), start, key, tf.constant(_GENERATE_SWEEPS)
    )
    means = Inspector(program.model, run.dataset.image_shape).decode(chains)
    try:
        write_png(path / "generated.png", grid(means, run.dataset.image_shape, 10))
        np.savez_compressed(
            path / "generated.npz", means=means, latents=np.concatenate(chains, axis=1)
        )
    except OSError as error:
        raise UserError(f"cannot write to {path} ({error.strerror})") from None
    say(f"{num_images} images: {path / 'generated.png'}, {path / 'generated.npz'}")
    return 0


def log_z(path: Path, changed: dict[str, Any], *, data_dir: str, num_images: int) -> int:
    """Prints what every estimator says of log Z; writes log_z.json."""
    del num_images
    from dvae.runs.log_z_table import format_table, measure_all

    run = load_run(path, changed, data_dir)
    program = run.program
    state = program.sampler_state()
    key = counter_random.fold_in(counter_random.key(run.config.seed), _LOG_Z_STREAM)
    tracked = program.sampler.log_partition(state)
    rows = measure_all(
        run.config,
        program.rbm(),
        program.sampler.chains(state),
        key,
        None if tracked is None else float(tracked),
    )
    say(format_table(rows))
    _write(path / "log_z.json", {"run": str(path), "estimators": json.loads(json.dumps(rows))})
    say(f"result: {path / 'log_z.json'}")
    return 0


def _write(path: Path, record: dict[str, Any]) -> None:
    try:
        write_json(path, record)
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror})") from None
