# course: instructor
"""What each step towards the expert kernels bought, measured: a table of the performance page."""

import math
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from course.bench.clock import Clock
from course.bench.harness import why
from course.bench.reference import AttentionJudge
from course.bench.timing import Outcome, compare, failure
from flash_attention.expert import Forward, expert_backward, expert_forward, why_not
from flash_attention.flash_backward import attention_backward
from flash_attention.flash_forward import FlashAttentionTriton

HEADS, SEQ = 16, 8192


class _Attention(torch.autograd.Function):
    """A forward pass and a backward pass joined, so that they can be judged together."""

    @staticmethod
    def forward(
        ctx: Any, Q: Tensor, K: Tensor, V: Tensor, causal: bool, one: Any, other: Any
    ) -> Any:
        O, L = one(Q, K, V, causal)
        ctx.save_for_backward(Q, K, V, O, L)
        ctx.causal, ctx.other = causal, other
        return O

    @staticmethod
    def backward(ctx: Any, dO: Tensor) -> Any:
        return *ctx.other(*ctx.saved_tensors, dO, ctx.causal), None, None, None


def _readable(Q: Tensor, K: Tensor, V: Tensor, causal: bool) -> tuple[Tensor, Tensor]:
    saved: list[Tensor] = []
    ctx = SimpleNamespace(save_for_backward=lambda *tensors: saved.extend(tensors))
    return FlashAttentionTriton.forward(ctx, Q, K, V, causal), saved[4]


def _forward(*how: Any) -> Callable[..., Any]:
    return partial(expert_forward, how=Forward(*how))


def _backward(deterministic: bool, stages: int) -> Callable[..., Any]:
    return partial(expert_backward, deterministic=deterministic, stages=stages)


_READABLE = "readable: plain Triton, several programs to a multiprocessor"
_SPLIT = "one warp loads, two warpgroups of 64 queries multiply"
_LAZY = "rescales only where a maximum has grown much, exponentials beside the products"
_ONE_WALK = "warp-specialised, dQ in the same walk, added up as integers by TMA reduction"
FORWARD = {
    64: {
        _READABLE: _readable,
        f"{_SPLIT}; 128 keys, 3 stages": _forward(128, 3),
        _LAZY: _forward(128, 4, 2, True),
        "three warpgroups": _forward(128, 4, 3, True),
        "which take turns at the tensor cores (chosen)": _forward(128, 4, 3, True, True),
    },
    128: {
        _READABLE: _readable,
        f"{_SPLIT}; 64 keys, 4 stages": _forward(64, 4),
        f"{_SPLIT}; 128 keys, 2 stages (chosen)": _forward(128, 2),
        _LAZY: _forward(128, 2, 2, True),
    },
}
BACKWARD = {
    64: {
        "readable: dK and dV, then dQ, plain Triton": attention_backward,
        f"{_ONE_WALK}, by the loading warpgroup; 2 stages": _backward(True, 2),
        "3 stages": _backward(True, 3),
        "4 stages (chosen: the same bits)": _backward(True, 4),
        "dQ added up in float32 (chosen: any order)": _backward(False, 4),
    },
    128: {
        "readable: dK and dV, then dQ, plain Triton": attention_backward,
        f"{_ONE_WALK}, by the two warpgroups (chosen: the same bits)": _backward(True, 2),
        "dQ added up in float32 (chosen: any order)": _backward(False, 2),
    },
}


def rows(clock: Clock, **limits: Any) -> list[dict[str, Any]]:
    """One row for each step, head dim, mask and pass, cuDNN timed in turn with them."""
    limits = {"budget_ms": 60.0, **limits}
    made = []
    for d in (64, 128):
        for causal in (True, False):
            Q, K, V, dO = (
                torch.randn(HEADS, SEQ, d, device=clock.device, dtype=torch.bfloat16)
                for _ in range(4)
            )
            reason = why_not(Q, K, V)
            if reason:
                return [
                    {"step": "none of them runs here", "status": "unsupported", "reason": reason}
                ]
            Q, K, V = (t.requires_grad_() for t in (Q, K, V))
            judge = AttentionJudge((Q, K, V, dO), causal)
            made += _race("forward", FORWARD[d], judge, (Q, K, V, dO), causal, clock, limits)
            made += _race("backward", BACKWARD[d], judge, (Q, K, V, dO), causal, clock, limits)
    return made


def _race(
    which: str, steps: dict[str, Any], judge: AttentionJudge, inputs: tuple[Tensor, ...],
    causal: bool, clock: Clock, limits: dict[str, Any],
) -> list[dict[str, Any]]:  # fmt: skip
    Q, K, V, dO = inputs
    q, k, v = (t.detach() for t in (Q, K, V))
    with sdpa_kernel([SDPBackend.CUDNN_ATTENTION]):
        o = _cudnn(Q, K, V, causal)
    O, L = expert_forward(q, k, v, causal)
    fns: dict[str, Callable[[], object]] = {}
    failed: dict[str, Outcome] = {}
    for name, step in steps.items():
        pair = (step, attention_backward) if which == "forward" else (expert_forward, step)
        try:
            judge(name, partial(_joined, causal, pair))
        except Exception as error:
            failed[name] = failure(error)
            continue
        if which == "forward":
            fns[name] = partial(step, q, k, v, causal)
        else:
            fns[name] = partial(step, q, k, v, O, L, dO, causal)
    if which == "forward":
        fns["cudnn"] = lambda: _cudnn(q, k, v, causal)
    else:
        fns["cudnn"] = lambda: torch.autograd.grad(o, (Q, K, V), dO, retain_graph=True)
    with sdpa_kernel([SDPBackend.CUDNN_ATTENTION]):
        done = compare(fns, clock=clock, **limits) | failed
    cudnn = done.pop("cudnn").ms or math.nan
    flops = {"forward": 4, "backward": 10}[which] * HEADS * SEQ**2 * q.shape[-1] / (1 + causal)
    return [
        {
            "pass": which,
            "head_dim": q.shape[-1],
            "mask": "causal" if causal else "full",
            "step": name,
            "ms": ms,
            "TFLOP_per_s": flops / ms / 1e9 if ms else None,
            "cudnn_ms": cudnn,
            "speed_against_cudnn": cudnn / ms if ms else None,
            **why([done[name]]),
        }
        for name in steps
        for ms in [done[name].ms]
    ]


def _joined(causal: bool, pair: tuple[Any, Any], Q: Tensor, K: Tensor, V: Tensor) -> Tensor:
    return _Attention.apply(Q, K, V, causal, *pair)


def _cudnn(Q: Tensor, K: Tensor, V: Tensor, causal: bool) -> Tensor:
    sdpa = torch.nn.functional.scaled_dot_product_attention
    return sdpa(Q[None], K[None], V[None], is_causal=causal)[0]
