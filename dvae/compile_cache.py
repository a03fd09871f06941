"""A cache of compiled programs on disk: a second run of the same program starts at once.

TensorFlow's persistent XLA cache, kept apart by processor and version, since compiled code fits
no other. Must be set up before TensorFlow is imported.
"""

import contextlib
import hashlib
import importlib.metadata
import logging
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

_FLAGS = "TF_XLA_FLAGS"


class Suspected(Exception):
    """TensorFlow failed while a cache was in use."""


def _processor() -> str:
    """What compiled code depends on: architecture and instruction sets."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    features = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return f"{platform.machine()} {platform.processor()} {features}"


def default_directory() -> Path:
    """$XDG_CACHE_HOME/dvae-xla, or ~/.cache/dvae-xla."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "dvae-xla"


def enable(directory: Path) -> None:
    """Lets TensorFlow keep compiled programs under `directory`; warns and goes on if it cannot."""
    version = importlib.metadata.version("tensorflow")
    kind = hashlib.sha256(f"{version} {_processor()}".encode()).hexdigest()[:16]
    place = directory.absolute() / kind
    try:
        place.mkdir(parents=True, exist_ok=True)
        if not os.access(place, os.W_OK):
            raise PermissionError("not writable")
    except OSError as error:
        logging.warning("compiled programs are not kept: %s (%s)", place, error)
        return
    flags = os.environ.get(_FLAGS, "")
    if "tf_xla_persistent_cache_directory" not in flags:
        flag = f"--tf_xla_persistent_cache_directory={place}"
        os.environ[_FLAGS] = f"{flags} {flag}".strip()


@contextlib.contextmanager
def guard() -> Iterator[None]:
    """Raises `Suspected` in the place of a TensorFlow error.

    A full disk or a damaged entry of the cache fails the compilation itself, with errors of many
    kinds. Without the cache an error that has another cause comes again, as it is.
    """
    import tensorflow as tf

    try:
        yield
    except tf.errors.OpError as error:
        raise Suspected(error.message.split("\n", 1)[0]) from error


def start_again_without() -> NoReturn:
    """Replaces this process by the same command without a cache."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.environ.pop(_FLAGS, None)
    os.execv(sys.executable, [sys.executable, *sys.argv, "--compile_cache="])
