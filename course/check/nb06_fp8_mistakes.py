"""What the FP8 rung gives with a classic mistake, so that a wrong result can be named."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from course.check import mistakes
from course.oracle import fp8
from course.oracle.attention import attention

_BLOCK = 128  # rows that share a scale
_TILE = 64  # queries and keys, where tiles are fixed
_CLOSE, _SHOWS = 0.08, 0.2  # of a head's largest number: weights in 8 bits, and a mistake


def fp8_mistake(got: Tensor, inputs: Sequence[Tensor], is_causal: bool) -> str:
    """The mistake that gives just this result, in words that end a sentence; "" if none does.

    Args:
        got: (heads, seq, d) in float64.
        inputs: q, k, v (heads, seq, d) in float64, not rounded yet.
        is_causal: whether key j is hidden from query i if j > i.
    """
    made = _made(inputs, is_causal)
    right = made.pop("")
    for words, wrong in made.items():
        size = wrong.abs().amax((1, 2), keepdim=True)
        shows = ((wrong - right).abs() > _SHOWS * size).any()
        if shows and ((got - wrong).abs() <= _CLOSE * size).all():
            return f". This is what comes out {words}"
    return ""


def _made(inputs: Sequence[Tensor], is_causal: bool) -> dict[str, Tensor]:
    q, k, v = rounded = [fp8.quantize(t) for t in inputs]
    scales = [_scales(t) for t in inputs]
    made = {words: o[0] for words, o in mistakes.outputs(q, k, v, is_causal).items()}
    for n, name in enumerate("qkv"):
        of_head = scales[n]
        for words, scale in (
            (f"with the scale of block 0 of {name} for all of its blocks", of_head[:, :1]),
            (f"with the scale of head 0 of {name} for every head", of_head[:1]),
            (f"without the scale of {name}", torch.ones_like(of_head)),
        ):
            changed = rounded[n] / of_head * scale
            Q, K, V = (changed if n == m else t for m, t in enumerate(rounded))
            made[words] = attention(Q, K, V, is_causal)
    for words, factor in (("256 times too large", 256), ("256 times too small", 1 / 256)):
        made[f"if 2^SHIFT is in p or in l only: all of it is {words}"] = factor * made[""]
    made["if tl.exp takes the scores that are scaled for tl.exp2"] = attention(
        q * math.log2(math.e), k, v, is_causal
    )
    if is_causal:
        raw = q @ k.mT / math.sqrt(q.shape[-1])
        i, j = (torch.arange(n, device=q.device) for n in raw.shape[1:])
        raw = raw.masked_fill(j > i[:, None] // _TILE * _TILE + _TILE - 1, -math.inf)
        words = "if a query sees all keys of the tile in which the diagonal passes it"
        made[words] = torch.softmax(raw, -1) @ v
    return made


def _scales(t: Tensor) -> Tensor:
    """(heads, seq, 1): the scale of each row."""
    peaks = [
        part.abs().amax((1, 2), keepdim=True).expand(-1, part.shape[1], 1)
        for part in t.split(_BLOCK, 1)
    ]
    return torch.cat(peaks, 1).clamp(min=1e-12) / torch.finfo(fp8.E4M3).max
