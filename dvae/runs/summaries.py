"""What a run writes for people: TensorBoard events, metrics.jsonl and pictures.

A failed summary never stops training: the first failure of its kind is warned of, and writing is
tried again at the next summary.
"""

import json
import logging
import os
import secrets
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np
import tensorflow as tf
from tensorboard.plugins.hparams import api as hp

from configs.experiment import ExperimentConfig
from configs.files import open_to_append
from configs.text import printable
from dvae.runs.directory import RunDirectory
from dvae.runs.json_files import digest
from samplers.diagnostics import known

# Fields of result.json that become metrics of TensorBoard's HParams page.
_RESULT_FIELDS = ("test_nll", "val_nll", "log_z")


class Summaries:
    """Writers of one run. `scalars` go to TensorBoard and, as one line, to metrics.jsonl."""

    def __init__(self, directory: RunDirectory) -> None:
        self._directory = directory
        self._writer: tf.summary.SummaryWriter | None = None
        self._inode: int | None = None
        self._failed = False

    def _guarded(self, write: Callable[[], None]) -> None:
        try:
            self._open()
            with self._writer.as_default():
                write()
            self._failed = False
        except (OSError, tf.errors.OpError) as error:
            self._writer = None
            if not self._failed:
                logging.warning("a summary could not be written (%s); training goes on", error)
            self._failed = True

    def _open(self) -> None:
        """Opens a writer, anew when the directory was removed: it would write to a lost file."""
        path = self._directory.path
        inode = path.stat().st_ino if path.exists() else None
        if self._writer is None or inode != self._inode:
            # A name that nobody can foresee: TensorFlow would write through a link of that name.
            suffix = f".{secrets.token_hex(8)}.v2"
            self._writer = tf.summary.create_file_writer(os.fsencode(path), filename_suffix=suffix)
            self._inode = path.stat().st_ino

    def start(self, config: ExperimentConfig, flags: str) -> None:
        """HParams and the flags as text, once for a run."""
        settings = config.to_json()
        del settings["structure"]  # what `struct` names
        settings["dataset"] = printable(config.dataset)  # a path need not be text

        def write() -> None:
            tf.summary.text("flags", f"```\n{printable(flags)}\n```", step=0)
            hp.hparams(
                settings,
                # TensorBoard takes runs of one trial for repetitions of each other.
                trial_id=f"{printable(str(config.run_directory('')))}-{digest(config.to_json())[:12]}",
            )

        self._guarded(write)

    def scalars(self, kind: str, step: int, values: dict[str, float]) -> None:
        """Writes scalars at a step; `kind` is "train" or "evaluation"."""

        def write() -> None:
            for tag, value in values.items():
                tf.summary.scalar(tag, value, step=step)
            record: dict[str, Any] = {"kind": kind, "step": step}
            record |= {tag: known(value) for tag, value in values.items()}  # JSON has no NaN
            with open_to_append(self._directory.metrics) as file:
                _end_torn_line(file)
                file.write(json.dumps(record, allow_nan=False).encode() + b"\n")

        self._guarded(write)

    def histograms(self, step: int, values: dict[str, np.ndarray]) -> None:
        """Writes histograms of arrays of any shape."""

        def write() -> None:
            for tag, value in values.items():
                tf.summary.histogram(tag, value, step=step)

        self._guarded(write)

    def image(self, tag: str, step: int, picture: np.ndarray) -> None:
        """Writes one picture, uint8 [H, W, 1]."""
        self._guarded(lambda: tf.summary.image(tag, picture[None], step=step))

    def finish(self, step: int, result: dict[str, Any]) -> None:
        """The final numbers, in nats, as the metrics of the HParams page."""

        def write() -> None:
            for name in _RESULT_FIELDS:
                tf.summary.scalar(f"result/{name}", result[name], step=step)
            self._writer.flush()

        self._guarded(write)

    def flush(self) -> None:
        """Brings everything written so far to the file."""
        self._guarded(lambda: self._writer.flush())


def _end_torn_line(file: BinaryIO) -> None:
    """A full disk may have cut the last line short: the next one must not be joined to it."""
    if file.seek(0, os.SEEK_END):
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")
