# course: exercise
"""Rung 4 (v1): a tile of queries against tiles of keys, in float32, the output cut into features.

What changed: a tile of keys, read once, now serves a whole tile of queries, and both products are
``tl.dot``. K and V are read seq_q / BLOCK_Q times instead of seq_q times.

Why tiles of features: a program keeps an accumulator of BLOCK_Q x BLOCK_V numbers in registers. A
narrow one leaves room for more queries, and gives more programs where one head has few tiles.
What it costs: each program needs the scores, so a query tile's scores are computed once for each
of its feature tiles: with two of them 3 products instead of 2, and the exponentials twice. In 16
bits a tile takes half the room, the whole width fits, and the next rung stops doing it.

Online softmax: Milakov & Gimelshein (2018), section 3; by tiles: Dao et al., "FlashAttention"
(2022), algorithm 1.
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
def _attention_tiled_kernel(
    q_ptr, k_ptr, v_ptr, o_ptr,  # (seq_q, heads, head_dim), (seq_k, heads, head_dim) twice, as q
    stride_qs, stride_qh, stride_qd,  # elements from one query, head, component to the next
    stride_ks, stride_kh, stride_kd,
    stride_vs, stride_vh, stride_vd,
    stride_os, stride_oh, stride_od,
    seq_q, seq_k, head_dim, scale,
    IS_CAUSAL: tl.constexpr,  # query i sees keys 0 to i; tiles beyond the last query are not read
    PRECISION: tl.constexpr,
    BLOCK_D: tl.constexpr,  # power of two >= head_dim
    BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr,
    BLOCK_V: tl.constexpr,  # features of the output that one program computes
):
    # fmt: on
    # heads share nothing: from here on there is one
    head = tl.program_id(2).to(tl.int64)
    q_ptr += head * stride_qh
    k_ptr += head * stride_kh
    v_ptr += head * stride_vh
    o_ptr += head * stride_oh
    d = tl.arange(0, BLOCK_D)
    ### BEGIN SOLUTION nb06-2 tiles of queries, keys and features
    i = tl.program_id(0) * BLOCK_Q + tl.arange(0, BLOCK_Q)
    f = tl.program_id(1) * BLOCK_V + tl.arange(0, BLOCK_V)
    q_mask = (i[:, None] < seq_q) & (d[None, :] < head_dim)
    q_ptrs = q_ptr + i[:, None].to(tl.int64) * stride_qs + d[None, :] * stride_qd
    q = tl.load(q_ptrs, mask=q_mask, other=0.0).to(tl.float32)
    # inside a tile 32 bits are enough, and take half the registers
    j = tl.arange(0, BLOCK_K)
    k_tile = j[:, None] * stride_ks + d[None, :] * stride_kd
    v_tile = j[:, None] * stride_vs + f[None, :] * stride_vd
    m = tl.full((BLOCK_Q,), float("-inf"), tl.float32)
    l = tl.zeros((BLOCK_Q,), tl.float32)
    acc = tl.zeros((BLOCK_Q, BLOCK_V), tl.float32)
    end = seq_k
    if IS_CAUSAL:
        # no query of this tile sees a key beyond its last one
        end = tl.minimum(seq_k, (tl.program_id(0) + 1) * BLOCK_Q)
    for start in range(0, end, BLOCK_K):
        keys = start + j
        k_mask = (keys[:, None] < seq_k) & (d[None, :] < head_dim)
        k = tl.load(k_ptr + k_tile, mask=k_mask, other=0.0).to(tl.float32)
        s = tl.dot(q, k.T, input_precision=PRECISION) * scale
        visible = keys[None, :] < seq_k
        if IS_CAUSAL:
            visible = visible & (keys[None, :] <= i[:, None])
        s = tl.where(visible, s, float("-inf"))
        m_new = tl.maximum(m, tl.max(s, 1))
        alpha = tl.exp(m - m_new)
        p = tl.exp(s - m_new[:, None])
        l = l * alpha + tl.sum(p, 1)
        v_mask = (keys[:, None] < seq_k) & (f[None, :] < head_dim)
        v = tl.load(v_ptr + v_tile, mask=v_mask, other=0.0).to(tl.float32)
        acc = tl.dot(p, v, acc * alpha[:, None], input_precision=PRECISION)
        m = m_new
        k_ptr += BLOCK_K * stride_ks
        v_ptr += BLOCK_K * stride_vs
    o_mask = (i[:, None] < seq_q) & (f[None, :] < head_dim)
    o_ptrs = o_ptr + i[:, None].to(tl.int64) * stride_os + f[None, :] * stride_od
    tl.store(o_ptrs, acc / l[:, None], mask=o_mask)
    ### END SOLUTION


# fmt: off
_TILES = {  # queries, keys, warps, stages, features
    (4, 64): [config(128, 64, 8, 2, BLOCK_V=64), config(64, 64, 4, 2, BLOCK_V=64),
              config(64, 32, 4, 2, BLOCK_V=32)],
    (4, 128): [config(64, 32, 8, 2, BLOCK_V=64), config(32, 32, 4, 2, BLOCK_V=64),
               config(32, 32, 8, 1, BLOCK_V=128)],
    (4, 256): [config(32, 32, 8, 1, BLOCK_V=64), config(16, 32, 8, 1, BLOCK_V=128),
               config(16, 16, 4, 1, BLOCK_V=64)],
}
# fmt: on
_TUNED = tuned(_attention_tiled_kernel, _TILES)


def attention(
    q: Float[Tensor, "seq_q *heads d"],
    k: Float[Tensor, "seq_k *heads d"],
    v: Float[Tensor, "seq_k *heads d"],
    is_causal: bool = False,
) -> Float[Tensor, "seq_q *heads d"]:
    """``softmax(q k^T / sqrt(d)) v``, in float32; causal hides key j from query i if j > i.

    One head is a grid of query tiles x feature tiles; further heads are its third axis. Memory: the
    output and nothing else. Products follow ``torch.get_float32_matmul_precision()``.

    Raises:
        ValueError: wrong shape, dtype or device; names the argument and what it got.
    """
    check_inputs(q, k, v, heads=True)
    o = torch.empty_like(q, memory_format=torch.contiguous_format)
    arguments = arguments_for(q=q, k=k, v=v, o=o)
    BLOCK_D = arguments["BLOCK_D"]
    fixed = fixed_tiles(q, 4, BLOCK_D) | {"BLOCK_V": min(64, BLOCK_D)}

    def grid(meta: dict[str, int]) -> tuple[int, int, int]:
        heads = q.shape[1] if q.ndim == 3 else 1
        features = triton.cdiv(q.shape[-1], meta["BLOCK_V"])
        return triton.cdiv(len(q), meta["BLOCK_Q"]), features, heads

    launch(
        _attention_tiled_kernel, _TUNED, grid, 4, fixed, **arguments,
        scale=1 / math.sqrt(q.shape[-1]), IS_CAUSAL=is_causal, PRECISION=precision(q),
    )  # fmt: skip
    return o


call_flash_attention_v1 = attention

if __name__ == "__main__":
    from attention_ladder.script import main

    main("tiled", attention)
