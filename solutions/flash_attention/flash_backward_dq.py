# course: exercise
"""dQ (bonus): a program owns a tile of queries and walks over the keys they see.

Method: T. Dao, "FlashAttention-2" (2023), algorithm 2, the loops exchanged.
"""

import math

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from flash_attention.configurations import DQ, launch, tuned
from flash_attention.tiles import load_tile, place, store_tile, tile_arguments

# fmt: off
### BEGIN SOLUTION hw3-8 the dQ kernel


@triton.jit
def _add_keys(
    dq, q_tile, do_tile, l2, delta, k, v, batch, rows, first, last,
    stride_kb, stride_kn, stride_kd, stride_vb, stride_vn, stride_vd, seq_k, head_dim, scale_log2,
    MASKED: tl.constexpr, IS_CAUSAL: tl.constexpr, DESCRIPTORS: tl.constexpr,
    PRECISION: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr,
):
    """Adds dS K of the keys first to last, BLOCK_K at a time."""
    for start in range(first, last, BLOCK_K):
        k_tile = load_tile(k, batch, start, stride_kb, stride_kn, stride_kd, seq_k, head_dim,
                           BLOCK_K, BLOCK_D, DESCRIPTORS)
        v_tile = load_tile(v, batch, start, stride_vb, stride_vn, stride_vd, seq_k, head_dim,
                           BLOCK_K, BLOCK_D, DESCRIPTORS)
        s = tl.dot(q_tile, k_tile.T, input_precision=PRECISION)
        if MASKED:
            keys = start + tl.arange(0, BLOCK_K)
            visible = keys[None, :] < seq_k
            if IS_CAUSAL:
                visible = visible & (keys[None, :] <= rows[:, None])
            s = tl.where(visible, s, float("-inf"))
        p = tl.exp2(s * scale_log2 - l2[:, None])
        dp = tl.dot(do_tile, v_tile.T, input_precision=PRECISION)
        ds = p * (dp - delta[:, None])
        dq = tl.dot(ds.to(k_tile.dtype), k_tile, dq, input_precision=PRECISION)
    return dq


@triton.jit
def _dq_kernel(
    q, k, v, do,  # (batch, seq_q or seq_k, head_dim): descriptors or pointers
    l_ptr, delta_ptr,  # (batch, seq_q), contiguous
    dq_ptr,  # (batch, seq_q, head_dim), contiguous
    stride_qb, stride_qn, stride_qd,  # elements
    stride_kb, stride_kn, stride_kd,
    stride_vb, stride_vn, stride_vd,
    stride_dob, stride_don, stride_dod,
    batches, group,  # see place()
    seq_q, seq_k, head_dim,
    scale,  # 1 / sqrt(head_dim)
    IS_CAUSAL: tl.constexpr, DESCRIPTORS: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_D: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr,
):
    LOG2_E: tl.constexpr = 1.4426950408889634
    tiles = tl.cdiv(seq_q, BLOCK_Q)
    rank, batch = place(tl.program_id(0), tiles, batches, group)
    start_q = (tiles - 1 - rank) * BLOCK_Q
    rows = start_q + tl.arange(0, BLOCK_Q)
    q_tile = load_tile(q, batch, start_q, stride_qb, stride_qn, stride_qd, seq_q, head_dim,
                       BLOCK_Q, BLOCK_D, DESCRIPTORS)
    do_tile = load_tile(do, batch, start_q, stride_dob, stride_don, stride_dod, seq_q, head_dim,
                        BLOCK_Q, BLOCK_D, DESCRIPTORS)
    l2 = tl.load(l_ptr + batch * seq_q + rows, mask=rows < seq_q, other=0.0) * LOG2_E
    delta = tl.load(delta_ptr + batch * seq_q + rows, mask=rows < seq_q, other=0.0)

    end = seq_k
    unmasked = seq_k // BLOCK_K * BLOCK_K
    if IS_CAUSAL:
        end = min(seq_k, start_q + BLOCK_Q)
        unmasked = min(unmasked, (start_q + 1) // BLOCK_K * BLOCK_K)

    dq = tl.zeros((BLOCK_Q, BLOCK_D), tl.float32)
    dq = _add_keys(
        dq, q_tile, do_tile, l2, delta, k, v, batch, rows, 0, unmasked,
        stride_kb, stride_kn, stride_kd, stride_vb, stride_vn, stride_vd, seq_k, head_dim,
        scale * LOG2_E, False, IS_CAUSAL, DESCRIPTORS, PRECISION, BLOCK_K, BLOCK_D)
    dq = _add_keys(
        dq, q_tile, do_tile, l2, delta, k, v, batch, rows, unmasked, end,
        stride_kb, stride_kn, stride_kd, stride_vb, stride_vn, stride_vd, seq_k, head_dim,
        scale * LOG2_E, True, IS_CAUSAL, DESCRIPTORS, PRECISION, BLOCK_K, BLOCK_D)
    store_tile(dq_ptr, dq * scale, batch, start_q, seq_q, head_dim, BLOCK_Q, BLOCK_D)


_TUNED = tuned(_dq_kernel, DQ)
### END SOLUTION
### BEGIN STUB
# # room for a kernel
### END STUB
# fmt: on


def backward_dq(
    Q: Float[Tensor, "batch q d"],
    K: Float[Tensor, "batch k d"],
    V: Float[Tensor, "batch k d"],
    O: Float[Tensor, "batch q d"],
    L: Float[Tensor, "batch q"],
    dO: Float[Tensor, "batch q d"],
    delta: Float[Tensor, "batch q"],
    is_causal: bool,
) -> Float[Tensor, "batch q d"]:
    """The gradient of Q; dO contiguous."""
    ### BEGIN SOLUTION hw3-8 allocate dQ and launch the kernel
    seq_q, d = Q.shape[1:]
    dQ = torch.empty(Q.shape, dtype=Q.dtype, device=Q.device)
    launch(
        _dq_kernel, _TUNED, Q, seq_q, "BLOCK_Q",
        **tile_arguments(q=Q, k=K, v=V, do=dO), l_ptr=L, delta_ptr=delta, dq_ptr=dQ,
        seq_q=seq_q, seq_k=K.shape[1], head_dim=d, scale=1 / math.sqrt(d),
        IS_CAUSAL=is_causal,
    )  # fmt: skip
    return dQ
    ### END SOLUTION
    ### BEGIN STUB
    # # works as it is, with homework 2; the bonus is to launch a kernel of your own instead
    # from flash_attention.flash_pytorch import attention_backward_impl
    #
    # sqrt_d = math.sqrt(Q.shape[-1])
    # return attention_backward_impl(Q, K, V, L, O, dO, sqrt_d, is_causal)[0]
    ### END STUB
