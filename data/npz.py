"""Reads arrays of numbers from .npz files, without pickle and without trusting any size."""

import zipfile
from pathlib import Path

import numpy as np

from configs.errors import UserError
from configs.files import bad_file, open_to_read
from data.checks import check_dtype

MAX_ARRAY_BYTES = 8 << 30


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
    with open_to_read(path, max_bytes * len(names), remedy) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                arrays = {
                    name: _read_array(path, archive, name, remedy, max_bytes) for name in names
                }
        except (UserError, OSError):
            raise
        except MemoryError as error:
            raise bad_file(path, "does not fit into memory", remedy) from error
        except Exception as error:
            # zipfile, zlib and numpy's header parser raise many types on damaged bytes
            # (BadZipFile, zlib.error, struct.error, EOFError, SyntaxError, RuntimeError, ...);
            # all of them mean that this is no sound .npz file.
            raise bad_file(path, f"is not a sound .npz file ({error})", remedy) from error
    for name, array in arrays.items():
        check_dtype(path, f"'{name}'", array.dtype, remedy)
    return arrays


def _read_array(
    path: Path, archive: zipfile.ZipFile, name: str, remedy: str, max_bytes: int
) -> np.ndarray:
    """One member, read to its end, where zipfile compares the CRC: `np.load` would stop short."""
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
    with archive.open(member) as stream:
        array = np.lib.format.read_array(stream, allow_pickle=False)
        if stream.read(1):
            raise ValueError(f"'{name}' is longer than its header says")
    return array
