"""What the upper rungs give with mistakes of their own, so that a wrong result can be named."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from course.check import mistakes
from course.oracle import fp8
from course.oracle.attention import attention, scores

_BLOCK = 128  # rows that share a scale
_TILE = 64  # queries and keys, where tiles are fixed
_SHOWS = 0.2  # of a head's largest number: what a mistake changes, or it explains nothing


def rung_mistake(got: Tensor, inputs: Sequence[Tensor], is_causal: bool) -> str:
    """The mistake that gives just this result, as a sentence; "" if none does.

    Args:
        got: (heads, seq, d).
        inputs: q, k, v (heads, seq, d).
        is_causal: whether key j is hidden from query i if j > i.
    """
    q, k, v = (t.double() for t in inputs)
    right = attention(q, k, v, is_causal)
    close = 1e-3 if got.dtype == torch.float32 else 2e-2
    return _named(got.double(), right, _of_rungs(q, k, v, is_causal), close)


def fp8_mistake(got: Tensor, inputs: Sequence[Tensor], is_causal: bool) -> str:
    """The same for the FP8 rung and inputs that are not rounded yet."""
    q, k, v = rounded = [fp8.quantize(t.double()) for t in inputs]
    scales = [_scales(t) for t in inputs]
    made = {words: o for words, (o,) in mistakes.outputs(q, k, v, is_causal).items()}
    right = made.pop("")
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
        made[f"if 2^SHIFT is in p or in l only: all of it is {words}"] = factor * right
    made |= _of_rungs(q, k, v, is_causal)
    return _named(got.double(), right, made, 0.08)  # what rounding weights to 8 bits changes


def _named(got: Tensor, right: Tensor, made: dict[str, Tensor], close: float) -> str:
    if got.shape != right.shape:
        return ""
    for words, wrong in made.items():
        size = wrong.abs().amax((1, 2), keepdim=True)
        shows = ((wrong - right).abs() > _SHOWS * size).any()
        if shows and ((got - wrong).abs() <= close * size).all():
            return f"This is what comes out {words}."
    return ""


def _of_rungs(q: Tensor, k: Tensor, v: Tensor, is_causal: bool) -> dict[str, Tensor]:
    K, V = (t[:1].expand_as(t) for t in (k, v))
    made = {
        "if tl.exp2 takes scores without the factor log2(e)": attention(
            q * math.log(2), k, v, is_causal
        ),
        "if tl.exp takes scores with the factor log2(e)": attention(
            q * math.log2(math.e), k, v, is_causal
        ),
        "if every head takes the values of head 0": attention(q, k, V, is_causal),
        "if every head takes the keys of head 0": attention(q, K, v, is_causal),
        "if every head takes the keys and values of head 0": attention(q, K, V, is_causal),
    }
    if is_causal:
        raw = scores(q, k)
        i, j = (torch.arange(n, device=q.device) for n in raw.shape[1:])
        end = i // _TILE * _TILE + _TILE - 1  # of the tile that the diagonal crosses
        whole = torch.where(end < len(j) // _TILE * _TILE, end, i)
        crossed = "if a query sees all keys of the tile that the diagonal crosses"
        for words, last in (
            ("if query i sees key i + 1, too", i + 1),
            (
                "if query i sees key i + 1, too, where the walk gets there",
                torch.minimum(i + 1, end),
            ),
            (crossed, end),
            (f"{crossed}, but for the last tile", whole),
        ):
            seen = raw.masked_fill(j > last[:, None], -math.inf)
            made[words] = torch.softmax(seen, -1) @ v
    return made


def _scales(t: Tensor) -> Tensor:
    """(heads, seq, 1): the scale of each row."""
    peaks = [
        part.abs().amax((1, 2), keepdim=True).expand(-1, part.shape[1], 1)
        for part in t.split(_BLOCK, 1)
    ]
    return torch.cat(peaks, 1).clamp(min=1e-12) / torch.finfo(fp8.E4M3).max
