"""Reads arrays of numbers from MATLAB 5 (.mat) files, inflated within a limit."""

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np

from configs.errors import UserError
from data.checks import check_dtype
from data.files import bad_file, open_to_read

MAX_INFLATED_BYTES = 2 << 30  # the published chardata.mat holds 260 MB
_HEADER_BYTES = 128
_BYTE_ORDERS = {b"IM": "<", b"MI": ">"}
_MATRIX, _COMPRESSED = 14, 15  # element types, MAT-file format, table 1-1
_NUMBER_CLASSES = frozenset(
    "double single logical int8 uint8 int16 uint16 int32 uint32 int64 uint64".split()
)


def read_mat(
    path: Path, names: tuple[str, ...], remedy: str, max_bytes: int = MAX_INFLATED_BYTES
) -> dict[str, np.ndarray]:
    """Reads the named arrays of a MATLAB 5 file (as saved with -v6 or -v7).

    Args:
      path: the file.
      names: names of the arrays.
      remedy: what the user can do; ends the message of an error.
      max_bytes: limit on the file with all its elements inflated.

    Returns:
      name -> array of real numbers, as stored.

    Raises:
      UserError: the file or an array in it cannot be read, is too large, or is not of numbers.
    """
    with open_to_read(path, max_bytes, remedy) as file:
        raw = file.read()
    try:
        arrays = _load(path, _inflate(raw, max_bytes), names, remedy)
    except UserError:
        raise
    except MemoryError as error:
        raise bad_file(path, "does not fit into memory", remedy) from error
    except Exception as error:
        # scipy's reader takes the bytes at their word; damaged ones make it raise nearly any
        # type (ValueError, TypeError, KeyError, UnicodeDecodeError, its own warnings, ...).
        raise bad_file(path, f"is not a sound MATLAB 5 file ({error})", remedy) from error
    for name, array in arrays.items():
        check_dtype(path, f"'{name}'", array.dtype, remedy)
    return arrays


def _load(path: Path, plain: bytes, names: tuple[str, ...], remedy: str) -> dict[str, np.ndarray]:
    from scipy.io import loadmat, whosmat  # costs a second; only omniglot needs it

    with warnings.catch_warnings():
        # scipy warns about a variable it could not read, and puts a text in its place.
        warnings.simplefilter("error", UserWarning)
        kinds = {name: kind for name, _, kind in whosmat(io.BytesIO(plain))}
        for name in names:
            if name not in kinds:
                held = ", ".join(sorted(kinds)) or "nothing"
                raise bad_file(path, f"has no array '{name}' (it holds {held})", remedy)
            if kinds[name] not in _NUMBER_CLASSES:
                what = f"'{name}' is of the class {kinds[name]}, not of numbers"
                raise bad_file(path, what, remedy)
        found = loadmat(io.BytesIO(plain), variable_names=names)
    return {name: np.asarray(found[name]) for name in names}


def _inflate(raw: bytes, max_bytes: int) -> bytes:
    """The same MATLAB 5 file with its compressed elements inflated.

    An element of type miCOMPRESSED holds, deflated, another whole element; putting that in its
    place gives a valid file. Doing it here bounds the memory, compares zlib's checksums, and
    leaves scipy no length that reaches beyond the bytes in hand.

    Raises:
      ValueError or zlib.error: the file is not of this format, truncated or too large.
    """
    byte_order = _BYTE_ORDERS.get(raw[126:128])
    if byte_order is None or len(raw) <= _HEADER_BYTES or 0 in raw[:4]:
        raise ValueError("it has no MATLAB 5 header")
    parts = [raw[:_HEADER_BYTES]]
    room = max_bytes
    position = _HEADER_BYTES
    while position < len(raw):
        kind, num_bytes, content = _element(raw, position, byte_order)
        if kind == _COMPRESSED:
            content = _inflate_element(content, room, byte_order)
        elif kind == _MATRIX:
            content = raw[position : position + 8 + num_bytes]
        else:
            raise ValueError(f"it has an element of the unknown type {kind}")
        room -= len(content)
        parts.append(content)
        position += 8 + num_bytes
    return b"".join(parts)


def _element(raw: bytes, position: int, byte_order: str) -> tuple[int, int, memoryview]:
    """Type, length and content of the element at `position`."""
    if position + 8 > len(raw):
        raise ValueError("it ends early")
    kind, num_bytes = struct.unpack_from(byte_order + "II", raw, position)
    if position + 8 + num_bytes > len(raw):
        raise ValueError("it ends early")
    return kind, num_bytes, memoryview(raw)[position + 8 : position + 8 + num_bytes]


def _inflate_element(content: memoryview, room: int, byte_order: str) -> bytes:
    inflater = zlib.decompressobj()
    plain = inflater.decompress(content, max(room, 1))
    if inflater.unconsumed_tail:
        raise ValueError("it inflates to more than is plausible")
    if not inflater.eof:
        raise ValueError("it ends early")
    kind, num_bytes, _ = _element(plain, 0, byte_order)
    if kind != _MATRIX or len(plain) != 8 + num_bytes:
        raise ValueError("a compressed element does not hold one matrix")
    return plain
