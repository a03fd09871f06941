"""Random numbers of the program again, in NumPy: Threefry-2x32 and what is made of its words.

Salmon et al. 2011, section 4.2. A key is a pair of Python integers; a block of two words belongs
to (key, index, stream).
"""

from collections.abc import Sequence

import numpy as np
from scipy.special import expit

Key = tuple[int, int]

MASK = 0xFFFFFFFF
FOLD, SPLIT = 0xFFFFFFFF, 0xFFFFFFFE  # streams of new keys


def threefry(key: Key, low: np.ndarray, high: np.ndarray, rounds: int = 13) -> np.ndarray:
    """The two words [2, ...] (uint64 below 2^32) of counters (low, high) under a key."""
    words = [*key, 0x1BD11BDA ^ key[0] ^ key[1]]
    x0 = (np.asarray(low, np.uint64) + words[0]) & MASK
    x1 = (np.asarray(high, np.uint64) + words[1]) & MASK
    for index in range(rounds):
        distance = [13, 15, 26, 6, 17, 29, 16, 24][index % 8]
        x0 = (x0 + x1) & MASK
        x1 = (((x1 << np.uint64(distance)) | (x1 >> np.uint64(32 - distance))) & MASK) ^ x0
        if (index + 1) % 4 == 0:
            number = (index + 1) // 4
            x0 = (x0 + words[number % 3]) & MASK
            x1 = (x1 + words[(number + 1) % 3] + number) & MASK
    return np.stack(np.broadcast_arrays(x0, x1))


def key_of(seed: int) -> Key:
    """The key of a run's seed."""
    return seed & MASK, (seed >> 32) & MASK


def fold_in(key: Key, data: int) -> Key:
    """The key of a number under a key."""
    return tuple(int(word) for word in threefry(key, data, FOLD))


def split(key: Key, count: int) -> list[Key]:
    """The first `count` keys under a key."""
    return [tuple(map(int, pair)) for pair in threefry(key, np.arange(count), SPLIT).T]


def _words(key: Key, count: int, stream: int) -> np.ndarray:
    """[2, ceil(count / 2)]."""
    return threefry(key, np.arange(-(-count // 2)), stream)


def bits(key: Key, shape: Sequence[int], stream: int = 0) -> np.ndarray:
    """Random words: all first words of the blocks, then all second ones."""
    count = int(np.prod(shape))
    return _words(key, count, stream).ravel()[:count].reshape(shape)


def _unit(words: np.ndarray) -> np.ndarray:
    """(0, 1) from the 24 upper bits, in float32; the factor keeps the largest below 1."""
    upper = np.float32(words >> np.uint64(8)) + np.float32(0.5)
    return np.float64(upper * np.float32(2.0**-24 * (1 - 2.0**-24)))


def uniform(key: Key, shape: Sequence[int], stream: int = 0) -> np.ndarray:
    """Uniform numbers inside (0, 1), float32 values in float64."""
    return _unit(bits(key, shape, stream))


def normal(key: Key, shape: Sequence[int], stream: int = 0) -> np.ndarray:
    """Standard normal numbers (Box and Muller): all cosines, then all sines."""
    count = int(np.prod(shape))
    first, second = (_unit(words) for words in _words(key, count, stream))
    radius = np.sqrt(-2 * np.log(first))
    both = [radius * np.cos(2 * np.pi * second), radius * np.sin(2 * np.pi * second)]
    return np.concatenate(both)[:count].reshape(shape)


def bernoulli(key: Key, logits: np.ndarray, stream: int = 0, first_block: int = 0) -> np.ndarray:
    """0/1 with probability expit(logits) [...], four draws from each block.

    Draw q of block i decides element q * ceil(n / 4) + i. Its 25 bits: 13 of its own (the upper
    half of a word without the bottom bits), 11 that the four share, and a last one that is set.
    """
    count = logits.size
    blocks = -(-count // 4)
    first, second = threefry(key, first_block + np.arange(blocks), stream)
    shared = ((first & np.uint64(63)) << np.uint64(6)) | (second & np.uint64(63)) | np.uint64(1)
    own = np.uint64(0x1FFF000)
    draws = []
    for word in (first, second):
        draws += [((word >> np.uint64(7)) & own) | shared, ((word << np.uint64(6)) & own) | shared]
    u = np.concatenate(draws)[:count] / 2.0**25
    return np.float64(u < expit(np.ravel(logits))).reshape(logits.shape)
