"""What comes out with a classic mistake, so that a wrong result can be named."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from course.check.close import assert_matches
from course.oracle.attention import attention_gradients
from course.oracle.softmax import softmax_matmul

TILES = (16, 32, 64, 128)  # of keys or columns, in which a learner may have worked


@contextmanager
def named(
    names: tuple[str, ...], got: object, made: Callable[[], dict[str, tuple[Tensor, ...]]]
) -> Iterator[None]:
    """Add to an AssertionError which mistake gives just what was got, and what of it is right.

    Args:
        names: of what was got: ("O",), or ("dQ", "dK", "dV").
        made: the right results under "", then those of each mistake, all in float64.
    """
    try:
        yield
    except AssertionError as error:
        results = got if isinstance(got, (tuple, list)) else (got,)
        # one that is judged wrong may be right but for a rounding too many
        words = _recognised(names, results, made(), str(error))
        raise AssertionError(" ".join([str(error), *words])) from None


def _recognised(
    names: tuple[str, ...], got: Sequence[Any], made: dict[str, tuple[Tensor, ...]], said: str
) -> list[str]:
    right = made.pop("")
    judged = all(torch.isfinite(r).all() for r in right)  # not with NaN where nobody may look
    if not judged or [getattr(g, "shape", None) for g in got] != [r.shape for r in right]:
        return []
    tolerance = 2e-2 if got[0].dtype in (torch.float16, torch.bfloat16) else 1e-3
    fine = [
        n
        for n, g, r in zip(names, got, right, strict=True)
        if len(names) > 1 and _same(g, r, tolerance) and f"{n} is wrong" not in said
    ]
    words = [f"{' and '.join(fine)} {'is' if len(fine) == 1 else 'are'} right."] if fine else []
    for mistake, results in made.items():
        # a mistake that hardly shows on these inputs explains nothing
        shows = any(not _same(m, r, 5 * tolerance) for m, r in zip(results, right, strict=True))
        if shows and all(_same(g, m, tolerance) for g, m in zip(got, results, strict=True)):
            return [*words, f"This is what comes out {mistake}."]
    return words


def _same(a: Tensor, b: Tensor, tolerance: float) -> bool:
    a, limit = a.double(), tolerance * b.nan_to_num().abs().max().clamp(min=1e-30)
    return bool((((a - b).abs() <= limit) | (a.isnan() & b.isnan())).all())


def outputs(Q: Tensor, K: Tensor, V: Tensor, causal: bool) -> dict[str, tuple[Tensor, ...]]:
    """O, and what it becomes."""
    Q, K, V = (t.double() for t in (Q, K, V))
    root = math.sqrt(Q.shape[-1])
    raw = Q @ K.mT
    below = torch.ones(raw.shape[-2:], dtype=torch.bool, device=Q.device).tril()
    hidden = ~below if causal else torch.zeros_like(below)

    def attend(scores: Tensor, hidden: Tensor = hidden, dim: int = -1) -> tuple[Tensor, ...]:
        return (torch.softmax(scores.masked_fill(hidden, -math.inf), dim) @ V,)

    S = (raw / root).masked_fill(hidden, -math.inf)
    m = S.amax(-1, keepdim=True)
    made: dict[str, tuple[Tensor, ...]] = {
        "": attend(raw / root),
        "without the division by sqrt(d) in the scores": attend(raw),
        "if the scores are divided by sqrt(d) twice": attend(raw / root**2),
        "if the weights of a key sum to 1, instead of those of a query": attend(raw / root, dim=-2),
        "without the division by l at the end": (torch.exp(S - m) @ V,),
    }
    if causal:
        made["without the causal mask"] = attend(raw / root, torch.zeros_like(hidden))
        diagonal = torch.eye(*raw.shape[-2:], dtype=torch.bool, device=Q.device)
        made["if key j is hidden from query j"] = attend(raw / root, hidden | diagonal)
        made["if the mask hides the earlier keys instead of the later"] = attend(raw / root, below)
    else:
        made["with a causal mask that was not asked for"] = attend(raw / root, ~below)
    return made | _not_rescaled_at(S, V)


def products(x: Tensor, V: Tensor) -> dict[str, tuple[Tensor, ...]]:
    """softmax(x) V, and what it becomes."""
    x, V = x.double(), V.double()
    made = {
        "": (torch.softmax(x, -1) @ V,),
        "without the division by l at the end": (torch.exp(x - x.amax(-1, keepdim=True)) @ V,),
        "if each column of x sums to 1, instead of each row": (torch.softmax(x, -2) @ V,),
    }
    return made | _not_rescaled_at(x, V)


def softmaxes(x: Tensor, tiles: tuple[int, ...]) -> dict[str, tuple[Tensor, ...]]:
    """softmax(x) over the last dimension, and what it becomes."""
    x = x.double()
    e = torch.exp(x - x.amax(-1, keepdim=True))
    l = e.sum(-1, keepdim=True)
    made: dict[str, tuple[Tensor, ...]] = {
        "": (e / l,),
        "without the division by the sum": (e,),
        "if each column sums to 1, instead of each row": (torch.softmax(x, -2),),
        "if the maximum is subtracted in the sum only": (torch.exp(x) / l,),
        "if the maximum is subtracted in the numerator only": (e / torch.exp(x).sum(-1, True),),
    }
    words = "if l is not multiplied by exp(m - m_new) when the maximum grows"
    for tile in tiles:
        if tile < x.shape[-1]:
            blocks = x.split(tile, -1)
            highest = torch.cat([b.amax(-1, keepdim=True) for b in blocks], -1).cummax(-1).values
            plain = sum(
                torch.exp(b - highest[..., i : i + 1]).sum(-1, True) for i, b in enumerate(blocks)
            )
            made[f"{words} (blocks of {tile})"] = (e / plain,)
    return made


def assert_product(name: str, got: Tensor, x: Tensor, V: Tensor) -> None:
    """``got`` is softmax(x) V, see :func:`course.check.assert_matches`; a mistake is named."""
    with named((name,), got, lambda: products(x, V)):
        assert_matches(name, got, softmax_matmul, x, V)


def _not_rescaled_at(S: Tensor, V: Tensor) -> dict[str, tuple[Tensor, ...]]:
    made: dict[str, tuple[Tensor, ...]] = {}
    for tile in TILES:
        if tile < S.shape[-1]:
            made |= _not_rescaled(S, V, tile)
    return made


def _not_rescaled(S: Tensor, V: Tensor, tile: int) -> dict[str, tuple[Tensor, ...]]:
    """The online recurrence where acc, l or both are not multiplied by exp(m - m_new)."""
    m = torch.full_like(S[..., :1], -math.inf)
    l, plain_l = torch.zeros_like(m), torch.zeros_like(m)
    acc, plain_acc = l * V[..., :1, :], l * V[..., :1, :]
    for start in range(0, S.shape[-1], tile):
        part, v = S[..., start : start + tile], V[..., start : start + tile, :]
        m_new = torch.maximum(m, part.amax(-1, keepdim=True))
        finite = m_new.clamp(min=-1e300)  # a tile of which all is hidden
        x, rescale = torch.exp(part - finite), torch.exp(m - finite)
        acc, l, m = acc * rescale + x @ v, l * rescale + x.sum(-1, keepdim=True), m_new
        plain_acc, plain_l = plain_acc + x @ v, plain_l + x.sum(-1, keepdim=True)
    words = "is not multiplied by exp(m - m_new) when the maximum grows"
    return {
        f"if acc {words} (tiles of {tile})": (plain_acc / l,),
        f"if l {words} (tiles of {tile})": (acc / plain_l,),
        f"if neither acc nor l {words.replace('is not', 'is')} (tiles of {tile})": (
            plain_acc / plain_l,
        ),
    }


def gradients(
    Q: Tensor, K: Tensor, V: Tensor, dO: Tensor, causal: bool
) -> dict[str, tuple[Tensor, ...]]:
    """dQ, dK and dV, and what they become."""
    Q, K, V, dO = (t.double() for t in (Q, K, V, dO))
    root = math.sqrt(Q.shape[-1])
    S = Q @ K.mT / root
    hidden = torch.ones(S.shape[-2:], dtype=torch.bool, device=Q.device).triu(1) & causal
    L = torch.logsumexp(S.masked_fill(hidden, -math.inf), -1, keepdim=True)
    unmasked = torch.exp(S - L)
    P = unmasked.masked_fill(hidden, 0.0)
    dP = dO @ V.mT
    D = (P * dP).sum(-1, keepdim=True)

    def back(P: Tensor, dS: Tensor, scale: float = root) -> tuple[Tensor, ...]:
        return dS @ K / scale, dS.mT @ Q / scale, P.mT @ dO

    steep = torch.exp(S * root - L).masked_fill(hidden, 0.0)
    made = {
        "": back(P, P * (dP - D)),
        "without D: dS = P * dP": back(P, P * dP),
        "with dS = P * dP - D instead of P * (dP - D)": back(P, P * dP - D),
        "with dS = P * (dP + D)": back(P, P * (dP + D)),
        "without the division by sqrt(d) in dQ and dK": back(P, P * (dP - D), 1.0),
        "if dQ and dK are divided by sqrt(d) twice": back(P, P * (dP - D), root**2),
        "without the division by sqrt(d) in the scores": back(steep, steep * (dP - D)),
    }
    if causal:
        made["without the causal mask in the backward pass"] = back(unmasked, unmasked * (dP - D))
    return made


def assert_gradients(
    got: Sequence[Tensor],
    Q: Tensor,
    K: Tensor,
    V: Tensor,
    dO: Tensor,
    causal: bool,
    condition: float,
) -> None:
    """dQ, dK and dV are right, see :func:`course.check.assert_matches`; a mistake is named."""
    names = ("dQ", "dK", "dV")

    def exact(q: Tensor, k: Tensor, v: Tensor, do: Tensor) -> tuple[Tensor, ...]:
        return attention_gradients(q, k, v, do, causal)

    with named(names, got, lambda: gradients(Q, K, V, dO, causal)):
        assert_matches(" ".join(names), got, exact, Q, K, V, dO, condition=condition)
