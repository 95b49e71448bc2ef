"""Attention and its gradients, exact at any length: the score matrix a few rows at a time.

The formula is that of :mod:`course.oracle.attention`, written out so that no more than
``ROWS`` x seq_k scores are alive. At 32,768 tokens the whole matrix of one head would take 8.6 GB
in float64, several times over.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from course.check import assert_matches

ROWS = 1024


def attention_and_gradients(
    Q: Float[Tensor, "heads q d"],
    K: Float[Tensor, "heads k d"],
    V: Float[Tensor, "heads k d"],
    dO: Float[Tensor, "heads q d"],
    is_causal: bool,
) -> tuple[tuple[Tensor, ...], float]:
    """O, dQ, dK, dV of shape (heads, seq, d), and the largest absolute log-sum-exp.

    In 16 bits each product's result is rounded as PyTorch's own attention rounds it; sums over
    chunks are kept in float32, as inside one product.
    """
    scale = 1 / math.sqrt(Q.shape[-1])
    dtype = Q.dtype
    wide = torch.float32 if dtype.itemsize == 2 else dtype
    j = torch.arange(K.shape[-2], device=Q.device)
    results: list[list[Tensor]] = [[], [], [], []]
    largest = 0.0
    for q, k, v, do in zip(Q, K, V, dO, strict=True):
        rows_of_O, rows_of_dQ = [], []
        dK, dV = torch.zeros_like(k, dtype=wide), torch.zeros_like(v, dtype=wide)
        for start in range(0, len(q), ROWS):
            rows = slice(start, start + ROWS)
            s = (q[rows] @ k.T).mul_(scale)
            if is_causal:
                i = torch.arange(start, start + len(s), device=Q.device)
                s.masked_fill_(j[None, :] > i[:, None], float("-inf"))
            largest = max(largest, torch.logsumexp(s.to(wide), -1).abs().max().item())
            p = torch.softmax(s, -1)
            del s
            rows_of_O.append(p @ v)
            dp = (do[rows] @ v.T).to(wide)
            ds = dp.sub_((p * dp).sum(-1, keepdim=True)).mul_(p).to(dtype)
            del dp
            rows_of_dQ.append((ds @ k).mul_(scale))
            dK += ds.T.to(wide) @ q[rows].to(wide)
            dV += p.T.to(wide) @ do[rows].to(wide)
        head = (torch.cat(rows_of_O), torch.cat(rows_of_dQ), dK.mul_(scale).to(dtype), dV.to(dtype))
        for kept, one in zip(results, head, strict=True):
            kept.append(one)
    return tuple(torch.stack(kept) for kept in results), largest


class AttentionJudge:
    """Judges attention by its first and last head, with float64 computed once for all who ask.

    Args:
        gradients: whether dQ, dK, dV are asked for and judged too.
    """

    def __init__(self, inputs: tuple[Tensor, ...], is_causal: bool, gradients: bool = True):
        self._inputs = inputs
        heads = inputs[0].shape[0]
        self._some = [0, heads - 1] if heads > 1 else [0]
        self._causal = is_causal
        self._gradients = gradients
        self._known: dict[torch.dtype, tuple[tuple[Tensor, ...], float]] = {}

    def __call__(self, name: str, attention) -> None:
        """Raises AssertionError, in words, where attention(Q, K, V) or its gradients are wrong."""
        Q, K, V, dO = self._inputs
        chosen = [t.detach()[self._some] for t in (Q, K, V, dO)]
        tf32 = Q.dtype == torch.float32 and torch.get_float32_matmul_precision() != "highest"
        eps = 2.0**-10 if tf32 else None
        condition = 1.0
        if Q.dtype == torch.float32:
            condition = max(1.0, self._exact(*[t.double() for t in chosen])[1])

        def output(*tensors: Tensor) -> Tensor:
            return self._exact(*tensors)[0][0]

        def gradients(*tensors: Tensor) -> tuple[Tensor, ...]:
            return self._exact(*tensors)[0][1:]

        O = attention(Q, K, V)
        _assert_finite("O", O)
        some = O.detach()[self._some]
        assert_matches("O", some, output, *chosen, eps=eps, condition=condition)
        if not self._gradients:
            return
        got = torch.autograd.grad(O, (Q, K, V), dO)
        for which, tensor in zip(("dQ", "dK", "dV"), got, strict=True):
            _assert_finite(which, tensor)
        ours = [tensor[self._some] for tensor in got]
        assert_matches("dQ dK dV", ours, gradients, *chosen, eps=eps, condition=condition)

    def _exact(self, *tensors: Tensor) -> tuple[tuple[Tensor, ...], float]:
        Q, K, V, dO = tensors
        dtype = Q.dtype
        if dtype not in self._known:
            self._known[dtype] = attention_and_gradients(Q, K, V, dO, self._causal)
        return self._known[dtype]


def _assert_finite(name: str, tensor: Tensor) -> None:
    assert isinstance(tensor, Tensor), f"{name}: expected a tensor, got {type(tensor).__name__}"
    broken = ~torch.isfinite(tensor).flatten(1).all(1)
    assert not broken.any(), (
        f"{name} holds NaN or infinity in {int(broken.sum())} of {len(broken)} heads, "
        f"first in head {int(broken.nonzero()[0])}"
    )
