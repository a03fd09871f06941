"""Random numbers by NumPy, and a record of the Threefry blocks that were drawn for what.

No block may be drawn twice: that is all that counter-based numbers ask for. A method that draws
fewer blocks than its numbers need has used some of them twice, or not taken as many steps.
"""

import contextlib
import math

import numpy as np
import tensorflow as tf

from samplers import counter_random
from tests.reference import counter_random as reference

# Streams that make keys of keys.
OF_KEYS = (reference.FOLD, reference.SPLIT)


class Draws:
    """The blocks drawn by the purpose that was `named` when they were drawn.

    Only what runs eagerly is seen. Words are those of the program, by the reference.
    """

    def __init__(self, patch):
        self.name = "draws"
        # Of each purpose: key, stream and index, uint64 [2, n], of each draw.
        self._drawn = {}
        patch.setattr(counter_random, "threefry_2x32", self._threefry)
        patch.setattr(counter_random, "bernoulli_exponents", self._bernoulli)

    def _bernoulli(self, key, exponents, stream=0, first_part=0):
        """1 with probability 1 / (1 + 2^x), by 16 bits of the blocks that the program takes.

        Written in NumPy since eager arithmetic takes most of the time of what is recorded.
        """
        parts, num = exponents.shape
        quarter = -(-num // 4)
        per_key = parts
        if not isinstance(key, list) and np.ndim(key) == 2:  # one for each part
            key, per_key = np.asarray(key)[:, None], 1
        index = np.arange(first_part * quarter, (first_part + per_key) * quarter)
        drawn = self._threefry(key, index.reshape(per_key, quarter), np.asarray(stream, np.uint32))
        words = np.concatenate([np.asarray(word) for word in drawn], axis=1)
        sixteen = np.concatenate([words >> 16, words & 0xFFFF], axis=1)[:, :num]
        with np.errstate(over="ignore"):
            hits = (sixteen + 0.5) / 2**16 * (1.0 + np.exp2(np.asarray(exponents))) < 1.0
        return tf.cast(hits, exponents.dtype)

    def _threefry(self, key, low, high, rounds=13):
        # Keys, or the three words of their schedule, of which they are the first two.
        words = key[:2] if isinstance(key, list) else np.moveaxis(np.asarray(key), -1, 0)
        pair = [np.uint64(np.asarray(word).view(np.uint32)) for word in words]
        low, high = (np.asarray(counter, np.uint64) for counter in (low, high))
        drawn = reference.threefry(pair, low, high, rounds)
        if high.max(initial=0) not in OF_KEYS:
            block = pair[0] << np.uint64(32) | pair[1], high << np.uint64(32) | low, drawn[0]
            keys, counters, _ = (array.ravel() for array in np.broadcast_arrays(*block))
            self._drawn.setdefault(self.name, []).append(np.stack([keys, counters]))
        return tuple(tf.constant(np.uint32(word)) for word in drawn)

    @property
    def names(self):
        return list(self._drawn)

    @contextlib.contextmanager
    def named(self, name):
        """What is drawn inside is for this."""
        before, self.name = self.name, name
        yield
        self.name = before

    def wrap(self, patch, owner, method, name):
        """Names what a method draws; `name` is made anew at each call."""
        plain = getattr(owner, method)

        def wrapped(*arguments, **options):
            with self.named(name()):
                return plain(*arguments, **options)

        patch.setattr(owner, method, wrapped)

    def count(self, *part):
        """Blocks drawn for the purposes whose names have each `part`."""
        names = [name for name in self.names if all(p in name for p in part)]
        return sum(blocks.shape[1] for name in names for blocks in self._drawn[name])

    def assert_apart(self):
        """No block was drawn twice, within a purpose or for two."""
        drawn = [np.concatenate(blocks, axis=1) for blocks in self._drawn.values()]
        keys, counters = np.concatenate(drawn, axis=1)
        owners = np.repeat(range(len(drawn)), [blocks.shape[1] for blocks in drawn])
        order = np.lexsort((counters, keys))
        keys, counters, owners = keys[order], counters[order], owners[order]
        twice = np.flatnonzero((keys[1:] == keys[:-1]) & (counters[1:] == counters[:-1]))
        pairs = {tuple(owners[at : at + 2].tolist()) for at in twice}
        assert not pairs, [(self.names[a], self.names[b]) for a, b in pairs]


def bits(*sizes):
    """The least blocks for so many Bernoulli draws: four have a block."""
    return math.ceil(math.prod(sizes) / 4)


def words(*sizes):
    """The least blocks for so many words or uniform numbers: two have a block."""
    return math.ceil(math.prod(sizes) / 2)
