"""Attention as others compute it: PyTorch's fused kernels, FlexAttention, and the plain formula.

Each maker takes a case and returns ``attention(Q, K, V)`` on tensors of shape (heads, seq, d).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from course.bench.registry import Case, Function
from course.oracle import attention as exact


def sdpa(backend: str) -> Callable[[Case], Function]:
    """``scaled_dot_product_attention``: "flash", "cudnn", "efficient", "math", or "default"."""

    def make(case: Case) -> Function:
        from torch.nn.attention import SDPBackend, sdpa_kernel

        chosen = {
            "flash": SDPBackend.FLASH_ATTENTION,
            "cudnn": SDPBackend.CUDNN_ATTENTION,
            "efficient": SDPBackend.EFFICIENT_ATTENTION,
            "math": SDPBackend.MATH,
            "default": None,
        }[backend]
        fused = torch.nn.functional.scaled_dot_product_attention
        is_causal = case["is_causal"]

        def attention(Q: Tensor, K: Tensor, V: Tensor) -> Tensor:
            # the fused backends take four dimensions only
            q, k, v = Q[None], K[None], V[None]
            if chosen is None:
                return fused(q, k, v, is_causal=is_causal)[0]
            with sdpa_kernel(chosen):
                return fused(q, k, v, is_causal=is_causal)[0]

        return attention

    return make


def flex_attention(case: Case) -> Function:
    """FlexAttention, compiled for this shape, with a block mask when causal."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    device = "cuda" if torch.cuda.is_available() else "cpu"
    mask = None
    if case["is_causal"]:
        n = case["seq_len"]
        mask = create_block_mask(lambda b, h, i, j: i >= j, None, None, n, n, device=device)
    compiled = _compiled(flex_attention)
    return lambda Q, K, V: compiled(Q[None], K[None], V[None], block_mask=mask)[0]


def naive(case: Case) -> Function:
    """The formula: the whole score matrix in memory."""
    return lambda Q, K, V: exact.attention(Q, K, V, case["is_causal"])


def naive_compiled(case: Case) -> Function:
    """The formula under torch.compile."""
    compiled = _compiled(exact.attention)
    return lambda Q, K, V: compiled(Q, K, V, case["is_causal"])


def _compiled(function: Callable[..., Any]) -> Any:
    # each shape is compiled for itself, which takes seconds and gives it its best; after eight
    # shapes dynamo would give up in silence
    torch.compiler.reset()
    return torch.compile(function, dynamic=False)
