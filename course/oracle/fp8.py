"""FP8 attention in PyTorch, and how far rounding to 8 bits can move its result.

Tensors are (heads, seq, d) here. The rule for one number: a format with p bits of mantissa rounds x
to x (1 + e), |e| <= 2^-(p+1), down to its smallest normal number, and by half a step of its
subnormal numbers at most below that.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from course.oracle.attention import scores

E4M3 = torch.float8_e4m3fn


def relative_error(dtype: torch.dtype = E4M3) -> float:
    """The largest relative error of rounding a normal number: half of ``eps``."""
    return torch.finfo(dtype).eps / 2


def smallest_step(dtype: torch.dtype = E4M3) -> float:
    """The distance between subnormal numbers."""
    return torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps


def quantize(
    x: Float[Tensor, "heads seq d"], block: int | None = 128, dtype: torch.dtype = E4M3
) -> Float[Tensor, "heads seq d"]:
    """x as 8 bits and a scale for each ``block`` rows of a head (None: for all) can say it."""
    parts = x.split(block or x.shape[1], dim=1)
    return torch.cat([_rounded(part, dtype) for part in parts], dim=1)


def _rounded(x: Tensor, dtype: torch.dtype) -> Tensor:
    scale = x.abs().amax((1, 2), keepdim=True).float().clamp(min=1e-12) / torch.finfo(dtype).max
    return (x.float() / scale).to(dtype).to(x.dtype) * scale.to(x.dtype)


def attention(
    Q: Float[Tensor, "heads q d"],
    K: Float[Tensor, "heads k d"],
    V: Float[Tensor, "heads k d"],
    is_causal: bool = False,
    block: int | None = 128,
    dtype: torch.dtype = E4M3,
) -> Float[Tensor, "heads q d"]:
    """``softmax(Q K^T / sqrt(d)) V`` with Q, K, V and the weights rounded to 8 bits.

    The weights are rounded as 256 times themselves, relative to the largest of their row.
    """
    Q, K, V = (quantize(t, block, dtype) for t in (Q, K, V))
    S = scores(Q, K, is_causal)
    P = torch.exp(S - S.amax(-1, keepdim=True))
    rounded = (P * 256).float().to(dtype).to(P.dtype) / 256
    return rounded @ V / P.sum(-1, keepdim=True)


def weight_error(
    Q: Float[Tensor, "heads q d"],
    K: Float[Tensor, "heads k d"],
    V: Float[Tensor, "heads k d"],
    is_causal: bool = False,
    dtype: torch.dtype = E4M3,
) -> Float[Tensor, "heads q d"]:
    """The most that rounding the weights alone can move each output, in float64.

    Weights are multiplied by 256 before they are rounded, so subnormal steps are 256 times finer.
    A kernel rounds relative to a running maximum; what it rounded is later made smaller, its error
    with it.
    """
    S = scores(Q.double(), K.double(), is_causal)
    P = torch.exp(S - S.amax(-1, keepdim=True))
    coarse = torch.where(S.isinf(), 0.0, smallest_step(dtype) / 2 / 256)
    moved = torch.maximum(P * relative_error(dtype), coarse)
    return moved @ V.double().abs() / P.sum(-1, keepdim=True)
