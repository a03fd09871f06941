"""JSON records on disk: written whole or not at all, and checked when they are read."""

import hashlib
import json
import math
import os
from pathlib import Path
from typing import Any

from configs.errors import UserError

_CHECKSUM = "checksum"
# What every result must hold, each a finite number.
_NUMBERS = ("test_nll", "test_neg_elbo", "unnormalized_nll", "log_z", "log_z_stderr", "val_nll")
_INTERVALS = ("log_z_interval", "nll_interval")


def write_json(path: Path, record: dict[str, Any]) -> None:
    """Writes JSON atomically: written aside, synced, renamed. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w") as file:
            json.dump(record, file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object. Raises UserError when there is none."""
    try:
        record = json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise UserError(f"{path} is not valid JSON: restore it or train anew") from None
    if not isinstance(record, dict):
        raise UserError(f"{path} does not hold a JSON object: restore it or train anew")
    return record


def digest(record: dict[str, Any]) -> str:
    """SHA-256 of a JSON object, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def write_checked(path: Path, record: dict[str, Any]) -> None:
    """Writes a JSON object with its checksum; numbers come back as they are. Raises OSError."""
    record = json.loads(json.dumps(record))
    write_json(path, {**record, _CHECKSUM: digest(record)})


def read_checked(path: Path) -> dict[str, Any]:
    """Reads what `write_checked` wrote. Raises UserError when it has changed since."""
    record = read_json(path)
    if record.pop(_CHECKSUM, None) != digest(record):
        raise UserError(f"{path} does not match its checksum: restore it or train anew")
    return record


def read_result(path: Path) -> dict[str, Any]:
    """A run's result.json. Raises UserError when it is not what the run wrote.

    Older results have no checksum; of them only the sense of the likelihood fields is checked.
    """
    record = read_checked(path) if _CHECKSUM in (record := read_json(path)) else record
    try:
        values = [record[name] for name in _NUMBERS]
        values += [record[name][end] for name in _INTERVALS for end in ("low", "high")]
        sound = all(isinstance(v, float) and math.isfinite(v) for v in values)
        nll, low, high = record["test_nll"], *(record["nll_interval"][e] for e in ("low", "high"))
        sound = sound and low <= nll <= high and record["log_z_stderr"] >= 0.0
        total = record["unnormalized_nll"] + record["log_z"]
        sound = sound and math.isclose(nll, total, rel_tol=1e-9, abs_tol=1e-6)
    except (KeyError, TypeError):
        sound = False
    if not sound:
        raise UserError(f"{path} is damaged: remove it and start the same command again")
    return record
