"""Counter-based random numbers: Threefry-2x32 in plain integer operations.

Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011: a keyed
bijection of 64-bit counters; 13 rounds are the fewest that pass every test of BigCrush. Nothing
here holds state: the same key gives the same bits in eager mode, in a graph and compiled by XLA,
and a resumed run continues the same stream.

A key is int32 [2]. A block of 64 random bits belongs to (key, index, stream), where index counts
through a tensor and `stream` tells apart the tensors drawn under one key. `fold_in` and `split`
use streams of their own, above all that a caller may ask for. `fold_in` makes many keys at once,
and the Bernoulli kernels take one for each row: what a row draws then depends on no other row.
"""

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from samplers import checks, hardware

Stream = int | tf.Tensor

_ROUNDS = 13
_ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)
_PARITY = 0x1BD11BDA  # of the key schedule, Skein version 1.3
_FOLD_STREAM = 0xFFFFFFFF
_SPLIT_STREAM = 0xFFFFFFFE
_MOST_SCALARS = 5  # keys that `split` computes one by one on a GPU
EXPONENT_PER_LOGIT = -math.log2(math.e)  # exp(-logit) = 2^(EXPONENT_PER_LOGIT * logit)
# 2^x on [-0.5, 0.5] by least relative error (7.5e-8), fitted in float64.
_EXP2 = (
    1.0000000716546706,
    0.6931469670643625,
    0.24022119723882118,
    0.05550713274150492,
    0.009675541332755222,
    0.001327647178146471,
)
_UNIT_24 = 2.0**-24 * (1.0 - 2.0**-24)  # (k + 0.5) may round up to 2^24 in float32: stay below 1


def _uint32(value: int | tf.Tensor) -> tf.Tensor:
    """The 32 bits of an int, or of an int32 or uint32 tensor, as uint32."""
    if isinstance(value, int):
        return tf.constant(value & 0xFFFFFFFF, tf.uint32)
    value = tf.convert_to_tensor(value)
    return value if value.dtype == tf.uint32 else tf.bitcast(tf.cast(value, tf.int32), tf.uint32)


def _int32(value: tf.Tensor) -> tf.Tensor:
    """The inverse of `_uint32` for tensors."""
    return tf.bitcast(value, tf.int32)


def _rotate_left(x: tf.Tensor, distance: int) -> tf.Tensor:
    left = tf.bitwise.left_shift(x, tf.constant(distance, tf.uint32))
    right = tf.bitwise.right_shift(x, tf.constant(32 - distance, tf.uint32))
    return tf.bitwise.bitwise_or(left, right)


def _parity(word_0: tf.Tensor, word_1: tf.Tensor) -> tf.Tensor:
    """The third word of the key schedule."""
    parity = tf.constant(_PARITY, tf.uint32)
    return tf.bitwise.bitwise_xor(parity, tf.bitwise.bitwise_xor(word_0, word_1))


def schedule(key: tf.Tensor) -> list[tf.Tensor]:
    """A key, int32 [2], as `threefry_2x32` uses it: three words, for loops to compute them once.

    Of keys [..., 2] each word is [...].
    """
    key = tf.convert_to_tensor(key)
    if not key.dtype.is_integer or key.shape.rank == 0 or key.shape[-1] != 2:
        raise ValueError("a key is int32 [2]: see samplers.counter_random.key")
    words = [_uint32(word) for word in tf.unstack(key, axis=-1)]
    return [*words, _parity(*words)]


def threefry_2x32(
    key: tf.Tensor | list[tf.Tensor],
    counter_0: tf.Tensor,
    counter_1: tf.Tensor,
    rounds: int = _ROUNDS,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Threefry-2x32 of Salmon et al. 2011, section 4.2.

    Args:
      key: int32 or uint32 [2], or the words of `schedule`.
      counter_0: uint32, any shape: low word of the counter.
      counter_1: uint32, broadcasts with counter_0.
      rounds: 20 is the authors' safe choice, 13 the fewest that pass BigCrush.

    Returns:
      Two uint32 tensors, the two words of each block.
    """
    words = key if isinstance(key, list) else schedule(key)
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
    if static is not None and np.any(static < 0):
        raise ValueError(f"random numbers of shape {list(static)} cannot be drawn")
    return tf.reduce_prod(shape) if static is None else int(static.prod())


def _blocks(key: tf.Tensor, num_blocks: int | tf.Tensor, stream: Stream) -> tuple:
    index = tf.bitcast(tf.range(num_blocks), tf.uint32)
    return threefry_2x32(key, index, _uint32(stream))


def key(seed: int) -> tf.Tensor:
    """A key, int32 [2], from any integer of up to 64 bits. Raises ValueError at another seed."""
    seed = checks.whole("seed", seed, -(2**63))
    if seed >= 2**64:
        raise ValueError(f"seed={seed} has more than 64 bits")
    words = [seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF]
    return tf.bitcast(tf.constant(words, tf.uint32), tf.int32)


def fold_in(key: tf.Tensor, data: Stream) -> tf.Tensor:
    """A new key, int32 [2], for (key, data); data is an int or an int32 scalar, e.g. the step.

    Keys [..., 2] and data [...] broadcast to new keys [..., 2].
    """
    words = threefry_2x32(key, _uint32(data), _uint32(_FOLD_STREAM))
    return tf.stack([_int32(word) for word in words], axis=-1)


def split(key: tf.Tensor, num: int) -> tf.Tensor:
    """`num` new keys, int32 [num, 2]; the first ones do not depend on `num`."""
    num = checks.whole_or_tensor("num", num)
    if not hardware.on_gpu() or num > _MOST_SCALARS:
        words = _blocks(key, num, _SPLIT_STREAM)
        return tf.stack([_int32(word) for word in words], axis=1)
    # Scalars that XLA follows from key to key: one kernel for several.
    pairs = [threefry_2x32(key, _uint32(i), _uint32(_SPLIT_STREAM)) for i in range(num)]
    return tf.stack([tf.stack([_int32(word) for word in words]) for words in pairs])


def bits(key: tf.Tensor, shape: Sequence[int] | tf.Tensor, stream: Stream = 0) -> tf.Tensor:
    """Random uint32 words of the given shape."""
    num = _num_elements(shape)
    half = (num + 1) // 2
    if hardware.on_gpu() and isinstance(num, int):
        # Both words of a block for each number: one kernel, that of whoever uses them.
        index = tf.range(num)
        words = threefry_2x32(key, tf.bitcast(index % half, tf.uint32), _uint32(stream))
        return tf.reshape(tf.where(index < half, *words), shape)
    words = tf.concat(_blocks(key, half, stream), axis=0)
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


def _low_bits(x: tf.Tensor) -> tf.Tensor:
    """int32 whose lowest 9 bits are those of float32 x rounded to a whole number, |x| < 2^22.

    A sum with 1.5 * 2^23 rounds to a whole number in its last bits: one instruction, where a cast
    takes seven (what is too large, too small or NaN has a value of its own).
    """
    return tf.bitcast(x + tf.constant(1.5 * 2.0**23, tf.float32), tf.int32)


def _exp2(x: tf.Tensor) -> tf.Tensor:
    """2^x with x clipped to +-126: relative error below 3e-7 in float32, that of exp in float64.

    2^round(x) goes into the exponent bits, a polynomial gives the rest: half the instructions of
    XLA's exp.
    """
    x = tf.clip_by_value(x, tf.constant(-126.0, x.dtype), tf.constant(126.0, x.dtype))
    if x.dtype != tf.float32:
        return tf.exp(x * math.log(2.0))
    whole = tf.round(x)
    rest = x - whole
    value = tf.constant(_EXP2[-1], tf.float32)
    for coefficient in reversed(_EXP2[:-1]):
        value = value * rest + coefficient
    exponent = tf.bitwise.left_shift(_low_bits(x), 23)
    return tf.bitcast(tf.bitcast(value, tf.int32) + exponent, tf.float32)


def _four_draws(word_0: tf.Tensor, word_1: tf.Tensor) -> list[tf.Tensor]:
    """Four odd int32 k < 2^25 from each block: u = k / 2^25 lies strictly inside (0, 1).

    The 13 leading bits of each k are its own. The next 11 come from the 12 bits left over and are
    shared by the four; the last bit is set, which puts u in the middle of its cell. Each u is
    exactly uniform, and two of them feel their shared bits only where both agree with their
    thresholds in all 13 own bits: joint probabilities are off by 2^-26 at most, the resolution of
    a single u.
    """
    low = tf.bitwise.left_shift(word_0 & _uint32(63), _uint32(6)) | (word_1 & _uint32(63))
    low |= _uint32(1)
    own = _uint32(0x1FFF000)
    draws = []
    for word in (word_0, word_1):
        draws.append((tf.bitwise.right_shift(word, _uint32(7)) & own) | low)
        draws.append((tf.bitwise.left_shift(word, _uint32(6)) & own) | low)
    return [tf.bitcast(draw, tf.int32) for draw in draws]


def _hits(draw: tf.Tensor, exponents: tf.Tensor) -> tf.Tensor:
    """z = 1[u (1 + 2^x) < 1] as bool, where u is a draw / 2^25 of `_four_draws`."""
    u = tf.cast(draw, exponents.dtype)
    # k may round up to 2^25 in float32: the bound lies one step above.
    return u * _exp2(exponents) + u < 2.0**25 * (1.0 + 2.0**-23)


def unit_places(parts: int, num: int, key: tf.Tensor | None = None) -> tf.Tensor:
    """Where each of [parts, num] units has its number, int32: 4 * block + which of its four.

    For many draws at the same places a key, int32 [2], keeps them from being constants: TensorFlow
    would write out what each draw makes of them. The result does not depend on it.
    """
    quarter = -(-num // 4)
    within = tf.range(num)
    places = 4 * (within % quarter) + within // quarter
    places = places[None, :] + 4 * quarter * tf.range(parts)[:, None]
    return places if key is None else places | (key[0] & 0)


def bernoulli_at(
    places: tf.Tensor, key: tf.Tensor, exponents: tf.Tensor, stream: Stream = 0
) -> tf.Tensor:
    """`bernoulli_exponents` as one formula per unit, which is one kernel on a GPU.

    Each of the four units of a block computes it anew, which a GPU does sooner than it passes
    results from one kernel to the next. places: of `unit_places`, in the shape of the exponents.
    """
    block = tf.bitcast(tf.bitwise.right_shift(places, 2), tf.uint32)
    draws = _four_draws(*threefry_2x32(key, block, _uint32(stream)))
    lower, upper = (tf.where(places & 1 == 0, *pair) for pair in (draws[:2], draws[2:]))
    hits = _hits(tf.where(places & 2 == 0, lower, upper), exponents)
    return tf.where(hits, tf.constant(1.0, exponents.dtype), 0.0)


def bernoulli_exponents(
    key: tf.Tensor, exponents: tf.Tensor, stream: Stream = 0, first_part: int = 0
) -> tf.Tensor:
    """The sampling kernel: z = 1 with probability 1 / (1 + 2^x), x = -log2(e) * logit.

    z = 1[u (1 + 2^x) < 1] needs no division and is right at both ends: u lies strictly inside
    (0, 1). Each part is drawn on its own, so that rows can be given together or part by part:
    quarter q of a part is compared with number q of each block.

    Args:
      key: int32 [2], or [parts, 2]: one for each part, under which it is the first.
      exponents: x, float32 or float64 [parts, N].
      stream: tells apart tensors drawn under one key.
      first_part: index of exponents[0] among all parts under this key and stream.

    Returns:
      0 or 1, [parts, N], in the dtype of the exponents.
    """
    parts, num = exponents.shape
    quarter = -(-num // 4)
    per_key = parts
    if not isinstance(key, list) and key.shape.rank == 2:
        key, per_key = key[:, None], 1
    if hardware.on_gpu():
        places = unit_places(per_key, num) + 4 * quarter * first_part
        return bernoulli_at(places, key, exponents, stream)
    if num != 4 * quarter:
        exponents = tf.pad(exponents, [[0, 0], [0, 4 * quarter - num]])
    index = tf.range(first_part * quarter, (first_part + per_key) * quarter)
    index = tf.reshape(tf.bitcast(index, tf.uint32), [per_key, quarter])
    draws = _four_draws(*threefry_2x32(key, index, _uint32(stream)))
    packed = tf.zeros([parts, quarter], exponents.dtype)
    for bit, draw in enumerate(draws):
        hits = _hits(draw, exponents[:, bit * quarter : (bit + 1) * quarter])
        packed += tf.where(hits, tf.constant(2.0**bit, packed.dtype), 0.0)
    # p = round(sqrt(p^2 + p)). XLA repeats cheap producers in each consumer, which would draw
    # every block four times; it never repeats a square root. The result does not depend on it.
    packed = _low_bits(tf.cast(tf.sqrt(packed * packed + packed), tf.float32))
    bits = tf.bitwise.right_shift(packed[:, None, :], tf.range(4)[:, None]) & 1
    return tf.cast(tf.reshape(bits, [parts, 4 * quarter])[:, :num], exponents.dtype)


def bernoulli_logits(key: tf.Tensor, logits: tf.Tensor, stream: Stream = 0) -> tf.Tensor:
    """Draws z = 1 with probability sigmoid(logits), exact to 2^-24.

    The random bits are the same however this is run; where u falls on the threshold to the last
    place, the rounding of compiled and of eager arithmetic may differ (once in 10^7 draws).

    Args:
      key: int32 [2], or [N, 2]: one for each of N rows.
      logits: float32 or float64, of static shape; with a key for each row, N times the same.
      stream: tells apart tensors drawn under one key.

    Returns:
      0 or 1 in the dtype and shape of the logits; no gradient flows.
    """
    checks.float_type(logits.dtype)
    rows = key.shape[0] if key.shape.rank == 2 else 1
    exponents = tf.reshape(logits * EXPONENT_PER_LOGIT, [rows, -1])
    return tf.reshape(bernoulli_exponents(key, exponents, stream), logits.shape)
