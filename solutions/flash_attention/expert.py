# course: instructor
"""Attention at the speed of the best kernels for Hopper, in what the triton wheel brings.

The kernels are in expert_forward.py, expert_backward.py and expert_backward_dq.py; this is who may
use them, the two small kernels around them, and the autograd function.
"""

import math
from functools import partial
from typing import Any

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from flash_attention.flash_backward import attention_backward
from flash_attention.flash_forward import FlashAttentionTriton
from flash_attention.inputs import check_inputs, fold_heads
from flash_attention.tiles import L2_BYTES

# scores times head dim (batch * seq_q * seq_k * d) below which the launches take longer than the
# kernels: an expert's takes a dozen descriptors
LIGHT = 2**35
# Gluon is experimental: 3.9 removed what the kernels call
_TRITON = ("3.6.", "3.7.")
# (BLOCK_K, STAGES) of the forward pass and of dQ, STAGES of dK and dV, by head dim
_FORWARD = {64: (128, 3), 128: (128, 2)}
_DQ = {64: (64, 4), 128: (64, 3)}
_DKDV = {64: 4, 128: 2}


def why_not(Q: Tensor, K: Tensor, V: Tensor) -> str:
    """Why these inputs take the readable kernels; "" if they take the expert's."""
    if not triton.__version__.startswith(_TRITON):
        return f"written for the Gluon of triton 3.6 and 3.7, not of {triton.__version__}"
    if not Q.is_cuda or torch.cuda.get_device_capability(Q.device) != (9, 0):
        return "wgmma in this form is Hopper's (sm_90) alone"
    if Q.dtype not in (torch.bfloat16, torch.float16) or Q.shape[-1] not in _FORWARD:
        return "written for bfloat16 and float16 and head dims 64 and 128"
    if Q.shape[-2] % 128 or K.shape[-2] % 128:
        return "written for lengths that are multiples of 128"
    if Q.numel() * K.shape[-2] < LIGHT:
        return "so little to do that launching the kernels takes longer than they do"
    return ""


@triton.jit
def _prepare_kernel(
    o_ptr,  # (rows, D), contiguous
    do_ptr,  # (rows, D), contiguous
    l_ptr,  # (rows,)
    start_s_ptr,  # (rows,): -L / scale, where the scores begin
    start_dp_ptr,  # (rows,): -rowsum(O dO), where dP begins
    dq_ptr,  # (rows, D), float32
    scale,
    CLEAR: tl.constexpr,
    BLOCK_M: tl.constexpr,  # divides rows
    D: tl.constexpr,
):
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    offsets = rows[:, None].to(tl.int64) * D + tl.arange(0, D)[None, :]
    o = tl.load(o_ptr + offsets).to(tl.float32)
    do = tl.load(do_ptr + offsets).to(tl.float32)
    tl.store(start_dp_ptr + rows, -tl.sum(o * do, 1))
    tl.store(start_s_ptr + rows, -tl.load(l_ptr + rows) / scale)
    if CLEAR:
        tl.store(dq_ptr + offsets, tl.zeros((BLOCK_M, D), tl.float32))


def _flat(t: Tensor) -> Tensor:
    """(batch * seq, d), copied only where TMA could not read it: cheaper than slower kernels."""
    rows = fold_heads(t)
    whole = rows.shape[0] == 1 or rows.stride(0) == rows.shape[1] * rows.stride(1)
    aligned = rows.stride(2) == 1 and rows.stride(1) % 8 == 0 and rows.data_ptr() % 16 == 0
    if not (whole and aligned and rows.stride(1) > 0):
        # not contiguous(), which would return what is only misaligned as it is
        rows = rows.clone(memory_format=torch.contiguous_format)
    return rows.view(-1, t.shape[-1])


def _tile(t: Tensor, *block: int) -> Any:
    """A TMA descriptor of a (rows, d) or (rows,) tensor."""
    from triton.experimental.gluon import language as gl
    from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

    swizzle = 128 if t.ndim == 2 else 0
    layout = gl.NVMMASharedLayout(swizzle, t.element_size() * 8, t.ndim)
    return TensorDescriptor(t, list(t.shape), list(t.stride()), list(block), layout)


def _order(Q: Tensor, K: Tensor) -> dict[str, int]:
    """What the kernels need to know of the batch; see place() in tiles.py for the group."""
    rows = 2 * max(Q.shape[-2], K.shape[-2])
    return {
        "batches": Q.shape[:-2].numel(),
        "group": max(1, L2_BYTES // (rows * Q.shape[-1] * Q.element_size())),
        "seq_q": Q.shape[-2],
        "seq_k": K.shape[-2],
    }


def expert_forward(
    Q: Float[Tensor, "... q d"],
    K: Float[Tensor, "... k d"],
    V: Float[Tensor, "... k d"],
    causal: bool,
    tile: tuple[int, int] | None = None,
) -> tuple[Tensor, Tensor]:
    """O and the log-sum-exp L, of inputs that :func:`why_not` has nothing against."""
    from flash_attention.expert_forward import expert_forward_kernel

    d = Q.shape[-1]
    O = torch.empty(Q.shape, dtype=Q.dtype, device=Q.device)
    L = torch.empty(Q.shape[:-1], dtype=torch.float32, device=Q.device)
    BLOCK_K, STAGES = tile or _FORWARD[d]
    order = _order(Q, K)
    expert_forward_kernel[(order["batches"] * order["seq_q"] // 128,)](
        _tile(_flat(Q), 64, d), _tile(_flat(K), BLOCK_K, d), _tile(_flat(V), BLOCK_K, d),
        _tile(O.view(-1, d), 64, d), L, **order, scale_log2=math.log2(math.e) / math.sqrt(d),
        IS_CAUSAL=causal, BLOCK_K=BLOCK_K, D=d, STAGES=STAGES, num_warps=4,
    )  # fmt: skip
    return O, L


def expert_backward(
    Q: Float[Tensor, "... q d"],
    K: Float[Tensor, "... k d"],
    V: Float[Tensor, "... k d"],
    O: Float[Tensor, "... q d"],
    L: Float[Tensor, "... q"],
    dO: Float[Tensor, "... q d"],
    causal: bool,
    deterministic: bool,
    stages: int | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """dQ, dK, dV; where ``deterministic`` is False, dQ is added up in whatever order it comes."""
    from flash_attention.expert_backward import expert_backward_kernel
    from flash_attention.expert_backward_dq import expert_dq_kernel

    d = Q.shape[-1]
    scale = 1 / math.sqrt(d)
    # _prepare_kernel reads dO without strides
    q, k, v, do = _flat(Q), _flat(K), _flat(V), _flat(dO.contiguous())
    floats = partial(torch.empty, dtype=torch.float32, device=Q.device)
    start_s, start_dp = floats(2, q.shape[0])
    # the deterministic kernel never touches it
    sums = floats((64, 64) if deterministic else q.shape)
    _prepare_kernel[(q.shape[0] // 64,)](
        O, do, L, start_s, start_dp, sums, scale, not deterministic, 64, d)  # fmt: skip
    order = _order(Q, K)
    common = {**order, "scale": scale, "scale_log2": scale * math.log2(math.e)}
    common |= {"IS_CAUSAL": causal, "D": d, "num_warps": 4}
    dK, dV = (torch.empty(t.shape, dtype=t.dtype, device=t.device) for t in (K, V))
    dq_by = "" if deterministic else "server" if d == 64 else "both"
    expert_backward_kernel[(order["batches"] * order["seq_k"] // 128,)](
        _tile(q, 64, d), _tile(k, 128, d), _tile(v, 128, d), _tile(do, 64, d),
        _tile(dK.view(-1, d), 64, d), _tile(dV.view(-1, d), 64, d),
        _tile(start_s, 64), _tile(start_dp, 64), _tile(sums, 64, 64), **common,
        STAGES=stages or _DKDV[d], DQ_BY=dq_by, REGISTERS=216 if dq_by == "server" else 240,
    )  # fmt: skip
    dQ = torch.empty(Q.shape, dtype=Q.dtype, device=Q.device)
    if not deterministic:
        torch.mul(sums.view(Q.shape), scale, out=dQ)
        return dQ, dK, dV
    BLOCK_K, STAGES = _DQ[d]
    expert_dq_kernel[(order["batches"] * order["seq_q"] // 128,)](
        _tile(q, 64, d), _tile(k, BLOCK_K, d), _tile(v, BLOCK_K, d), _tile(do, 64, d),
        _tile(dQ.view(-1, d), 64, d), start_s, start_dp, **common, BLOCK_K=BLOCK_K, STAGES=STAGES,
    )  # fmt: skip
    return dQ, dK, dV


class FlashAttentionExpert(torch.autograd.Function):
    """``FlashAttentionExpert.apply(Q, K, V, is_causal=False, deterministic=True)``.

    Shapes, results and saved tensors are FlashAttentionTriton's, whose kernels also serve where
    :func:`why_not` has a reason. With ``deterministic=False`` the backward pass is faster, and the
    last bits of dQ may change from run to run.

    Raises:
        ValueError: names the argument that is wrong, and what it got.
    """

    @staticmethod
    def forward(ctx, Q, K, V, is_causal=False, deterministic=True):
        check_inputs(Q, K, V, runs_kernel=True)
        ctx.deterministic = deterministic
        if why_not(Q, K, V):
            return FlashAttentionTriton.forward(ctx, Q, K, V, is_causal)
        O, L = expert_forward(Q, K, V, is_causal)
        ctx.save_for_backward(Q, K, V, O, L)
        ctx.is_causal = is_causal
        return O

    @staticmethod
    @once_differentiable
    def backward(ctx, dO):
        Q, K, V, O, L = ctx.saved_tensors
        if why_not(Q, K, V):
            return *attention_backward(Q, K, V, O, L, dO, ctx.is_causal), None, None
        arguments = (Q, K, V, O, L, dO, ctx.is_causal, ctx.deterministic)
        return *expert_backward(*arguments), None, None
