# course: exercise
"""dK and dV (bonus): a program owns a tile of keys and walks over the queries that see them.

Method: T. Dao, "FlashAttention-2" (2023), algorithm 2.
"""

import math

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from flash_attention.configurations import DK, DKDV, DV, launch, tuned
from flash_attention.tiles import load_tile, place, store_tile, tile_arguments

# fmt: off
### BEGIN SOLUTION hw3-9 the dK and dV kernel


@triton.jit
def _dkdv_kernel(
    q, k, v, do,  # (batch, seq_q or seq_k, head_dim): descriptors or pointers
    l_ptr, delta_ptr,  # (batch, seq_q), contiguous
    dk_ptr, dv_ptr,  # (batch, seq_k, head_dim), contiguous
    stride_qb, stride_qn, stride_qd,  # elements
    stride_kb, stride_kn, stride_kd,
    stride_vb, stride_vn, stride_vd,
    stride_dob, stride_don, stride_dod,
    batches, group,  # see place()
    seq_q, seq_k, head_dim,
    scale,  # 1 / sqrt(head_dim)
    IS_CAUSAL: tl.constexpr, WANT_DK: tl.constexpr, WANT_DV: tl.constexpr,
    DESCRIPTORS: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_D: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr,
):
    LOG2_E: tl.constexpr = 1.4426950408889634
    # with causal masking the first keys are seen by the most queries
    tiles = tl.cdiv(seq_k, BLOCK_K)
    rank, batch = place(tl.program_id(0), tiles, batches, group)
    start_k = rank * BLOCK_K
    keys = start_k + tl.arange(0, BLOCK_K)
    k_tile = load_tile(k, batch, start_k, stride_kb, stride_kn, stride_kd, seq_k, head_dim,
                       BLOCK_K, BLOCK_D, DESCRIPTORS)
    v_tile = load_tile(v, batch, start_k, stride_vb, stride_vn, stride_vd, seq_k, head_dim,
                       BLOCK_K, BLOCK_D, DESCRIPTORS)

    first = 0
    if IS_CAUSAL:
        first = start_k // BLOCK_Q * BLOCK_Q

    dk = tl.zeros((BLOCK_K, BLOCK_D), tl.float32)
    dv = tl.zeros((BLOCK_K, BLOCK_D), tl.float32)
    # all tiles transposed: keys down, queries across
    for start in range(first, seq_q, BLOCK_Q):
        rows = start + tl.arange(0, BLOCK_Q)
        q_tile = load_tile(q, batch, start, stride_qb, stride_qn, stride_qd, seq_q, head_dim,
                           BLOCK_Q, BLOCK_D, DESCRIPTORS)
        do_tile = load_tile(do, batch, start, stride_dob, stride_don, stride_dod, seq_q, head_dim,
                            BLOCK_Q, BLOCK_D, DESCRIPTORS)
        # of queries that are not there q and dO are 0, so that p, which is 1, adds nothing
        l = tl.load(l_ptr + batch * seq_q + rows, mask=rows < seq_q, other=0.0)
        delta = tl.load(delta_ptr + batch * seq_q + rows, mask=rows < seq_q, other=0.0)
        s = tl.dot(k_tile, q_tile.T, input_precision=PRECISION)
        if WANT_DK:
            # before the exponentials, which are taken while the tensor cores make dP
            dp = tl.dot(v_tile, do_tile.T, input_precision=PRECISION)
        p = tl.exp2(s * (scale * LOG2_E) - (l * LOG2_E)[None, :])
        if IS_CAUSAL:
            # in every tile: a second loop for the full ones saves this and costs more, because
            # dk and dv are moved between the two, and ptxas then waits for every wgmma (C7515)
            p = tl.where(keys[:, None] <= rows[None, :], p, 0.0)
        if WANT_DK:
            ds = p * (dp - delta[None, :])
            dk = tl.dot(ds.to(q_tile.dtype), q_tile, dk, input_precision=PRECISION)
        if WANT_DV:
            dv = tl.dot(p.to(do_tile.dtype), do_tile, dv, input_precision=PRECISION)
    if WANT_DK:
        store_tile(dk_ptr, dk * scale, batch, start_k, seq_k, head_dim, BLOCK_K, BLOCK_D)
    if WANT_DV:
        store_tile(dv_ptr, dv, batch, start_k, seq_k, head_dim, BLOCK_K, BLOCK_D)


_DKDV, _DV, _DK = (tuned(_dkdv_kernel, choices) for choices in (DKDV, DV, DK))
### END SOLUTION
### BEGIN STUB
# # room for a kernel
### END STUB
# fmt: on


def backward_dkdv(
    Q: Float[Tensor, "batch q d"],
    K: Float[Tensor, "batch k d"],
    V: Float[Tensor, "batch k d"],
    O: Float[Tensor, "batch q d"],
    L: Float[Tensor, "batch q"],
    dO: Float[Tensor, "batch q d"],
    delta: Float[Tensor, "batch q"],
    is_causal: bool,
) -> tuple[Float[Tensor, "batch k d"], Float[Tensor, "batch k d"]]:
    """The gradients of K and V; dO contiguous."""
    ### BEGIN SOLUTION hw3-9 allocate dK and dV and launch the kernel
    seq_k, d = K.shape[1:]
    dK = torch.empty(K.shape, dtype=K.dtype, device=K.device)
    dV = torch.empty(V.shape, dtype=V.dtype, device=V.device)
    # rows above 256 bytes: the registers do not hold the sums of both, so dV, then dK
    apart = d * K.element_size() > 256
    for wanted, choices in (("V", _DV), ("K", _DK)) if apart else (("KV", _DKDV),):
        launch(
            _dkdv_kernel, choices, K, seq_k, "BLOCK_K",
            **tile_arguments(q=Q, k=K, v=V, do=dO), l_ptr=L, delta_ptr=delta, dk_ptr=dK, dv_ptr=dV,
            seq_q=Q.shape[1], seq_k=seq_k, head_dim=d, scale=1 / math.sqrt(d),
            IS_CAUSAL=is_causal, WANT_DK="K" in wanted, WANT_DV="V" in wanted,
        )  # fmt: skip
    return dK, dV
    ### END SOLUTION
    ### BEGIN STUB
    # # works as it is, with homework 2; the bonus is to launch a kernel of your own instead
    # from flash_attention.flash_pytorch import attention_backward_impl
    #
    # sqrt_d = math.sqrt(Q.shape[-1])
    # return attention_backward_impl(Q, K, V, L, O, dO, sqrt_d, is_causal)[1:3]
    ### END STUB
