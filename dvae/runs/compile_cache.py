"""The cache of compiled programs, which TensorFlow keeps where an environment variable says.

It must be set up before TensorFlow is imported.
"""

import contextlib
import hashlib
import importlib.metadata
import logging
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from configs.errors import UserError, name_of

_FLAGS = "TF_XLA_FLAGS"
# What TensorFlow says when an entry of the cache is damaged, or its disk full.
_CACHE_ERRORS = (
    "xla_compile_cache",
    "cache key",
    "Read less bytes than requested",
    "deserializ",
    "No space left on device",
)


class CompileCacheSuspected(Exception):
    """TensorFlow failed on its cache of compiled programs."""


def _processor() -> str:
    """What compiled code depends on: architecture and instruction sets."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    features = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return f"{platform.machine()} {platform.processor()} {features}"


def _gpus() -> str:
    """Names and compute capabilities of the GPUs here, "" where there is none.

    Asked of the driver, since TensorFlow must not be imported yet. Where they are of several
    kinds, which of them are visible decides what programs are compiled for.
    """
    query = ["nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader"]
    lines: list[str] = []
    try:
        done = subprocess.run(query, capture_output=True, timeout=30, check=True)
        lines = done.stdout.decode(errors="replace").splitlines()
    except (OSError, subprocess.SubprocessError):  # its own files say less
        for file in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
            with suppress(OSError):
                lines += file.read_text(encoding="utf-8", errors="replace").splitlines()
        lines = [line for line in lines if "Model" in line]
    kinds = sorted({line.strip() for line in lines if line.strip()})
    if len(kinds) > 1:
        kinds.append(os.environ.get("CUDA_VISIBLE_DEVICES", "all"))
    return ", ".join(kinds)


def compile_cache_directory() -> Path | None:
    """$XDG_CACHE_HOME/dvae-xla, or ~/.cache/dvae-xla; None for a user without a home."""
    home = os.environ.get("XDG_CACHE_HOME")
    if not home:
        try:
            home = Path.home() / ".cache"
        except RuntimeError:
            return None
    return Path(home) / "dvae-xla"


def enable_compile_cache(directory: Path | None) -> None:
    """Lets TensorFlow keep compiled programs under `directory`; warns and goes on if it cannot."""
    if directory is None:
        logging.warning(
            "compiled programs are not kept: this user has no home directory; "
            "--compile_cache=DIR names another place"
        )
        return
    version = importlib.metadata.version("tensorflow")
    kind = hashlib.sha256(f"{version} {_processor()}{_gpus()}".encode()).hexdigest()[:16]
    place = directory.absolute() / kind
    try:
        place.mkdir(parents=True, exist_ok=True)
        if not os.access(place, os.W_OK):
            raise PermissionError("not writable")
    except OSError as error:
        logging.warning("compiled programs are not kept: %s (%s)", place, error)
        return
    flags = os.environ.get(_FLAGS, "").strip()
    if flags and not flags.startswith("-"):
        logging.warning("compiled programs are not kept: %s names a file of flags", _FLAGS)
    elif "tf_xla_persistent_cache_directory" not in flags:
        # TensorFlow cuts its variable at blanks that are not in quotes.
        quoted = str(place).replace("\\", "\\\\").replace('"', '\\"')
        flag = f'--tf_xla_persistent_cache_directory="{quoted}"'
        os.environ[_FLAGS] = f"{flags} {flag}".strip()


@contextlib.contextmanager
def compile_cache_guard() -> Iterator[None]:
    """Raises `CompileCacheSuspected` in the place of an error that speaks of the cache.

    A full disk or a damaged entry of the cache fails the compilation itself. Any other error of
    TensorFlow passes as it is; one of memory becomes a line.

    Raises:
      CompileCacheSuspected: the error is the cache's.
      UserError: memory ran out.
    """
    import tensorflow as tf

    try:
        yield
    except tf.errors.OpError as error:
        reason = error.message.split("\n", 1)[0]
        if any(words in error.message for words in _CACHE_ERRORS):
            raise CompileCacheSuspected(reason) from error
        if isinstance(error, tf.errors.ResourceExhaustedError):
            raise UserError(
                f"memory ran out ({reason}): a smaller {name_of('train_batchsize')}, "
                f"{name_of('eval_batchsize')}, {name_of('num_chains')} or {name_of('ais_chains')} "
                "needs less"
            ) from error
        raise


def start_again_without_compile_cache() -> NoReturn:
    """Replaces this process by the same command without a cache."""
    sys.stdout.flush()
    sys.stderr.flush()
    given = r"--tf_xla_persistent_cache_directory=(\"(\\.|[^\"])*\"|\S*)"
    os.environ[_FLAGS] = re.sub(given, "", os.environ.get(_FLAGS, ""), flags=re.DOTALL).strip()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:], "--compile_cache="])
