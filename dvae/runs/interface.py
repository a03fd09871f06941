"""The Python interface: `dvae.train`, `dvae.load` and `dvae.export`."""

import difflib
import inspect
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import data
from configs.errors import UserError
from configs.experiment import build_config
from configs.files import path_errors
from configs.setting import value_text
from configs.settings import SETTINGS
from data import user_file
from dvae.runs.checkpoints import RunOptions
from dvae.runs.commands import train_run
from dvae.runs.export import export_run
from dvae.runs.isolation import isolated
from dvae.runs.process import Stopped, silence
from dvae.runs.records import read_config
from dvae.runs.trained_model import TrainedModel

__all__ = ["TrainedModel", "export", "load", "train"]

_KNOWN = {name: setting for name, setting in SETTINGS.items() if "python" in setting.known_by}
_PLACES = ("data_dir", "log_dir", "fresh")  # what is neither of the configuration nor an option
# As everywhere but on the published command line, whose default is the directory of our loaders.
Arrays = Mapping[str, Any] | Sequence[Any]  # see `train`


def _checked_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings as plain Python. Raises TypeError for one that does not exist, and UserError."""
    for name in settings:
        if name not in _KNOWN:
            near = difflib.get_close_matches(name, _KNOWN, n=2, cutoff=0.7)
            hint = "help(dvae.train) lists the settings"
            if near:
                hint = f"did you mean {' or '.join(near)}?"
            raise TypeError(f"train() has no setting {value_text(name, quotes=False)}: {hint}")
    return {name: _KNOWN[name].checked(value) for name, value in settings.items()}


def _path(what: str, value: str | Path) -> Path:
    """A path that was given, ~ expanded. Raises UserError for what is no path."""
    try:
        return Path(os.path.expanduser(os.fspath(value)))
    except TypeError:
        raise UserError(f"{what} is {value_text(value)}, not a path") from None


@isolated()
def train(
    dataset: str | Path | Arrays | None = None,
    struct: str | None = None,
    baseline: str | None = None,
    *,
    progress: bool = True,
    **settings: Any,
) -> TrainedModel:
    """Trains a model as run.py does, or goes on where an earlier call stopped.

    A finished run of the same settings is loaded and not trained again.
    Numbers are those of run.py with the same settings. While it trains in the main thread,
    SIGTERM, SIGINT (Ctrl-C, or a notebook's stop button), SIGHUP, SIGUSR2 and SIGXCPU write a
    checkpoint first; the earlier handlers are then put back.

    Args:
      progress: whether lines and bars of progress are printed; warnings always are.
      SETTINGS

    dataset may also be your images themselves: a dictionary of train, validation and test, or these
    three in order, each [N, X], [N, H, W] or [N, H, W, 1] of numbers in [0, 1] in whatever NumPy
    takes for an array. They are kept as LOG_DIR/data/arrays-<digest>.npz, so that the run goes on
    and can be evaluated later, as with any file of your own; a `name` in the dictionary takes the
    place of "arrays".

    start_from may also be a `TrainedModel`: a run becomes longer by one that starts from it, whose
    result.json says so. Data, struct and baseline are that run's where none are given.

    Returns:
      The best model by validation likelihood.

    Raises:
      ValueError: an argument is wrong, data are missing, or the run cannot go on.
      TypeError: an argument of that name does not exist.
      KeyboardInterrupt: stopped by a signal; a checkpoint was written, and the same call goes on
        from it.
    """
    what = {"dataset": dataset, "struct": struct, "baseline": baseline}
    given = {name: value for name, value in what.items() if value is not None} | settings
    with path_errors(), silence(not progress):
        own = None
        if not isinstance(dataset, str | os.PathLike | None):
            log_dir = settings.get("log_dir") or SETTINGS["log_dir"].default
            own = user_file.of_arrays(dataset, Path(SETTINGS["log_dir"].checked(log_dir), "data"))
            given["dataset"] = own.path
        if settings.get("start_from") is not None:  # a model, or its directory
            given["start_from"] = getattr(settings["start_from"], "path", settings["start_from"])
            theirs = read_config(Path(given["start_from"])).config
            given = {name: getattr(theirs, name) for name in what} | given
        given = _checked_settings(given)
        places = {name: given.pop(name, SETTINGS[name].default) for name in _PLACES}
        options = {name: given.pop(name) for name in [*given] if SETTINGS[name].decides is None}
        config = build_config(**given)
        path = config.run_directory(places["log_dir"])
        try:
            size = given.get("input_size")
            images = own.dataset if own else data.load(config.dataset, places["data_dir"], size)
            data.check_size(images, size)
            write = own.write if own else None
            path = train_run(config, images, path, places["fresh"], RunOptions(**options), write)
        except Stopped as stop:
            raise KeyboardInterrupt(f"{stop}: the same call goes on from here") from None
        data_dir = places["data_dir"]
        return TrainedModel(path.absolute(), data_dir and os.path.abspath(data_dir))


def _describe(function: Any) -> None:
    """Gives `train` the signature and the help of its settings."""
    *own, _ = inspect.signature(function).parameters.values()
    parameters, lines = {parameter.name: parameter for parameter in own}, []
    for name, setting in _KNOWN.items():
        keyword = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=setting.default)
        defaults = setting.default, parameters.setdefault(name, keyword).default
        unset = f" (None: {setting.unset or setting.default})" if None in defaults else ""
        lines.append(f"{name}: {setting.help}{unset}")
    shown = inspect.Signature([*parameters.values()], return_annotation=TrainedModel)
    function.__signature__ = shown
    function.__doc__ = (function.__doc__ or "").replace("SETTINGS", "\n      ".join(lines))


_describe(train)


@isolated()
def load(
    path: str | Path,
    *,
    data_dir: str | Path | None = None,
    dataset: str | Path | None = None,
    step: int | None = None,
) -> TrainedModel:
    """Reads a run's best model, finished or not; no data set is needed.

    Args:
      path: the run directory.
      data_dir: where the data set lies, for `TrainedModel.evaluate`.
      dataset: the path where your own data file lies now, if it was moved, for the same.
      step: the model that `keep_steps` kept at this step instead of the best one.

    Raises:
      ValueError: there is no such model, or it is damaged.
    """
    with path_errors():
        return TrainedModel(
            _path("path", path).absolute(),  # the working directory may change
            None if data_dir is None else str(_path("data_dir", data_dir).absolute()),
            SETTINGS["step"].checked(step),
            None if dataset is None else str(_path("dataset", dataset).absolute()),
        )


@isolated()
def export(path: str | Path, out_dir: str | Path | None = None) -> TrainedModel:
    """Writes a finished run's best model as a small directory that works on its own.

    It holds weights, the prior's chains, results, a picture of samples and a model card: what can
    be kept in a repository or sent to somebody.

    Args:
      path: the run directory; it is only read.
      out_dir: the new directory; None: exported/<dataset>-<struct>-<baseline>-k<k>-<the last part
        of a run's path>.

    Returns:
      The model, loaded from there.

    Raises:
      ValueError: the run is unfinished or damaged, or the directory exists or cannot be written.
    """
    with path_errors():
        target = None if out_dir is None else _path("out_dir", out_dir)
        return TrainedModel(export_run(_path("path", path), target).absolute())
