"""Who may write to the directory of a run: a lock that its living holder keeps fresh.

The holder touches the lock every BEAT_SECONDS. Whether a holder on this machine lives is asked of
the system; a process of the same number that started at another time is not it. Whoever finds any
other lock (of another machine, or of this one before it was started anew) watches it: one touch
means that its holder lives; none for LEASE_SECONDS, that it is gone, and the run goes on here. Only
changes of the file are watched, so clocks need not agree. A holder that was merely cut off learns
of it by `check`, which the run calls before it writes, and ends.
"""

import contextlib
import fcntl
import json
import logging
import os
import socket
import stat
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from configs.errors import UserError

BEAT_SECONDS = 20.0
LEASE_SECONDS = 180.0  # longer than file systems over a network keep attributes in their caches
_POLL_SECONDS = 1.0
_MOST_BYTES = 4096  # of a lock; a larger file is none


def _machine() -> str | None:
    """What numbers of processes belong to: a start of the system and a namespace; None: unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return None


def _started(pid: int) -> str | None:
    """When a process started, in the kernel's own clock; "" once it has ended; None: unknown."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except (PermissionError, OverflowError):
        pass  # of another user; the next line tells, unless those of others are hidden
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # after the program's name, which may hold anything
    return "" if fields[0] in "ZX" else fields[19]


class _Holder(NamedTuple):
    """Who took a lock: "process PID on HOST", of which start of the machine and since when."""

    host: str
    pid: int
    machine: str | None
    started: str | None

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def _parse(text: str) -> _Holder | None:
    """The holder that a lock names; None: what it holds was never written to its end."""
    try:
        found = json.loads(text)
        pid, known = int(found["pid"]), (found.get(name) for name in ("machine", "started"))
        return _Holder(str(found["host"]), pid, *known) if 0 < pid < 2**31 else None
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


def _alive(holder: _Holder, me: _Holder) -> bool | None:
    """Whether the holder of a lock is a living process other than this one; None: not known."""
    if holder.host != me.host:
        return None
    started = _started(holder.pid)
    if holder.machine == me.machine and holder.started and started is not None:
        return started == holder.started and holder.pid != me.pid
    return None


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
        pid = os.getpid()
        me = _Holder(socket.gethostname(), pid, _machine(), _started(pid))
        text, dead = json.dumps({**me._asdict(), "token": uuid.uuid4().hex}), None
        while not self._create(text, dead):
            dead = self._dead(me)
        self._text = text
        self._released.set()  # a lock taken again, after its directory was removed
        self._released = threading.Event()
        arguments = (text, self._released)
        threading.Thread(target=self._keep_fresh, args=arguments, daemon=True).start()

    def check(self) -> None:
        """Raises UserError when another process has taken the lock over."""
        found = self._read()
        if self._text is not None and found not in (None, self._text):
            raise UserError(
                f"{_parse(found) or 'another process'} has taken over {self.path.parent} while "
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
        guard = self.path.with_name(f".{self.path.name}.guard")
        # Without waiting for a reader, should it be a pipe, and not through a link.
        flags = os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(guard, flags, 0o666)
        except OSError as error:
            if os.path.lexists(guard) and not stat.S_ISREG(os.lstat(guard).st_mode):
                raise UserError(f"{guard} is no file ({error.strerror}): remove it") from None
            raise
        try:
            with contextlib.suppress(OSError):  # a file system that has none: the odds are small
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _create(self, text: str, dead: str | None) -> bool:
        """Creates the lock, in the place of a dead one if that is still there; False: one is."""
        with self._alone():
            if dead is not None and self._read() == dead:
                self.path.unlink(missing_ok=True)
            try:
                with open(self.path, "x", encoding="utf-8") as file:
                    file.write(text)
            except FileExistsError:
                return False
        return True

    def _look(self) -> tuple[str | None, int]:
        """What the lock holds and when it was touched; (None, 0): nothing that could be one."""
        # Opened, since only that makes a network file system ask its server; a pipe in the lock's
        # place is not waited for.
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
        with contextlib.suppress(OSError):
            with open(self.path, "rb", 0, opener=lambda path, _: os.open(path, flags)) as file:
                status = os.fstat(file.fileno())
                if stat.S_ISREG(status.st_mode):
                    return file.read(_MOST_BYTES).decode("utf-8", "replace"), status.st_mtime_ns
        return None, 0

    def _read(self) -> str | None:
        return self._look()[0]

    def _keep_fresh(self, text: str, released: threading.Event) -> None:
        while not released.wait(BEAT_SECONDS):
            with contextlib.suppress(OSError):
                if self._read() == text:
                    os.utime(self.path)

    def _dead(self, me: _Holder) -> str | None:
        """What a lock holds whose holder is gone; None: it changed. Raises UserError, as `take`."""
        text = self._read()
        if text is None and not os.path.lexists(self.path):
            return None  # released meanwhile
        if text is None:
            raise UserError(
                f"{self.path} is not a lock that can be read: make sure that no process trains "
                "there, remove it and start again"
            )
        holder = _parse(text)
        alive = False if holder is None else _alive(holder, me)
        if alive:
            raise UserError(
                f"process {holder.pid} trains in {self.path.parent} already: wait for it or stop it"
            )
        if alive is None:
            return text if self._watch(text, holder) else None
        if holder is not None:
            logging.warning("took over the lock of process %d, which is gone", holder.pid)
        return text

    def _watch(self, text: str, holder: _Holder) -> bool:
        """Whether the lock stayed untouched for the whole lease. Raises UserError at a touch."""
        logging.warning("%s held this run: waiting %g s for a touch", holder, LEASE_SECONDS)
        first, end = self._look(), time.monotonic() + LEASE_SECONDS
        while time.monotonic() < end:
            time.sleep(min(_POLL_SECONDS, LEASE_SECONDS / 10))
            found = self._look()
            if found[0] != text:
                return False  # released, or in other hands: judged anew
            if found != first:
                raise UserError(
                    f"{holder} trains in {self.path.parent}: wait for it or stop it there"
                )
        logging.warning("%s gave no sign of life: its run goes on here", holder)
        return True
