"""The process of a run: what a person sees of it, its device, and signals.

A terminal that went away, or a log file on a full disk, does not end a run. TensorFlow is imported
by need: the compile cache must be set up before it.
"""

import contextlib
import contextvars
import gc
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from types import FrameType
from typing import Any

from tqdm import tqdm

from configs.signals import STOPPING
from configs.text import encodable, printable

_SILENT = contextvars.ContextVar("silent", default=False)


@contextlib.contextmanager
def silence(wanted: bool) -> Iterator[None]:
    """Neither lines nor bars of progress inside, if so wanted; warnings and errors stay."""
    token = _SILENT.set(wanted or _SILENT.get())
    try:
        yield
    finally:
        _SILENT.reset(token)


def say(message: str) -> None:
    """One line on standard output, at once, above any progress bar."""
    if sys.stdout is None or _SILENT.get():  # a service has no standard output
        return
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    with suppress(OSError):
        tqdm.write(encodable(printable(message), encoding), file=sys.stdout)
        sys.stdout.flush()


def _borne(method: Callable) -> Callable:
    def borne(*arguments: Any, **options: Any) -> None:
        with suppress(OSError):
            method(*arguments, **options)

    return borne


class _Bar(tqdm):
    """A bar that goes on unseen when its stream cannot be written to."""

    monitor_interval = 0  # no thread that outlives it

    display, clear, close = map(_borne, (tqdm.display, tqdm.clear, tqdm.close))

    def start_anew(self, what: str, done: int) -> None:
        """As a new bar that starts at `done`: the time so far counts for no rate."""
        self.set_description(what, refresh=False)
        self.n = self.initial = self.last_print_n = done
        self.unpause()
        self.refresh()


def progress_bar(total: int, initial: int, what: str, unit: str, seen: bool = True) -> _Bar:
    """A bar with rate and remaining time; in a log file it becomes a line every half minute."""
    return _Bar(
        total=total,
        initial=initial,
        desc=what,
        unit=unit,
        dynamic_ncols=True,
        mininterval=0.2 if sys.stderr is not None and sys.stderr.isatty() else 30.0,
        file=sys.stderr,
        disable=sys.stderr is None or not seen or _SILENT.get(),
    )


# What Keras and TensorFlow import where it is installed, for things that no run of ours does.
_NOT_FOR_RUNS = ("IPython", "PIL", "h5py", "jax", "matplotlib", "pandas", "scipy", "sklearn")


def import_libraries() -> None:
    """For programs of ours: imports TensorFlow and Keras in half the time.

    While it lasts nothing else that is installed can be imported of what they would do without.
    What they fail with, if they do, is said by who imports them next.
    """
    if "tensorflow" in sys.modules:
        return
    absent = [name for name in _NOT_FOR_RUNS if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # None: it cannot be imported
    gc.disable()  # it would look for garbage in thousands of modules, again and again
    try:
        import keras  # noqa: F401
        import tensorflow as tf  # noqa: F401
    except ImportError:
        pass
    finally:
        for name in absent:
            del sys.modules[name]
        gc.freeze()
        gc.enable()


def share_gpus() -> None:
    """For programs of ours: GPU memory as it is needed, so that several can share a GPU."""
    import tensorflow as tf

    for gpu in tf.config.list_physical_devices("GPU"):
        with suppress(RuntimeError):  # a program that used the GPU before has decided that
            tf.config.experimental.set_memory_growth(gpu, True)


def num_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # only Linux ties processes to cores
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def device_name() -> str:
    """The device that compiled programs run on, e.g. "GPU: NVIDIA H100" or "CPU"."""
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return "CPU"
    details = tf.config.experimental.get_device_details(gpus[0])
    return f"GPU: {details.get('device_name', gpus[0].name)}"


class Stopped(Exception):
    """A signal asked the run to end; `exit_code` is 128 + its number."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


@contextlib.contextmanager
def _said_at_once(numbers: Iterable[int]) -> Iterator[None]:
    """Lets a thread say that a signal has come: Python's handlers wait for compiled calls."""
    reader, writer = socket.socketpair()
    writer.setblocking(False)

    def announce() -> None:
        while received := reader.recv(1):
            if received[0] in numbers:
                name = signal.Signals(received[0]).name
                say(f"{name}: stopping as soon as the work under way allows")
                return

    thread = threading.Thread(target=announce, daemon=True)
    thread.start()
    before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        writer.close()
        thread.join()
        reader.close()


class SignalWatch:
    """Records signals within a `with` block; a loop asks for them between two pieces of work.

    Those of `configs.signals.STOPPING` ask to stop, which a line says at once, however long the
    work takes; SIGUSR1 for a checkpoint. Outside the main thread, where Python allows no handlers,
    it watches nothing.

    Attributes:
      number: of the signal that asked to stop, the last one, or None.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._save = False
        self._deaf_to_interrupts = False
        self._undo = contextlib.ExitStack()

    def __enter__(self) -> "SignalWatch":
        if threading.current_thread() is threading.main_thread():
            self._deaf_to_interrupts = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
            watched = set()
            for number in (*STOPPING, signal.SIGUSR1):
                before = signal.getsignal(number)
                # Ignored as nohup does with SIGHUP, or not Python's to give back.
                if before is None or (before is signal.SIG_IGN and number != signal.SIGUSR1):
                    continue
                self._undo.callback(signal.signal, number, signal.signal(number, self._received))
                watched.add(number)
            self._undo.enter_context(_said_at_once(watched - {signal.SIGUSR1}))
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()
        self._deaf_to_interrupts = False

    def _received(self, number: int, _: FrameType | None) -> None:
        if number == signal.SIGUSR1:
            self._save = True
        else:
            self.number = number

    def save_requested(self) -> bool:
        """Whether SIGUSR1 came since the last time this was asked."""
        asked, self._save = self._save, False
        return asked

    @property
    def requested(self) -> bool:
        """Whether a stopping signal has come."""
        if self._deaf_to_interrupts and hasattr(signal, "sigtimedwait"):
            # Held back by `configs.signals`. Those of a terminal come from the kernel.
            while found := signal.sigtimedwait([signal.SIGINT], 0):
                if found.si_code <= 0:
                    self.number = signal.SIGINT
        return self.number is not None

    def raise_if_stopped(self) -> None:
        """Raises Stopped when a stopping signal has come."""
        if self.requested:
            raise Stopped(self.number)
