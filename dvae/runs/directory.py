"""The directory of one run: what lies in it, who may write to it, and how it is resumed."""

import contextlib
import json
import logging
import os
import secrets
import time
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorboard.compat.proto.event_pb2 import Event

from configs.errors import UserError
from configs.files import one_line, read_bytes, replacing, writing_to
from configs.paper import ExperimentConfig
from data.dataset import Dataset
from dvae.runs.lock import RunLock
from dvae.runs.places import differences, place_for
from dvae.runs.process import say
from dvae.runs.records import (
    RunConfig,
    read_bound,
    read_config,
    write_bound,
    write_config,
)

# What an evaluation writes; everything else belongs to the training summaries.
EVALUATION_TAGS = ("val/", "test/", "log_z/ais", "log_z/drift")
# What a run writes once it is finished.
RESULT_TAGS = ("result/",)
_MAX_METRICS_BYTES = 1 << 31
_REMOVE = "remove it and start again"


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
        self._lock = RunLock(path / "lock.json")
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
        """Opens the run of a configuration: at `path`, or beside it where another run has that.

        Raises:
          UserError: as `open` does.
        """
        run = RunConfig(config, data_sha256)
        while True:
            directory = cls(place_for(path, run, fresh))
            if directory.path != path:
                other = ""
                with contextlib.suppress(UserError):
                    other = f" ({differences(path, run)})"
                say(f"{path} holds a run of other settings{other}: this one lies beside it")
            try:
                directory.open(config, data_sha256, fresh)
            except UserError:
                # Another process may have begun a run there in this moment.
                if directory.path == place_for(path, run, fresh):
                    raise
            else:
                return directory

    def open(self, config: ExperimentConfig, data_sha256: str, fresh: bool) -> None:
        """Creates or reopens the directory for a configuration and its data, and locks it.

        Raises:
          UserError: it cannot be written, another process trains in it, or it holds a run of
            another configuration (naming the fields that differ).
        """
        with writing_to(self.path, "choose another --log_dir"):
            self.path.mkdir(parents=True, exist_ok=True)
            if self.checkpoints.is_symlink():
                raise UserError(
                    f"{self.checkpoints} is a link, and a run writes into its own directory alone: "
                    "put a directory in its place"
                )
            self._lock.take()
            try:
                self._claim(RunConfig(config, data_sha256), fresh)
            except BaseException:  # a session may live on for days
                self.unlock()
                raise

    def _claim(self, run: RunConfig, fresh: bool) -> None:
        if fresh and self.config.exists():
            self._move_aside()
        if self.config.exists():
            changed = differences(self.path, run)
            if changed:
                raise UserError(
                    f"{self.path} holds a run of another configuration ({changed}): "
                    "use its settings, another --log_dir, or --fresh to move it aside"
                )
        if not self.config.exists() or read_config(self.path) != run:
            write_config(self.config, run)  # says where own data lie now
        self._run = run

    def keep_data_facts(self, dataset: Dataset) -> None:
        """Writes what a model needs of its data, so that it can be used without them.

        Raises:
          UserError: it cannot be written, or another is there already and damaged.
        """
        self._facts = {
            "name": dataset.name,
            "sha256": dataset.sha256,
            "published": dataset.published,
            "notes": dataset.notes,
            "image_shape": list(dataset.image_shape),
            "train_mean": [float(value) for value in dataset.train_mean],
        }
        if self.data.exists():
            self.read_data_facts()
            return
        with writing_to(self.path, "choose another --log_dir"):
            write_bound(self.data, self._facts, self.owner())

    def read_data_facts(self) -> tuple[tuple[int, int], np.ndarray]:
        """Image shape and training mean, float32 [X].

        Raises:
          UserError: the file is missing, damaged, or of another run.
        """
        remedy = "restore it, or remove it and start the run's command again, which writes it anew"
        try:
            facts = read_bound(self.data)
            height, width = (int(extent) for extent in facts["image_shape"])
            mean = np.array(facts["train_mean"], np.float32)
            sound = facts["identity"] == self.owner() and mean.shape == (height * width,)
            sound = sound and mean.size and np.all((mean >= 0.0) & (mean <= 1.0))
            sound = sound and height > 0
        except UserError as error:
            raise UserError(f"{str(error).partition(': restore')[0]}: {remedy}") from None
        except (KeyError, TypeError, ValueError, OverflowError):
            sound = False
        if not sound:
            raise UserError(f"{self.data} is damaged or of another run: {remedy}")
        return (height, width), mean

    def restore_if_removed(self) -> None:
        """Makes an opened directory anew that was removed under the run. Raises OSError."""
        if self._run and not self.config.exists():
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock.take()
            write_config(self.config, self._run)
            if self._facts:
                write_bound(self.data, self._facts, self._run.identity)
            logging.warning("%s had been removed: made it again", self.path)

    def owner(self) -> str:
        """The run's identity, which its checkpoints hold; "" before there is a configuration."""
        return read_config(self.path).identity if self.config.exists() else ""

    def read_config(self) -> tuple[ExperimentConfig, str]:
        """The recorded configuration and the checksum of its data. Raises UserError."""
        return read_config(self.path)

    def _move_aside(self) -> None:
        """Moves an old run beside this directory, under a name with the time."""
        target = self.path.with_name(f"{self.path.name}.old-{time.strftime('%Y%m%d-%H%M%S')}")
        serial = 1
        while target.exists():
            serial += 1
            target = target.with_name(f"{target.name}-{serial}")
        target.mkdir()
        for entry in self.path.iterdir():
            if entry != self._lock.path:
                os.rename(entry, target / entry.name)
        logging.warning("the old run was moved to %s", target)

    def check_lock(self) -> None:
        """Raises UserError when another process has taken this run over."""
        self._lock.check()

    def unlock(self) -> None:
        """Gives the directory back."""
        self._lock.release()

    def forget_after(self, step: int, evaluated_step: int) -> None:
        """Drops logged points that a resumed run will write again.

        Args:
          step: of the checkpoint that training resumes from; -1 when it starts over.
          evaluated_step: of the last evaluation that the checkpoint knows.
        """
        if step < 0:
            for path in (self.metrics, *self._event_files()):
                path.unlink(missing_ok=True)
            return

        def keep(tag: str, at: int) -> bool:
            if tag.startswith(RESULT_TAGS):  # the last thing written: a resumed run writes it again
                return False
            return at <= (evaluated_step if tag.startswith(EVALUATION_TAGS) else step)

        if self.metrics.exists():
            _rewrite_lines(self.metrics, keep)
        for path in self._event_files():
            _rewrite_events(path, keep)

    def _event_files(self) -> list[Path]:
        """TensorBoard's files; whatever else bears such a name is set aside."""
        found = sorted(self.path.glob("events.out.tfevents.*"))
        for path in found:
            if path.is_symlink() or not path.is_file():
                _set_aside(path, "it is no file")
        return [path for path in found if path.exists()]


def _set_aside(path: Path, why: object) -> None:
    """Renames a file of events, so that neither a run nor TensorBoard reads it again."""
    target = path.with_name(f"damaged-{secrets.token_hex(4)}.events")
    logging.warning("%s was set aside as %s: %s", path, target.name, one_line(why))
    os.rename(path, target)


def _rewrite_lines(path: Path, keep: Any) -> None:
    kept = []
    for line in read_bytes(path, _MAX_METRICS_BYTES, _REMOVE, may_be_empty=True).splitlines():
        try:
            record = json.loads(line)
            tag = "val/" if record["kind"] == "evaluation" else "train/"
            if keep(tag, record["step"]):
                kept.append(line)
        except (ValueError, KeyError, TypeError, RecursionError):
            continue  # the torn last line of a killed writer
    with replacing(path) as file:
        file.write(b"".join(line + b"\n" for line in kept))


def _rewrite_events(path: Path, keep: Any) -> None:
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
