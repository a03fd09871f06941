"""Random numbers of the program again, in NumPy: Threefry-2x32 and what is made of its words.

Salmon et al. 2011, section 4.2. A key is a pair of Python integers; a block of two words belongs
to (key, index, stream). Uniform and normal numbers are float32 values in float64.
"""

import numpy as np
from scipy.special import expit

MASK = 0xFFFFFFFF
FOLD, SPLIT = 0xFFFFFFFF, 0xFFFFFFFE  # streams of new keys


def threefry(key, low, high, rounds=13):
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


def key_of(seed):
    """The key of a run's seed."""
    return seed & MASK, (seed >> 32) & MASK


def fold_in(key, data):
    """The key of a number under a key."""
    return tuple(int(word) for word in threefry(key, data, FOLD))


def split(key, count):
    """The first `count` keys under a key."""
    return [tuple(map(int, pair)) for pair in threefry(key, np.arange(count), SPLIT).T]


def bits(key, shape, stream=0):
    """Random words: all first words of the blocks, then all second ones."""
    count = int(np.prod(shape))
    return threefry(key, np.arange(-(-count // 2)), stream).ravel()[:count].reshape(shape)


def uniform(key, shape, stream=0):
    """Numbers inside (0, 1) from the 24 upper bits; the factor keeps the largest below 1."""
    upper = np.float32(bits(key, shape, stream) >> np.uint64(8)) + np.float32(0.5)
    return np.float64(upper * np.float32(2.0**-24 * (1 - 2.0**-24)))


def normal(key, shape, stream=0):
    """Standard normal numbers (Box and Muller): all cosines, then all sines."""
    count = int(np.prod(shape))
    first, second = uniform(key, [2, -(-count // 2)], stream)
    radius = np.sqrt(-2 * np.log(first))
    both = [radius * np.cos(2 * np.pi * second), radius * np.sin(2 * np.pi * second)]
    return np.concatenate(both)[:count].reshape(shape)


def bernoulli(key, logits, stream=0, first_block=0):
    """0/1 with probability expit(logits) [...], four draws from each block.

    Draw q of block i decides element q * ceil(n / 4) + i. Its 25 bits: 13 of its own (the upper
    half of a word without the bottom bits), 11 that the four share, and a last one that is set.
    """
    count = logits.size
    first, second = threefry(key, first_block + np.arange(-(-count // 4)), stream)
    shared = ((first & np.uint64(63)) << np.uint64(6)) | (second & np.uint64(63)) | np.uint64(1)
    own = np.uint64(0x1FFF000)
    draws = []
    for word in (first, second):
        draws += [((word >> np.uint64(7)) & own) | shared, ((word << np.uint64(6)) & own) | shared]
    u = np.concatenate(draws)[:count] / 2.0**25
    return np.float64(u < expit(np.ravel(logits))).reshape(logits.shape)
