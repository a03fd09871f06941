"""What kernels of ours share, in Triton's language: the draws of `samplers.counter_random`."""

import triton
import triton.language as tl

from samplers import counter_random

EXPONENT_PER_LOGIT = tl.constexpr(counter_random.EXPONENT_PER_LOGIT)
_ROUNDS = tl.constexpr(counter_random._ROUNDS)
_ROTATIONS = tl.constexpr(counter_random._ROTATIONS)
_PARITY = tl.constexpr(counter_random._PARITY)


@triton.jit
def threefry(key_0, key_1, x0, x1):
    """`counter_random.threefry_2x32`; all uint32."""
    words = (key_0, key_1, key_0 ^ key_1 ^ _PARITY)
    x0 += key_0
    x1 += key_1
    for i in tl.static_range(_ROUNDS):
        x0 += x1
        x1 = ((x1 << _ROTATIONS[i % 8]) | (x1 >> (32 - _ROTATIONS[i % 8]))) ^ x0
        if i % 4 == 3:
            x0 += words[(i // 4 + 1) % 3]
            x1 += words[(i // 4 + 2) % 3] + (i // 4 + 1)
    return x0, x1


@triton.jit
def four_draws(key_0, key_1, block, stream):
    """`counter_random._four_draws` of blocks [W, N], as float32 [4 W, N].

    Draw i is in rows i W to i W + W - 1.
    """
    word_0, word_1 = threefry(key_0, key_1, block, tl.zeros_like(block) + stream)
    low = ((word_0 & 63) << 6) | (word_1 & 63) | 1
    first = tl.join((word_0 >> 7) & 0x1FFF000 | low, (word_0 << 6) & 0x1FFF000 | low)
    second = tl.join((word_1 >> 7) & 0x1FFF000 | low, (word_1 << 6) & 0x1FFF000 | low)
    draws = tl.join(first, second).to(tl.int32, bitcast=True).to(tl.float32)
    return tl.reshape(tl.permute(draws, (3, 2, 0, 1)), (4 * block.shape[0], block.shape[1]))


@triton.jit
def hits(draws, exponents):
    """`counter_random._hits` of draws as float32, 0 or 1."""
    x = tl.minimum(tl.maximum(exponents, -126.0), 126.0)
    return tl.where(draws * tl.exp2(x) + draws < 33554436.0, 1.0, 0.0)
