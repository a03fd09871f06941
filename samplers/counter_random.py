"""Counter-based random numbers: Threefry-2x32 in plain integer operations.

Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011: a keyed
bijection of 64-bit counters; 13 rounds are the fewest that pass every test of BigCrush. Nothing
here holds state: the same key gives the same bits in eager mode, in a graph and compiled by XLA,
and a resumed run continues the same stream.

A key is int32 [2]. A block of 64 random bits belongs to (key, index, stream), where index counts
through a tensor and `stream` tells apart the tensors drawn under one key. `fold_in` and `split`
use streams of their own, above all that a caller may ask for.
"""

from collections.abc import Sequence

import tensorflow as tf

Stream = int | tf.Tensor

_ROUNDS = 13
_ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)
_PARITY = 0x1BD11BDA  # of the key schedule, Skein version 1.3
_FOLD_STREAM = 0xFFFFFFFF
_SPLIT_STREAM = 0xFFFFFFFE
_UNIT_24 = 2.0**-24 * (1.0 - 2.0**-24)  # (k + 0.5) may round up to 2^24 in float32: stay below 1


def _uint32(value: int | tf.Tensor) -> tf.Tensor:
    """The 32 bits of an int, or of an int32 or uint32 tensor, as uint32."""
    if isinstance(value, int):
        return tf.constant(value & 0xFFFFFFFF, tf.uint32)
    value = tf.convert_to_tensor(value)
    return value if value.dtype == tf.uint32 else tf.bitcast(tf.cast(value, tf.int32), tf.uint32)


def _rotate_left(x: tf.Tensor, distance: int) -> tf.Tensor:
    left = tf.bitwise.left_shift(x, tf.constant(distance, tf.uint32))
    right = tf.bitwise.right_shift(x, tf.constant(32 - distance, tf.uint32))
    return tf.bitwise.bitwise_or(left, right)


def threefry_2x32(
    key: tf.Tensor, counter_0: tf.Tensor, counter_1: tf.Tensor, rounds: int = _ROUNDS
) -> tuple[tf.Tensor, tf.Tensor]:
    """Threefry-2x32 of Salmon et al. 2011, section 4.2.

    Args:
      key: int32 or uint32 [2].
      counter_0: uint32, any shape: low word of the counter.
      counter_1: uint32, broadcasts with counter_0.
      rounds: 20 is the authors' safe choice, 13 the fewest that pass BigCrush.

    Returns:
      Two uint32 tensors, the two words of each block.
    """
    key = _uint32(key)
    words = [key[0], key[1]]
    parity = tf.constant(_PARITY, tf.uint32)
    words.append(tf.bitwise.bitwise_xor(parity, tf.bitwise.bitwise_xor(words[0], words[1])))
    x0, x1 = counter_0 + words[0], counter_1 + words[1]
    for index in range(rounds):
        x0 = x0 + x1
        x1 = tf.bitwise.bitwise_xor(_rotate_left(x1, _ROTATIONS[index % 8]), x0)
        if index % 4 == 3:
            injection = index // 4 + 1
            x0 = x0 + words[injection % 3]
            # The scalar sum first: it is computed once and not once per element.
            x1 = x1 + (words[(injection + 1) % 3] + tf.constant(injection, tf.uint32))
    return x0, x1


def _num_elements(shape: Sequence[int] | tf.Tensor) -> int | tf.Tensor:
    static = tf.get_static_value(tf.convert_to_tensor(shape, tf.int32))
    return tf.reduce_prod(shape) if static is None else int(static.prod())


def _blocks(key: tf.Tensor, num_blocks: int | tf.Tensor, stream: Stream) -> tuple:
    index = tf.bitcast(tf.range(num_blocks), tf.uint32)
    return threefry_2x32(key, index, _uint32(stream))


def key(seed: int) -> tf.Tensor:
    """A key, int32 [2], from any Python integer of up to 64 bits."""
    words = [seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF]
    return tf.bitcast(tf.constant(words, tf.uint32), tf.int32)


def fold_in(key: tf.Tensor, data: Stream) -> tf.Tensor:
    """A new key, int32 [2], for (key, data); data is an int or an int32 scalar, e.g. the step."""
    words = threefry_2x32(key, _uint32(data), _uint32(_FOLD_STREAM))
    return tf.bitcast(tf.stack(words), tf.int32)


def split(key: tf.Tensor, num: int) -> tf.Tensor:
    """`num` new keys, int32 [num, 2]; the first ones do not depend on `num`."""
    words = _blocks(key, num, _SPLIT_STREAM)
    return tf.bitcast(tf.stack(words, axis=1), tf.int32)


def bits(key: tf.Tensor, shape: Sequence[int] | tf.Tensor, stream: Stream = 0) -> tf.Tensor:
    """Random uint32 words of the given shape."""
    num = _num_elements(shape)
    words = tf.concat(_blocks(key, (num + 1) // 2, stream), axis=0)
    return tf.reshape(words[:num], shape)


def _unit_interval(words: tf.Tensor) -> tf.Tensor:
    """float32 in (0, 1), both ends excluded, from the 24 upper bits of uint32 words."""
    upper = tf.bitcast(tf.bitwise.right_shift(words, tf.constant(8, tf.uint32)), tf.int32)
    return (tf.cast(upper, tf.float32) + 0.5) * tf.constant(_UNIT_24, tf.float32)


def uniform(
    key: tf.Tensor,
    shape: Sequence[int] | tf.Tensor,
    dtype: tf.DType = tf.float32,
    stream: Stream = 0,
) -> tf.Tensor:
    """Uniform numbers strictly inside (0, 1): 24 random bits in float32, 52 in float64."""
    if dtype == tf.float32:
        return _unit_interval(bits(key, shape, stream))
    if dtype != tf.float64:
        raise ValueError(f"uniform numbers are float32 or float64, not {dtype}")
    upper, lower = _blocks(key, _num_elements(shape), stream)
    lower = tf.bitwise.right_shift(lower, tf.constant(12, tf.uint32))
    fraction = (tf.cast(lower, tf.float64) + 0.5) * 2.0**-20
    return tf.reshape((tf.cast(upper, tf.float64) + fraction) * 2.0**-32, shape)


def normal(key: tf.Tensor, shape: Sequence[int] | tf.Tensor, stream: Stream = 0) -> tf.Tensor:
    """Standard normal float32 numbers (Box and Muller 1958); the largest possible is 5.9."""
    num = _num_elements(shape)
    words = _blocks(key, (num + 1) // 2, stream)
    radius = tf.sqrt(-2.0 * tf.math.log(_unit_interval(words[0])))
    angle = 6.283185307179586 * _unit_interval(words[1])
    values = tf.concat([radius * tf.cos(angle), radius * tf.sin(angle)], axis=0)
    return tf.reshape(values[:num], shape)


def bernoulli_logits(key: tf.Tensor, logits: tf.Tensor, stream: Stream = 0) -> tf.Tensor:
    """Draws z = 1 with probability sigmoid(logits): the sampling kernel.

    z = 1[u (1 + exp(-logit)) < 1] needs no division and is right at both ends: an overflow of
    exp gives 0, its underflow 1, as u lies strictly inside (0, 1). The bits are the same however
    this is run; a compiled exp may differ from an eager one in its last place.

    Args:
      key: int32 [2].
      logits: float32 or float64, at least one axis; the first is halved, so that the two words
        of a block serve rows c and c + rows / 2.
      stream: tells apart tensors drawn under one key.

    Returns:
      0 or 1 in the dtype and shape of the logits.
    """
    rows = logits.shape[0]
    half = (rows + 1) // 2
    padded = logits if rows % 2 == 0 else tf.concat([logits, logits[:1]], axis=0)
    halves = tf.reshape(padded, [2, half, *logits.shape[1:]])
    shape = halves.shape[1:]
    words = [tf.reshape(word, shape) for word in _blocks(key, shape.num_elements(), stream)]
    draws = []
    for bit, word in enumerate(words):
        odds = 1.0 + tf.exp(-halves[bit])
        hit = tf.cast(_unit_interval(word), logits.dtype) * odds < 1.0
        draws.append(tf.cast(hit, tf.int32) * (1 << bit))
    # One small tensor holds both draws: XLA would compute a block twice for two outputs.
    packed = draws[0] | draws[1]
    offset = tf.reshape(tf.range(2), [2] + [1] * len(shape))
    values = tf.bitwise.right_shift(packed[None], offset) & 1
    return tf.cast(tf.reshape(values, padded.shape)[:rows], logits.dtype)
