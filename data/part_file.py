"""The unfinished file of a download: one process at a time, nothing empty left behind."""

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from data.files import exists

try:
    import fcntl
except ImportError:  # not on Windows; there, two processes may download the same file at once
    fcntl = None


class QueueError(Exception):
    """Another process held the unfinished file for too long."""


def part_path(path: Path) -> Path:
    """Where an unfinished download of `path` is kept."""
    return path.with_name(path.name + ".part")


@contextlib.contextmanager
def open_part(path: Path, max_queue: float) -> Iterator[BinaryIO | None]:
    """FILE.part, locked, open for reading and appending; None if `path` came to be meanwhile."""
    with _open_locked(path, max_queue) as part:
        try:
            yield None if exists(path) else part  # another process may have been faster
        finally:
            part.flush()
            if os.fstat(part.fileno()).st_size == 0 and _has_name(part, part_path(path)):
                part_path(path).unlink(missing_ok=True)


def _open_locked(path: Path, max_queue: float) -> BinaryIO:
    while True:
        part = open(part_path(path), "a+b")
        try:
            _lock(part, path, max_queue)
        except BaseException:
            part.close()
            raise
        # While we waited, its last owner may have renamed or removed it.
        if exists(path) or _has_name(part, part_path(path)):
            return part
        part.close()


def _has_name(file: BinaryIO, path: Path) -> bool:
    """Whether the open file is the one that lies at `path`."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def made_directory(path: Path) -> Iterator[None]:
    """Makes a directory; if that or the body fails, takes away again what is still empty."""
    made = [place for place in (path, *path.parents) if not exists(place)]
    try:
        path.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for place in made:
            with contextlib.suppress(OSError):
                place.rmdir()
        raise


def _lock(part: BinaryIO, path: Path, max_queue: float) -> None:
    """Waits while another process downloads the same file."""
    if fcntl is None:
        return
    deadline = time.monotonic() + max_queue
    said = False
    while True:
        try:
            fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise QueueError("another process has been downloading it for too long") from None
        except OSError:  # a file system without locks
            return
        if not said:
            say(f"{path.name}: waiting for another process that downloads it")
            said = True
        time.sleep(min(0.5, max_queue))


def say(text: str) -> None:
    """Tells the user how a download goes, on stderr."""
    print(text, file=sys.stderr, flush=True)
