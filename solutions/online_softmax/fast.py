# course: instructor
"""The worked example at the speed of a copy: every number is read once, however long its row.

What each step buys beside the worked example, which reads a row twice, 16 columns at a time:

- a row of up to ``ONE_PASS`` numbers stays in the registers of one program (fast_rows.py): twice
  the speed of torch.softmax for 8192 float32 numbers a row on an H200, and that of a copy;
- longer rows stay in the registers of several (fast_long_rows.py), which exchange two numbers each;
- exp2 is what the hardware computes, and a division a row is enough.

Method: M. Milakov and N. Gimelshein, "Online normalizer calculation for softmax" (2018), section 3.
"""

import torch
import triton
from jaxtyping import Float
from torch import Tensor

from online_softmax.fast_long_rows import shared_rows
from online_softmax.fast_rows import ONE_PASS, one_pass, one_pass_backward
from online_softmax.online_softmax import _online_softmax_bwd_kernel


class FastSoftmax(torch.autograd.Function):
    """Differentiable softmax over the last of two dimensions: ``FastSoftmax.apply(x)``."""

    @staticmethod
    def forward(ctx, x):
        y = one_pass(x) if x.shape[1] <= ONE_PASS else shared_rows(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, dy):
        (y,) = ctx.saved_tensors
        rows, n = y.shape
        dy = dy.contiguous()
        if n <= ONE_PASS // 2:
            return one_pass_backward(y, dy)
        dx = torch.empty_like(y)
        _online_softmax_bwd_kernel[(rows,)](
            y, dy, dx, rows, n, BLOCK_1=1, BLOCK_2=8192, num_warps=8
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
