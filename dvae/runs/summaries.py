"""What a run writes for people: TensorBoard events, metrics.jsonl and pictures.

A failed summary never stops training: the first failure of its kind is warned of, and writing is
tried again at the next summary.
"""

import functools
import json
import logging
import os
import secrets
from collections.abc import Callable
from typing import Any

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


def _borne(write: Callable) -> Callable:
    """A method that writes with the writer open; a failure is warned of."""

    @functools.wraps(write)
    def written(self: "Summaries", *arguments: Any) -> None:
        try:
            with self._opened().as_default():
                write(self, *arguments)
            self._failed = False
        except (OSError, tf.errors.OpError) as error:
            self._writer = None
            if not self._failed:
                logging.warning("a summary could not be written (%s); training goes on", error)
            self._failed = True

    return written


class Summaries:
    """Writers of one run. `scalars` go to TensorBoard and, as one line, to metrics.jsonl."""

    def __init__(self, directory: RunDirectory) -> None:
        self._directory = directory
        self._writer: tf.summary.SummaryWriter | None = None
        self._inode: int | None = None
        self._failed = False

    def _opened(self) -> tf.summary.SummaryWriter:
        """The writer, anew when the directory was removed: it would write to a lost file."""
        path = self._directory.path
        inode = path.stat().st_ino if path.exists() else None
        if self._writer is None or inode != self._inode:
            # A name that nobody can foresee: TensorFlow would write through a link of that name.
            suffix = f".{secrets.token_hex(8)}.v2"
            self._writer = tf.summary.create_file_writer(os.fsencode(path), filename_suffix=suffix)
            self._inode = path.stat().st_ino
        return self._writer

    @_borne
    def start(self, config: ExperimentConfig, flags: str) -> None:
        """HParams and the flags as text, once for a run."""
        settings = config.to_json()
        del settings["structure"]  # what `struct` names
        settings["dataset"] = printable(config.dataset)  # a path need not be text
        tf.summary.text("flags", f"```\n{printable(flags)}\n```", step=0)
        # TensorBoard takes runs of one trial for repetitions of each other.
        trial = f"{printable(str(config.run_directory('')))}-{digest(config.to_json())[:12]}"
        hp.hparams(settings, trial_id=trial)

    @_borne
    def scalars(self, kind: str, step: int, values: dict[str, float]) -> None:
        """Writes scalars at a step; `kind` is "train" or "evaluation"."""
        for tag, value in values.items():
            tf.summary.scalar(tag, value, step=step)
        record: dict[str, Any] = {"kind": kind, "step": step}
        record |= {tag: known(value) for tag, value in values.items()}  # JSON has no NaN
        with open_to_append(self._directory.metrics) as file:
            # A full disk may have cut the last line short: this one must not be joined to it.
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.write(b"\n")
            file.write(json.dumps(record, allow_nan=False).encode() + b"\n")

    @_borne
    def histograms(self, step: int, values: dict[str, np.ndarray]) -> None:
        """Writes histograms of arrays of any shape."""
        for tag, value in values.items():
            tf.summary.histogram(tag, value, step=step)

    @_borne
    def image(self, tag: str, step: int, picture: np.ndarray) -> None:
        """Writes one picture, uint8 [H, W, 1]."""
        tf.summary.image(tag, picture[None], step=step)

    @_borne
    def finish(self, step: int, result: dict[str, Any]) -> None:
        """The final numbers, in nats, as the metrics of the HParams page."""
        for name in _RESULT_FIELDS:
            tf.summary.scalar(f"result/{name}", result[name], step=step)
        self._writer.flush()

    @_borne
    def flush(self) -> None:
        """Brings everything written so far to the file."""
        self._writer.flush()
