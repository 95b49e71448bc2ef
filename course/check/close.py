"""The one judgement of numbers: an error is bounded by PyTorch's own error on the same inputs."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def assert_close_to_exact(
    name: str,
    got: Tensor,
    exact: Tensor,
    own: Tensor,
    scale: float,
    eps: float,
    condition: float = 1.0,
    d: int = 0,
) -> None:
    """Fail unless ``got`` is as near to ``exact`` as PyTorch's own result may be.

    Args:
        name: what the tensor is called in the message ("dQ").
        got: the result under test, same shape as ``exact``, same dtype as ``own``.
        exact: the result in float64.
        own: PyTorch's result at the dtype and precision under test.
        scale: largest exact value of the group the tensor belongs to (dQ, dK, dV together).
        eps: relative spacing of the arithmetic (``torch.finfo(dtype).eps``; 2**-10 for TF32).
        condition: how much the computation magnifies rounding: max(1, largest \\|L\\|) in attention
            at float32, because exp makes the rounding of a score an error relative to its size;
            sqrt(n) where n terms are added one after the other; else 1.
        d: the head dimension, to recognise a factor of sqrt(d); 0 if there is none.

    Raises:
        AssertionError: says what is wrong, where first, and the likely reason.
    """
    assert isinstance(got, Tensor), f"{name}: expected a tensor, got {type(got).__name__}"
    assert got.shape == exact.shape, (
        f"{name}: expected shape {tuple(exact.shape)}, got {tuple(got.shape)}"
    )
    assert got.dtype == own.dtype, f"{name}: expected dtype {own.dtype}, got {got.dtype}"
    difference = (got.double() - exact).abs()
    reference = (own.double() - exact).abs().max().item() if exact.numel() else 0.0
    limit = 3 * reference + 4 * eps * scale * condition
    wrong = ~(difference <= limit)  # NaN is wrong too
    if wrong.any():
        raise AssertionError(_explain(name, got, exact, wrong, difference, limit, d))


def assert_matches(
    name: str,
    got: Tensor | Sequence[Tensor],
    reference: Callable[..., Tensor | tuple[Tensor, ...]],
    *inputs: object,
    eps: float | None = None,
    condition: float = 1.0,
) -> None:
    """Judge ``got`` against ``reference(*inputs)`` computed in float64 and at the inputs' dtype.

    Several outputs share one scale and are named by the words of ``name`` ("dQ dK dV").

    Raises:
        AssertionError: see :func:`assert_close_to_exact`.
    """
    dtype = next(t.dtype for t in inputs if isinstance(t, Tensor))
    wide = [t.double() if isinstance(t, Tensor) and t.is_floating_point() else t for t in inputs]
    exact, own, results = (_tuple(r) for r in (reference(*wide), reference(*inputs), got))
    names = name.split() if len(exact) > 1 else [name]
    assert len(results) == len(exact), f"{name}: expected {len(exact)} tensors, got {len(results)}"
    scale = max((e.abs().max().item() for e in exact if e.numel()), default=0.0)
    eps = torch.finfo(dtype).eps if eps is None else eps
    d = _head_dimension(inputs)
    for one, g, e, o in zip(names, results, exact, own, strict=True):
        assert_close_to_exact(one, g, e, o, scale, eps, condition, d)


def _tuple(result: object) -> tuple:
    return tuple(result) if isinstance(result, (tuple, list)) else (result,)


def _head_dimension(inputs: tuple[object, ...]) -> int:
    """The last dimension that two inputs share, as Q and K do; 0 if there is none."""
    last = [t.shape[-1] for t in inputs if isinstance(t, Tensor) and t.ndim > 1]
    return next((size for size in last if last.count(size) > 1), 0)


def _explain(
    name: str, got: Tensor, exact: Tensor, wrong: Tensor, difference: Tensor, limit: float, d: int
) -> str:
    first = tuple(wrong.nonzero()[0].tolist())
    # an index reads like one only behind a name of one word
    at = f"{'' if ' ' in name else name}[{', '.join(map(str, first))}]"
    error = difference.max().item()
    largest = "" if math.isnan(error) else f"largest error {error:.1e}, "
    lines = [
        f"{name} is wrong in {how_many(wrong)}; shape {tuple(got.shape)}, first at {at}: got "
        f"{got[first].item():.6g}, expected {exact[first].item():.6g} ({largest}allowed "
        f"{limit:.1e})."
    ]
    reason = _likely_reason(name, got.double(), exact, wrong, d)
    if reason:
        lines.append(reason)
    return " ".join(lines)


def how_many(wrong: Tensor) -> str:
    """How many of a result's elements are wrong, in words: "3 of its 5 elements"."""
    count, total = int(wrong.sum()), wrong.numel()
    if count == total:
        return "its only element" if total == 1 else f"all of its {total} elements"
    share = f"{count / total:.1%}"
    if total <= 100:
        share = f"{count}"
    elif share == "100.0%":
        share = f"all but {total - count}"
    elif share == "0.0%":
        share = "less than 0.1%"
    return f"{share} of its {total} elements"


def _likely_reason(name: str, got: Tensor, exact: Tensor, wrong: Tensor, d: int) -> str:
    """A first guess for a beginner; silent rather than misleading when nothing fits."""
    if got.isnan().all():
        return (
            "Every element is NaN: inf - inf, inf / inf, inf * 0 or 0 / 0? Or a kernel that did "
            "not store them, or read what was never written or a mask hides?"
        )
    if got.isnan().any():
        return (
            f"NaN {_where(got.isnan())}: inf - inf, inf / inf, inf * 0 or 0 / 0? Or a kernel that "
            "did not store them?"
        )
    if not got.any():
        return (
            f"{name} is zero everywhere: nothing was added to it or stored, or all that was added "
            "is 0 (does an exponential underflow?)."
        )
    factor = _common_factor(got, exact)
    if factor:
        return f"All of it is off by one factor, {factor:.4g}{_which_scale(factor, d)}?"
    for dim in range(wrong.ndim - 2, wrong.ndim):
        if dim < 0:
            continue
        flat = wrong.movedim(dim, 0).reshape(wrong.shape[dim], -1).any(1)
        first = int(flat.nonzero()[0])
        # no tile is smaller than 4
        if first >= 4 and flat[first:].all():
            # tiles are of 4 in a few checks, of 8 and more in most
            edge = ": a tile's edge?" if first % 8 == 0 or first == 4 else "."
            return f"Everything before index {first} of dimension {dim} is right{edge}"
    return ""


def _where(at: Tensor) -> str:
    """Which rows or columns ``at`` is true in, where that is a part of them; else "somewhere"."""
    for dim, name in ((at.ndim - 1, "column"), (at.ndim - 2, "row")):
        if dim >= 0:
            places = at.movedim(dim, 0).reshape(at.shape[dim], -1).any(1).nonzero().flatten()
            first, last = int(places[0]), int(places[-1])
            if len(places) == last - first + 1 < at.shape[dim]:
                kind = name if at.ndim > 1 else "element"
                if first == last:
                    return f"in {kind} {first}"
                return f"in {kind}s {first} to {last}"
    return "somewhere"


def _which_scale(factor: float, d: int) -> str:
    if d:
        for words, scale, guess in (
            ("1/sqrt(d)", d**-0.5, "one division by sqrt(d) too many"),
            ("1/d", 1 / d, "two divisions by sqrt(d) too many"),
            ("sqrt(d)", d**0.5, "a division by sqrt(d) missing"),
            ("d", d, "two divisions by sqrt(d) missing"),
        ):
            if abs(factor - scale) < 1e-3 * scale:
                return f" = {words} with d = {d}: {guess}"
    return ": a scale missing, or one too many"


def _common_factor(got: Tensor, exact: Tensor) -> float:
    """What all of ``got`` is multiplied by, if a forgotten scale explains it; else 0.

    Few elements, or all the same, fit a factor whatever is wrong, and so does a single row of
    attention whose weights do not sum to 1; a few per cent are what a sum kept in 16 bits loses.
    """
    largest = exact.abs().max()
    one_row = got.ndim > 1 and got.numel() == got.shape[-1]
    if one_row or got.numel() < 8 or (exact - exact.mean()).abs().max() < 0.1 * largest:
        return 0.0
    factor = ((got * exact).sum() / (exact * exact).sum()).item()
    rest = (got - factor * exact).abs().max()
    plausible = 1e-3 <= abs(factor) <= 1e3 and abs(factor - 1) > 0.05
    return factor if plausible and rest < 1e-3 * got.abs().max() else 0.0
