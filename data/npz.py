"""Reads arrays of numbers from .npz files, without pickle and without trusting any size."""

import zipfile
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.lib import format as npy

from configs.errors import UserError
from data.checks import check_dtype
from data.files import bad_file, open_to_read

MAX_ARRAY_BYTES = 8 << 30
_HEADER_READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # what numpy writes


def read_npz(
    path: Path, names: tuple[str, ...], remedy: str, max_bytes: int = MAX_ARRAY_BYTES
) -> dict[str, np.ndarray]:
    """Reads the named arrays of an .npz file.

    Nothing is extracted to disk. The size that an array's header declares is compared with the
    limit and with the size of the member before any memory is taken.

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
    with open_to_read(path, max_bytes * len(names), remedy) as file:
        try:
            return _read_members(path, file, names, remedy, max_bytes)
        except (UserError, OSError):
            raise
        except MemoryError as error:
            raise bad_file(path, "does not fit into memory", remedy) from error
        except Exception as error:
            # zipfile, zlib and numpy's header parser raise many types on damaged bytes
            # (BadZipFile, zlib.error, struct.error, EOFError, SyntaxError, RuntimeError, ...);
            # all of them mean that this is no sound .npz file.
            raise bad_file(path, f"is not a sound .npz file ({error})", remedy) from error


def _read_members(
    path: Path, file: BinaryIO, names: tuple[str, ...], remedy: str, max_bytes: int
) -> dict[str, np.ndarray]:
    arrays = {}
    with zipfile.ZipFile(file) as archive:
        members = {member.filename: member for member in archive.infolist()}
        for name in names:
            member = members.get(f"{name}.npy")
            if member is None:
                held = ", ".join(sorted(m.removesuffix(".npy") for m in members)) or "nothing"
                raise bad_file(path, f"has no array '{name}' (it holds {held})", remedy)
            arrays[name] = _read_array(path, archive, member, name, remedy, max_bytes)
    return arrays


def _read_array(
    path: Path,
    archive: zipfile.ZipFile,
    member: zipfile.ZipInfo,
    name: str,
    remedy: str,
    max_bytes: int,
) -> np.ndarray:
    if member.compress_type not in _METHODS:
        raise bad_file(path, f"'{name}' is compressed in a way numpy does not write", remedy)
    with archive.open(member) as stream:
        version = npy.read_magic(stream)
        if version not in _HEADER_READERS:
            raise bad_file(path, f"'{name}' has the unknown .npy version {version}", remedy)
        shape, fortran_order, dtype = _HEADER_READERS[version](stream)
        check_dtype(path, f"'{name}'", dtype, remedy)
        count = 1
        for extent in shape:
            count *= extent
        num_bytes = count * dtype.itemsize
        if min(shape, default=0) < 0 or num_bytes > max_bytes:
            raise bad_file(path, f"'{name}' declares the implausible shape {shape}", remedy)
        if stream.tell() + num_bytes != member.file_size:
            raise bad_file(path, f"'{name}' has not the size that its header declares", remedy)
        values = np.empty(count, dtype)
        _fill(stream, memoryview(values.view(np.uint8)))
    return values.reshape(shape, order="F" if fortran_order else "C")


def _fill(stream: zipfile.ZipExtFile, buffer: memoryview) -> None:
    """Reads all of `buffer`; reaching the member's end makes zipfile compare its CRC."""
    done = 0
    while done < len(buffer):
        count = stream.readinto(buffer[done : done + (1 << 24)])
        if not count:
            raise EOFError("the file ends early")
        done += count
    if stream.read(1):
        raise EOFError("the member is longer than declared")
