"""metrics.jsonl as curves: what a run logged, by name."""

import difflib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from configs.files import exists, read_bytes
from configs.setting import MAX_STEPS

MAX_METRICS_BYTES = 1 << 31  # a curve may have a point for every step
_LARGEST = 1e30  # what a picture can have on its axes


class Curve(NamedTuple):
    """One metric of a run: steps int64 [M] and values float64 [M]."""

    steps: np.ndarray
    values: np.ndarray

    def __repr__(self) -> str:
        last = f", {self.values[-1]:.6g} at step {self.steps[-1]:,}" if len(self.steps) else ""
        return f"Curve({len(self.steps)} points{last})"


class Curves(dict[str, Curve]):
    """Curves by name. What the names mean is in `dvae.runs.tags.DESCRIPTIONS`.

    (There `log_z/train` is called `sampler/tracked_log_z`.) Raises KeyError for another name.
    """

    def __missing__(self, name: str) -> Curve:
        near = difflib.get_close_matches(str(name), self, n=3, cutoff=0.5)
        known = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(self)}"
        raise KeyError(f"no curve {name!r}: {known if self else 'nothing was logged here'}")


def read_metrics(path: Path) -> Curves:
    """The curves of metrics.jsonl by name; none where there is no file.

    Lines and numbers that are damaged, such as the torn last line of a run that goes on, are left
    out. Raises UserError where it is no file, or not to be read.
    """
    points: dict[str, list[tuple[int, float]]] = {}
    content = read_bytes(path, MAX_METRICS_BYTES, may_be_empty=True) if exists(path) else b""
    for line in content.splitlines():
        for name, step, value in _points(line):
            points.setdefault(name, []).append((step, value))
    curves = Curves()
    for name, found in points.items():
        steps, values = zip(*found, strict=True)
        curves[name] = Curve(np.array(steps, np.int64), np.array(values, np.float64))
    return curves


def _points(line: bytes) -> Iterator[tuple[str, int, float]]:
    try:
        record: Any = json.loads(line)
    except (ValueError, RecursionError):
        return
    step = record.pop("step", None) if isinstance(record, dict) else None
    if type(step) is int and 0 <= step <= MAX_STEPS:
        for name, value in record.items():
            if type(value) in (int, float) and abs(value) <= _LARGEST:
                yield name, step, value
