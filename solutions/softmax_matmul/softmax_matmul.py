# course: exercise
"""Homework 1: ``softmax(x) @ V`` in one kernel, the softmax never written to memory.

Method: the online softmax of M. Milakov and N. Gimelshein (2018), with a rescaled accumulator as in
M. N. Rabe and C. Staats, "Self-attention does not need O(n^2) memory" (2021).
"""

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor


def softmax_mult(
    x: Float[Tensor, "batch d1 d2"], V: Float[Tensor, "batch d2 d3"], dim: int = -1
) -> Float[Tensor, "batch d1 d3"]:
    """The PyTorch reference: two kernels, and batch x d1 x d2 elements between them."""
    return torch.softmax(x, dim=dim) @ V


@triton.jit
def fused_softmax_kernel(
    x_ptr,  # (batch, d1, d2)
    V_ptr,  # (batch, d2, d3)
    out_ptr,  # (batch, d1, d3), contiguous
    stride_xb,  # elements
    stride_x1,
    stride_x2,
    stride_Vb,
    stride_V2,
    stride_V3,
    d1,
    d2,
    d3,
    PRECISION: tl.constexpr,  # "ieee", "tf32" or "tf32x3", for tl.dot
    BLOCK_1: tl.constexpr,  # rows of x a program
    BLOCK_2: tl.constexpr,  # columns of x a step
    BLOCK_3: tl.constexpr,  # columns of V a program, a power of two, at least 16
):
    # a program writes out[batch, rows, cols]; programs of the same rows follow each other, so that
    # x, read once by each of them, comes from the L2 cache after the first
    tiles_3 = tl.cdiv(d3, BLOCK_3)
    tiles_1 = tl.cdiv(d1, BLOCK_1)
    pid = tl.program_id(0)
    batch = (pid // (tiles_3 * tiles_1)).to(tl.int64)
    rows = pid // tiles_3 % tiles_1 * BLOCK_1 + tl.arange(0, BLOCK_1)
    cols = pid % tiles_3 * BLOCK_3 + tl.arange(0, BLOCK_3)
    ### BEGIN SOLUTION hw1-1 one pass over d2, with a running maximum, sum and accumulator
    x_rows = x_ptr + batch * stride_xb + rows[:, None].to(tl.int64) * stride_x1
    V_cols = V_ptr + batch * stride_Vb + cols[None, :] * stride_V3

    m = tl.full((BLOCK_1,), float("-inf"), tl.float32)  # largest value so far
    l = tl.zeros((BLOCK_1,), tl.float32)  # sum of exponentials relative to m
    acc = tl.zeros((BLOCK_1, BLOCK_3), tl.float32)  # the same sum, weighted by rows of V
    for start in range(0, d2, BLOCK_2):
        k = start + tl.arange(0, BLOCK_2)
        x_mask = (rows[:, None] < d1) & (k[None, :] < d2)
        V_mask = (k[:, None] < d2) & (cols[None, :] < d3)
        # -inf: a column that is not there must not count, neither in the maximum nor in the sum
        x = tl.load(x_rows + k[None, :] * stride_x2, mask=x_mask, other=float("-inf"))
        V = tl.load(V_cols + k[:, None].to(tl.int64) * stride_V2, mask=V_mask, other=0.0)

        x = x.to(tl.float32)
        m_new = tl.maximum(m, tl.max(x, 1))
        rescale = tl.exp(m - m_new)
        p = tl.exp(x - m_new[:, None])
        l = l * rescale + tl.sum(p, 1)
        acc = acc * rescale[:, None] + tl.dot(p.to(V.dtype), V, input_precision=PRECISION)
        m = m_new

    out = acc / l[:, None]
    out_rows = out_ptr + (batch * d1 + rows[:, None]) * d3
    tl.store(out_rows + cols[None, :], out, mask=(rows[:, None] < d1) & (cols[None, :] < d3))
    ### END SOLUTION


def fused_softmax(
    x: Float[Tensor, "batch d1 d2"],
    V: Float[Tensor, "batch d2 d3"],
    BLOCK_1: int = 16,
    BLOCK_2: int = 16,
) -> Float[Tensor, "batch d1 d3"]:
    """``softmax(x, dim=-1) @ V``; allocates the output and nothing else.

    Args:
        x, V: any strides, any lengths; both float32, float16 or bfloat16. float32 products follow
            ``torch.get_float32_matmul_precision()``, as ``_precision``, given, says it to
            ``tl.dot``: 'highest' keeps float32's accuracy, anything else allows TF32.
        BLOCK_1: rows of x a program, a power of two, at least 16.
        BLOCK_2: columns of x a step, a power of two, at least 16.

    ``BLOCK_3``, the columns of V a program, is chosen here: a power of two, at least 16
    (``triton.next_power_of_2``), large enough that x is read few times, small enough for registers.

    Raises:
        ValueError: names the argument that is wrong, and what it got.
    """
    _check(x, V, BLOCK_1, BLOCK_2)
    ### BEGIN SOLUTION hw1-1 allocate the output and launch the kernel
    batch, d1, d2 = x.shape
    d3 = V.shape[2]
    out = torch.empty((batch, d1, d3), dtype=x.dtype, device=x.device)
    # the wider, the less often x is read; but acc, BLOCK_1 x BLOCK_3, must fit in registers
    BLOCK_3 = min(256 if BLOCK_1 <= 32 else 64, max(16, triton.next_power_of_2(d3)))
    grid = (batch * triton.cdiv(d1, BLOCK_1) * triton.cdiv(d3, BLOCK_3),)
    fused_softmax_kernel[grid](
        x, V, out, *x.stride(), *V.stride(), d1, d2, d3,
        PRECISION=_precision(x),
        BLOCK_1=BLOCK_1, BLOCK_2=BLOCK_2, BLOCK_3=BLOCK_3, num_stages=2,
    )  # fmt: skip
    return out
    ### END SOLUTION


def _precision(t: Tensor) -> str:
    """What ``input_precision`` of ``tl.dot`` should be for products with ``t``."""
    if torch.get_float32_matmul_precision() != "highest":
        return "tf32"
    # three TF32 products keep float32's accuracy and, from sm_80 on, run on tensor cores
    cores = t.is_cuda and torch.cuda.get_device_capability(t.device) >= (8, 0)
    return "tf32x3" if cores else "ieee"


def _check(x: Tensor, V: Tensor, BLOCK_1: int, BLOCK_2: int) -> None:
    if x.ndim != 3:
        raise ValueError(f"x: expected (batch, d1, d2), got shape {tuple(x.shape)}")
    if V.ndim != 3 or V.shape[0] != x.shape[0] or V.shape[1] != x.shape[2]:
        raise ValueError(
            f"V: expected ({x.shape[0]}, {x.shape[2]}, d3) to fit x, got shape {tuple(V.shape)}"
        )
    if x.numel() == 0 or V.numel() == 0:
        name, t = ("x", x) if x.numel() == 0 else ("V", V)
        raise ValueError(f"{name}: no dimension may be empty, got shape {tuple(t.shape)}")
    if x.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        raise ValueError(f"x: expected float32, float16 or bfloat16, got {x.dtype}")
    if V.dtype != x.dtype:
        raise ValueError(f"V: expected the dtype of x, {x.dtype}, got {V.dtype}")
    if V.device != x.device:
        raise ValueError(f"V: expected the device of x, {x.device}, got {V.device}")
    if not x.is_cuda and not triton.knobs.runtime.interpret:
        raise ValueError(f"x: kernels are compiled here and need the GPU, got {x.device}")
    for name, block in (("BLOCK_1", BLOCK_1), ("BLOCK_2", BLOCK_2)):
        if block < 16 or block & (block - 1):
            raise ValueError(f"{name}: expected a power of two, at least 16, got {block}")
