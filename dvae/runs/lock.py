"""Who may write to the directory of a run: a lock that its living holder keeps fresh.

The holder touches the lock every BEAT_SECONDS. Whoever finds a lock of another machine watches it:
one touch means that its holder lives; none for LEASE_SECONDS, that its machine is gone, and the
run goes on here. Only changes of the file are watched, so clocks need not agree. A holder that was
merely cut off learns of it by `check`, which the run calls before it writes, and ends.
"""

import contextlib
import fcntl
import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from configs.errors import UserError

BEAT_SECONDS = 20.0
LEASE_SECONDS = 180.0  # longer than file systems over a network keep attributes in their caches
_POLL_SECONDS = 1.0


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class RunLock:
    """A lock file with its holder's host and process. `take`, `check` before writing, `release`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._text: str | None = None
        self._released = threading.Event()

    def take(self) -> None:
        """Takes the lock, if need be after watching a lock of another machine.

        Raises:
          UserError: a living process holds it.
          OSError: the file cannot be written.
        """
        owner = {"host": socket.gethostname(), "pid": os.getpid(), "token": uuid.uuid4().hex}
        text = json.dumps(owner)
        while not self._create(text):
            self._remove_if_dead(owner)
        self._text = text
        self._released.set()  # a lock taken again, after its directory was removed
        self._released = threading.Event()
        arguments = (text, self._released)
        threading.Thread(target=self._keep_fresh, args=arguments, daemon=True).start()

    def check(self) -> None:
        """Raises UserError when another process has taken the lock over."""
        found = self._read()
        if self._text is None or found in (None, self._text):
            return
        holder = _parse(found) or {"pid": "?", "host": "?"}
        raise UserError(
            f"process {holder['pid']} on {holder['host']} has taken over {self.path.parent} while "
            "this one gave no sign of life: the run goes on there"
        )

    def release(self) -> None:
        """Gives the lock back, if it is still this process's."""
        self._released.set()
        if self._text is not None and self._read() == self._text:
            self.path.unlink(missing_ok=True)
        self._text = None

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """One process at a time creates or removes the lock; it may die in here."""
        with self.path.with_name(f".{self.path.name}.guard").open("a") as file:
            with contextlib.suppress(OSError):  # a file system that has none: the odds are small
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _create(self, text: str) -> bool:
        with self._alone():
            try:
                descriptor = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
            except FileExistsError:
                return False
            with os.fdopen(descriptor, "w") as file:
                file.write(text)
        return True

    def _read(self) -> str | None:
        with contextlib.suppress(OSError):
            return self.path.read_text()
        return None

    def _keep_fresh(self, text: str, released: threading.Event) -> None:
        while not released.wait(BEAT_SECONDS):
            with contextlib.suppress(OSError):
                if self._read() == text:
                    os.utime(self.path)

    def _remove_if_dead(self, me: dict[str, Any]) -> None:
        text = self._read()
        if text is None:
            return
        holder = _parse(text)
        if holder is None:
            pass  # its writer died before it was written
        elif holder["host"] == me["host"]:
            if holder["pid"] != me["pid"] and _alive(holder["pid"]):
                raise UserError(
                    f"process {holder['pid']} trains in {self.path.parent} already: wait for it "
                    "or stop it"
                )
            logging.warning("took over the lock of process %d, which is gone", holder["pid"])
        elif not self._watch(text, holder):
            return
        self._remove(text)

    def _watch(self, text: str, holder: dict[str, Any]) -> bool:
        """Whether the lock stayed untouched for the whole lease. Raises UserError at a touch."""
        where = f"process {holder['pid']} on {holder['host']}"
        logging.warning("%s held this run: waiting %g s for a touch", where, LEASE_SECONDS)
        first = self._stamp()
        end = time.monotonic() + LEASE_SECONDS
        while time.monotonic() < end:
            time.sleep(min(_POLL_SECONDS, LEASE_SECONDS / 10))
            if self._read() != text:
                return False  # released, or in other hands: judged anew
            if self._stamp() != first:
                raise UserError(
                    f"{where} trains in {self.path.parent}: wait for it or stop it there"
                )
        logging.warning("%s gave no sign of life: its run goes on here", where)
        return True

    def _stamp(self) -> int | None:
        # Opened, since only that makes a network file system ask its server.
        with contextlib.suppress(OSError), self.path.open() as file:
            return os.fstat(file.fileno()).st_mtime_ns
        return None

    def _remove(self, text: str) -> None:
        """Removes a dead lock, unless another process has taken it meanwhile."""
        with self._alone():
            if self._read() == text:
                self.path.unlink(missing_ok=True)


def _parse(text: str) -> dict[str, Any] | None:
    try:
        holder = json.loads(text)
        return {"host": str(holder["host"]), "pid": int(holder["pid"])}
    except (ValueError, KeyError, TypeError):
        return None
