"""What a resumed run forgets of its logs: points of metrics.jsonl and TensorBoard's files.

Whatever else bears the name of such a file is set aside.
"""

import json
import logging
import os
import secrets
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorboard.compat.proto.event_pb2 import Event

from configs.files import one_line, read_bytes, replacing

# What an evaluation writes; everything else belongs to the training summaries.
EVALUATION_TAGS = ("val/", "test/", "log_z/ais", "log_z/drift")
# What a run writes once it is finished, the last thing: a resumed run writes it again.
RESULT_TAGS = ("result/",)
_MAX_METRICS_BYTES = 1 << 31
_REMOVE = "remove it and start again"
Keep = Callable[[str, int], bool]  # whether the point of a tag at a step stays


def forget_after(metrics: Path, step: int, evaluated_step: int) -> None:
    """Drops logged points that a resumed run will write again.

    Args:
      metrics: metrics.jsonl; TensorBoard's files lie beside it.
      step: of the checkpoint that training resumes from; -1 when it starts over.
      evaluated_step: of the last evaluation that the checkpoint knows.
    """
    events = _event_files(metrics.parent)
    if step < 0:
        for path in (metrics, *events):
            path.unlink(missing_ok=True)
        return

    def keep(tag: str, at: int) -> bool:
        last = evaluated_step if tag.startswith(EVALUATION_TAGS) else step
        return at <= last and not tag.startswith(RESULT_TAGS)

    if metrics.exists():
        _rewrite_lines(metrics, keep)
    for path in events:
        _rewrite_events(path, keep)


def _event_files(folder: Path) -> list[Path]:
    """TensorBoard's files; whatever else bears such a name is set aside."""
    found = sorted(folder.glob("events.out.tfevents.*"))
    for path in found:
        if path.is_symlink() or not path.is_file():
            _set_aside(path, "it is no file")
    return [path for path in found if path.exists()]


def _set_aside(path: Path, why: object) -> None:
    """Renames a file of events, so that neither a run nor TensorBoard reads it again."""
    target = path.with_name(f"damaged-{secrets.token_hex(4)}.events")
    logging.warning("%s was set aside as %s: %s", path, target.name, one_line(why))
    os.rename(path, target)


def _rewrite_lines(path: Path, keep: Keep) -> None:
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
