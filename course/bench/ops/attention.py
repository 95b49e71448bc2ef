"""softmax(Q K^T / sqrt(d)) V, forward and backward; tensors of shape (batch * heads, seq, d)."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from course.bench.ops import peers
from course.bench.reference import AttentionJudge
from course.bench.registry import DTYPES, Case, Function, Implementation, Op, Sizes
from course.bench.timing import Prepared


def flops(heads: int, seq_len: int, head_dim: int, is_causal: bool, what: str = "forward") -> float:
    """Floating-point operations of one pass, counted as in FlashAttention-2 (section 4.1).

    4 heads seq² d forward, half of it when causal; 2.5 times that for the "backward" pass, which
    makes five products instead of two; both for "total".
    """
    factor = {"forward": 1.0, "backward": 2.5, "total": 3.5}[what]
    return factor * 4 * heads * seq_len**2 * head_dim * (0.5 if is_causal else 1.0)


def random_inputs(case: Case, device: str) -> tuple[Tensor, ...]:
    """Q, K, V that ask for gradients, and dO, all (batch * heads, seq_len, head_dim)."""
    shape = (case["batch"] * case["heads"], case["seq_len"], case["head_dim"])
    made = [torch.randn(shape, dtype=DTYPES[case["dtype"]], device=device) for _ in range(4)]
    return *(t.requires_grad_() for t in made[:3]), made[3]


def _ours(module: str, name: str, *more: Any) -> Callable[[Case], Function]:
    def make(case: Case) -> Function:
        function: Any = getattr(importlib.import_module(module), name)
        return lambda Q, K, V: function.apply(Q, K, V, case["is_causal"], *more)

    return make


_FLASH = "flash_attention.flash_attention"
_EXPERT = "flash_attention.expert"


class Attention(Op):
    name = "attention"
    title = "softmax(Q K^T / sqrt(d)) V"
    sizes: ClassVar[Sizes] = {
        "batch": (1,),
        "heads": (16,),
        "seq_len": (1024, 4096, 8192),
        "head_dim": (64,),
    }
    dtypes = ("bf16", "fp16", "fp32")
    causal = (True, False)
    passes = ("forward", "backward", "total")
    implementations: Mapping[str, Implementation] = {
        "flash_triton": Implementation(
            _ours(_FLASH, "FlashAttentionTriton"), module=_FLASH, compiles=True, long_only=True
        ),
        "expert": Implementation(
            _ours(_EXPERT, "FlashAttentionExpert"), module=_EXPERT, compiles=True, long_only=True
        ),
        # dQ added up in the order in which its parts come: the last bits may move
        "expert_any_order": Implementation(
            _ours(_EXPERT, "FlashAttentionExpert", False),
            module=_EXPERT,
            compiles=True,
            long_only=True,
        ),
        "sdpa_flash": Implementation(peers.sdpa("flash"), dtypes=("bf16", "fp16")),
        "sdpa_cudnn": Implementation(peers.sdpa("cudnn"), dtypes=("bf16", "fp16")),
        "sdpa_efficient": Implementation(peers.sdpa("efficient")),
        "sdpa_math": Implementation(peers.sdpa("math"), largest=(("seq_len", 8192),)),
        "sdpa_default": Implementation(peers.sdpa("default")),
        "flex_attention": Implementation(
            peers.flex_attention, compiles=True, per_shape=True, keeps_graph=False
        ),
        "naive": Implementation(peers.naive),
        "naive_compiled": Implementation(
            peers.naive_compiled, compiles=True, per_shape=True, keeps_graph=False
        ),
    }

    def inputs(self, case: Case, device: str) -> tuple[Tensor, ...]:
        return random_inputs(case, device)

    def judge(
        self, case: Case, inputs: tuple[Tensor, ...], passes: Sequence[str]
    ) -> Callable[[str, Function], None]:
        return AttentionJudge(inputs, case["is_causal"], set(passes) != {"forward"})

    def candidate(
        self, what: str, function: Function, inputs: tuple[Tensor, ...], keeps_graph: bool
    ) -> Callable[[], object]:
        Q, K, V, dO = inputs
        grad = torch.autograd.grad
        if what == "forward":
            return lambda: function(Q, K, V)
        if what == "total":
            return lambda: grad(function(Q, K, V), (Q, K, V), dO)
        if keeps_graph:
            O = function(Q, K, V)
            return lambda: grad(O, (Q, K, V), dO, retain_graph=True)
        last: list[Tensor] = []
        return Prepared(
            lambda: last.append(function(Q, K, V)), lambda: grad(last.pop(), (Q, K, V), dO)
        )

    def flops(self, case: Case, what: str) -> float:
        heads = case["batch"] * case["heads"]
        return flops(heads, case["seq_len"], case["head_dim"], case["is_causal"], what)

    def moved(self, case: Case, what: str) -> float:
        # forward Q K V O; backward Q K V O dO in, dQ dK dV out; L is small beside them
        tensors = {"forward": 4, "backward": 8, "total": 12}[what]
        elements = case["batch"] * case["heads"] * case["seq_len"] * case["head_dim"]
        return tensors * elements * DTYPES[case["dtype"]].itemsize


OPS = {"attention": Attention()}
