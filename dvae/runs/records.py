"""JSON records on disk: written whole or not at all, checked when read; which code wrote them."""

import functools
import hashlib
import json
import math
import subprocess
from pathlib import Path
from typing import Any

from configs.errors import UserError
from configs.files import read_bytes, replacing

_CHECKSUM = "checksum"
_MAX_JSON_BYTES = 1 << 26
# What every result must hold, each a finite number.
_NUMBERS = ("test_nll", "test_neg_elbo", "unnormalized_nll", "log_z", "log_z_stderr", "val_nll")
_INTERVALS = ("log_z_interval", "nll_interval")


def write_json(path: Path, record: dict[str, Any]) -> None:
    """Writes JSON atomically. Raises OSError."""
    with replacing(path) as file:
        file.write((json.dumps(record, indent=2) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object. Raises UserError when there is none."""
    remedy = "restore it or train anew"
    try:
        record = json.loads(read_bytes(path, _MAX_JSON_BYTES, remedy), parse_int=_whole_number)
    except RecursionError:
        raise UserError(f"{path} is damaged (endless nesting): {remedy}") from None
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): {remedy}") from None
    if not isinstance(record, dict):
        raise UserError(f"{path} is damaged (no JSON object): {remedy}")
    if not _is_text(record):
        raise UserError(f"{path} is damaged (characters that are no text): {remedy}")
    return record


def _whole_number(digits: str) -> int:
    """The number, if it fits into 64 bits: larger ones are no sizes and overflow as floats."""
    number = int(digits) if len(digits) <= 20 else 2**63
    if not -(2**63) <= number < 2**63:
        raise ValueError(f"a number of {len(digits)} digits")
    return number


def _is_half(c: str) -> bool:
    """Whether this is half of a character, and no byte of a path that is no text."""
    return "\ud800" <= c <= "\udfff" and not "\udc80" <= c <= "\udcff"


def _is_text(value: Any) -> bool:
    """Whether no name or value within has a NUL or half of a character, as no text and path has."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            if "\0" in value or any(map(_is_half, value)):
                return False
        elif isinstance(value, dict):
            waiting += [*value, *value.values()]
        elif isinstance(value, list):
            waiting += value
    return True


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


_ROOT = Path(__file__).parents[2]
# What decides the numbers of a run.
_SOURCES = ("run.py", "configs/*.py", "data/*.py", "dvae/*.py", "dvae/runs/*.py", "samplers/*.py")


@functools.cache
def code_version() -> dict[str, str | None]:
    """{"sources": first 12 hex digits of the digest of all sources, "commit": or None}.

    A commit with later changes ends in "+changes". Asked once for a process, so that a checkout
    beside a running process does not change what it reports.
    """
    digest = hashlib.sha256()
    for pattern in _SOURCES:
        for path in sorted(_ROOT.glob(pattern)):
            digest.update(f"{path.relative_to(_ROOT)}\n".encode())
            digest.update(path.read_bytes())
    return {"sources": digest.hexdigest()[:12], "commit": _commit()}


def version_name(version: dict[str, str | None]) -> str:
    """The commit, or the digest of the sources, or "not recorded"."""
    return version.get("commit") or version.get("sources") or "not recorded"


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(_ROOT), *arguments],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=30,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None  # no git here: the digest speaks alone
    return done.stdout.strip() if done.returncode == 0 else None


def _commit() -> str | None:
    # A tree unpacked inside another project's repository is not that project's commit.
    if _git("ls-files", "--error-unmatch", "run.py") is None:
        return None
    described = _git("describe", "--always", "--exclude=*", "--abbrev=10", "--dirty=+changes")
    return described or None
