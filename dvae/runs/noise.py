"""Keeps off the terminal what TensorFlow prints when nothing is wrong, and lets all else pass.

Its libraries write to file descriptor 2, and their log levels hide errors together with noise. So
the descriptor leads, for a while, to a grep that drops the lines named below and writes all others
where they would have gone. A thread would not do: TensorFlow may end the process with its last
words still unread.
"""

import atexit
import contextlib
import io
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TextIO

# Extended regular expressions.
_HARMLESS = [
    # Information, and the second line of one of its messages.
    r"I[0-9]{4} ",
    r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:.]+: I ",
    r"To enable the following instructions: ",
    r"WARNING: All log messages before absl::InitializeLog\(\)",
    # An entry of the compile cache is read as text before it is read as what it is.
    r"E[0-9]{4} .*] Error parsing text-format tensorflow\.XlaSerializedCacheEntry",
    # XLA's own hints to its compiler, which it then does not find among the processor's features.
    r"E[0-9]{4} .*] .*\. Target machine feature \+prefer-no-(scatter|gather) is not",
]
# No library of the driver: an error only where there is a GPU.
_NO_GPU = r"E[0-9]{4} .*] failed call to cuInit: .*\(303\)"


def _identity(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


class _Filter:
    """The process: takes what is written to `entrance`, and passes it on to a descriptor.

    direct: leads to the descriptor itself; it stays open, since logging keeps such streams.
    """

    def __init__(self, target: int) -> None:
        self.target = _identity(target)
        harmless = _HARMLESS + ([] if Path("/proc/driver/nvidia").exists() else [_NO_GPU])
        command = ["grep", "--line-buffered", "--text", "-Ev", f"^({'|'.join(harmless)})"]
        environment = {**os.environ, "LC_ALL": "C"}  # what is written need not be text
        tried = subprocess.run(command, input=b"", capture_output=True, env=environment)
        if tried.returncode != 1:  # of no lines; 2: small systems have one without these options
            raise OSError("no such grep")
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=target,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,  # Ctrl-C is not for it
        )
        self.entrance = self._process.stdin.fileno()
        # Of the kind that sys.stderr is, which may bear what this one would raise.
        kind = type(getattr(getattr(sys.stderr, "buffer", None), "raw", None))
        raw = (kind if issubclass(kind, io.FileIO) else io.FileIO)(os.dup(target), "w")
        encoding = {name: getattr(sys.stderr, name, None) for name in ("encoding", "errors")}
        self.direct = io.TextIOWrapper(io.BufferedWriter(raw), line_buffering=True, **encoding)
        atexit.register(self.close)

    def close(self) -> None:
        """Lets it write what it still has."""
        atexit.unregister(self.close)
        self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):  # a child of ours may hold the entrance open
            self._process.wait(1.0)


class _Diversion:
    """Descriptor 2 led through a filter while anybody wants it; Python's own stderr past it."""

    def __init__(self) -> None:
        self._lock, self._wanted = threading.Lock(), 0
        self._filter: _Filter | None = None
        self._undo = contextlib.ExitStack()

    def begin(self) -> None:
        with self._lock:
            self._wanted += 1
            # No stderr, or one that is to show everything. Without a process nothing is dropped.
            everything = os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "0"
            if self._wanted > 1 or sys.__stderr__ is None or everything:
                return
            with suppress(OSError):
                self._divert()

    def _divert(self) -> None:
        if self._filter is not None and self._filter.target != _identity(2):
            self._filter.close()
            self._filter = None
        self._filter = self._filter or _Filter(2)
        real, python = os.dup(2), sys.stderr
        self._undo.callback(os.close, real)
        self._undo.callback(os.dup2, real, 2)
        with suppress(AttributeError, OSError, ValueError):  # another stream than descriptor 2's
            if python.fileno() == 2:
                python.flush()
                sys.stderr = self._filter.direct
                self._undo.callback(self._put_back, python)
        os.dup2(self._filter.entrance, 2)

    def _put_back(self, python: TextIO) -> None:
        if sys.stderr is self._filter.direct:
            sys.stderr = python

    def end(self) -> None:
        with self._lock:
            self._wanted -= 1
            if not self._wanted:
                self._undo.close()


_DIVERSION = _Diversion()


def drop_until_exit() -> None:
    """`dropped` for the whole life of a program."""
    _DIVERSION.begin()
    atexit.register(_DIVERSION.end)


@contextlib.contextmanager
def dropped() -> Iterator[None]:
    """Within it, what TensorFlow prints of no consequence is not seen, from any thread or child.

    TF_CPP_MIN_LOG_LEVEL=0 shows everything.
    """
    _DIVERSION.begin()
    try:
        yield
    finally:
        _DIVERSION.end()
