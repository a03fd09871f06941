"""Untrusted files: read without hanging or filling memory, written without following links.

Whatever is wrong with a file that is read becomes one clear line.
"""

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from configs.errors import UserError
from configs.text import one_row


def one_line(reason: object) -> str:
    """The text of an exception or a path without line breaks, cut to a readable length."""
    text = one_row(str(reason)) or type(reason).__name__
    return text if len(text) <= 300 else text[:297] + "..."


def bad_file(path: Path, what: object, remedy: str) -> UserError:
    """The error for a file that cannot be used: `PATH: what; remedy` (or no remedy)."""
    return UserError(f"{one_line(path)}: {one_line(what)}" + (f"; {remedy}" if remedy else ""))


@contextlib.contextmanager
def path_errors() -> Iterator[None]:
    """Turns an OSError, which any path that a user names can raise, into a UserError.

    A name may be too long, a directory closed to this user, a file in the place of a directory, a
    file system full or read-only. Whoever knows what to do about it says so before it comes here.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None:
            raise UserError(one_line(error)) from error
        reason = error.strerror or error
        path = error.filename2 or error.filename  # renamed: the name that it was to have
        raise bad_file(path, reason, "choose another place, or mend this one") from error


@contextlib.contextmanager
def writing_to(folder: Path, remedy: str) -> Iterator[None]:
    """Makes a directory if need be; an OSError, there or in what is written to it, is a UserError.

    remedy: what the user can do; ends the message.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise UserError(f"cannot write to {folder} ({error.strerror}): {remedy}") from None


def exists(path: Path) -> bool:
    """Whether something (of whatever kind) lies at `path`.

    Raises:
      UserError: that cannot be known, for want of permission or because the path is no path.
    """
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:
        raise bad_file(path, f"cannot be reached ({error})", "check the path") from error
    return True


@contextlib.contextmanager
def open_to_read(
    path: Path,
    max_bytes: int,
    remedy: str = "",
    *,
    follow_links: bool = True,
    may_be_empty: bool = False,
) -> Iterator[BinaryIO]:
    """Opens a regular file; failures to open or read become a UserError.

    A named pipe in the place of a file would block for ever, hence the non-blocking open.

    Args:
      path: the file.
      max_bytes: a larger file is refused.
      remedy: what the user can do; ends the message.
      follow_links: whether `path` itself may be a link to a regular file.
      may_be_empty: whether a file without content is one.
    """
    flags = os.O_NONBLOCK | (0 if follow_links else os.O_NOFOLLOW)
    try:
        file = open(path, "rb", opener=lambda name, mode: os.open(name, mode | flags))
    except FileNotFoundError as error:
        raise bad_file(path, "does not exist", remedy) from error
    except IsADirectoryError as error:
        raise bad_file(path, "is a directory, not a file", remedy) from error
    except (OSError, ValueError) as error:
        is_link = not follow_links and getattr(error, "errno", None) == errno.ELOOP
        what = "is a link, not a file" if is_link else f"cannot be opened ({error})"
        raise bad_file(path, what, remedy) from error
    with file:
        try:
            _check_status(path, os.fstat(file.fileno()), max_bytes, remedy, may_be_empty)
            yield file
        except OSError as error:
            raise bad_file(path, f"cannot be read ({error})", remedy) from error


def _check_status(
    path: Path, status: os.stat_result, max_bytes: int, remedy: str, may_be_empty: bool
) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise bad_file(path, "is not a regular file", remedy)
    if status.st_size == 0 and not may_be_empty:
        raise bad_file(path, "is empty", remedy)
    if status.st_size > max_bytes:
        what = f"has {status.st_size} bytes, more than the {max_bytes} that are plausible"
        raise bad_file(path, what, remedy)


def read_bytes(
    path: Path, max_bytes: int, remedy: str = "", *, may_be_empty: bool = False
) -> bytes:
    """The content of a regular file. Raises UserError, as `open_to_read` does."""
    with open_to_read(path, max_bytes, remedy, may_be_empty=may_be_empty) as file:
        return file.read(max_bytes)


def open_to_append(path: Path) -> BinaryIO:
    """Opens a regular file to read it and to write at its end, or makes it.

    Raises:
      OSError: that cannot be, or something else than a regular file lies there, say a link.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK
    file = os.fdopen(os.open(path, flags, 0o666), "a+b")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return file


def aside_of(path: Path) -> Path:
    """An unpredictable name beside `path`, for a file that is renamed to it once it is complete."""
    return path.with_name(f".tmp-{secrets.token_hex(8)}")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write instead of `path`: synced and renamed to it when the block ends well.

    Whoever reads `path` at any moment, even after a crash, finds the old file or the new one whole.
    A link at `path` is replaced, and what it points to is left as it is.

    Raises:
      OSError: it cannot be written.
    """
    aside = aside_of(path)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        with open(aside, "w+b", opener=lambda name, _: os.open(name, flags, 0o666)) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def own_directory(path: Path) -> None:
    """Makes a directory that belongs to one made by us, if it is not there.

    Raises:
      OSError: that cannot be, or a link lies there, which would lead elsewhere.
    """
    path.mkdir(parents=True, exist_ok=True)
    if path.is_symlink():
        raise OSError(errno.ELOOP, "a link in the place of a directory", str(path))
