"""Attention to compare with: who there is, what it must compute, and how much work that is.

Everything here takes Q, K, V of shape (heads, seq, d).
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from course.bench.clock import Clock
from course.bench.timing import Outcome, compare, failure
from course.check import assert_matches
from course.oracle import attention as exact

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]

PEERS = (
    "ours",
    "sdpa_flash",
    "sdpa_cudnn",
    "sdpa_efficient",
    "sdpa_default",
    "flex_attention",
    "naive",
)


def flops(heads: int, seq_len: int, head_dim: int, is_causal: bool, what: str = "forward") -> float:
    """Floating-point operations of one pass, counted as in FlashAttention-2 (section 4.1).

    4 heads seq² d forward, half of it when causal; 2.5 times that for the "backward" pass, which
    makes five products instead of two; both for "total".
    """
    factor = {"forward": 1.0, "backward": 2.5, "total": 3.5}[what]
    return factor * 4 * heads * seq_len**2 * head_dim * (0.5 if is_causal else 1.0)


def make(name: str, seq_len: int, is_causal: bool) -> Attention:
    """One of PEERS as ``attention(Q, K, V)``; "ours" is the FlashAttentionTriton on the path.

    Raises:
        ValueError: the name is unknown.
        ImportError: it is not in this PyTorch, or nothing of ours is on the path.
    """
    if name == "ours":
        return _ours(is_causal)
    if name == "flex_attention":
        return _flex_attention(seq_len, is_causal)
    if name == "naive":
        return lambda Q, K, V: exact.attention(Q, K, V, is_causal)
    if name in PEERS:
        return _sdpa(name.removeprefix("sdpa_"), is_causal)
    raise ValueError(f"name: expected one of {PEERS}, got {name!r}")


def _ours(is_causal: bool) -> Attention:
    import importlib

    module: Any = importlib.import_module("flash_attention.flash_attention")
    return lambda Q, K, V: module.FlashAttentionTriton.apply(Q, K, V, is_causal)


def _sdpa(backend: str, is_causal: bool) -> Attention:
    from torch.nn.attention import SDPBackend, sdpa_kernel

    chosen = {
        "flash": [SDPBackend.FLASH_ATTENTION],
        "cudnn": [SDPBackend.CUDNN_ATTENTION],
        "efficient": [SDPBackend.EFFICIENT_ATTENTION],
        "default": None,
    }[backend]
    sdpa = torch.nn.functional.scaled_dot_product_attention

    def attention(Q: Tensor, K: Tensor, V: Tensor) -> Tensor:
        # the fused backends take four dimensions only
        q, k, v = Q[None], K[None], V[None]
        if chosen is None:
            return sdpa(q, k, v, is_causal=is_causal)[0]
        with sdpa_kernel(chosen):
            return sdpa(q, k, v, is_causal=is_causal)[0]

    return attention


def _flex_attention(seq_len: int, is_causal: bool) -> Attention:
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    device = "cuda" if torch.cuda.is_available() else "cpu"
    mask = None
    if is_causal:
        mask = create_block_mask(
            lambda b, h, i, j: i >= j, None, None, seq_len, seq_len, device=device
        )
    # each shape is compiled for itself, which takes seconds and gives it its best; after eight
    # shapes dynamo would give up in silence
    torch.compiler.reset()
    # its backward pass is timed many times over one forward pass
    torch._functorch.config.donated_buffer = False
    compiled: Any = torch.compile(flex_attention, dynamic=False)

    def attention(Q: Tensor, K: Tensor, V: Tensor) -> Tensor:
        return compiled(Q[None], K[None], V[None], block_mask=mask)[0]

    return attention


def inputs(
    heads: int, seq_len: int, head_dim: int, dtype: torch.dtype, device: str
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Fresh random Q, K, V that ask for gradients, and dO."""
    Q, K, V, dO = (
        torch.randn(heads, seq_len, head_dim, dtype=dtype, device=device) for _ in range(4)
    )
    return Q.requires_grad_(), K.requires_grad_(), V.requires_grad_(), dO


def assert_right(
    attention: Attention,
    Q: Float[Tensor, "heads seq d"],
    K: Float[Tensor, "heads seq d"],
    V: Float[Tensor, "heads seq d"],
    dO: Float[Tensor, "heads seq d"],
    is_causal: bool,
) -> None:
    """Compare the first and the last head of the output and of the gradients with float64.

    Raises:
        AssertionError: says what is wrong, and where.
    """
    O = attention(Q, K, V)
    gradients = torch.autograd.grad(O, (Q, K, V), dO)
    some = [0, -1] if Q.shape[0] > 1 else [0]
    q, k, v, do, o = (t.detach()[some] for t in (Q, K, V, dO, O))
    assert_matches("O", o, exact.attention, q, k, v, is_causal)
    condition = 1.0
    if q.dtype == torch.float32:
        condition = max(1.0, exact.log_sum_exp(q, k, is_causal).abs().max().item())
    heads = [t[some] for t in gradients]
    reference = exact.attention_gradients
    assert_matches("dQ dK dV", heads, reference, q, k, v, do, is_causal, condition=condition)


def race(
    names: Sequence[str],
    heads: int,
    seq_len: int,
    head_dim: int,
    dtype: torch.dtype,
    is_causal: bool,
    clock: Clock,
    what: Sequence[str] = ("forward", "backward", "total"),
    **limits: Any,
) -> dict[str, dict[str, Outcome]]:
    """Time implementations against each other at one shape; the wrong ones get no time.

    ``limits`` are those of :func:`course.bench.timing.compare`: warmup, passes, budget_ms.

    Returns:
        name -> pass -> Outcome.
    """
    Q, K, V, dO = inputs(heads, seq_len, head_dim, dtype, clock.device)
    results: dict[str, dict[str, Outcome]] = {}
    contenders: dict[str, Attention] = {}
    for name in names:
        try:
            contenders[name] = make(name, seq_len, is_causal)
            assert_right(contenders[name], Q, K, V, dO, is_causal)
        except Exception as error:
            contenders.pop(name, None)
            results[name] = dict.fromkeys(what, failure(error))
    for one_pass in what:
        # made for one pass at a time: what a backward pass needs stays allocated
        candidates: dict[str, Callable[[], object]] = {}
        for name, attention in contenders.items():
            try:
                candidates[name] = _candidate(one_pass, attention, Q, K, V, dO)
            except Exception as error:
                results.setdefault(name, {})[one_pass] = failure(error)
        for name, outcome in compare(candidates, clock=clock, **limits).items():
            results.setdefault(name, {})[one_pass] = outcome
    return {name: results[name] for name in names}


def _candidate(
    what: str, attention: Attention, Q: Tensor, K: Tensor, V: Tensor, dO: Tensor
) -> Callable[[], object]:
    if what == "forward":
        return lambda: attention(Q, K, V)
    if what == "total":
        return lambda: torch.autograd.grad(attention(Q, K, V), (Q, K, V), dO)
    O = attention(Q, K, V)
    return lambda: torch.autograd.grad(O, (Q, K, V), dO, retain_graph=True)
