"""What the softmax exercises are judged against."""

import torch
from jaxtyping import Float
from torch import Tensor


def softmax(x: Float[Tensor, "... n"]) -> Float[Tensor, "... n"]:
    """Softmax over the last dimension."""
    return torch.softmax(x, dim=-1)


def softmax_matmul(
    x: Float[Tensor, "batch d1 d2"], V: Float[Tensor, "batch d2 d3"]
) -> Float[Tensor, "batch d1 d3"]:
    """``softmax(x) @ V``, the softmax over d2."""
    return torch.softmax(x, dim=-1) @ V
