# course: exercise
"""Homework 3: the FlashAttention-2 forward pass in Triton, and the autograd function around it.

Method: T. Dao, "FlashAttention-2: Faster Attention with Better Parallelism and Work Partitioning"
(2023), algorithm 1; the diagonal tiles apart from the full ones as in its section 3.1.
"""

import math

import torch
import triton
import triton.language as tl
from torch.autograd.function import once_differentiable

### BEGIN SOLUTION hw3-1 what else is used
from flash_attention.configurations import FORWARD, launch, tuned
from flash_attention.flash_backward import attention_backward
from flash_attention.inputs import check_inputs, fold_heads
from flash_attention.tiles import load_tile, place, store_tile, tile_arguments

### END SOLUTION
### BEGIN STUB
# from flash_attention.flash_pytorch import attention_backward_impl  # hw3-3
# from flash_attention.inputs import check_inputs, fold_heads
# from flash_attention.tiles import load_tile, precision, store_tile
#
# # needed for no point; the hand-out says what they are for
# from flash_attention.configurations import FORWARD, launch, tuned
# from flash_attention.flash_backward import attention_backward
# from flash_attention.tiles import place, tile_arguments
#
### END STUB
# fmt: off
### BEGIN SOLUTION hw3-1 the forward kernel


@triton.jit
def _attend(
    acc, l, m,  # the running output, sum of exponentials and maximum of BLOCK_Q queries
    q_tile, k, v, batch, rows, first, last,
    stride_kb, stride_kn, stride_kd, stride_vb, stride_vn, stride_vd, seq_k, head_dim, scale_log2,
    MASKED: tl.constexpr, IS_CAUSAL: tl.constexpr, DESCRIPTORS: tl.constexpr,
    PRECISION: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr,
):
    """Takes the keys first to last into account, BLOCK_K at a time."""
    for start in range(first, last, BLOCK_K):
        k_tile = load_tile(k, batch, start, stride_kb, stride_kn, stride_kd, seq_k, head_dim,
                           BLOCK_K, BLOCK_D, DESCRIPTORS)
        s = tl.dot(q_tile, k_tile.T, input_precision=PRECISION)
        if MASKED:
            keys = start + tl.arange(0, BLOCK_K)
            visible = keys[None, :] < seq_k
            if IS_CAUSAL:
                visible = visible & (keys[None, :] <= rows[:, None])
            s = tl.where(visible, s, float("-inf"))
        # scaled only here, so that scaling and subtracting are one instruction an element
        m_new = tl.maximum(m, tl.max(s, 1) * scale_log2)
        p = tl.exp2(s * scale_log2 - m_new[:, None])
        rescale = tl.exp2(m - m_new)
        l = l * rescale + tl.sum(p, 1)
        v_tile = load_tile(v, batch, start, stride_vb, stride_vn, stride_vd, seq_k, head_dim,
                           BLOCK_K, BLOCK_D, DESCRIPTORS)
        acc = tl.dot(p.to(v_tile.dtype), v_tile, acc * rescale[:, None], input_precision=PRECISION)
        m = m_new
    return acc, l, m


@triton.jit
def flash_fwd_kernel(
    q, k, v,  # (batch, seq_q or seq_k, head_dim): descriptors or pointers
    o_ptr,  # (batch, seq_q, head_dim), contiguous
    l_ptr,  # (batch, seq_q), contiguous: log-sum-exp
    stride_qb, stride_qn, stride_qd,  # elements
    stride_kb, stride_kn, stride_kd,
    stride_vb, stride_vn, stride_vd,
    batches, group,  # see place()
    seq_q, seq_k, head_dim,
    scale_log2,  # log2(e) / sqrt(head_dim): exp2 is the hardware's own exponential
    IS_CAUSAL: tl.constexpr, DESCRIPTORS: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_D: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr,
):
    # with causal masking the last query tile sees the most keys
    tiles = tl.cdiv(seq_q, BLOCK_Q)
    rank, batch = place(tl.program_id(0), tiles, batches, group)
    start_q = (tiles - 1 - rank) * BLOCK_Q
    rows = start_q + tl.arange(0, BLOCK_Q)
    q_tile = load_tile(q, batch, start_q, stride_qb, stride_qn, stride_qd, seq_q, head_dim,
                       BLOCK_Q, BLOCK_D, DESCRIPTORS)

    end = seq_k
    unmasked = seq_k // BLOCK_K * BLOCK_K
    if IS_CAUSAL:
        end = min(seq_k, start_q + BLOCK_Q)
        # every query of the tile sees all the keys of these tiles
        unmasked = min(unmasked, (start_q + 1) // BLOCK_K * BLOCK_K)

    m = tl.full((BLOCK_Q,), float("-inf"), tl.float32)
    l = tl.zeros((BLOCK_Q,), tl.float32)
    acc = tl.zeros((BLOCK_Q, BLOCK_D), tl.float32)
    acc, l, m = _attend(
        acc, l, m, q_tile, k, v, batch, rows, 0, unmasked,
        stride_kb, stride_kn, stride_kd, stride_vb, stride_vn, stride_vd, seq_k, head_dim,
        scale_log2, False, IS_CAUSAL, DESCRIPTORS, PRECISION, BLOCK_K, BLOCK_D)
    acc, l, m = _attend(
        acc, l, m, q_tile, k, v, batch, rows, unmasked, end,
        stride_kb, stride_kn, stride_kd, stride_vb, stride_vn, stride_vd, seq_k, head_dim,
        scale_log2, True, IS_CAUSAL, DESCRIPTORS, PRECISION, BLOCK_K, BLOCK_D)

    store_tile(o_ptr, acc / l[:, None], batch, start_q, seq_q, head_dim, BLOCK_Q, BLOCK_D)
    LN_2: tl.constexpr = 0.6931471805599453
    tl.store(l_ptr + batch * seq_q + rows, (m + tl.log2(l)) * LN_2, mask=rows < seq_q)


_TUNED = tuned(flash_fwd_kernel, FORWARD)
### END SOLUTION
### BEGIN STUB
# @triton.jit
# def flash_fwd_kernel(
#     q_ptr, k_ptr, v_ptr,  # (batch, seq_q or seq_k, head_dim); the parameters are yours to change
#     o_ptr, l_ptr,  # (batch, seq_q, head_dim); (batch, seq_q): log-sum-exp
#     stride_qb, stride_qn, stride_qd,  # elements
#     stride_kb, stride_kn, stride_kd,
#     stride_vb, stride_vn, stride_vd,
#     seq_q, seq_k, head_dim, scale,
#     IS_CAUSAL: tl.constexpr, PRECISION: tl.constexpr,
#     BLOCK_D: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr,
# ):
#     tl.static_assert(False, "hw3-1: the forward kernel")
### END STUB
# fmt: on


class FlashAttentionTriton(torch.autograd.Function):
    """``FlashAttentionTriton.apply(Q, K, V, is_causal=False)``.

    Q (batch, seq_q, d), K and V (batch, seq_k, d), or with (batch, heads) in front; float32,
    float16 or bfloat16, d up to 256, any strides. Returns softmax(Q K^T / sqrt(d)) V of Q's shape.
    Saves Q, K, V, O and the log-sum-exp L, shape (batch, seq_q) or (batch, heads, seq_q), float32.
    float32 products follow ``torch.get_float32_matmul_precision()``.

    Raises:
        ValueError: names the argument that is wrong, and what it got.
    """

    @staticmethod
    def forward(ctx, Q, K, V, is_causal=False):
        check_inputs(Q, K, V, runs_kernel=True)
        ### BEGIN SOLUTION hw3-1 allocate O and L, launch the kernel
        q, k, v = fold_heads(Q), fold_heads(K), fold_heads(V)
        seq_q, d = q.shape[1:]
        O = torch.empty(Q.shape, dtype=Q.dtype, device=Q.device)
        L = torch.empty(Q.shape[:-1], dtype=torch.float32, device=Q.device)
        launch(
            flash_fwd_kernel, _TUNED, q, seq_q, "BLOCK_Q",
            **tile_arguments(q=q, k=k, v=v), o_ptr=O, l_ptr=L,
            seq_q=seq_q, seq_k=k.shape[1], head_dim=d,
            scale_log2=math.log2(math.e) / math.sqrt(d), IS_CAUSAL=is_causal,
        )  # fmt: skip
        ### END SOLUTION
        ### BEGIN SOLUTION hw3-3 what the backward pass needs
        ctx.save_for_backward(Q, K, V, O, L)
        ### END SOLUTION
        ### BEGIN STUB
        # ctx.save_for_backward(Q, K, V)  # what else does the backward pass need?
        ### END STUB
        ctx.is_causal = is_causal
        return O

    @staticmethod
    @once_differentiable
    def backward(ctx, dO):
        Q, K, V, O, L = ctx.saved_tensors
        ### BEGIN SOLUTION hw3-3 the gradients
        dQ, dK, dV = attention_backward(Q, K, V, O, L, dO, ctx.is_causal)
        ### END SOLUTION
        return dQ, dK, dV, None
