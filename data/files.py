"""Opening, checking and writing files so that whatever is wrong becomes one clear line."""

import contextlib
import hashlib
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from configs.errors import UserError

_BLOCK_BYTES = 1 << 20


def one_line(reason: object) -> str:
    """The text of an exception or a path without line breaks, cut to a readable length."""
    text = " ".join(str(reason).split()) or type(reason).__name__
    return text if len(text) <= 300 else text[:297] + "..."


def bad_file(path: Path, what: object, remedy: str) -> UserError:
    """The error for a file that cannot be used: `PATH: what; remedy` (or no remedy)."""
    return UserError(f"{one_line(path)}: {one_line(what)}" + (f"; {remedy}" if remedy else ""))


def exists(path: Path) -> bool:
    """Whether something (of whatever kind) lies at `path`.

    Raises:
      UserError: that cannot be told, for want of permission or because the path is no path.
    """
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:
        raise bad_file(path, f"cannot be reached ({error})", "check the path") from error
    return True


@contextlib.contextmanager
def open_to_read(path: Path, max_bytes: int, remedy: str) -> Iterator[BinaryIO]:
    """Opens a regular file; failures to open or read become a UserError.

    A named pipe in the place of a file would block for ever, hence the non-blocking open. A
    recorded checksum (see `recorded_checksum`) is compared first.

    Args:
      path: the file.
      max_bytes: a larger file is refused.
      remedy: what the user can do; ends the message.
    """
    try:
        file = open(path, "rb", opener=_open_without_blocking)
    except FileNotFoundError as error:
        raise bad_file(path, "does not exist", remedy) from error
    except IsADirectoryError as error:
        raise bad_file(path, "is a directory, not a file", remedy) from error
    except (OSError, ValueError) as error:
        raise bad_file(path, f"cannot be opened ({error})", remedy) from error
    with file:
        try:
            _check_status(path, os.fstat(file.fileno()), max_bytes, remedy)
            _compare_checksum(path, file)
            yield file
        except OSError as error:
            raise bad_file(path, f"cannot be read ({error})", remedy) from error


def _check_status(path: Path, status: os.stat_result, max_bytes: int, remedy: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise bad_file(path, "is not a regular file", remedy)
    if status.st_size == 0:
        raise bad_file(path, "is empty", remedy)
    if status.st_size > max_bytes:
        what = f"has {status.st_size} bytes, more than the {max_bytes} that are plausible"
        raise bad_file(path, what, remedy)


def _open_without_blocking(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def checksum_path(path: Path) -> Path:
    """Where the sha256 of `path` is recorded: beside it, with `.sha256` appended."""
    return path.with_name(path.name + ".sha256")


def recorded_checksum(path: Path) -> str | None:
    """The sha256 (hex) recorded for `path`, or None where none is recorded.

    Raises:
      UserError: the record is unreadable or is not a sha256.
    """
    record = checksum_path(path)
    if not exists(record):
        return None
    remedy = "delete it to go without a recorded checksum"
    try:
        with open(record, "rb", opener=_open_without_blocking) as file:
            text = file.read(1024)
    except OSError as error:
        raise bad_file(record, f"cannot be read ({error})", remedy) from error
    found = re.match(rb"\s*([0-9a-fA-F]{64})(\s|$)", text)
    if not found:
        raise bad_file(record, "does not hold a sha256", remedy)
    return found.group(1).decode().lower()


def sha256_of(file: BinaryIO) -> str:
    """sha256 (hex) of an open file, from its start; leaves the position at the start."""
    file.seek(0)
    sha = hashlib.sha256()
    while block := file.read(_BLOCK_BYTES):
        sha.update(block)
    file.seek(0)
    return sha.hexdigest()


def _compare_checksum(path: Path, file: BinaryIO) -> None:
    recorded = recorded_checksum(path)
    if recorded is None:
        return
    actual = sha256_of(file)
    if actual != recorded:
        raise bad_file(
            path,
            f"has sha256 {actual}, but {recorded} was recorded",
            f"delete the file to fetch it anew, or {checksum_path(path).name} if it is right",
        )


def record_checksum(path: Path, sha256: str) -> None:
    """Records the sha256 of `path` beside it, in the format of `sha256sum`."""
    with write_atomically(checksum_path(path)) as file:
        file.write(f"{sha256}  {path.name}\n".encode())


@contextlib.contextmanager
def write_atomically(path: Path) -> Iterator[BinaryIO]:
    """A binary file that appears at `path` complete or not at all.

    Written under another name in the same directory, synced, then renamed.

    Raises:
      OSError: as the file system says; nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp makes files that only their owner can read
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
