# course: instructor
"""Before and after the expert's backward kernel: what its integer sums of dQ count in.

A sum of integers does not depend on the order, so dQ has the same bits every time; its unit, one
for each row, is as small as it can be without a sum that overflows.
"""

import triton
import triton.language as tl


@triton.jit
def prepare_kernel(
    o_ptr,  # (rows, D), contiguous
    do_ptr,  # (rows, D), contiguous
    l_ptr,  # (rows,)
    start_s_ptr,  # (rows,): -L / scale, where the scores begin
    start_dp_ptr,  # (rows,): -rowsum(O dO), where dP begins
    dq_ptr,  # (rows, D), int32 or float32: cleared
    largest_ptr,  # (batch, 2): see largest_kernel
    units_ptr,  # (rows,): how many units of an integer sum of dQ make 1
    scale,
    seq_q,
    BLOCK_M: tl.constexpr,  # divides seq_q
    D: tl.constexpr,
):
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    offsets = rows[:, None].to(tl.int64) * D + tl.arange(0, D)[None, :]
    o = tl.load(o_ptr + offsets).to(tl.float32)
    do = tl.load(do_ptr + offsets).to(tl.float32)
    l = tl.load(l_ptr + rows)
    tl.store(start_dp_ptr + rows, -tl.sum(o * do, 1))
    tl.store(start_s_ptr + rows, -l / scale)
    tl.store(dq_ptr + offsets, tl.zeros((BLOCK_M, D), dq_ptr.dtype.element_ty))
    # a row of dQ is an average of the keys with weights |dP - delta| <= 2 |dO| |V|, so that no sum
    # of its parts passes 2**30. What is lost is relative to the largest of K and V, attended to or
    # not. NaN or infinity, also of a square, makes units NaN or 0 and dQ NaN: of all the head where
    # it is in K or V
    entry = tl.program_id(0) * BLOCK_M // seq_q
    largest = tl.load(largest_ptr + 2 * entry + tl.arange(0, 2)).to(tl.float32, bitcast=True)
    bound = _length(do) * tl.reduce(largest, 0, _product) + l * 0
    bound = tl.where(bound < 2.0**-97, 2.0**-97, bound)
    tl.store(units_ptr + rows, 2.0**29 / bound)


@triton.jit
def _product(a, b):
    return a * b


@triton.jit
def _length(x):
    # of each row; never less than it is, also where the squares of small numbers vanish
    return tl.sqrt(tl.sum(x * x, 1) + 2.0**-120)


@triton.jit
def largest_kernel(
    k_ptr,  # (batch, seq, D)
    v_ptr,  # (batch, seq, D)
    largest_ptr,  # (batch, 2), zero: the bits of max |K| and of max |V|, a row's length
    stride_k,  # elements from row to row
    stride_v,
    seq,
    BLOCK_M: tl.constexpr,  # divides seq
    D: tl.constexpr,
):
    rows = (tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)).to(tl.int64)
    cols = tl.arange(0, D)
    k = tl.load(k_ptr + rows[:, None] * stride_k + cols[None, :]).to(tl.float32)
    v = tl.load(v_ptr + rows[:, None] * stride_v + cols[None, :]).to(tl.float32)
    # floats above 0 are ordered as their bits are, and NaN comes last, which no max of floats says
    k_bits = tl.abs(k).to(tl.int32, bitcast=True)
    v_bits = tl.abs(_length(v)).to(tl.int32, bitcast=True)
    entry = tl.program_id(0) * BLOCK_M // seq
    tl.atomic_max(largest_ptr + 2 * entry, tl.max(tl.max(k_bits, 1), 0))
    tl.atomic_max(largest_ptr + 2 * entry + 1, tl.max(v_bits, 0))


@triton.jit
def finish_kernel(
    sums_ptr,  # (rows, D), int32
    units_ptr,  # (rows,)
    dq_ptr,  # (rows, D)
    scale,
    BLOCK_M: tl.constexpr,  # divides rows
    D: tl.constexpr,
):
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    offsets = rows[:, None].to(tl.int64) * D + tl.arange(0, D)[None, :]
    dq = tl.load(sums_ptr + offsets).to(tl.float32) * scale / tl.load(units_ptr + rows)[:, None]
    tl.store(dq_ptr + offsets, dq.to(dq_ptr.dtype.element_ty))
