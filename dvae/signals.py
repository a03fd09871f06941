"""SIGTERM, SIGINT and SIGHUP end a run in good order; SIGUSR1 asks for a checkpoint."""

import signal
import threading
from types import FrameType


class Stopped(Exception):
    """A signal asked the run to end; `exit_code` is 128 + its number."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


class SignalWatch:
    """Remembers signals while it is entered; the loop asks between compiled calls.

    Outside the main thread, where Python allows no handlers, it watches nothing.
    """

    _STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    def __init__(self) -> None:
        self._stop: int | None = None
        self._save = False
        self._previous: dict[int, object] = {}

    def __enter__(self) -> "SignalWatch":
        if threading.current_thread() is threading.main_thread():
            for number in (*self._STOPPING, signal.SIGUSR1):
                if signal.getsignal(number) != signal.SIG_IGN:  # as nohup does with SIGHUP
                    self._previous[number] = signal.signal(number, self._received)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def _received(self, number: int, _: FrameType | None) -> None:
        if number == signal.SIGUSR1:
            self._save = True
        else:
            self._stop = number

    def save_requested(self) -> bool:
        """Whether SIGUSR1 came since the last time this was asked."""
        asked, self._save = self._save, False
        return asked

    def raise_if_stopped(self) -> None:
        """Raises Stopped when a stopping signal has come."""
        if self._stop is not None:
            raise Stopped(self._stop)
