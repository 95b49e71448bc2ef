# course: given
"""Rung 1: attention as its formula says it, the whole score matrix in memory.

The comments count what each call reads and writes in GPU memory, in elements, with N = seq_q =
seq_k. Together 4 N^2 + 6 N d (about 6 N^2 when causal), and two N x N tensors alive at once.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from attention_ladder.inputs import check_inputs


def attention(
    q: Float[Tensor, "seq_q d"],
    k: Float[Tensor, "seq_k d"],
    v: Float[Tensor, "seq_k d"],
    is_causal: bool = False,
) -> Float[Tensor, "seq_q d"]:
    """``softmax(q k^T / sqrt(d)) v``; causal hides key j from query i if j > i.

    Raises:
        ValueError: wrong shape, dtype or device; names the argument and what it got.
    """
    check_inputs(q, k, v, runs_kernel=False)
    # reads N d, writes N d: far cheaper than scaling the N x N scores
    q = q / math.sqrt(q.shape[1])
    # reads 2 N d, writes N^2
    scores = q @ k.T
    if is_causal:
        i = torch.arange(q.shape[0], device=q.device)[:, None]
        j = torch.arange(k.shape[0], device=q.device)[None, :]
        # reads N^2, writes N^2, for half of which the product above was wasted
        scores.masked_fill_(j > i, float("-inf"))
    # reads N^2, writes N^2
    weights = torch.softmax(scores, dim=-1)
    # reads N^2 + N d, writes N d
    return weights @ v


if __name__ == "__main__":
    from attention_ladder.script import main

    main("naive", attention)
