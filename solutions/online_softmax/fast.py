# course: instructor
"""The worked example at the speed of a copy: every number is read once where a row fits registers.

What each step buys beside the worked example, which reads a row twice:

- a row of up to ``ONE_PASS`` numbers stays in the registers of one program: one read, one write;
- longer rows take two passes by one program, the second backwards, so that it finds in the L2
  cache what the first read last; with too few rows to fill the GPU several programs share a row;
- the statistics of long rows are kept lane by lane and combined once, not once a block, with one
  exponential an element: of l * exp(m - m') and exp(x - m') one factor is always 1.

Method: M. Milakov and N. Gimelshein, "Online normalizer calculation for softmax" (2018), section 3.
"""

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from online_softmax.online_softmax import _online_softmax_bwd_kernel

ONE_PASS = 32768  # numbers in a row that still fit the registers of one program
PROGRAMS = 264  # fewer rows than this do not fill a GPU: then programs share them
CHUNK = 8192  # numbers a program handles at a time where the row does not fit

LOG2E = tl.constexpr(1.4426950408889634)
# finite, so that rows that begin with -inf do not compute inf - inf
LOWEST = tl.constexpr(-3.4028234663852886e38)


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
    # nothing is read again: evict_first leaves the cache to others
    x = tl.load(
        x_ptr + rows * stride_xr + cols.to(tl.int64) * stride_xn,
        mask=mask,
        other=float("-inf"),
        eviction_policy="evict_first",
    ).to(tl.float32)
    e = tl.exp2((x - tl.max(x, 1)[:, None]) * LOG2E)
    # one division a row, not one an element
    y = e * (1.0 / tl.sum(e, 1))[:, None]
    tl.store(y_ptr + rows * n + cols, y, mask=mask, eviction_policy="evict_first")


@triton.jit
def _chunk_statistics(x_row, stride_xn, first, last, CHUNK: tl.constexpr):
    """Maximum of ``x_row[first:last]`` and the sum of exponentials relative to it."""
    m = tl.full((CHUNK,), LOWEST, tl.float32)
    l = tl.zeros((CHUNK,), tl.float32)
    cols = tl.arange(0, CHUNK)
    for start in range(first, last, CHUNK):
        j = start + cols
        x = tl.load(x_row + j.to(tl.int64) * stride_xn, mask=j < last, other=float("-inf"))
        distance = x.to(tl.float32) - m
        e = tl.exp2(-tl.abs(distance) * LOG2E)
        l = tl.where(distance > 0, l * e + 1.0, l + e)
        m = tl.maximum(m, x.to(tl.float32))
    m_all = tl.max(m, 0)
    return m_all, tl.sum(l * tl.exp2((m - m_all) * LOG2E), 0)


@triton.jit
def _normalise(x_row, y_row, stride_xn, first, last, m, l, CHUNK: tl.constexpr):
    """``y_row[first:last]``, the last chunk first: the one read last is in the cache."""
    cols = tl.arange(0, CHUNK)
    scale = 1.0 / l
    chunks = tl.cdiv(last - first, CHUNK)
    for i in range(0, chunks):
        j = first + (chunks - 1 - i) * CHUNK + cols
        x = tl.load(
            x_row + j.to(tl.int64) * stride_xn, mask=j < last, eviction_policy="evict_first"
        )
        y = tl.exp2((x.to(tl.float32) - m) * LOG2E) * scale
        tl.store(y_row + j, y, mask=j < last, eviction_policy="evict_first")


@triton.jit
def _two_pass_kernel(x_ptr, y_ptr, stride_xr, stride_xn, n, CHUNK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    x_row = x_ptr + row * stride_xr
    m, l = _chunk_statistics(x_row, stride_xn, 0, n, CHUNK)
    _normalise(x_row, y_ptr + row * n, stride_xn, 0, n, m, l, CHUNK)


@triton.jit
def _statistics_kernel(
    x_ptr, m_ptr, l_ptr, stride_xr, stride_xn, n, parts, length, CHUNK: tl.constexpr
):
    row, part = (tl.program_id(0) // parts).to(tl.int64), tl.program_id(0) % parts
    first = part * length
    x_row = x_ptr + row * stride_xr
    m, l = _chunk_statistics(x_row, stride_xn, first, tl.minimum(first + length, n), CHUNK)
    tl.store(m_ptr + tl.program_id(0), m)
    tl.store(l_ptr + tl.program_id(0), l)


@triton.jit
def _combine_kernel(
    x_ptr, y_ptr, m_ptr, l_ptr, stride_xr, stride_xn, n, parts, length,
    PARTS: tl.constexpr,  # power of two >= parts
    CHUNK: tl.constexpr,
):  # fmt: skip
    row, part = (tl.program_id(0) // parts).to(tl.int64), tl.program_id(0) % parts
    of_row = tl.arange(0, PARTS)
    ms = tl.load(m_ptr + row * parts + of_row, mask=of_row < parts, other=LOWEST)
    ls = tl.load(l_ptr + row * parts + of_row, mask=of_row < parts, other=0.0)
    m = tl.max(ms, 0)
    l = tl.sum(ls * tl.exp2((ms - m) * LOG2E), 0)
    first = part * length
    x_row, y_row = x_ptr + row * stride_xr, y_ptr + row * n
    _normalise(x_row, y_row, stride_xn, first, tl.minimum(first + length, n), m, l, CHUNK)


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
    y = tl.load(y_ptr + at, mask=mask, other=0.0, eviction_policy="evict_first").to(tl.float32)
    dy = tl.load(dy_ptr + at, mask=mask, other=0.0, eviction_policy="evict_first").to(tl.float32)
    dx = y * (dy - tl.sum(y * dy, 1)[:, None])
    tl.store(dx_ptr + at, dx, mask=mask, eviction_policy="evict_first")


def _tile(n: int) -> dict[str, int]:
    """Rows and columns of a program that holds whole rows, and its warps: 32 numbers a thread."""
    block = triton.next_power_of_2(n)
    rows = max(1, 2048 // block)
    return {"ROWS": rows, "BLOCK": block, "num_warps": min(32, max(2, rows * block // 1024))}


def _forward(x: Float[Tensor, "rows n"]) -> Float[Tensor, "rows n"]:
    rows, n = x.shape
    y = torch.empty((rows, n), dtype=x.dtype, device=x.device)
    if n <= ONE_PASS:
        tile = _tile(n)
        grid = (triton.cdiv(rows, tile["ROWS"]),)
        _one_pass_kernel[grid](x, y, *x.stride(), rows, n, **tile)
    elif rows >= PROGRAMS:
        _two_pass_kernel[(rows,)](x, y, *x.stride(), n, CHUNK=CHUNK, num_warps=8)
    else:
        chunks = triton.cdiv(n, CHUNK)
        length = triton.cdiv(chunks, triton.cdiv(2 * PROGRAMS, rows)) * CHUNK
        parts = triton.cdiv(n, length)
        m, l = torch.empty((2, rows, parts), dtype=torch.float32, device=x.device)
        shared = (*x.stride(), n, parts, length)
        grid = (rows * parts,)
        _statistics_kernel[grid](x, m, l, *shared, CHUNK=CHUNK, num_warps=8)
        _combine_kernel[grid](
            x, y, m, l, *shared, PARTS=triton.next_power_of_2(parts), CHUNK=CHUNK, num_warps=8
        )
    return y


class FastSoftmax(torch.autograd.Function):
    """Differentiable softmax over the last of two dimensions: ``FastSoftmax.apply(x)``."""

    @staticmethod
    def forward(ctx, x):
        y = _forward(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, dy):
        (y,) = ctx.saved_tensors
        rows, n = y.shape
        dy = dy.contiguous()
        dx = torch.empty_like(y)
        if n <= ONE_PASS // 2:  # two rows to hold
            tile = _tile(n)
            grid = (triton.cdiv(rows, tile["ROWS"]),)
            _one_pass_bwd_kernel[grid](y, dy, dx, rows, n, **tile)
        else:
            _online_softmax_bwd_kernel[(rows,)](
                y, dy, dx, rows, n, BLOCK_1=1, BLOCK_2=CHUNK, num_warps=8
            )
        return dx


def fast_softmax(x: Float[Tensor, "*leading n"]) -> Float[Tensor, "*leading n"]:
    """Softmax over the last dimension; differentiable.

    Args:
        x: any leading dimensions, any lengths; float32, float16 or bfloat16, computed in float32.
            Any strides; leading dimensions that no single stride walks through are copied first.

    Raises:
        ValueError: says what is wrong with x.
    """
    if x.ndim == 0 or x.numel() == 0:
        raise ValueError(f"x: no dimension may be missing or empty, got shape {tuple(x.shape)}")
    if x.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        raise ValueError(f"x: expected float32, float16 or bfloat16, got {x.dtype}")
    if not x.is_cuda and not triton.knobs.runtime.interpret:
        raise ValueError(f"x: kernels are compiled here and need the GPU, got {x.device}")
    return FastSoftmax.apply(x.reshape(-1, x.shape[-1])).reshape(x.shape)
