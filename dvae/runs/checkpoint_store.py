"""Checkpoints on disk: complete or absent, checked when read, and a damaged one is passed over.

TensorFlow writes the tensors, by name. A checkpoint is a directory `<kind>-<step>` which holds
the tensors, the run's progress as JSON, and the SHA-256 of each file; it is written aside, synced
to disk and renamed into place, so that a kill at any moment leaves either all of it or nothing.
"""

import contextlib
import hashlib
import logging
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from configs.errors import UserError, name_of
from configs.files import aside_of, one_line, open_to_read, own_directory
from dvae.runs.records import checkpoint_name, read_bound, write_bound

_MANIFEST, _TENSORS = "manifest.json", "tensors"
_MAX_TENSOR_BYTES = 1 << 40
Restored = tuple[dict[str, Any], dict[str, tf.Tensor]]  # progress and tensors


class DamagedCheckpoint(UserError):
    """A checkpoint that cannot be used; the message says why."""


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _prefix(directory: Path) -> Iterator[str]:
    """Where TensorFlow writes or reads the tensors of a checkpoint, in an existing directory.

    It takes the path for a pattern and for UTF-8; an open directory's name under /proc is neither
    affected by brackets or backslashes nor by bytes that are no text. Raises OSError.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        opened = f"/proc/self/fd/{descriptor}"
        yield f"{opened if os.path.isdir(opened) else directory}/{_TENSORS}"
    finally:
        os.close(descriptor)


def file_digest(path: Path) -> str:
    """SHA-256 of a file, as manifests have it. Raises UserError for what is no file, OSError."""
    with open_to_read(path, _MAX_TENSOR_BYTES, may_be_empty=True) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _step_of(path: Path) -> int:
    return int(path.name.rpartition("-")[2])


def _manifest_of(path: Path) -> dict[str, Any]:
    """The manifest of a checkpoint, which names every file that TensorFlow reads.

    Raises UserError when it is damaged, OSError when the directory cannot be read.
    """
    manifest = read_bound(path / _MANIFEST)
    types = {"step": int, "identity": str, "progress": dict, "sha256": dict}
    if not all(type(manifest.get(name)) is kind for name, kind in types.items()):
        raise UserError(f"{path / _MANIFEST} is damaged: restore it from a copy")
    there = {entry.name for entry in path.iterdir() if entry.name.startswith(_TENSORS)}
    if f"{_TENSORS}.index" not in there or there != set(manifest["sha256"]):
        raise UserError(f"{path} has other files than its manifest names: restore it from a copy")
    return manifest


class CheckpointStore:
    """Checkpoints of one run in one directory, which is made when the first one is written.

    owner: of the run's configuration; checkpoints of another owner are refused.
    """

    def __init__(self, directory: Path, owner: str = "") -> None:
        self._directory, self._owner = directory, owner

    def _found(self, kind: str, step: int | None = None) -> list[Path]:
        """Complete checkpoints of a kind, or of that and a step, the newest first."""
        if not self._directory.is_dir():
            return []
        name = re.compile(rf"{kind}-\d+" if step is None else checkpoint_name(kind, step))
        found = [p for p in self._directory.iterdir() if name.fullmatch(p.name) and p.is_dir()]
        return sorted(found, key=_step_of, reverse=True)

    def save(
        self,
        kind: str,
        step: int,
        progress: dict[str, Any],
        tensors: dict[str, tf.Tensor],
        keep: int | None = None,
    ) -> None:
        """Writes `<kind>-<step>` and removes all but the newest `keep` of its kind (None: none).

        Raises:
          OSError or tf.errors.OpError when it cannot be written; older checkpoints are then intact.
        """
        own_directory(self._directory)
        target = self._directory / checkpoint_name(kind, step)
        aside = aside_of(target)
        aside.mkdir()
        try:
            with _prefix(aside) as prefix:
                names, values = zip(*tensors.items(), strict=True)
                whole = [""] * len(names)
                tf.raw_ops.SaveV2(
                    prefix=prefix, tensor_names=names, shape_and_slices=whole, tensors=values
                )
            files = {path.name: file_digest(path) for path in sorted(aside.iterdir())}
            manifest = {"step": step, "progress": progress, "sha256": files}
            write_bound(aside / _MANIFEST, manifest, self._owner)
            for path in (*aside.iterdir(), aside):
                _sync(path)
            # The same step again (a stop right after a save): the newer progress replaces it.
            if target.exists():
                os.rename(target, aside_of(target))
            os.rename(aside, target)
            _sync(self._directory)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        left_by_killed_writers = self._directory.glob(".tmp-*")
        for path in [*(self._found(kind)[keep:] if keep else ()), *left_by_killed_writers]:
            shutil.rmtree(path, ignore_errors=True)

    def keep_only(self, kind: str, step: int) -> None:
        """Removes the checkpoints of a kind but for that of one step, if that one is there."""
        if kept := self._found(kind, step):
            for path in self._found(kind):
                if path not in kept:
                    shutil.rmtree(path, ignore_errors=True)

    def restore(
        self, kind: str, like: dict[str, tf.Tensor], step: int | None = None
    ) -> Restored | None:
        """Reads the newest usable checkpoint of a kind; a damaged one is passed over and warned of.

        Args:
          kind: of checkpoint.
          like: tensors of the names, shapes and types that are read.
          step: that alone counts; None: any.

        Returns:
          Its progress and its tensors, or None when there never was one.

        Raises:
          DamagedCheckpoint: there are checkpoints, and none can be used.
          UserError: one is of another configuration.
        """
        found = self._found(kind, step)
        for path in found:
            try:
                return self._read(path, like)
            except DamagedCheckpoint as error:
                logging.warning("checkpoint %s is damaged (%s): trying an older one", path, error)
        if found:
            raise DamagedCheckpoint(
                f"no usable checkpoint {kind}-* in {self._directory}: restore one from a copy, "
                f"or start anew with {name_of('fresh')}=True"
            )
        return None

    def newest(self, kind: str) -> dict[str, Any]:
        """The progress in the newest checkpoint of a kind whose record can be read, or {}."""
        for path in self._found(kind):
            with contextlib.suppress(UserError, OSError):
                return _manifest_of(path)["progress"]
        return {}

    def files(self, kind: str, step: int) -> list[str]:
        """Names of the files of a checkpoint, each as it was written; [] where it is not whole.

        Raises UserError when it is of another configuration.
        """
        try:
            manifest = self._checked_manifest(self._directory / checkpoint_name(kind, step))
        except DamagedCheckpoint:
            return []
        return [_MANIFEST, *manifest["sha256"]]

    def _read(self, path: Path, like: dict[str, tf.Tensor]) -> Restored:
        manifest = self._checked_manifest(path)
        try:
            with _prefix(path) as prefix:
                found = tf.raw_ops.RestoreV2(
                    prefix=prefix,
                    tensor_names=list(like),
                    shape_and_slices=[""] * len(like),
                    dtypes=[tensor.dtype for tensor in like.values()],
                )
        # TensorFlow reports a checkpoint of another model in either.
        except (OSError, tf.errors.OpError) as error:
            raise DamagedCheckpoint(one_line(error)) from None
        tensors = dict(zip(like, found, strict=True))
        for name, tensor in tensors.items():
            if tensor.shape != like[name].shape:
                raise DamagedCheckpoint(f"{name} has the shape {tensor.shape}")
        return manifest["progress"], tensors

    def _checked_manifest(self, path: Path) -> dict[str, Any]:
        """The manifest of a checkpoint all of whose files are as they were written."""
        try:
            manifest = _manifest_of(path)
            for name, expected in manifest["sha256"].items():
                if file_digest(path / name) != expected:
                    raise UserError(f"{name} does not match its checksum")
            if manifest["step"] != _step_of(path):
                raise UserError(f"it is of step {manifest['step']}")
        except (OSError, UserError) as error:
            raise DamagedCheckpoint(f"{error}") from None
        if manifest["identity"] != self._owner:
            raise UserError(
                f"{path} belongs to a run of another configuration than the config.json beside it: "
                f"restore both from one copy, or start anew with {name_of('fresh')}=True"
            )
        return manifest
