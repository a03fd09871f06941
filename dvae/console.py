"""What a person sees while a run works: plain lines on stdout, progress bars on stderr.

A terminal that went away, or a log file on a full disk, does not end a run.
"""

import sys
from contextlib import suppress
from typing import Any

import tensorflow as tf
from tqdm import tqdm


def say(message: str) -> None:
    """One line on standard output, at once, above any progress bar."""
    with suppress(OSError):
        tqdm.write(message, file=sys.stdout)
        sys.stdout.flush()


class _Bar(tqdm):
    """A bar that goes on unseen when its stream cannot be written to."""

    def display(self, *arguments: Any, **options: Any) -> None:
        with suppress(OSError):
            super().display(*arguments, **options)

    def clear(self, *arguments: Any, **options: Any) -> None:
        with suppress(OSError):
            super().clear(*arguments, **options)

    def close(self) -> None:
        with suppress(OSError):
            super().close()


def progress_bar(total: int, initial: int, what: str, unit: str) -> tqdm:
    """A bar with rate and remaining time; in a log file it becomes a line every half minute."""
    return _Bar(
        total=total,
        initial=initial,
        desc=what,
        unit=unit,
        dynamic_ncols=True,
        mininterval=0.2 if sys.stderr.isatty() else 30.0,
        file=sys.stderr,
    )


def device_name() -> str:
    """The device that compiled programs run on, e.g. "GPU: NVIDIA H100" or "CPU"."""
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return "CPU"
    details = tf.config.experimental.get_device_details(gpus[0])
    return f"GPU: {details.get('device_name', gpus[0].name)}"
