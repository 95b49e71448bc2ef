# course: given
"""Softmax in one pass for the statistics and one for the result: the course's worked example.

Method: M. Milakov and N. Gimelshein, "Online normalizer calculation for softmax" (2018), section 3.
"""

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor


@triton.jit
def _online_softmax_fwd_kernel(
    x_ptr,  # (batch, d1, d2)
    y_ptr,  # (batch, d1, d2), contiguous
    stride_xb,  # elements
    stride_x1,
    stride_x2,
    d1,
    d2,
    BLOCK_1: tl.constexpr,  # rows a program
    BLOCK_2: tl.constexpr,  # columns a step
):
    tiles = tl.cdiv(d1, BLOCK_1)
    batch = (tl.program_id(0) // tiles).to(tl.int64)
    rows = tl.program_id(0) % tiles * BLOCK_1 + tl.arange(0, BLOCK_1)
    cols = tl.arange(0, BLOCK_2)
    x_rows = x_ptr + batch * stride_xb + rows[:, None].to(tl.int64) * stride_x1
    y_rows = y_ptr + (batch * d1 + rows[:, None]) * d2

    # m: largest value so far; l: sum of exponentials relative to m
    m = tl.full((BLOCK_1,), float("-inf"), tl.float32)
    l = tl.zeros((BLOCK_1,), tl.float32)
    for start in range(0, d2, BLOCK_2):
        j = start + cols[None, :]
        mask = (rows[:, None] < d1) & (j < d2)
        # -inf is the identity of max, and exp(-inf) = 0 that of the sum
        x = tl.load(x_rows + j * stride_x2, mask=mask, other=float("-inf")).to(tl.float32)
        m_new = tl.maximum(m, tl.max(x, 1))
        l = l * tl.exp(m - m_new) + tl.sum(tl.exp(x - m_new[:, None]), 1)
        m = m_new

    # reads batch x d1 x d2 elements a second time, and writes as many
    for start in range(0, d2, BLOCK_2):
        j = start + cols[None, :]
        mask = (rows[:, None] < d1) & (j < d2)
        x = tl.load(x_rows + j * stride_x2, mask=mask, other=float("-inf")).to(tl.float32)
        y = tl.exp(x - m[:, None]) / l[:, None]
        tl.store(y_rows + j, y, mask=mask)


@triton.jit
def _online_softmax_bwd_kernel(
    y_ptr,  # (batch * d1, d2), contiguous
    dy_ptr,  # (batch * d1, d2), contiguous
    dx_ptr,  # (batch * d1, d2), contiguous
    rows_total,
    d2,
    BLOCK_1: tl.constexpr,
    BLOCK_2: tl.constexpr,
):
    rows = tl.program_id(0) * BLOCK_1 + tl.arange(0, BLOCK_1)
    cols = tl.arange(0, BLOCK_2)
    offsets = rows[:, None].to(tl.int64) * d2

    dot = tl.zeros((BLOCK_1,), tl.float32)  # sum over j of y_j dy_j
    for start in range(0, d2, BLOCK_2):
        j = start + cols[None, :]
        mask = (rows[:, None] < rows_total) & (j < d2)
        y = tl.load(y_ptr + offsets + j, mask=mask, other=0.0).to(tl.float32)
        dy = tl.load(dy_ptr + offsets + j, mask=mask, other=0.0).to(tl.float32)
        dot += tl.sum(y * dy, 1)

    for start in range(0, d2, BLOCK_2):
        j = start + cols[None, :]
        mask = (rows[:, None] < rows_total) & (j < d2)
        y = tl.load(y_ptr + offsets + j, mask=mask, other=0.0).to(tl.float32)
        dy = tl.load(dy_ptr + offsets + j, mask=mask, other=0.0).to(tl.float32)
        tl.store(dx_ptr + offsets + j, y * (dy - dot[:, None]), mask=mask)


def online_softmax(
    x: Float[Tensor, "batch d1 d2"], BLOCK_1: int = 16, BLOCK_2: int = 16
) -> Float[Tensor, "batch d1 d2"]:
    """Softmax over the last dimension.

    Args:
        x: any strides, any lengths; float32, float16 or bfloat16.
        BLOCK_1: rows a program, a power of two.
        BLOCK_2: columns a step, a power of two.

    Raises:
        ValueError: names the argument that is wrong, and what it got.
    """
    _check(x, BLOCK_1, BLOCK_2)
    batch, d1, d2 = x.shape
    y = torch.empty((batch, d1, d2), dtype=x.dtype, device=x.device)
    # one axis, because the others hold 65535 programs at most
    grid = (batch * triton.cdiv(d1, BLOCK_1),)
    _online_softmax_fwd_kernel[grid](
        x, y, x.stride(0), x.stride(1), x.stride(2), d1, d2, BLOCK_1=BLOCK_1, BLOCK_2=BLOCK_2
    )
    return y


class OnlineSoftmax(torch.autograd.Function):
    """Differentiable :func:`online_softmax`: ``OnlineSoftmax.apply(x, BLOCK_1, BLOCK_2)``."""

    @staticmethod
    def forward(ctx, x, BLOCK_1=16, BLOCK_2=16):
        y = online_softmax(x, BLOCK_1, BLOCK_2)
        ctx.save_for_backward(y)
        ctx.blocks = BLOCK_1, BLOCK_2
        return y

    @staticmethod
    def backward(ctx, dy):
        (y,) = ctx.saved_tensors
        BLOCK_1, BLOCK_2 = ctx.blocks
        dy = dy.contiguous()
        dx = torch.empty_like(y)
        rows = y.shape[0] * y.shape[1]
        grid = (triton.cdiv(rows, BLOCK_1),)
        _online_softmax_bwd_kernel[grid](
            y, dy, dx, rows, y.shape[2], BLOCK_1=BLOCK_1, BLOCK_2=BLOCK_2
        )
        return dx, None, None


def _check(x: Tensor, BLOCK_1: int, BLOCK_2: int) -> None:
    if x.ndim != 3:
        raise ValueError(f"x: expected (batch, d1, d2), got shape {tuple(x.shape)}")
    if x.numel() == 0:
        raise ValueError(f"x: no dimension may be empty, got shape {tuple(x.shape)}")
    if x.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        raise ValueError(f"x: expected float32, float16 or bfloat16, got {x.dtype}")
    if not x.is_cuda and not triton.knobs.runtime.interpret:
        raise ValueError(f"x: kernels are compiled here and need the GPU, got {x.device}")
    for name, block in (("BLOCK_1", BLOCK_1), ("BLOCK_2", BLOCK_2)):
        if block < 1 or block & (block - 1):
            raise ValueError(f"{name}: expected a power of two, got {block}")
