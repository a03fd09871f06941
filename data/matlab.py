"""Reads arrays of numbers from MATLAB 5 (.mat) files: by SciPy, in a process of its own."""

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

import numpy as np

from configs import memory
from configs.files import bad_file, open_to_read
from data.checks import check_dtype

MAX_FILE_BYTES = 512 << 20
MAX_MEMORY_BYTES = 1 << 30  # of the child; the published chardata.mat holds arrays of 260 MB
_LEAST_BYTES = 1 << 29  # of addresses, without which Python and SciPy cannot start
TIME_LIMIT = 300.0  # seconds; the published file takes two
_CHILD = Path(__file__).with_name("mat_child.py")


def read_mat(path: Path, names: tuple[str, ...], remedy: str) -> dict[str, np.ndarray]:
    """Reads the named arrays of a MATLAB 5 file (as saved with -v6 or -v7).

    Args:
      path: the file.
      names: names of the arrays.
      remedy: what the user can do; ends the message of an error.

    Returns:
      name -> array of real numbers, of whatever shape, with the dtype in which they are stored.

    Raises:
      UserError: the file or an array in it cannot be read, is too large, or is not of numbers.
    """
    with open_to_read(path, MAX_FILE_BYTES, remedy) as file:
        try:
            done = _run_child(file, names)
        except subprocess.TimeoutExpired:
            raise bad_file(path, f"cannot be read within {TIME_LIMIT:g} s", remedy) from None
    if done.returncode:
        raise bad_file(path, f"is not a sound MATLAB 5 file ({_failure(done)})", remedy)
    with np.load(io.BytesIO(done.stdout), allow_pickle=False) as held:
        missing = [name for name in names if name not in held.files]
        if missing:
            raise bad_file(path, f"has no array '{missing[0]}'", remedy)
        arrays = {name: held[name] for name in names}
    for name, array in arrays.items():
        check_dtype(path, f"'{name}'", array.dtype, remedy)
    return arrays


def _run_child(file: BinaryIO, names: tuple[str, ...]) -> subprocess.CompletedProcess[bytes]:
    # -P: the child's own folder is no place to import modules from.
    most = min(MAX_MEMORY_BYTES, max(memory.free_bytes(), _LEAST_BYTES))
    command = [sys.executable, "-P", str(_CHILD), str(most), *names]
    # Each thread of OpenBLAS would reserve address space, which is what is limited.
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.run(
        command, stdin=file, capture_output=True, timeout=TIME_LIMIT, env=environment, check=False
    )


def _failure(done: subprocess.CompletedProcess[bytes]) -> str:
    """How the child ended: a signal, or the last line of its traceback."""
    if done.returncode < 0:
        return f"SciPy's reader was ended by signal {-done.returncode}"
    lines = done.stderr.decode(errors="replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "no reason given")
