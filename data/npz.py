"""Reads arrays of numbers from .npz files, without pickle and without trusting any size."""

import contextlib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from configs import memory
from configs.errors import UserError
from configs.files import bad_file, one_line, open_to_read
from data.checks import check_dtype

MAX_ARRAY_BYTES = 8 << 30
# Bytes for each number that checks and binarisation take for a moment: random numbers of 64 bits,
# grey values of 64 bits beside their levels.
_WORKING_WHOLE, _WORKING_FLOAT = 10, 32


def read_npz(
    path: Path, names: tuple[str, ...], remedy: str, max_bytes: int = MAX_ARRAY_BYTES
) -> dict[str, np.ndarray]:
    """Reads the named arrays of an .npz file.

    Args:
      path: the file.
      names: names of the arrays, without `.npy`.
      remedy: what the user can do; ends the message of an error.
      max_bytes: limit on each array.

    Returns:
      name -> array, of whatever shape and real dtype.

    Raises:
      UserError: the file or an array in it cannot be read, is too large, or is not of numbers.
    """
    with _opened(path, max_bytes * len(names), remedy) as archive:
        members = [_member(path, archive, name, remedy, max_bytes) for name in names]
        memory.require(_bytes_needed(archive, members), f"{one_line(path)}: it", remedy)
        pairs = zip(names, members, strict=True)
        arrays = {name: _read_array(archive, member) for name, member in pairs}
    for name, array in arrays.items():
        check_dtype(path, f"'{name}'", array.dtype, remedy)
    return arrays


def array_names(path: Path, remedy: str) -> list[str]:
    """Names of the arrays of an .npz file. Raises UserError when it cannot be read."""
    with _opened(path, 3 * MAX_ARRAY_BYTES, remedy) as archive:
        names = sorted(archive.namelist())
    return [name.removesuffix(".npy") for name in names if name.endswith(".npy")]


@contextlib.contextmanager
def _opened(path: Path, max_bytes: int, remedy: str) -> Iterator[zipfile.ZipFile]:
    """The archive; whatever its damage raises becomes a UserError."""
    with open_to_read(path, max_bytes, remedy) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                yield archive
        except (UserError, OSError):
            raise
        except MemoryError as error:
            raise bad_file(path, "does not fit into memory", remedy) from error
        except Exception as error:
            # zipfile, zlib and numpy's header parser raise many types on damaged bytes
            # (BadZipFile, zlib.error, struct.error, EOFError, SyntaxError, RuntimeError, ...);
            # all of them mean that this is no sound .npz file.
            raise bad_file(path, f"is not a sound .npz file ({error})", remedy) from error


def _member(
    path: Path, archive: zipfile.ZipFile, name: str, remedy: str, max_bytes: int
) -> zipfile.ZipInfo:
    """The entry of an array. Raises UserError when there is none, or it is too large."""
    members = {member.filename: member for member in archive.infolist()}
    member = members.get(f"{name}.npy")
    if member is None:
        held = ", ".join(sorted(m.removesuffix(".npy") for m in members)) or "nothing"
        raise bad_file(path, f"has no array '{name}' (it holds {held})", remedy)
    if member.file_size > max_bytes:
        what = (
            f"'{name}' has {member.file_size} bytes, more than the {max_bytes} that are plausible"
        )
        raise bad_file(path, what, remedy)
    return member


def _bytes_needed(archive: zipfile.ZipFile, members: list[zipfile.ZipInfo]) -> int:
    """Of the arrays together, and of what is made of one of them at a time; from headers alone."""
    working = 0
    for member in members:
        with archive.open(member) as stream:
            dtype = _dtype(stream)
        each = _WORKING_FLOAT if dtype.kind == "f" else _WORKING_WHOLE
        working = max(working, member.file_size // max(dtype.itemsize, 1) * each)
    return sum(member.file_size for member in members) + working


def _dtype(stream: IO[bytes]) -> np.dtype:
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)[2]
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(stream)[2]
    raise ValueError(f"an array of format {version}")  # 3.0 is for names of fields alone


def _read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    """One member, read to its end, where zipfile compares the CRC: `np.load` would stop short."""
    with archive.open(member) as stream:
        array = np.lib.format.read_array(stream, allow_pickle=False)
        if stream.read(1):
            raise ValueError(f"'{member.filename}' is longer than its header says")
    return array
