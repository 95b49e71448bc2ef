# course: exercise
"""Rung 6 (v3): Q, K, V and the weights in 8 bits, which tensor cores multiply twice as fast.

What changed since multihead:

- Q, K and V are quantised first, a scale for every 128 rows: one more pass over them, counted in
  the time. It also pads them, so the loads of the attention kernel need no mask.
- Scores are multiplied by the scales of Q and K, which costs nothing: they were scaled anyway.
- Weights lie between 0 and 1. Eight is added to their exponent before they are rounded, so that
  they use the format's range; the sum of weights has the same factor, and the division removes it.
- Each tile's product with V starts from 0 and is added to the rest in float32. Hopper's FP8
  products keep 14 bits or so of a running sum (DeepSeek-V3 report, 2024, section 3.3.2).
- With half the bytes, three stages of loads in flight fit.

What it costs is accuracy. Each number is rounded by 1/16 of itself at most in E4M3. TODO
"""

import math

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from attention_ladder.inputs import check_chip, check_inputs
from attention_ladder.launch import launch, tuned
from attention_ladder.quantize import BLOCK, in_order_of_values, quantize_fp8


# fmt: off
@triton.jit
def _attention_fp8_kernel(
    q_ptr, k_ptr,  # (heads, rows_q, BLOCK_D), (heads, rows_k, BLOCK_D): FP8, padded with zeros
    v_ptr,  # (heads, BLOCK_D, rows_k): the same, transposed
    q_scale_ptr, k_scale_ptr, v_scale_ptr,  # (heads, rows / block): float32
    o_ptr,  # (seq_q, heads, head_dim)
    stride_os, stride_oh, stride_od,  # elements
    seq_q, seq_k, head_dim, rows_q, rows_k,
    block_q, block_k,  # rows that share a scale: whole tiles
    scale_log2,  # log2(e) / sqrt(head_dim)
    IS_CAUSAL: tl.constexpr,
    BLOCK_D: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr,
):
    # fmt: on
    start_q = (tl.num_programs(0) - 1 - tl.program_id(0)) * BLOCK_Q
    head = tl.program_id(1).to(tl.int64)
    i = start_q + tl.arange(0, BLOCK_Q)
    j = tl.arange(0, BLOCK_K)
    d = tl.arange(0, BLOCK_D)
    q = tl.load(q_ptr + (head * rows_q + i[:, None]) * BLOCK_D + d[None, :])
    k_ptr += head * rows_k * BLOCK_D
    v_ptr += head * rows_k * BLOCK_D
    k_tile = j[:, None] * BLOCK_D + d[None, :]
    v_tile = d[:, None] * rows_k + j[None, :]
    SHIFT: tl.constexpr = 8.0  # weights become 0 to 256: all digits of E4M3 down to 2^-14
    ### BEGIN SOLUTION nb06-8 products in FP8
    q_factor = tl.load(q_scale_ptr + head * (rows_q // block_q) + start_q // block_q) * scale_log2
    k_scale_ptr += head * (rows_k // block_k)
    v_scale_ptr += head * (rows_k // block_k)
    end = seq_k
    unmasked = seq_k // BLOCK_K * BLOCK_K
    if IS_CAUSAL:
        end = tl.minimum(seq_k, start_q + BLOCK_Q)
        unmasked = tl.minimum(unmasked, (start_q + 1) // BLOCK_K * BLOCK_K)
    m = tl.full((BLOCK_Q,), float("-inf"), tl.float32)
    l = tl.zeros((BLOCK_Q,), tl.float32)
    acc = tl.zeros((BLOCK_Q, BLOCK_D), tl.float32)
    for MASKED in tl.static_range(2):
        first, last = (unmasked, end) if MASKED else (0, unmasked)
        for start in range(first, last, BLOCK_K):
            factor = q_factor * tl.load(k_scale_ptr + start // block_k)
            k = tl.load(k_ptr + k_tile)
            s = tl.dot(q, k.T)
            if MASKED:
                visible = start + j[None, :] < seq_k
                if IS_CAUSAL:
                    visible = visible & (start + j[None, :] <= i[:, None])
                s = tl.where(visible, s, float("-inf"))
            m_new = tl.maximum(m, tl.max(s, 1) * factor)
            alpha = tl.exp2(m - m_new)
            p = tl.exp2(s * factor - (m_new[:, None] - SHIFT))
            l = l * alpha + tl.sum(p, 1)
            v = tl.load(v_ptr + v_tile)
            v_scale = tl.load(v_scale_ptr + start // block_k)
            p = in_order_of_values(p, BLOCK_Q, BLOCK_K).to(v.dtype)
            acc = acc * alpha[:, None] + tl.dot(p, v.T) * v_scale
            m = m_new
            k_ptr += BLOCK_K * BLOCK_D
            v_ptr += BLOCK_K
    # l is a sum of the same multiples of 256, so they cancel
    o = acc / l[:, None]
    ### END SOLUTION
    o_ptrs = o_ptr + head * stride_oh + i[:, None].to(tl.int64) * stride_os + d[None, :] * stride_od
    tl.store(o_ptrs, o, mask=(i[:, None] < seq_q) & (d[None, :] < head_dim))


def _config(BLOCK_Q: int, BLOCK_K: int, warps: int, stages: int) -> triton.Config:
    blocks = {"BLOCK_Q": BLOCK_Q, "BLOCK_K": BLOCK_K}
    return triton.Config(blocks, num_warps=warps, num_stages=stages)


# fmt: off
_TILES = {  # queries, keys, warps, stages
    (1, 64): [_config(64, 128, 4, 3), _config(128, 128, 8, 3), _config(128, 64, 4, 3)],
    (1, 128): [_config(128, 128, 8, 3), _config(128, 64, 8, 3), _config(64, 64, 4, 3)],
    (1, 256): [_config(64, 64, 8, 3), _config(64, 32, 8, 3)],
}
# fmt: on
_TUNED = tuned(_attention_fp8_kernel, _TILES)
_FIXED = {"BLOCK_Q": 64, "BLOCK_K": 64, "num_warps": 4, "num_stages": 2}


def attention(
    q: Float[Tensor, "seq_q *heads d"],
    k: Float[Tensor, "seq_k *heads d"],
    v: Float[Tensor, "seq_k *heads d"],
    is_causal: bool = False,
    block: int | None = BLOCK,
    dtype: torch.dtype = torch.float8_e4m3fn,
) -> Float[Tensor, "seq_q *heads d"]:
    """``softmax(q k^T / sqrt(d)) v`` in FP8; causal hides key j from query i if j > i.

    (seq, heads, d) or (seq, d); the result has q's dtype. Memory: the output and q, k, v in 8 bits.

    Args:
        block: rows that share a scale, a power of two from 128 on; None: all rows of a head.
        dtype: of what is multiplied, torch.float8_e4m3fn or torch.float8_e5m2.

    Raises:
        ValueError: wrong shape, dtype or device, or a GPU before sm_89; names the argument and what
            it got.
    """
    check_inputs(q, k, v, heads=True)
    if block is not None and block < BLOCK:
        raise ValueError(f"block: expected None or a power of two from {BLOCK} on, got {block}")
    check_chip(q, (8, 9), "an FP8 product")
    q8, q_scale = quantize_fp8(q, block, dtype)
    k8, k_scale = quantize_fp8(k, block, dtype)
    v8, v_scale = quantize_fp8(v, block, dtype, values=True)
    o = torch.empty_like(q, memory_format=torch.contiguous_format)
    view = o if o.ndim == 3 else o[:, None]
    rows_q, rows_k, BLOCK_D = q8.shape[1], *k8.shape[1:]

    def grid(meta: dict[str, int]) -> tuple[int, int]:
        return triton.cdiv(len(q), meta["BLOCK_Q"]), len(q8)

    launch(
        _attention_fp8_kernel, _TUNED, grid, 1, _FIXED,
        q_ptr=q8, k_ptr=k8, v_ptr=v8,
        q_scale_ptr=q_scale, k_scale_ptr=k_scale, v_scale_ptr=v_scale, o_ptr=o,
        **{f"stride_o{dim}": s for dim, s in zip("shd", view.stride(), strict=True)},
        seq_q=len(q), seq_k=len(k), head_dim=q.shape[-1], rows_q=rows_q, rows_k=rows_k,
        block_q=block or rows_q, block_k=block or rows_k,
        scale_log2=math.log2(math.e) / math.sqrt(q.shape[-1]), IS_CAUSAL=is_causal, BLOCK_D=BLOCK_D,
    )  # fmt: skip
    return o


call_flash_attention_v3 = attention

if __name__ == "__main__":
    from attention_ladder.script import main

    main("fp8", attention)
