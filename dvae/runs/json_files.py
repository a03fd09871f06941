"""JSON on disk: written whole or not at all, and checked when read."""

import hashlib
import json
import math
import re
from pathlib import Path
from typing import Any

from configs.errors import UserError
from configs.files import read_bytes, replacing

RESTORE = "restore it or train anew"
_MAX_JSON_BYTES = 1 << 26


def write_json(path: Path, record: dict[str, Any]) -> None:
    """Writes JSON atomically. Raises OSError, and ValueError for NaN and inf: JSON has neither."""
    with replacing(path) as file:
        file.write((json.dumps(record, indent=2, allow_nan=False) + "\n").encode())


# In JSON without its escaped backslashes: NUL and halves of characters, as no text and path has
# (but for bytes of a path that is no text).
_NO_TEXT = re.compile(r"\\u0000|[\ud800-\udc7f\udd00-\udfff]")


def read_json(path: Path, remedy: str = RESTORE) -> dict[str, Any]:
    """Reads a JSON object of text and finite numbers. Raises UserError when there is none.

    remedy: what the user can do; ends the message.
    """
    problem, content = None, read_bytes(path, _MAX_JSON_BYTES, remedy)
    numbers = dict(parse_int=_whole_number, parse_float=_finite, parse_constant=_finite)
    try:
        record = json.loads(content, **numbers)
        text = json.dumps(record, ensure_ascii=False).replace(r"\\", "")
        if not isinstance(record, dict):
            problem = "no JSON object"
        elif _NO_TEXT.search(text):
            problem = "characters that are no text"
    except RecursionError:
        problem = "endless nesting"
    except ValueError as error:
        problem = f"no valid JSON: {error}"
    if problem:
        raise UserError(f"{path} is damaged ({problem}): {remedy}")
    return record


def _whole_number(digits: str) -> int:
    """The number, if it fits into 64 bits: larger ones are no sizes and overflow as floats."""
    number = int(digits) if len(digits) <= 20 else 2**63
    if not -(2**63) <= number < 2**63:
        raise ValueError(f"a number of {len(digits)} digits")
    return number


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is no number")
    return number


def digest(record: dict[str, Any]) -> str:
    """SHA-256 of a JSON object, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
