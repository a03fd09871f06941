"""Mean field of an RBM with a field per row, one block of rows a program, in Triton's language.

Rows need nothing of each other, so that nothing but the couplings is read twice.
"""

import triton
import triton.language as tl


@triton.jit
def _entropy(logit, mean):
    """Of a bit, in nats."""
    return tl.maximum(logit, 0.0) + tl.log(1.0 + tl.exp(-tl.abs(logit))) - mean * logit


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
):
    """`gpu_kernels.mean_field`; sizes: N, L, R, iterations."""
    num_left = tl.load(sizes + 1)
    num_right = tl.load(sizes + 2)
    row = tl.program_id(0) * rows + tl.arange(0, rows)[:, None]
    here = row < tl.load(sizes)
    column = tl.arange(0, padded)[None, :]
    above = tl.arange(0, padded)[:, None]
    inside = (above < num_left) & (column < num_right)
    matrix = tl.load(coupling + above * num_right + column, inside, 0.0)
    of_left = row * num_left + column
    of_right = row * num_right + column
    in_left = here & (column < num_left)
    in_right = here & (column < num_right)
    to_left = tl.load(left_field + of_left, in_left, 0.0)
    to_right = tl.load(right_field + of_right, in_right, 0.0)
    product = tl.zeros((rows, padded), tl.float32) + 0.5 * tl.sum(matrix, 0)[None, :]
    left_logit = to_left
    right_logit = to_right
    for _ in range(tl.load(sizes + 3)):
        right_logit = product + to_right
        right = tl.sigmoid(right_logit)
        left_logit = tl.dot(right, tl.trans(matrix), input_precision="ieee") + to_left
        product = tl.dot(tl.sigmoid(left_logit), matrix, input_precision="ieee")
    left = tl.sigmoid(left_logit)
    right = tl.sigmoid(right_logit)
    tl.store(left_out + of_left, left, in_left)
    tl.store(right_out + of_right, right, in_right)
    of_units = tl.where(in_left, left * to_left + _entropy(left_logit, left), 0.0)
    of_units += tl.where(in_right, right * (product + to_right) + _entropy(right_logit, right), 0.0)
    tl.store(bound_out + row, tl.sum(of_units, 1, keep_dims=True), here)
