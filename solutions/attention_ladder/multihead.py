# course: exercise
"""Rung 5 (v2): 16-bit tiles on tensor cores, every head in one launch, the diagonal split off.

What changed since the last rung, and what each change is for:

- Tiles stay in 16 bits until a tensor core multiplies them, sums stay in float32. Half the bytes,
  and products at many times the rate of float32's.
- In half the room the whole head dimension fits: one program computes all features of its queries,
  and no score is computed twice.
- Masks cost as much as arithmetic. Tiles of keys that every query of the tile sees go through a
  loop without any; only the last ones, across the diagonal or the end, are masked.
- ``exp2`` with log2(e) folded into the scale: the chip has no other exponential.
- With causal masking the last queries see the most keys, so they start first.

Method: T. Dao, "FlashAttention-2" (2023), algorithm 1 and section 3.1.
"""

import math

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from attention_ladder.inputs import check_inputs
from attention_ladder.launch import arguments_for, config, fixed_tiles, launch, precision, tuned


# fmt: off
@triton.jit
def _attention_multihead_kernel(
    q_ptr, k_ptr, v_ptr, o_ptr,  # (seq_q, heads, head_dim), (seq_k, heads, head_dim) twice, as q
    stride_qs, stride_qh, stride_qd,  # elements from one query, head, component to the next
    stride_ks, stride_kh, stride_kd,
    stride_vs, stride_vh, stride_vd,
    stride_os, stride_oh, stride_od,
    seq_q, seq_k, head_dim,
    scale_log2,  # log2(e) / sqrt(head_dim)
    IS_CAUSAL: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_D: tl.constexpr,  # power of two >= head_dim
    BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr,
):
    # fmt: on
    d = tl.arange(0, BLOCK_D)
    d_mask = d[None, :] < head_dim
    ### BEGIN SOLUTION nb06-5 every head, the diagonal split off
    start_q = (tl.num_programs(0) - 1 - tl.program_id(0)) * BLOCK_Q
    head = tl.program_id(1).to(tl.int64)
    i = start_q + tl.arange(0, BLOCK_Q)
    j = tl.arange(0, BLOCK_K)
    q_ptrs = q_ptr + head * stride_qh + i[:, None].to(tl.int64) * stride_qs + d[None, :] * stride_qd
    k_ptr += head * stride_kh
    v_ptr += head * stride_vh
    # inside a tile 32 bits are enough, and take half the registers
    k_tile = j[:, None] * stride_ks + d[None, :] * stride_kd
    v_tile = j[:, None] * stride_vs + d[None, :] * stride_vd
    q = tl.load(q_ptrs, mask=(i[:, None] < seq_q) & d_mask, other=0.0)

    end = seq_k
    unmasked = seq_k // BLOCK_K * BLOCK_K
    if IS_CAUSAL:
        end = tl.minimum(seq_k, start_q + BLOCK_Q)
        unmasked = tl.minimum(unmasked, (start_q + 1) // BLOCK_K * BLOCK_K)
    m = tl.full((BLOCK_Q,), float("-inf"), tl.float32)
    l = tl.zeros((BLOCK_Q,), tl.float32)
    acc = tl.zeros((BLOCK_Q, BLOCK_D), tl.float32)
    # the compiler writes the loop out twice, the second time with masks
    for MASKED in tl.static_range(2):
        first, last = (unmasked, end) if MASKED else (0, unmasked)
        for start in range(first, last, BLOCK_K):
            kv_mask = (start + j[:, None] < seq_k) & d_mask if MASKED else d_mask
            k = tl.load(k_ptr + k_tile, mask=kv_mask, other=0.0)
            s = tl.dot(q, k.T, input_precision=PRECISION)
            if MASKED:
                visible = start + j[None, :] < seq_k
                if IS_CAUSAL:
                    visible = visible & (start + j[None, :] <= i[:, None])
                s = tl.where(visible, s, float("-inf"))
            # scaled only here, so that scaling and subtracting are one instruction an element
            m_new = tl.maximum(m, tl.max(s, 1) * scale_log2)
            alpha = tl.exp2(m - m_new)
            p = tl.exp2(s * scale_log2 - m_new[:, None])
            l = l * alpha + tl.sum(p, 1)
            v = tl.load(v_ptr + v_tile, mask=kv_mask, other=0.0)
            acc = tl.dot(p.to(v.dtype), v, acc * alpha[:, None], input_precision=PRECISION)
            m = m_new
            k_ptr += BLOCK_K * stride_ks
            v_ptr += BLOCK_K * stride_vs
    o_ptrs = o_ptr + head * stride_oh + i[:, None].to(tl.int64) * stride_os + d[None, :] * stride_od
    tl.store(o_ptrs, acc / l[:, None], mask=(i[:, None] < seq_q) & d_mask)
    ### END SOLUTION


# fmt: off
_TILES = {  # queries, keys, warps, stages
    (2, 64): [config(128, 64, 4, 3), config(64, 128, 4, 3), config(64, 64, 4, 2)],
    (2, 128): [config(128, 64, 8, 2), config(64, 64, 4, 2), config(64, 32, 4, 2)],
    (2, 256): [config(64, 64, 8, 2), config(64, 32, 4, 2), config(32, 32, 4, 1)],
    (4, 64): [config(128, 64, 8, 2), config(64, 64, 4, 2), config(32, 32, 4, 1)],
    (4, 128): [config(32, 32, 8, 1), config(16, 32, 4, 1)],
    (4, 256): [config(16, 16, 4, 1)],
}
# fmt: on
_TUNED = tuned(_attention_multihead_kernel, _TILES)


def attention(
    q: Float[Tensor, "seq_q *heads d"],
    k: Float[Tensor, "seq_k *heads d"],
    v: Float[Tensor, "seq_k *heads d"],
    is_causal: bool = False,
) -> Float[Tensor, "seq_q *heads d"]:
    """``softmax(q k^T / sqrt(d)) v``; causal hides key j from query i if j > i.

    (seq, heads, d) or (seq, d). Memory: the output and nothing else. float32 products follow
    ``torch.get_float32_matmul_precision()``.

    Raises:
        ValueError: wrong shape, dtype or device; names the argument and what it got.
    """
    check_inputs(q, k, v, heads=True)
    o = torch.empty_like(q, memory_format=torch.contiguous_format)
    arguments = arguments_for(q=q, k=k, v=v, o=o)
    fixed = fixed_tiles(q, q.element_size(), arguments["BLOCK_D"])

    def grid(meta: dict[str, int]) -> tuple[int, int]:
        return triton.cdiv(len(q), meta["BLOCK_Q"]), q.shape[1] if q.ndim == 3 else 1

    launch(
        _attention_multihead_kernel, _TUNED, grid, q.element_size(), fixed, **arguments,
        scale_log2=math.log2(math.e) / math.sqrt(q.shape[-1]),
        IS_CAUSAL=is_causal, PRECISION=precision(q),
    )  # fmt: skip
    return o


call_flash_attention_v2 = attention

if __name__ == "__main__":
    from attention_ladder.script import main

    main("multihead", attention)
