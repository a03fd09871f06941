"""Checkpoints that are complete or absent, checked when read, and fall back when damaged.

`tf.train.Checkpoint` does the serialising. A checkpoint is a directory `<kind>-<step>` which holds
the tensors, the run's progress as JSON, and the SHA-256 of each file; it is written aside, synced
to disk and renamed into place, so that a kill at any moment leaves either all of it or nothing.
`Saver` says which of a run's tensors belong to which kind, and bears a full disk.
"""

import dataclasses
import hashlib
import logging
import math
import os
import re
import shutil
import time
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from configs.errors import UserError
from configs.files import aside_of, open_to_read, own_directory
from dvae.model import DVAE
from dvae.runs.directory import RunDirectory
from dvae.runs.records import read_checked, write_checked
from dvae.train_step import TrainProgram

_MANIFEST = "manifest.json"
_PREFIX = "tensors"
_MAX_TENSOR_BYTES = 1 << 40
# What a killed writer may leave.
_ASIDE = re.compile(r"\.tmp-[0-9a-f]{16}|\.(old\.)?\w+-\d+\.\d+")


class DamagedCheckpoint(Exception):
    """A checkpoint that cannot be used; the message says why."""


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _digest(path: Path) -> str:
    with open_to_read(path, _MAX_TENSOR_BYTES, may_be_empty=True) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class CheckpointStore:
    """Checkpoints of one run in one directory.

    Args:
      directory: made when the first one is written.
      owner: of the run's configuration; checkpoints of another owner are refused.
      **trackables: what their tensors are kept under.
    """

    def __init__(self, directory: Path, owner: str = "", **trackables: Any) -> None:
        self._directory = directory
        self._owner = owner
        self._checkpoint = tf.train.Checkpoint(**trackables)

    def _found(self, kind: str) -> list[Path]:
        """Complete checkpoints of a kind, the newest first."""
        if not self._directory.is_dir():
            return []
        pattern = re.compile(rf"{kind}-\d+")
        found = [p for p in self._directory.iterdir() if pattern.fullmatch(p.name) and p.is_dir()]
        return sorted(found, key=lambda p: int(p.name.rsplit("-", 1)[1]), reverse=True)

    def save(self, kind: str, step: int, progress: dict[str, Any], keep: int | None) -> Path:
        """Writes `<kind>-<step>` and removes all but the newest `keep` of its kind (None: none).

        Raises:
          OSError or tf.errors.OpError when it cannot be written; older checkpoints are then intact.
        """
        own_directory(self._directory)
        target = self._directory / f"{kind}-{step:010d}"
        aside = aside_of(target)
        aside.mkdir()
        try:
            self._checkpoint.write(str(aside / _PREFIX))
            files = {path.name: _digest(path) for path in sorted(aside.iterdir())}
            manifest = {"step": step, "owner": self._owner, "progress": progress, "sha256": files}
            write_checked(aside / _MANIFEST, manifest)
            for path in aside.iterdir():
                _sync(path)
            _sync(aside)
            # The same step again (a stop right after a save): the newer progress replaces it.
            if target.exists():
                os.rename(target, aside_of(target))
            os.rename(aside, target)
            _sync(self._directory)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        for old in self._found(kind)[keep:] if keep is not None else ():
            shutil.rmtree(old, ignore_errors=True)
        self._sweep_leftovers()
        return target

    def _sweep_leftovers(self) -> None:
        """Removes what killed writers left aside."""
        for path in self._directory.iterdir():
            if _ASIDE.fullmatch(path.name):
                shutil.rmtree(path, ignore_errors=True)

    def restore(self, kind: str, step: int | None = None) -> dict[str, Any] | None:
        """Reads the newest usable checkpoint of a kind into the trackables.

        A damaged one is passed over with a warning. With a step, only the one of that step counts.

        Returns:
          Its progress, or None when there never was one.

        Raises:
          UserError: when there are checkpoints and none can be used.
        """
        found = self._found(kind)
        if step is not None:
            found = [path for path in found if path.name == f"{kind}-{step:010d}"]
        for path in found:
            try:
                return self._read(path)
            except DamagedCheckpoint as error:
                logging.warning("checkpoint %s is damaged (%s): trying an older one", path, error)
        if found:
            raise UserError(
                f"no usable checkpoint {kind}-* in {self._directory}: restore one from a copy, "
                "or start anew with --fresh"
            )
        return None

    def _read(self, path: Path) -> dict[str, Any]:
        manifest = self._read_manifest(path)
        try:
            status = self._checkpoint.read(str(path / _PREFIX))
            status.assert_existing_objects_matched()
        # TensorFlow reports a checkpoint of another model in any of these.
        except (tf.errors.OpError, AssertionError, ValueError, KeyError) as error:
            raise DamagedCheckpoint(str(error).split("\n", 1)[0]) from None
        return manifest["progress"]

    def _read_manifest(self, path: Path) -> dict[str, Any]:
        """The manifest of a checkpoint all of whose files are as they were written."""
        try:
            manifest = read_checked(path / _MANIFEST)
            for name, expected in manifest["sha256"].items():
                if _digest(path / Path(name).name) != expected:
                    raise DamagedCheckpoint(f"{name} does not match its checksum")
            if manifest["step"] != int(path.name.rsplit("-", 1)[1]):
                raise DamagedCheckpoint(f"it is of step {manifest['step']}")
        except (OSError, KeyError, UserError) as error:
            raise DamagedCheckpoint(f"{error}") from None
        if manifest["owner"] != self._owner:
            raise UserError(
                f"{path} belongs to a run of another configuration than the config.json beside it: "
                "restore both from one copy, or start anew with --fresh"
            )
        return manifest


# A checkpoint that could not be written is tried again after so long.
_RETRY_SECONDS = 60.0


@dataclasses.dataclass
class Progress:
    """What the loop itself remembers; travels in each checkpoint as JSON.

    code: each version of the code that trained the run, as `code_version`, the present one last.
    """

    step: int = 0
    best_step: int | None = None
    best_val_nll: float = math.inf
    summarized_step: int = -1
    evaluated_step: int = -1
    train_seconds: float = 0.0
    timed_steps: int = 0
    code: list[dict[str, str | None]] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """What decides how a run is kept, and none of its numbers."""

    checkpoint_minutes: float = 10.0
    max_unsaved_minutes: float = 60.0
    flags_text: str = ""
    keep_steps: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if any(step < 1 for step in self.keep_steps):
            raise UserError(f"--keep_steps={min(self.keep_steps)} must be at least 1")
        for name in ("checkpoint_minutes", "max_unsaved_minutes"):
            if not getattr(self, name) >= 0.0:
                raise UserError(f"--{name}={getattr(self, name):g} must be 0 or more minutes")


def _tensors(variables: list[keras.Variable]) -> dict[str, tf.Variable]:
    """Keras variables by their place and name.

    Given to a checkpoint one by one: it would pass over layers that Keras holds in lists.
    """
    return {f"{i:03d} {v.name}": v.value for i, v in enumerate(variables)}


def _model_store(
    directory: RunDirectory, model: DVAE, sampler_variables: list[tf.Variable]
) -> CheckpointStore:
    """Of what the final evaluation needs: beside the weights only the prior's chains."""
    return CheckpointStore(
        directory.checkpoints,
        directory.owner(),
        model=_tensors(model.variables),
        chains=sampler_variables,
    )


def _restore_model(store: CheckpointStore, directory: RunDirectory, step: int | None) -> int:
    if step is not None:
        progress = store.restore("kept", step)
        missing = f"no model of step {step} in {directory.checkpoints}: see --keep_steps"
    else:
        progress = store.restore("best")
        missing = (
            f"no best checkpoint in {directory.checkpoints}: the run has not come to an "
            "evaluation, or the disk was full then; its command, started again, goes on"
        )
    if progress is None:
        raise UserError(missing)
    return int(progress["step"])


def restore_model(
    directory: RunDirectory,
    model: DVAE,
    sampler_variables: list[tf.Variable],
    step: int | None = None,
) -> int:
    """Loads weights and the prior's chains of the best checkpoint, or of one kept at a step.

    Returns:
      The step that they are of.

    Raises:
      UserError: there is none, or it is damaged.
    """
    store = _model_store(directory, model, sampler_variables)
    return _restore_model(store, directory, step)


class Saver:
    """Writes and reads the checkpoints of one run: `latest` (two of them) and `best`."""

    def __init__(self, directory: RunDirectory, program: TrainProgram, options: RunOptions) -> None:
        self._options = options
        self._directory = directory
        owner = directory.owner()
        self._latest = CheckpointStore(
            directory.checkpoints,
            owner,
            model=_tensors(program.model.variables),
            optimizer=_tensors(program.optimizer.adam.variables),
            state=program.state,
        )
        self._best = _model_store(directory, program.model, program.state.sampler)
        self._saved_at = time.monotonic()
        self._due_at = self._saved_at + self._interval()
        self._saved_step = 0

    def restore(self) -> Progress | None:
        """Loads the newest usable checkpoint; None when there never was one."""
        record = self._latest.restore("latest")
        if record is None:
            return None
        try:
            progress = Progress(**record)
        except TypeError as error:
            raise UserError(f"the checkpoint does not fit this version: {error}") from None
        self._saved_step = progress.step
        return progress

    def restore_best(self) -> None:
        """Loads the weights and chains of the best checkpoint. Raises UserError without one."""
        _restore_model(self._best, self._directory, None)

    def _interval(self) -> float:
        return 60.0 * self._options.checkpoint_minutes

    def is_due(self, step: int) -> bool:
        """Whether the last checkpoint is older than the options allow, or one that failed waits."""
        return step > self._saved_step and time.monotonic() >= self._due_at

    def save(self, progress: Progress) -> None:
        """Writes `latest`. A failure is warned of; it ends the run only after the limit.

        Raises:
          UserError: none could be written for `max_unsaved_minutes`.
        """
        try:
            self._directory.restore_if_removed()
            self._latest.save("latest", progress.step, dataclasses.asdict(progress), keep=2)
            self._saved_at, self._saved_step = time.monotonic(), progress.step
            self._due_at = self._saved_at + self._interval()
        except (OSError, tf.errors.OpError) as error:
            self._failed(str(error).split("\n", 1)[0])

    def _failed(self, reason: str) -> None:
        now = time.monotonic()
        self._due_at = now + min(_RETRY_SECONDS, self._interval())
        minutes = (now - self._saved_at) / 60.0
        if minutes > self._options.max_unsaved_minutes:
            raise UserError(
                f"no checkpoint could be written for {minutes:.0f} minutes ({reason}): "
                "free some space and start the same command again"
            ) from None
        logging.warning("no checkpoint could be written (%s); it will be tried again", reason)

    def save_best(self, progress: Progress) -> bool:
        """Writes `best`; returns whether that worked (if not, the older best stays)."""
        return self._save_model("best", progress, keep=1)

    def save_kept(self, progress: Progress) -> bool:
        """Writes `kept-<step>`, which nothing replaces; returns whether that worked."""
        return self._save_model("kept", progress, keep=None)

    def _save_model(self, kind: str, progress: Progress, keep: int | None) -> bool:
        try:
            self._best.save(kind, progress.step, dataclasses.asdict(progress), keep)
        except (OSError, tf.errors.OpError) as error:
            self._failed(str(error).split("\n", 1)[0])
            return False
        return True
