"""JSON files that are written whole or not at all, and read with one clear error."""

import json
import os
from pathlib import Path
from typing import Any

from configs.errors import UserError


def write_json(path: Path, record: dict[str, Any]) -> None:
    """Writes JSON atomically: written aside, synced, renamed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("w") as file:
        json.dump(record, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object. Raises UserError when there is none."""
    try:
        record = json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise UserError(f"{path} is not valid JSON: restore it or train anew") from None
    if not isinstance(record, dict):
        raise UserError(f"{path} does not hold a JSON object: restore it or train anew")
    return record
