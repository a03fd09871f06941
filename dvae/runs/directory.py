"""The directory of one run: where it lies, what is in it, and who may write to it.

Runs of one name but other settings lie side by side and are never mixed.
"""

import contextlib
import itertools
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import data
from configs.errors import UserError, name_of
from configs.experiment import ExperimentConfig
from configs.files import exists, writing_to
from data.dataset import Dataset
from dvae.runs import records
from dvae.runs.lock import RunLock
from dvae.runs.process import say
from dvae.runs.records import RunConfig

_LOST = "restore it, or remove it and start the run's command again, which writes it anew"


def _differences(place: Path, run: RunConfig) -> str:
    """In what a run lies at a place that another would have; see `RunConfig.differences`."""
    return run.differences(records.read_config(place).binding(), "now")


def _first_free(path: Path, taken: Callable[[Path], bool]) -> Path:
    """The first of PATH, PATH-2, PATH-3, ... that is not taken."""
    beside = (path.with_name(f"{path.name}-{serial}") for serial in itertools.count(2))
    return next(place for place in itertools.chain([path], beside) if not taken(place))


def _place_for(path: Path, run: RunConfig, fresh: bool) -> Path:
    """The directory of a run: where it lies, or else `path`, if fresh, or the first free one.

    Raises UserError when it is nowhere and the config.json of a run of this name cannot be read.
    """
    found, unreadable = records.places_of(path), None
    for place in found:
        try:
            if not _differences(place, run):
                return place
        except UserError as error:
            unreadable = error
    if fresh:
        return path
    if unreadable is not None:
        raise unreadable
    return _first_free(path, found.__contains__)


def find_data(path: Path, run: RunConfig, data_dir: str | None, moved_to: str | None) -> Dataset:
    """The data of the run at `path`. Raises UserError: they are not found, or are not those.

    data_dir: as of `data.load`; there a user's own file lies if it is not where it was.
    moved_to: where a user's own file lies now.
    """
    config = run.config
    name = moved_to or config.dataset
    if moved_to is None and config.has_own_data:
        places = [name, *(f"{place}/{config.dataset_name}" for place in data.places(data_dir))]
        found = next((place for place in places if exists(Path(place))), None)
        if found is None:
            raise UserError(
                f"{name}, which {path} was trained on, does not exist: say where the file lies "
                f"now with {name_of('dataset')}=PATH"
            )
        name = found
    dataset = data.load(name, data_dir, config.input_size)
    if dataset.sha256 != run.data_sha256:
        raise UserError(
            f"the data found ({dataset.notes}) are not what {path} was trained on (sha256 "
            f"{dataset.sha256} here, {run.data_sha256} there): say where those lie with "
            f"{name_of('dataset' if config.has_own_data else 'data_dir')}"
        )
    return dataset


class RunDirectory:
    """Paths of a run and the guarantees about them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.json"
        self.result = path / "result.json"
        self.data = path / "data.json"
        self.metrics = path / "metrics.jsonl"
        self.checkpoints = path / "checkpoints"
        self.card = path / "README.md"  # the model card, of exported models alone
        self.lock = RunLock(path / "lock.json")
        self._run: RunConfig | None = None
        self._facts: dict[str, Any] = {}

    def output(self, log_dir: str | Path) -> Path:
        """Where later measurements go: here, but for exported models, which stay as they are."""
        if not self.card.exists():
            return self.path
        return Path(log_dir) / "models" / self.path.resolve().name

    @classmethod
    def of_run(
        cls, path: Path, config: ExperimentConfig, data_sha256: str, fresh: bool
    ) -> "RunDirectory":
        """Opens the run of a configuration: at `path`, or beside it; raises as `open` does."""
        run = RunConfig(config, data_sha256)
        while True:
            place = _place_for(path, run, fresh)
            if place != path:
                other = ""
                with contextlib.suppress(UserError):
                    other = f" ({_differences(path, run)})"
                say(f"{path} holds a run of other settings{other}: this one lies beside it")
                if "num_train_iter" in other:
                    say(f"to begin with the weights of that one: {name_of('start_from')}={path}")
            directory = cls(place)
            try:
                directory.open(config, data_sha256, fresh)
                return directory
            except UserError:
                # Another process may have begun a run there in this moment.
                if place == _place_for(path, run, fresh):
                    raise

    def open(self, config: ExperimentConfig, data_sha256: str, fresh: bool) -> None:
        """Creates or reopens the directory for a configuration and its data, and locks it.

        Raises UserError when it cannot be written, another process trains in it, or it holds a run
        of another configuration, whose fields that differ are named.
        """
        with writing_to(self.path, f"choose another {name_of('log_dir')}"):
            if self.checkpoints.is_symlink():
                raise UserError(
                    f"{self.checkpoints} is a link, and a run writes into its own directory alone: "
                    "put a directory in its place"
                )
            self.lock.take()
            try:
                self._claim(RunConfig(config, data_sha256), fresh)
            except BaseException:  # a session may live on for days
                self.unlock()
                raise

    def _claim(self, run: RunConfig, fresh: bool) -> None:
        if fresh and self.config.exists():
            self._move_aside()
        there = records.read_config(self.path) if self.config.exists() else None
        if there and (changed := run.differences(there.binding(), "now")):
            raise UserError(
                f"{self.path} holds a run of another configuration ({changed}): "
                f"use its settings, another {name_of('log_dir')}, or {name_of('fresh')}=True to "
                "move it aside"
            )
        if there != run:
            records.write_config(self.config, run)  # says where own data lie now
        self._run = run

    def keep_data_facts(self, dataset: Dataset) -> None:
        """Writes what a model needs of its data, so that it can be used without them.

        Raises UserError when that cannot be, or what is there already is damaged.
        """
        self._facts = {
            "name": dataset.name,
            "sha256": dataset.sha256,
            "published": dataset.published,
            "notes": dataset.notes,
            "image_shape": list(dataset.image_shape),
            "train_mean": [float(value) for value in dataset.train_mean],
        }
        with writing_to(self.path, f"choose another {name_of('log_dir')}"):
            if self.data.exists():
                self.read_data_facts()
            else:
                records.write_bound(self.data, self._facts, self.owner())

    def read_data_facts(self) -> tuple[tuple[int, int], np.ndarray]:
        """Image shape and training mean, float32 [X].

        Raises UserError when the file is missing, damaged, or of another run.
        """
        try:
            facts, run = records.read_bound(self.data, _LOST), records.read_config(self.path)
            height, width = (int(extent) for extent in facts["image_shape"])
            mean = np.array(facts["train_mean"], np.float32)
            sound = (
                facts["identity"] == run.identity
                and isinstance(facts["notes"], str)
                and mean.shape == (height * width,) == (run.config.input_size,)
                and height > 0
                and np.all((mean >= 0.0) & (mean <= 1.0))
            )
        except UserError:
            raise
        except (KeyError, TypeError, ValueError, OverflowError):
            sound = False
        if not sound:
            raise UserError(f"{self.data} is damaged or of another run: {_LOST}")
        return (height, width), mean

    def restore_if_removed(self) -> None:
        """Makes an opened directory anew that was removed under the run. Raises OSError."""
        if self._run and not self.config.exists():
            self.path.mkdir(parents=True, exist_ok=True)
            self.lock.take()
            records.write_config(self.config, self._run)
            if self._facts:
                records.write_bound(self.data, self._facts, self._run.identity)
            logging.warning("%s had been removed: made it again", self.path)

    def owner(self) -> str:
        """The run's identity, which its checkpoints hold; "" before there is a configuration."""
        return records.read_config(self.path).identity if self.config.exists() else ""

    def _move_aside(self) -> None:
        """Moves an old run beside this directory, under a name with the time."""
        old = self.path.with_name(f"{self.path.name}.old-{time.strftime('%Y%m%d-%H%M%S')}")
        target = _first_free(old, Path.exists)
        target.mkdir()
        for entry in self.path.iterdir():
            if entry != self.lock.path:
                os.rename(entry, target / entry.name)
        logging.warning("the old run was moved to %s", target)

    def unlock(self) -> None:
        """Gives the directory back."""
        self.lock.release()
