# course: instructor
"""Softmax of rows that fit the registers of one program: one read, one write, forward and backward.

No load or store carries a cache hint. ``evict_first`` looks right, because nothing is read again,
and is 5% slower on an H200 after any kernel without it: what that one left in the L2 cache stays,
and the hinted reads and writes have to share the little that is free.
"""

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

ONE_PASS = 32768  # numbers in a row that still fit the registers of one program

LOG2E = tl.constexpr(1.4426950408889634)


@triton.jit
def _one_pass_kernel(
    x_ptr,  # (rows_total, n)
    y_ptr,  # (rows_total, n), contiguous
    stride_xr,  # elements
    stride_xn,
    rows_total,
    n,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,  # power of two >= n
):
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    cols = tl.arange(0, BLOCK)[None, :]
    mask = (rows < rows_total) & (cols < n)
    x_tile = x_ptr + rows * stride_xr + cols.to(tl.int64) * stride_xn
    x = tl.load(x_tile, mask=mask, other=float("-inf")).to(tl.float32)
    e = tl.exp2((x - tl.max(x, 1)[:, None]) * LOG2E)
    # one division a row, not one an element
    y = e * (1.0 / tl.sum(e, 1))[:, None]
    tl.store(y_ptr + rows * n + cols, y, mask=mask)


@triton.jit
def _one_pass_bwd_kernel(
    y_ptr,  # (rows_total, n), contiguous, as the others
    dy_ptr,
    dx_ptr,
    rows_total,
    n,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    cols = tl.arange(0, BLOCK)[None, :]
    mask = (rows < rows_total) & (cols < n)
    at = rows * n + cols
    y = tl.load(y_ptr + at, mask=mask, other=0.0).to(tl.float32)
    dy = tl.load(dy_ptr + at, mask=mask, other=0.0).to(tl.float32)
    dx = y * (dy - tl.sum(y * dy, 1)[:, None])
    tl.store(dx_ptr + at, dx, mask=mask)


def one_pass(x: Float[Tensor, "rows n"]) -> Float[Tensor, "rows n"]:
    """Softmax of each row; ``n <= ONE_PASS``, any strides."""
    rows, n = x.shape
    y = torch.empty((rows, n), dtype=x.dtype, device=x.device)
    tile = _tile(n)
    grid = (triton.cdiv(rows, tile["ROWS"]),)
    _one_pass_kernel[grid](x, y, *x.stride(), rows, n, **tile)
    return y


def one_pass_backward(
    y: Float[Tensor, "rows n"], dy: Float[Tensor, "rows n"]
) -> Float[Tensor, "rows n"]:
    """Gradient of the input from that of y, the softmax; both contiguous, ``n <= ONE_PASS // 2``,
    because a program holds two rows."""
    rows, n = y.shape
    dx = torch.empty_like(y)
    tile = _tile(n)
    grid = (triton.cdiv(rows, tile["ROWS"]),)
    _one_pass_bwd_kernel[grid](y, dy, dx, rows, n, **tile)
    return dx


def _tile(n: int) -> dict[str, int]:
    """Rows, columns and warps of a program: at least 1024 numbers; 16 a thread, 32 where a row is
    longer than 32 warps can hold at 16, 8 where four warps would otherwise not be had."""
    block = triton.next_power_of_2(n)
    rows = max(1, 1024 // block)
    return {"ROWS": rows, "BLOCK": block, "num_warps": min(32, max(4, rows * block // 512))}
