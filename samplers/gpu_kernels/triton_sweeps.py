"""Block Gibbs sweeps of two classes, one block of chains a program, in Triton's language.

Chains need nothing of each other. Four units share a block of random bits (`counter_random`), each
in another quarter of the chains: a program takes the same `rows / 4` places of each quarter, and
makes every block once. Products are exact: states are 0 or 1, and a float32 matrix is the sum of
three of bfloat16.
"""

import triton
import triton.language as tl

from samplers.gpu_kernels.triton_language import EXPONENT_PER_LOGIT, four_draws, hits

DEPTH = tl.constexpr(32)  # rows of a matrix that are loaded at once


@triton.jit
def _upper(x):
    """float32 without what bfloat16 does not hold."""
    return (x.to(tl.int32, bitcast=True) & -65536).to(tl.float32, bitcast=True)


@triton.jit
def _chains(sizes, rows: tl.constexpr):
    """Chains [rows, 1] of this program, whether there are such, and their places [rows / 4, 1]."""
    quarter = tl.load(sizes + 2)
    programs = tl.load(sizes + 3)
    part = tl.program_id(0) // programs
    first = tl.program_id(0) % programs * (rows // 4)
    row = tl.arange(0, rows)[:, None]
    within = first + row % (rows // 4)
    chain = (4 * part + row // (rows // 4)) * quarter + within
    return chain, within < quarter, part * quarter + first + tl.arange(0, rows // 4)[:, None]


@triton.jit
def _added(bias, base, units, column, t, sizes):
    """What is added to the scaled products of a class, [rows, padded]."""
    inside = column < units
    own = t * EXPONENT_PER_LOGIT * tl.load(bias + column, inside, 0.0)
    others = (1.0 - t) * tl.load(base + column, inside, 0.0) * EXPONENT_PER_LOGIT
    return own + tl.where(tl.load(sizes + 5) != 0, others, 0.0)


@triton.jit
def _drawn(field, added, place, units, column, key, stream, kind: tl.constexpr):
    """A class's new units [rows, padded], 0 or 1, from its exponents."""
    block = (place * units + column).to(tl.uint32, bitcast=True)
    key_0 = tl.load(key).to(tl.uint32, bitcast=True)
    key_1 = tl.load(key + 1).to(tl.uint32, bitcast=True)
    return hits(four_draws(key_0, key_1, block, stream), field + added).to(kind)


@triton.jit
def resident(
    matrix,
    bias_0,
    bias_1,
    base_0,
    base_1,
    temperature,
    state,
    key,
    sizes,
    out_0,
    out_1,
    padded: tl.constexpr,
    rows: tl.constexpr,
    kind: tl.constexpr,
):
    """The matrix stays in shared memory, in its three parts.

    matrix: float32 [d0, d1], couplings of class 1 with class 0. state: class 1, [C, d1].
    temperature: inverse, one or one for each chain. sizes: d0, d1, chains of a quarter of a part,
    programs of a part, whether there is a temperature for each chain, whether there is a base,
    sweeps.
    """
    units_0 = tl.load(sizes)
    units_1 = tl.load(sizes + 1)
    per_chain = tl.load(sizes + 4)
    column = tl.arange(0, padded)[None, :]
    chain, here, place = _chains(sizes, rows)
    t = tl.load(temperature + chain * per_chain, here, 0.0)
    added_0 = _added(bias_0, base_0, units_0, column, t, sizes)
    added_1 = _added(bias_1, base_1, units_1, column, t, sizes)
    scale = t * EXPONENT_PER_LOGIT
    above = tl.arange(0, padded)[:, None]
    inside = (above < units_0) & (column < units_1)
    whole = tl.load(matrix + above * units_1 + column, inside, 0.0)
    upper = _upper(whole)
    high = upper.to(kind)
    middle = _upper(whole - upper).to(kind)
    low = (whole - upper - _upper(whole - upper)).to(kind)
    old = here & (column < units_1)
    new_1 = tl.load(state + chain * units_1 + column, old, 0.0).to(kind)
    new_0 = tl.zeros_like(new_1)
    for step in range(tl.load(sizes + 6)):
        field = tl.dot(new_1, tl.trans(low))
        field = tl.dot(new_1, tl.trans(middle), field)
        field = tl.dot(new_1, tl.trans(high), field) * scale
        new_0 = _drawn(field, added_0, place, units_0, column, key, 2 * step, kind)
        field = tl.dot(new_0, low)
        field = tl.dot(new_0, middle, field)
        field = tl.dot(new_0, high, field) * scale
        new_1 = _drawn(field, added_1, place, units_1, column, key, 2 * step + 1, kind)
    tl.store(out_0 + chain * units_0 + column, new_0.to(tl.float32), here & (column < units_0))
    tl.store(out_1 + chain * units_1 + column, new_1.to(tl.float32), old)


@triton.jit
def _product(others, parts, units, column, padded: tl.constexpr, rows: tl.constexpr):
    """States [rows, padded] in memory times a matrix in parts [3, padded, padded]."""
    row = tl.arange(0, rows)[:, None]
    across = tl.arange(0, DEPTH)[None, :]
    down = tl.arange(0, DEPTH)[:, None]
    size: tl.constexpr = padded * padded
    field = tl.zeros((rows, padded), tl.float32)
    for first in range(0, units, DEPTH):
        other = tl.load(others + row * padded + first + across)
        at = parts + (first + down) * padded + column
        field = tl.dot(other, tl.load(at + 2 * size), field)
        field = tl.dot(other, tl.load(at + size), field)
        field = tl.dot(other, tl.load(at), field)
    return field


@triton.jit
def streamed(
    parts,
    bias_0,
    bias_1,
    base_0,
    base_1,
    temperature,
    state,
    key,
    sizes,
    out_0,
    out_1,
    scratch,
    padded: tl.constexpr,
    rows: tl.constexpr,
    kind: tl.constexpr,
):
    """The matrices come anew from the cache for every product.

    parts: bfloat16 [2, 3, padded, padded], high, middle and low parts of what multiplies class 1
    for class 0, and class 0 for class 1. scratch: bfloat16 [2, programs, rows, padded], newest
    states. The rest is as in `resident`.
    """
    units_0 = tl.load(sizes)
    units_1 = tl.load(sizes + 1)
    per_chain = tl.load(sizes + 4)
    column = tl.arange(0, padded)[None, :]
    chain, here, place = _chains(sizes, rows)
    t = tl.load(temperature + chain * per_chain, here, 0.0)
    added_0 = _added(bias_0, base_0, units_0, column, t, sizes)
    added_1 = _added(bias_1, base_1, units_1, column, t, sizes)
    scale = t * EXPONENT_PER_LOGIT
    newest_0 = scratch + tl.program_id(0) * (rows * padded)
    newest_1 = newest_0 + tl.num_programs(0) * (rows * padded)
    own = tl.arange(0, rows)[:, None] * padded + column
    old = here & (column < units_1)
    new_1 = tl.load(state + chain * units_1 + column, old, 0.0).to(kind)
    new_0 = tl.zeros_like(new_1)
    tl.store(newest_1 + own, new_1)
    tl.debug_barrier()  # every thread sees what others have stored
    for step in range(tl.load(sizes + 6)):
        field = _product(newest_1, parts, units_1, column, padded, rows) * scale
        new_0 = _drawn(field, added_0, place, units_0, column, key, 2 * step, kind)
        tl.store(newest_0 + own, new_0)
        tl.debug_barrier()
        of_1 = parts + 3 * padded * padded
        field = _product(newest_0, of_1, units_0, column, padded, rows) * scale
        new_1 = _drawn(field, added_1, place, units_1, column, key, 2 * step + 1, kind)
        tl.store(newest_1 + own, new_1)
        tl.debug_barrier()
    tl.store(out_0 + chain * units_0 + column, new_0.to(tl.float32), here & (column < units_0))
    tl.store(out_1 + chain * units_1 + column, new_1.to(tl.float32), old)
