# course: exercise
"""Rung 3: one Triton program a query, all keys at once. Quick for few keys, impossible for many.

With every score of its query on the chip a program needs no online softmax: one maximum, one sum,
one division. The price is a tile of K, and then of V, as long as the sequence.
"""

import math

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from attention_ladder.inputs import check_inputs

# Half of the 65,536 registers of an SM, where a program runs; the other half is for addresses and
# products. 64 float32 numbers a thread fit without a spill (ptxas, sm_75 and sm_90), 128 do not.
MAX_TILE = 32768


@triton.jit
def _attention_vectorized_kernel(
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
    BLOCK_K: tl.constexpr,  # power of two >= seq_k
    BLOCK_D: tl.constexpr,  # power of two >= head_dim
):
    i = tl.program_id(0).to(tl.int64)
    j = tl.arange(0, BLOCK_K).to(tl.int64)
    d = tl.arange(0, BLOCK_D)
    d_mask = d < head_dim
    ### BEGIN SOLUTION nb03-2 one query, all keys at once
    visible = j < seq_k
    if IS_CAUSAL:
        visible = visible & (j <= i)
    tile_mask = visible[:, None] & d_mask[None, :]
    k_ptrs = k_ptr + j[:, None] * stride_ks + d[None, :] * stride_kd
    v_ptrs = v_ptr + j[:, None] * stride_vs + d[None, :] * stride_vd
    q = tl.load(q_ptr + i * stride_qs + d * stride_qd, mask=d_mask, other=0.0).to(tl.float32)
    k = tl.load(k_ptrs, mask=tile_mask, other=0.0).to(tl.float32)
    s = tl.sum(q[None, :] * k, 1) * scale
    # a masked key scores 0, not -inf: without this line it would take part
    s = tl.where(visible, s, -float("inf"))
    p = tl.exp(s - tl.max(s, 0))
    v = tl.load(v_ptrs, mask=tile_mask, other=0.0).to(tl.float32)
    o = tl.sum(p[:, None] * v, 0) / tl.sum(p, 0)
    tl.store(o_ptr + i * stride_os + d * stride_od, o, mask=d_mask)
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
        ValueError: wrong shape, dtype or device, or more keys than fit; names the argument and what
            it got.
    """
    check_inputs(q, k, v)
    BLOCK_K = triton.next_power_of_2(k.shape[0])
    BLOCK_D = max(16, triton.next_power_of_2(q.shape[1]))
    tile = BLOCK_K * BLOCK_D
    if tile > MAX_TILE:
        raise ValueError(
            f"k: too many keys. At a head dimension of {q.shape[1]} at most "
            f"{MAX_TILE // BLOCK_D} fit, got {k.shape[0]}. All keys of a query are one tile "
            f"({BLOCK_K} x {BLOCK_D} = {tile} numbers), and a program's registers hold {MAX_TILE}"
        )
    o = torch.empty_like(q, memory_format=torch.contiguous_format)
    strides = [stride for tensor in (q, k, v, o) for stride in tensor.stride()]
    _attention_vectorized_kernel[(q.shape[0],)](
        q,
        k,
        v,
        o,
        *strides,
        seq_k=k.shape[0],
        head_dim=q.shape[1],
        scale=1 / math.sqrt(q.shape[1]),
        IS_CAUSAL=is_causal,
        BLOCK_K=BLOCK_K,
        BLOCK_D=BLOCK_D,
        # 2048 numbers a warp are 64 a thread, of the 255 registers it may have
        num_warps=max(1, tile // 2048),
    )
    return o


if __name__ == "__main__":
    from attention_ladder.script import main

    main("vectorized", attention)
