"""SciPy's reader of MATLAB 5 files in a process of its own, started by data/matlab.py.

A damaged file can crash the reader's C code, or make it take any time and memory.

Usage: python mat_child.py MAX_BYTES NAME... < FILE.mat > ARRAYS.npz
What goes wrong is an uncaught exception, whose last line the parent shows.
"""

import io
import struct
import sys
import warnings
import zlib
from collections.abc import Iterator

import numpy as np
import scipy.io

try:
    import resource
except ImportError:  # not on Windows: there, the time alone is limited
    resource = None

_HEADER_BYTES = 128
_COMPRESSED = 15  # type of an element, table 1-1 of MathWorks, "MAT-File Format", level 5


def main(max_bytes: int, names: list[str]) -> None:
    """Reads the named arrays from stdin and writes them to stdout."""
    if resource is not None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        if hard == resource.RLIM_INFINITY or hard > max_bytes:
            resource.setrlimit(resource.RLIMIT_AS, (max_bytes, hard))
    raw = sys.stdin.buffer.read()
    needed = len(raw) + largest_inflated(raw)
    if needed > max_bytes:
        raise MemoryError(f"it needs {needed} bytes, more than the {max_bytes} for it")
    warnings.simplefilter("error", scipy.io.matlab.MatReadWarning)
    found = scipy.io.loadmat(io.BytesIO(raw), variable_names=names)
    check_compressed(raw)
    arrays = {name: found[name] for name in names if name in found}
    np.savez(sys.stdout.buffer, allow_pickle=False, **arrays)


def elements(raw: bytes) -> Iterator[tuple[str, int, bytes]]:
    """Byte order, type and content of each element."""
    byte_order = {b"IM": "<", b"MI": ">"}.get(raw[126:128])
    if byte_order is None:
        raise ValueError("it has no MATLAB 5 header")
    start = _HEADER_BYTES
    while start < len(raw):
        kind, length = struct.unpack_from(byte_order + "II", raw, start)
        start += 8
        yield byte_order, kind, raw[start : start + length]
        start += length


def largest_inflated(raw: bytes) -> int:
    """Bytes of the largest compressed element once it is inflated, as its first bytes say."""
    largest = 0
    for byte_order, kind, content in elements(raw):
        if kind == _COMPRESSED:
            tag = zlib.decompressobj().decompress(content, 8)
            largest = max(largest, struct.unpack(byte_order + "II", tag)[1])
    return largest


def check_compressed(raw: bytes) -> None:
    """Compares the checksum of each compressed element, which SciPy does not always do."""
    for _, kind, content in elements(raw):
        if kind == _COMPRESSED:
            zlib.decompress(content)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
