# course: instructor
"""Attention at the speed of the best kernels for Hopper, in what the triton wheel brings.

The kernels are in expert_forward.py, expert_backward.py and expert_sums.py; this is who may use
them, how they are launched, and the autograd function.
"""

import math
from functools import lru_cache
from typing import Any, NamedTuple

import torch
import triton
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from flash_attention.expert_sums import finish_kernel, largest_kernel, prepare_kernel
from flash_attention.flash_backward import attention_backward
from flash_attention.flash_forward import FlashAttentionTriton
from flash_attention.inputs import check_inputs, fold_heads
from flash_attention.tiles import L2_BYTES

# scores times head dim (batch * seq_q * seq_k * d) below which programs of 128 or 192 queries are
# too few to fill the chip, and a dozen descriptors take longer to make than the kernels to run
LIGHT = 2**30
# Gluon is experimental: 3.9 removed what the kernels call
_TRITON = ("3.6.", "3.7.")


class Forward(NamedTuple):
    """How the forward kernel works; its constants are explained there."""

    BLOCK_K: int
    STAGES: int
    WARPGROUPS: int = 2
    LAZY: bool = False
    TURNS: bool = False


# by head dim; STAGES of the backward pass
_FORWARD = {
    64: Forward(128, 4, 3, LAZY=True, TURNS=True),
    128: Forward(128, 2),
    256: Forward(64, 2, LAZY=True),
}
_STAGES = {64: 4, 128: 2}


def why_not(Q: Tensor, K: Tensor, V: Tensor) -> str:
    """Why these inputs take the readable kernels; "" if they take the expert's."""
    if not triton.__version__.startswith(_TRITON):
        return f"written for the Gluon of triton 3.6 and 3.7, not of {triton.__version__}"
    if not Q.is_cuda or torch.cuda.get_device_capability(Q.device) != (9, 0):
        return "wgmma in this form is Hopper's (sm_90) alone"
    if Q.dtype not in (torch.bfloat16, torch.float16) or Q.shape[-1] not in _FORWARD:
        return "written for bfloat16 and float16 and head dims 64, 128 and, forward, 256"
    if Q.shape[-2] % 128 or K.shape[-2] % 128:
        return "written for lengths that are multiples of 128"
    if Q.numel() * K.shape[-2] < LIGHT:
        return "too little to do to fill the chip"
    return ""


def _flat(t: Tensor) -> Tensor:
    """(batch * seq, d), copied only where TMA could not read it: cheaper than slower kernels."""
    rows = fold_heads(t)
    whole = rows.shape[0] == 1 or rows.stride(0) == rows.shape[1] * rows.stride(1)
    aligned = rows.stride(2) == 1 and rows.stride(1) % 8 == 0 and rows.data_ptr() % 16 == 0
    if not (whole and aligned and rows.stride(1) > 0):
        # not contiguous(), which would return what is only misaligned as it is
        rows = rows.clone(memory_format=torch.contiguous_format)
    return rows.view(-1, t.shape[-1])


@lru_cache
def _layout(bits: int, ndim: int) -> Any:
    """How a tile lies in shared memory; made once, because making it takes 10 us."""
    from triton.experimental.gluon import language as gl

    return gl.NVMMASharedLayout(128 if ndim == 2 else 0, bits, ndim)


def _tile(t: Tensor, *block: int) -> Any:
    """A TMA descriptor of a (rows, d) or (rows,) tensor."""
    from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

    layout = _layout(t.element_size() * 8, t.ndim)
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


def _small(order: dict[str, int], causal: bool, processors: int) -> int:
    """How many programs of each batch entry take 128 queries, when the others take 192.

    Two of 192 queries are three of 128. As few programs as can be are the fastest by themselves,
    but of a full mask all take the same time, and the last round of them leaves multiprocessors
    without one: there as many small ones as fill that round. Causal programs end one by one.
    """
    tiles = order["seq_q"] // 128
    pairs = tiles // 3
    if not causal:
        rounds = triton.cdiv(order["batches"] * (tiles - pairs), processors)
        pairs = max(0, tiles - rounds * processors // order["batches"])
    return tiles - 3 * pairs


def expert_forward(
    Q: Float[Tensor, "... q d"],
    K: Float[Tensor, "... k d"],
    V: Float[Tensor, "... k d"],
    causal: bool,
    how: Forward | None = None,
) -> tuple[Tensor, Tensor]:
    """O and the log-sum-exp L, of inputs that :func:`why_not` has nothing against."""
    from flash_attention.expert_forward import expert_forward_kernel

    d = Q.shape[-1]
    O = torch.empty(Q.shape, dtype=Q.dtype, device=Q.device)
    L = torch.empty(Q.shape[:-1], dtype=torch.float32, device=Q.device)
    how = how or _FORWARD[d]
    order = _order(Q, K)
    processors = torch.cuda.get_device_properties(Q.device).multi_processor_count
    small = _small(order, causal, processors) if how.WARPGROUPS == 3 else 0
    programs = small + (order["seq_q"] - 128 * small) // (64 * how.WARPGROUPS)
    expert_forward_kernel[(order["batches"] * programs,)](
        _tile(_flat(Q), 64, d), _tile(_flat(K), how.BLOCK_K, d), _tile(_flat(V), how.BLOCK_K, d),
        _tile(O.view(-1, d), 64, d), L, **order, small=small,
        scale_log2=math.log2(math.e) / math.sqrt(d),
        IS_CAUSAL=causal, D=d, **how._asdict(), num_warps=4,
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
    """dQ, dK, dV; where ``deterministic`` is False, dQ is added up in float32, in any order."""
    from flash_attention.expert_backward import expert_backward_kernel

    d = Q.shape[-1]
    scale = 1 / math.sqrt(d)
    # prepare_kernel reads dO without strides
    q, k, v, do = _flat(Q), _flat(K), _flat(V), _flat(dO.contiguous())
    order = _order(Q, K)
    start_s, start_dp, units = torch.empty((3, q.shape[0]), dtype=torch.float32, device=Q.device)
    kind = torch.int32 if deterministic else torch.float32
    sums = torch.empty(q.shape, dtype=kind, device=Q.device)
    largest = torch.zeros((order["batches"], 2), dtype=torch.int32, device=Q.device)
    if deterministic:
        largest_kernel[(k.shape[0] // 128,)](
            k, v, largest, k.stride(0), v.stride(0), K.shape[-2], 128, d)  # fmt: skip
    prepare_kernel[(q.shape[0] // 64,)](
        O, do, L, start_s, start_dp, sums, largest, units, scale, Q.shape[-2], 64, d)  # fmt: skip
    dK, dV = (torch.empty(t.shape, dtype=t.dtype, device=t.device) for t in (K, V))
    expert_backward_kernel[(order["batches"] * order["seq_k"] // 128,)](
        _tile(q, 64, d), _tile(k, 128, d), _tile(v, 128, d), _tile(do, 64, d),
        _tile(dK.view(-1, d), 64, d), _tile(dV.view(-1, d), 64, d),
        _tile(start_s, 64), _tile(start_dp, 64), _tile(units, 64), _tile(sums, 64, 64), **order,
        scale=scale, scale_log2=scale * math.log2(math.e), IS_CAUSAL=causal, D=d,
        STAGES=stages or _STAGES[d], REGISTERS=216 if d == 64 else 240, num_warps=4,
    )  # fmt: skip
    dQ = torch.empty(Q.shape, dtype=Q.dtype, device=Q.device)
    if deterministic:
        finish_kernel[(q.shape[0] // 64,)](sums, units, dQ, scale, 64, d)
    else:
        torch.mul(sums.view(Q.shape), scale, out=dQ)
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
        if why_not(Q, K, V) or Q.shape[-1] not in _STAGES:
            return *attention_backward(Q, K, V, O, L, dO, ctx.is_causal), None, None
        arguments = (Q, K, V, O, L, dO, ctx.is_causal, ctx.deterministic)
        return *expert_backward(*arguments), None, None
