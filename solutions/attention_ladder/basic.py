# course: exercise
"""Rung 2: one Triton program a query, one key at a time. The score matrix is gone, and so is speed.

A program keeps three things on the chip: the largest score so far ``m``, the sum of exponentials
relative to it ``l``, and the weighted sum of values ``acc``. Online softmax: Milakov & Gimelshein,
"Online normalizer calculation for softmax" (2018), section 3.
"""

import math

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from attention_ladder.inputs import check_inputs


@triton.jit
def _attention_basic_kernel(
    q_ptr,  # (seq_q, d)
    k_ptr,  # (seq_k, d)
    v_ptr,  # (seq_k, d)
    o_ptr,  # (seq_q, d)
    stride_qs,  # elements from one query to the next
    stride_qd,  # elements from one component to the next
    stride_ks,
    stride_kd,
    stride_vs,
    stride_vd,
    stride_os,
    stride_od,
    seq_k,
    head_dim,
    scale,
    IS_CAUSAL: tl.constexpr,
    BLOCK_D: tl.constexpr,  # power of two >= head_dim
):
    i = tl.program_id(0).to(tl.int64)
    d = tl.arange(0, BLOCK_D)
    d_mask = d < head_dim
    ### BEGIN SOLUTION nb03-1 one query, one key at a time
    q = tl.load(q_ptr + i * stride_qs + d * stride_qd, mask=d_mask, other=0.0).to(tl.float32)
    k_ptrs = k_ptr + d * stride_kd
    v_ptrs = v_ptr + d * stride_vd
    m = -float("inf")
    l = 0.0
    acc = tl.zeros((BLOCK_D,), dtype=tl.float32)
    # key j is visible if j <= i, so a causal program stops after key i
    visible = tl.minimum(seq_k, i + 1) if IS_CAUSAL else seq_k
    for _ in range(visible):
        # reads 2 d elements for about 5 d flops: every program reads all of K and V for itself
        k = tl.load(k_ptrs, mask=d_mask, other=0.0).to(tl.float32)
        v = tl.load(v_ptrs, mask=d_mask, other=0.0).to(tl.float32)
        s = tl.sum(q * k, 0) * scale
        m_new = tl.maximum(m, s)
        alpha = tl.exp(m - m_new)
        p = tl.exp(s - m_new)
        l = l * alpha + p
        acc = acc * alpha + p * v
        m = m_new
        k_ptrs += stride_ks
        v_ptrs += stride_vs
    tl.store(o_ptr + i * stride_os + d * stride_od, acc / l, mask=d_mask)
    ### END SOLUTION


def attention(
    q: Float[Tensor, "seq_q d"],
    k: Float[Tensor, "seq_k d"],
    v: Float[Tensor, "seq_k d"],
    is_causal: bool = False,
) -> Float[Tensor, "seq_q d"]:
    """``softmax(q k^T / sqrt(d)) v``, in float32; causal hides key j from query i if j > i.

    Memory: the output and nothing else. Reads K and V once for every query, before caches.

    Raises:
        ValueError: wrong shape, dtype or device; names the argument and what it got.
    """
    check_inputs(q, k, v)
    o = torch.empty_like(q, memory_format=torch.contiguous_format)
    strides = [stride for tensor in (q, k, v, o) for stride in tensor.stride()]
    _attention_basic_kernel[(q.shape[0],)](
        q,
        k,
        v,
        o,
        *strides,
        seq_k=k.shape[0],
        head_dim=q.shape[1],
        scale=1 / math.sqrt(q.shape[1]),
        IS_CAUSAL=is_causal,
        BLOCK_D=triton.next_power_of_2(q.shape[1]),
        num_warps=1,
    )
    return o


if __name__ == "__main__":
    from attention_ladder.script import main

    main("basic", attention)
