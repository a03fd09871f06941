"""What a run writes for people: TensorBoard events and metrics.jsonl.

A failed summary never stops training: the first failure of its kind is warned of, and writing is
tried again at the next summary. A resumed run forgets the points that it will write again;
whatever else bears the name of such a file is set aside.
"""

import contextlib
import functools
import json
import logging
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.plugins.hparams import api as hp

from configs.experiment import SIZES, ExperimentConfig
from configs.files import one_line, open_to_append, read_bytes, replacing
from configs.text import printable
from dvae.runs.directory import RunDirectory
from dvae.runs.json_files import digest
from dvae.runs.metrics_file import MAX_METRICS_BYTES
from dvae.runs.tags import DESCRIPTIONS, RESULTS, TRACKED, hparams_page, layout
from samplers.diagnostics import known

# What an evaluation writes; everything else belongs to the training summaries.
EVALUATION_TAGS = ("val/", "test/", "log_z/ais", "log_z/drift")
# What a run writes once it is finished, the last thing: a resumed run writes it again.
RESULT_TAGS = ("result/",)
Keep = Callable[[str, int], bool]  # whether the point of a tag at a step stays


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

    def forget_after(self, step: int, evaluated_step: int) -> None:
        """Drops logged points that a resumed run will write again.

        step: of the checkpoint that training resumes from; -1 when it starts over.
        evaluated_step: of the last evaluation that the checkpoint knows.
        """
        events = sorted(self._directory.path.glob("events.out.tfevents.*"))
        for path in events:
            if path.is_symlink() or not path.is_file():
                _set_aside(path, "it is no file")

        def keep(tag: str, at: int) -> bool:
            last = evaluated_step if tag.startswith(EVALUATION_TAGS) else step
            return at <= last and not tag.startswith(RESULT_TAGS)

        for path in (self._directory.metrics, *events):
            if step < 0:
                path.unlink(missing_ok=True)
            elif path.exists():
                (_rewrite_events if path in events else _rewrite_lines)(path, keep)

    @_borne
    def start(self, config: ExperimentConfig) -> None:
        """The settings as they are used, and how TensorBoard's pages are laid out; once a run."""
        settings = config.to_json()
        del settings["structure"]
        settings |= {name: getattr(config.structure, name) for name in SIZES}
        settings["prior"] = printable(config.prior)
        settings["dataset"] = printable(config.dataset)  # a path need not be text
        flags = "\n".join(f"--{name}={value}" for name, value in settings.items())
        tf.summary.text("flags", f"```\n{flags}\n```", 0, DESCRIPTIONS["flags"])
        for tag, value, metadata in (layout(), hparams_page(settings)):
            tf.summary.write(tag, value, 0, metadata)
        # TensorBoard takes runs of one trial for repetitions of each other.
        trial = f"{printable(str(config.run_directory('')))}-{digest(config.to_json())[:12]}"
        hp.hparams(settings, trial_id=trial)

    @_borne
    def scalars(self, kind: str, step: int, values: dict[str, float]) -> None:
        """Writes scalars at a step; `kind` is "train" or "evaluation"."""
        for name, value in values.items():
            self._scalar(TRACKED if name == "log_z/train" else name, step, value)
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
            tf.summary.histogram(tag, value, step, description=DESCRIPTIONS.get(tag))

    @_borne
    def image(self, tag: str, step: int, picture: np.ndarray) -> None:
        """Writes one picture, uint8 [H, W, 1]."""
        tf.summary.image(tag, picture[None], step, description=DESCRIPTIONS[tag])

    @_borne
    def step_time(self, step: int, seconds: float) -> None:
        """Writes the time of a training step, for TensorBoard alone: it is never the same again."""
        self._scalar("ms_per_step", step, 1e3 * seconds)

    def _scalar(self, tag: str, step: int, value: float) -> None:
        tf.summary.scalar(tag, value, step, DESCRIPTIONS.get(tag))

    @_borne
    def finish(self, step: int, result: dict[str, Any]) -> None:
        """The final numbers, in nats, as the metrics of the HParams page."""
        for tag in RESULTS:
            self._scalar(tag, step, result[tag.removeprefix("result/")])
        self._writer.flush()

    @_borne
    def flush(self) -> None:
        """Brings everything written so far to the file."""
        self._writer.flush()


def _set_aside(path: Path, why: object) -> None:
    """Renames a file of events, so that neither a run nor TensorBoard reads it again."""
    target = path.with_name(f"damaged-{secrets.token_hex(4)}.events")
    logging.warning("%s was set aside as %s: %s", path, target.name, one_line(why))
    os.rename(path, target)


def _rewrite_lines(path: Path, keep: Keep) -> None:
    kept, remedy = [], "remove it and start again"
    for line in read_bytes(path, MAX_METRICS_BYTES, remedy, may_be_empty=True).splitlines():
        with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
            # Else it is the torn last line of a killed writer.
            record = json.loads(line)
            tag = "val/" if record["kind"] == "evaluation" else "train/"
            if keep(tag, record["step"]):
                kept.append(line)
    with replacing(path) as file:
        file.write(b"".join(line + b"\n" for line in kept))


def _rewrite_events(path: Path, keep: Keep) -> None:
    # TensorBoard's own loader drops points that a later file writes again; its Python reader
    # (EventAccumulator) shows both.
    # Paths as bytes: they need not be text.
    with replacing(path) as file, tf.io.TFRecordWriter(os.fsencode(file.name)) as writer:
        try:
            for record in tf.data.TFRecordDataset(os.fsencode(path)).as_numpy_iterator():
                event = Event.FromString(record)
                tags = [value.tag for value in event.summary.value] or [""]
                if keep(tags[0], event.step):
                    writer.write(record)
        except (tf.errors.OpError, DecodeError) as error:
            # What comes before stays. The torn last record of a killed writer is no damage.
            if "truncated record" not in str(error):
                _set_aside(path, f"it cannot be read to its end ({error})")
