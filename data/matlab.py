"""Reads arrays of numbers from MATLAB 5 (.mat) files.

A reader of our own, since SciPy's trusts the lengths in the file: a damaged one can make it crash
the interpreter. It covers what is needed, full arrays of real numbers, and nothing else.

Source: MathWorks, "MAT-File Format", level 5; the table numbers below are those of that text.
"""

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from configs.errors import UserError
from data.files import bad_file, open_to_read

MAX_INFLATED_BYTES = 2 << 30  # the published chardata.mat holds 260 MB
_HEADER_BYTES = 128
_BYTE_ORDERS = {b"IM": "<", b"MI": ">"}
_VERSION = 0x0100
# Element types (table 1-1).
_INT8, _INT32, _UINT32, _MATRIX, _COMPRESSED = 1, 5, 6, 14, 15
_NUMBERS = {
    **{1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4"},
    **{7: "f4", 9: "f8", 12: "i8", 13: "u8"},
}
# Array classes that hold numbers (table 1-3): double, single and the integers.
_NUMBER_CLASSES = range(6, 16)
_COMPLEX_FLAG = 0x0800


class _Reader:
    """Takes elements off a buffer, never reaching beyond its end."""

    def __init__(self, content: bytes | memoryview, byte_order: str) -> None:
        self.content = memoryview(content)
        self.byte_order = byte_order
        self.position = 0

    def element(self) -> tuple[int, memoryview]:
        """Type and content of the next element, padding skipped (figure 1-2)."""
        kind, length = self._words(self.position)
        start = self.position + 8
        if kind >> 16:  # the small format: length, type and up to four bytes in eight
            kind, length, start = kind & 0xFFFF, kind >> 16, self.position + 4
            if length > 4:
                raise ValueError("a small element is longer than four bytes")
        end = start + length
        if end > len(self.content):
            raise ValueError("it ends early")
        if start == self.position + 4:
            self.position += 8
        elif kind == _COMPRESSED:  # the one type that is not padded to eight bytes
            self.position = end
        else:
            self.position = start + -(-length // 8) * 8
        return kind, self.content[start:end]

    def expect(self, wanted: int) -> memoryview:
        """Content of the next element, which must be of the given type."""
        kind, content = self.element()
        if kind != wanted:
            raise ValueError(f"it has an element of type {kind} in the place of {wanted}")
        return content

    def at_end(self) -> bool:
        """Whether nothing is left."""
        return self.position >= len(self.content)

    def _words(self, position: int) -> tuple[int, int]:
        if position + 8 > len(self.content):
            raise ValueError("it ends early")
        return struct.unpack_from(self.byte_order + "II", self.content, position)


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
      name -> array of real numbers, of whatever shape, with the dtype in which they are stored.

    Raises:
      UserError: the file or an array in it cannot be read, is too large, or is not of numbers.
    """
    with open_to_read(path, max_bytes, remedy) as file:
        raw = file.read()
    held, arrays = [], {}
    try:
        for matrix in _matrices(raw, max_bytes):
            flags, shape, name = _describe(matrix)
            if name in names and name in held:
                raise ValueError(f"it holds '{name}' twice")
            held.append(name)
            if name in names:
                arrays[name] = _numbers(matrix, flags, shape, name)
    except MemoryError as error:
        raise bad_file(path, "does not fit into memory", remedy) from error
    except (ValueError, zlib.error, struct.error) as error:
        raise bad_file(path, f"is not a sound MATLAB 5 file ({error})", remedy) from error
    for name in names:
        if name not in held:
            raise _missing(path, name, held, remedy)
    return arrays


def _missing(path: Path, name: str, held: list[str], remedy: str) -> UserError:
    found = ", ".join(sorted(held)) or "nothing"
    return bad_file(path, f"has no array '{name}' (it holds {found})", remedy)


def _matrices(raw: bytes, max_bytes: int) -> Iterator[_Reader]:
    """The contents of the file's matrices, inflated where they are compressed."""
    byte_order = _BYTE_ORDERS.get(raw[126:128])
    if byte_order is None or struct.unpack(byte_order + "H", raw[124:126]) != (_VERSION,):
        raise ValueError("it has no MATLAB 5 header")
    room = max_bytes
    file = _Reader(memoryview(raw)[_HEADER_BYTES:], byte_order)
    while not file.at_end():
        kind, content = file.element()
        if kind == _COMPRESSED:
            plain = _inflate(content, room)
            room -= len(plain)
            inner = _Reader(plain, byte_order)
            content = inner.expect(_MATRIX)
            if not inner.at_end():
                raise ValueError("a compressed element holds more than one matrix")
        elif kind != _MATRIX:
            raise ValueError(f"it has an element of type {kind}, neither matrix nor compressed")
        yield _Reader(content, byte_order)


def _inflate(content: memoryview, room: int) -> bytes:
    """Inflates all of `content`, to at most `room` bytes; zlib compares its checksum."""
    inflater = zlib.decompressobj()
    plain = inflater.decompress(content, max(room, 1))
    if inflater.unconsumed_tail:
        raise ValueError("it inflates to more than is plausible")
    if not inflater.eof or inflater.unused_data:
        raise ValueError("a compressed element has another length than stated")
    return plain


def _describe(matrix: _Reader) -> tuple[int, tuple[int, ...], str]:
    """Flags, shape and name of a matrix (table 1-2)."""
    if matrix.at_end():
        return 0, (), ""
    flags = matrix.expect(_UINT32)
    shape = np.frombuffer(matrix.expect(_INT32), matrix.byte_order + "i4")
    name = bytes(matrix.expect(_INT8)).decode("latin-1")
    if len(flags) != 8:
        raise ValueError("a matrix has no flags")
    (word,) = struct.unpack_from(matrix.byte_order + "I", flags)
    return word, tuple(int(extent) for extent in shape), name


def _numbers(matrix: _Reader, flags: int, shape: tuple[int, ...], name: str) -> np.ndarray:
    """The real part of a matrix of numbers; MATLAB stores columns first."""
    if flags & 0xFF not in _NUMBER_CLASSES or flags & _COMPLEX_FLAG:
        raise ValueError(f"'{name}' is not a full array of real numbers")
    kind, content = matrix.element()
    if kind not in _NUMBERS:
        raise ValueError(f"'{name}' is stored as the unknown type {kind}")
    dtype = np.dtype(matrix.byte_order + _NUMBERS[kind])
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(content):
        raise ValueError(f"'{name}' has not the size that its shape {shape} demands")
    return np.frombuffer(content, dtype).reshape(shape, order="F")
