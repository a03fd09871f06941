"""Mean field of an RBM with a field per row, one block of rows a program, in Triton's language.

Rows need nothing of each other. Couplings that fit into shared memory stay there, so that nothing
else is read twice; others come anew from the cache for every product.
"""

import triton
import triton.language as tl


@triton.jit
def _entropy(logit, mean):
    """Of a bit, in nats."""
    return tl.maximum(logit, 0.0) + tl.log(1.0 + tl.exp(-tl.abs(logit))) - mean * logit


@triton.jit
def _streamed(means, out, here, units, matrix, inside, step, depth: tl.constexpr):
    """Means [rows, padded] of so many units times a matrix, of which `depth` rows come at once.

    The means are written first, as a part of them can be had from memory alone. out: pointers
    [rows, 1] to the place of each row of means that is `here`. matrix: pointers [1, padded] to its
    first row, as far as `inside`; the next row is a `step` away.
    """
    column = tl.arange(0, means.shape[1])[None, :]
    tl.store(out + column, means, here & (column < units))
    tl.debug_barrier()  # every thread sees what others have stored
    product = tl.zeros_like(means)
    for first in range(0, units, depth):
        across = first + tl.arange(0, depth)[None, :]
        down = first + tl.arange(0, depth)[:, None]
        some = tl.load(out + across, here & (across < units), 0.0)
        block = tl.load(matrix + down * step, inside & (down < units), 0.0)
        product = tl.dot(some, block, product, input_precision="ieee")
    return product


@triton.jit
def mean_field(
    coupling,
    left_field,
    right_field,
    sizes,
    left_out,
    right_out,
    bound_out,
    padded: tl.constexpr,
    rows: tl.constexpr,
    depth: tl.constexpr,
):
    """`gpu_kernels.mean_field`; sizes: N, L, R, iterations.

    depth: rows of the matrix that come at once; if all of them, `padded`, they are held.
    """
    held: tl.constexpr = depth == padded
    num_left = tl.load(sizes + 1)
    num_right = tl.load(sizes + 2)
    row = tl.program_id(0) * rows + tl.arange(0, rows)[:, None]
    here = row < tl.load(sizes)
    column = tl.arange(0, padded)[None, :]
    of_left = row * num_left + column
    of_right = row * num_right + column
    in_left = here & (column < num_left)
    in_right = here & (column < num_right)
    to_left = tl.load(left_field + of_left, in_left, 0.0)
    to_right = tl.load(right_field + of_right, in_right, 0.0)
    product = tl.zeros((rows, padded), tl.float32)
    if held:
        above = tl.arange(0, padded)[:, None]
        inside = (above < num_left) & (column < num_right)
        matrix = tl.load(coupling + above * num_right + column, inside, 0.0)
        product += 0.5 * tl.sum(matrix, 0)[None, :]
    else:
        lefts = left_out + row * num_left, here, num_left
        rights = right_out + row * num_right, here, num_right
        lines = coupling + column, column < num_right, num_right
        columns = coupling + column * num_right, column < num_left, 1
        product = _streamed(product + 0.5, *lefts, *lines, depth)
    left_logit = to_left
    right_logit = to_right
    for _ in range(tl.load(sizes + 3)):
        right_logit = product + to_right
        right = tl.sigmoid(right_logit)
        if held:
            product = tl.dot(right, tl.trans(matrix), input_precision="ieee")
        else:
            product = _streamed(right, *rights, *columns, depth)
        left_logit = product + to_left
        left = tl.sigmoid(left_logit)
        if held:
            product = tl.dot(left, matrix, input_precision="ieee")
        else:
            product = _streamed(left, *lefts, *lines, depth)
    left = tl.sigmoid(left_logit)
    right = tl.sigmoid(right_logit)
    tl.store(left_out + of_left, left, in_left)
    tl.store(right_out + of_right, right, in_right)
    of_units = tl.where(in_left, left * to_left + _entropy(left_logit, left), 0.0)
    of_units += tl.where(in_right, right * (product + to_right) + _entropy(right_logit, right), 0.0)
    tl.store(bound_out + row, tl.sum(of_units, 1, keep_dims=True), here)
