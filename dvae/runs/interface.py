"""The Python interface: `dvae.train`, `dvae.load` and `dvae.export`."""

import contextlib
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from configs.errors import UserError
from configs.files import path_errors
from configs.paper import ExperimentConfig, build_config
from dvae.runs.checkpoints import RunOptions
from dvae.runs.commands import train_run
from dvae.runs.directory import RunDirectory
from dvae.runs.export import export_run
from dvae.runs.process import Stopped
from dvae.runs.trained_model import TrainedModel

__all__ = ["TrainedModel", "export", "load", "train"]

_SETTINGS = {field.name for field in dataclasses.fields(ExperimentConfig)}
_SETTINGS = _SETTINGS - {"sharpness", "structure"} | {"beta"}


def _of_arguments(message: str) -> str:
    """What the command line says of flags and commands, said of arguments and calls."""
    message = message.replace("--fresh", "fresh=True").replace("same command", "same call")
    return re.sub(r"(?<![^\s(])--(?=\w)", "", message)  # not within a path


@contextlib.contextmanager
def _errors_of_arguments() -> Iterator[None]:
    """Turns errors that speak of flags into errors of arguments."""
    try:
        with path_errors():
            yield
    except UserError as error:
        raise UserError(_of_arguments(str(error))) from None


def _python_values(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings, NumPy numbers as Python's. Raises TypeError for one that does not exist."""
    for name in settings:
        if name not in _SETTINGS:
            raise TypeError(f"train() has no argument {name}; settings: {sorted(_SETTINGS)}")
    return {k: v.item() if isinstance(v, np.generic) else v for k, v in settings.items()}


def train(
    dataset: str | Path = "binarized_mnist",
    struct: str = "2-layer-nonlin",
    baseline: str = "dvaes_power",
    *,
    data_dir: str | Path = "datasets",
    log_dir: str | Path = "logs",
    fresh: bool = False,
    keep_steps: tuple[int, ...] = (),
    **settings: Any,
) -> TrainedModel:
    """Trains a model as run.py does, or goes on where an earlier call stopped.

    A finished run of the same settings is loaded and not trained again. Progress is printed.
    Numbers are those of run.py with the same settings. While it trains in the main thread,
    SIGTERM, SIGINT (Ctrl-C, or a notebook's stop button) and SIGHUP write a checkpoint first;
    the handlers of before are then put back. TensorFlow's operations are deterministic afterwards.

    Args:
      dataset: "binarized_mnist", "omniglot", "digits", or the path of an .npz file.
      struct: a name of `configs.paper.STRUCTURES`, such as "1-layer-nonlin".
      baseline: a name of `configs.registry.BASELINES`.
      data_dir: where data sets are found, or downloaded to.
      log_dir: the run goes to <log_dir>/<dataset>/<struct>/<baseline>/<k>/<sampler, beta, seed>.
      fresh: move an old run aside and start anew.
      keep_steps: steps whose model is kept, for `load(..., step=...)`.
      **settings: any other field of `configs.paper.ExperimentConfig`, with the defaults of run.py,
        such as k, num_train_iter, seed, sampler ("pa", "pcd"), eval_iw_samples; beta is the
        sharpness of the smoothing.

    Returns:
      The best model by validation likelihood.

    Raises:
      ValueError: an argument is wrong, data are missing, or the run cannot go on.
      TypeError: an argument of that name does not exist.
      KeyboardInterrupt: stopped by a signal; a checkpoint was written, and the same call goes on
        from it.
    """
    settings = _python_values(settings)
    with _errors_of_arguments():
        config = build_config(dataset=str(dataset), struct=struct, baseline=baseline, **settings)
        path = config.run_directory(log_dir)
        if not (fresh or "ais_base" in settings):
            config = RunDirectory(path).with_base_of_before(config)
        options = RunOptions(keep_steps=tuple(int(step) for step in keep_steps))
        try:
            train_run(config, str(data_dir), settings.get("input_size"), path, fresh, options)
        except Stopped as stop:
            raise KeyboardInterrupt(f"{stop}: the same call goes on from here") from None
        return TrainedModel(path, str(data_dir))


def load(
    path: str | Path, *, data_dir: str | Path | None = None, step: int | None = None
) -> TrainedModel:
    """Reads a run's best model, finished or not; no data set is needed.

    Args:
      path: the run directory.
      data_dir: where the data set lies; needed for `TrainedModel.evaluate`, and once for runs of
        versions that did not yet keep what a model needs of its data.
      step: the model that `keep_steps` kept at this step instead of the best one.

    Raises:
      ValueError: there is no such model, or it is damaged.
    """
    with _errors_of_arguments():
        return TrainedModel(path, None if data_dir is None else str(data_dir), step)


def export(
    path: str | Path, out_dir: str | Path | None = None, *, data_dir: str | Path | None = None
) -> TrainedModel:
    """Writes a finished run's best model as a small directory that works on its own.

    It holds weights, the prior's chains, results, a picture of samples and a model card: what can
    be kept in a repository or sent to somebody.

    Args:
      path: the run directory; it is only read.
      out_dir: the new directory; None: models/<dataset>-<struct>-<baseline>-k<k>.
      data_dir: only for runs of versions that did not yet keep what a model needs of its data.

    Returns:
      The model, loaded from there.

    Raises:
      ValueError: the run is unfinished or damaged, or the directory exists or cannot be written.
    """
    with _errors_of_arguments():
        target = None if out_dir is None else Path(out_dir)
        found = export_run(Path(path), target, None if data_dir is None else str(data_dir))
        return TrainedModel(found)
