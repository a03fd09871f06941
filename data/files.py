"""Opening files so that whatever is wrong becomes one clear line."""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from configs.errors import UserError


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

    A named pipe in the place of a file would block for ever, hence the non-blocking open.

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
