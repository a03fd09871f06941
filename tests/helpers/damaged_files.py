"""Damaged variants of a file's bytes and of JSON records, and a guard against hanging."""

import copy
import json
import signal
from contextlib import contextmanager

import numpy as np
import pytest

NUM_TRUNCATED, NUM_FLIPPED, NUM_OVERWRITTEN = 120, 200, 40
_ODD_VALUES = [None, True, "", "x", "7", [], {}, [[]], float("nan"), float("inf"), -1, -1e9, 1e300]
_ODD_VALUES += [10**30, 0, 0.5, "../../x", "\0", "é" * 5000]


class Hang(pytest.fail.Exception):
    """A failed test, and not an Exception, so that nothing in between swallows it."""


@contextmanager
def no_hang(seconds=10):
    """Raises Hang when what is inside takes longer."""

    def ring(signum, frame):
        raise Hang(f"it took more than {seconds} s")

    old = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)


def damaged_bytes(raw, seed):
    """Truncated, flipped, overwritten, prolonged and unrelated bytes."""
    generator = np.random.default_rng(seed)
    yield from (b"", raw[:-1], raw + raw, raw + b"\0" * 61, bytes(len(raw)))
    yield bytes(generator.integers(0, 256, len(raw), dtype=np.uint8))
    for _ in range(NUM_TRUNCATED):
        yield raw[: generator.integers(len(raw))]
    for i in range(NUM_FLIPPED):
        changed = bytearray(raw)
        # half of the flips go to the head and the tail, where the formats keep their structure
        edge = min(300, len(raw))
        bounds = [(0, len(raw)), (0, edge), (0, len(raw)), (len(raw) - edge, len(raw))][i % 4]
        for _ in range(generator.integers(1, 4)):
            changed[generator.integers(*bounds)] ^= 1 << generator.integers(8)
        yield bytes(changed)
    for _ in range(NUM_OVERWRITTEN):
        changed = bytearray(raw)
        at = generator.integers(len(raw) - 8)
        changed[at : at + 8] = bytes(generator.integers(0, 256, 8, dtype=np.uint8))
        yield bytes(changed)


def _places(record, path=()):
    """Paths to every value of nested JSON objects."""
    for name, value in record.items():
        yield (*path, name)
        if isinstance(value, dict):
            yield from _places(value, (*path, name))


def damaged_records(record):
    """JSON texts with one value lost, or replaced by one of another type or out of all bounds."""
    for path in list(_places(record)):
        for value in (*_ODD_VALUES, "lost"):
            changed = copy.deepcopy(record)
            inner = changed
            for name in path[:-1]:
                inner = inner[name]
            if value == "lost":
                del inner[path[-1]]
            elif inner[path[-1]] == value and type(inner[path[-1]]) is type(value):
                continue
            else:
                inner[path[-1]] = value
            yield json.dumps(changed).encode()
    yield from (b"[" * 200_000, b'{"a":' * 200_000)
    yield from (json.dumps(odd).encode() for odd in _ODD_VALUES)
