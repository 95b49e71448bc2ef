# course: exercise
"""The backward pass of FlashAttentionTriton (bonus): delta first, then dQ, then dK and dV.

dQ sums over keys, dK and dV over queries: each has a kernel of its own, and none needs atomics.
Method: T. Dao, "FlashAttention-2" (2023), algorithm 2; delta is its D.
"""

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from flash_attention.flash_backward_dkdv import backward_dkdv
from flash_attention.flash_backward_dq import backward_dq
from flash_attention.inputs import fold_heads


@triton.jit
def _delta_kernel(
    o_ptr,  # (rows, d), contiguous
    do_ptr,  # (rows, d), contiguous
    delta_ptr,  # (rows,)
    rows_total,
    d,
    BLOCK_M: tl.constexpr,  # rows a program
    BLOCK_D: tl.constexpr,  # power of two >= d
):
    rows = tl.program_id(0).to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M)
    cols = tl.arange(0, BLOCK_D)
    mask = (rows[:, None] < rows_total) & (cols[None, :] < d)
    offsets = rows[:, None] * d + cols[None, :]
    ### BEGIN SOLUTION hw3-7 delta = rowsum(O * dO)
    o = tl.load(o_ptr + offsets, mask=mask, other=0.0).to(tl.float32)
    do = tl.load(do_ptr + offsets, mask=mask, other=0.0).to(tl.float32)
    tl.store(delta_ptr + rows, tl.sum(o * do, 1), mask=rows < rows_total)
    ### END SOLUTION


def compute_delta(
    O: Float[Tensor, "batch q d"], dO: Float[Tensor, "batch q d"]
) -> Float[Tensor, "batch q"]:
    """rowsum(O * dO) in float32; O and dO contiguous."""
    ### BEGIN SOLUTION hw3-7 allocate delta and launch the kernel
    delta = torch.empty(O.shape[:-1], dtype=torch.float32, device=O.device)
    BLOCK_D = max(16, triton.next_power_of_2(O.shape[-1]))
    BLOCK_M = max(16, 8192 // BLOCK_D)
    grid = (triton.cdiv(delta.numel(), BLOCK_M),)
    _delta_kernel[grid](O, dO, delta, delta.numel(), O.shape[-1], BLOCK_M, BLOCK_D)
    return delta
    ### END SOLUTION
    ### BEGIN STUB
    # # works as it is; the bonus is to launch _delta_kernel instead
    # return (O.float() * dO.float()).sum(dim=-1)
    ### END STUB


def attention_backward(
    Q: Float[Tensor, "... q d"],
    K: Float[Tensor, "... k d"],
    V: Float[Tensor, "... k d"],
    O: Float[Tensor, "... q d"],
    L: Float[Tensor, "... q"],
    dO: Float[Tensor, "... q d"],
    is_causal: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """dQ, dK, dV of the shapes and dtypes of Q, K, V."""
    # a dO from o.sum() has stride 0
    q, k, v, o, do = (fold_heads(t) for t in (Q, K, V, O, dO.contiguous()))
    l = L.flatten(0, 1) if L.ndim == 3 else L
    delta = compute_delta(o, do)
    dQ = backward_dq(q, k, v, o, l, do, delta, is_causal)
    dK, dV = backward_dkdv(q, k, v, o, l, do, delta, is_causal)
    return dQ.reshape(Q.shape), dK.reshape(K.shape), dV.reshape(V.shape)
