"""What the attention exercises are judged against: the whole score matrix, no tiles."""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def scores(
    Q: Float[Tensor, "... q d"], K: Float[Tensor, "... k d"], is_causal: bool = False
) -> Float[Tensor, "... q k"]:
    """Scaled scores ``Q K^T / sqrt(d)``; causal hides key j from query i when j > i (-inf)."""
    S = Q @ K.transpose(-1, -2) / math.sqrt(Q.shape[-1])
    if is_causal:
        i = torch.arange(Q.shape[-2], device=Q.device)[:, None]
        j = torch.arange(K.shape[-2], device=Q.device)[None, :]
        S = S.masked_fill(j > i, float("-inf"))
    return S


def attention(
    Q: Float[Tensor, "... q d"],
    K: Float[Tensor, "... k d"],
    V: Float[Tensor, "... k d"],
    is_causal: bool = False,
) -> Float[Tensor, "... q d"]:
    """``softmax(Q K^T / sqrt(d)) V``."""
    return torch.softmax(scores(Q, K, is_causal), dim=-1) @ V


def log_sum_exp(
    Q: Float[Tensor, "... q d"], K: Float[Tensor, "... k d"], is_causal: bool = False
) -> Float[Tensor, "... q"]:
    """The natural logarithm of the softmax denominators: ``logsumexp`` of the scaled scores."""
    return torch.logsumexp(scores(Q, K, is_causal), dim=-1)


def attention_gradients(
    Q: Float[Tensor, "... q d"],
    K: Float[Tensor, "... k d"],
    V: Float[Tensor, "... k d"],
    dO: Float[Tensor, "... q d"],
    is_causal: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """dQ, dK, dV of ``(attention(Q, K, V) * dO).sum()``, by PyTorch's autograd."""
    Q, K, V = (t.detach().clone().requires_grad_() for t in (Q, K, V))
    # of a sum, because PyTorch imports sympy to compare the shapes of O and dO: 0.4 s
    dQ, dK, dV = torch.autograd.grad((attention(Q, K, V, is_causal) * dO).sum(), (Q, K, V))
    return dQ, dK, dV
