"""What both attention classes must do, said once; the tests name the class and the points."""

import math
from collections import Counter
from typing import Any

import torch
from torch import Tensor

from course.check import assert_matches, mistakes
from course.check.case import case
from course.oracle.attention import attention, log_sum_exp
from course.subject import Reply
from course.testing.inputs import normal, strided


def inputs(
    lead: tuple[int, ...], seq_q: int, seq_k: int, d: int, machine: Any, dtype: Any = torch.float32
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Q, K, V, dO; a constant column pushes all scores to about -50, where padding with 0 shows."""
    shapes = ((seq_q, 0), (seq_k, 1), (seq_k, 2), (seq_q, 3))
    Q, K, V, dO = (normal(*lead, n, d, seed=s, device=machine.device) for n, s in shapes)
    Q[..., 0], K[..., 0] = math.sqrt(50 * math.sqrt(d)), -math.sqrt(50 * math.sqrt(d))
    Q, K, V, dO = (t.to(dtype) for t in (Q, K, V, dO))
    return Q.requires_grad_(), K.requires_grad_(), V.requires_grad_(), dO


def assert_forward(
    subject: Any, target: str, Q: Tensor, K: Tensor, V: Tensor, causal: bool
) -> Reply:
    """O is right."""
    reply = subject.call(target, Q, K, V, causal)
    _assert_output(reply, Q, K, V, causal)
    return reply


def _assert_output(reply: Reply, Q: Tensor, K: Tensor, V: Tensor, causal: bool) -> None:
    magnified = condition(Q, K, causal)
    O = reply.output
    words = _inputs_in_words(Q, K, causal)
    if isinstance(O, Tensor) and not O.is_contiguous():
        words += f", an O that is not contiguous (strides {O.stride()})"
    q, k, v = _plain(Q, K, V)
    with case(words), mistakes.named(("O",), [O], lambda: mistakes.outputs(q, k, v, causal)):
        assert_matches("O", O, attention, q, k, v, causal, condition=magnified)


def _inputs_in_words(Q: Tensor, K: Tensor, causal: bool) -> str:
    kind = "" if Q.is_contiguous() and K.is_contiguous() else ", views with strides of their own"
    return f"Q {tuple(Q.shape)}, K and V {tuple(K.shape)}, causal={causal}{kind}"


def assert_gradients(
    subject: Any,
    target: str,
    Q: Tensor,
    K: Tensor,
    V: Tensor,
    dO: Tensor,
    causal: bool,
    **settings: Any,
) -> Reply:
    """O, dQ, dK and dV are right."""
    Q, K, V = (t.detach().requires_grad_() for t in (Q, K, V))
    reply = subject.call(target, Q, K, V, causal, grad_output=dO, **settings)
    q, k, v = _plain(Q, K, V)
    _assert_output(reply, Q, K, V, causal)
    for name, gradient in zip(("dQ", "dK", "dV"), reply.gradients, strict=True):
        assert gradient is not None, f"{name}: no gradient came back"
    got = [g for g in reply.gradients if g is not None]
    with case(_inputs_in_words(Q, K, causal)):
        mistakes.assert_gradients(got, q, k, v, dO, causal, condition(Q, K, causal))
    return reply


def large_scores(
    lead: tuple[int, ...], seq_q: int, seq_k: int, d: int, machine: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Q, K, V, dO with scores of some hundreds, whose exponentials are infinite or 0."""
    shapes = ((seq_q, 10), (seq_k, 11), (seq_k, 12), (seq_q, 13))
    Q, K, V, dO = (normal(*lead, n, d, seed=s, device=machine.device) for n, s in shapes)
    return (12 * Q).requires_grad_(), (12 * K).requires_grad_(), V.requires_grad_(), dO


def condition(Q: Tensor, K: Tensor, causal: bool) -> float:
    """How much exp(S - L) magnifies the rounding of S and L in float32: max(1, largest |L|)."""
    if Q.dtype != torch.float32:
        return 1.0
    return max(
        1.0, log_sum_exp(Q.detach().double(), K.detach().double(), causal).abs().max().item()
    )


def assert_saves_what_it_should(
    reply: Reply, Q: Tensor, K: Tensor, V: Tensor, causal: bool
) -> None:
    """Exactly Q, K, V, O and one L (natural logarithm) of Q's shape without its last dimension."""
    wanted = [tuple(t.shape) for t in (Q, K, V, reply.output)] + [tuple(Q.shape[:-1])]
    got = [tuple(t.shape) for t in reply.saved]
    extra, missing = Counter(got) - Counter(wanted), Counter(wanted) - Counter(got)
    assert not extra and not missing, (
        "saved for backward: expected Q, K, V, O and L"
        + "".join(f"; one too many of shape {shape}" for shape in extra.elements())
        + "".join(f"; missing one of shape {shape}" for shape in missing.elements())
    )
    L = next(t for t in reply.saved if t.shape == Q.shape[:-1])
    wide = torch.promote_types(Q.dtype, torch.float32)
    assert L.dtype == wide, f"L: expected dtype {wide}, which has room for it, got {L.dtype}"
    exact = log_sum_exp(Q.detach().double(), K.detach().double(), causal)
    own = log_sum_exp(Q.detach().to(wide), K.detach().to(wide), causal)
    error = (L.double() - exact).abs().max().item()
    scale = exact.abs().max().item()
    limit = 3 * (own.double() - exact).abs().max().item() + 4 * torch.finfo(L.dtype).eps * scale
    base_2 = (L.double() * math.log(2) - exact).abs().max().item() < 0.01
    hint = " It looks like the base-2 logarithm: multiply by ln 2." if base_2 else ""
    assert error <= limit, (
        f"L is not the log-sum-exp of the scaled scores: off by {error:.2g}.{hint}"
    )


def assert_linear_memory(peaks: dict[int, int], what: str) -> None:
    """Bytes at N, 2N and 4N grow with N, not with its square."""
    words = memory_that_grows(peaks, what)
    assert not words, words


def memory_that_grows(peaks: dict[int, int], what: str) -> str:
    """What is wrong with these bytes at N, 2N and 4N, or ""."""
    (_, small), (n_middle, middle), (n_large, large) = sorted(peaks.items())
    growth = (large - middle) / max(1, middle - small)
    # what the tiles took at N, a list of tiles joined at the end takes at 4N: a large ratio of
    # small steps. One byte for each pair of positions is 1/4 of an N x N matrix of float32
    square = n_large**2 - n_middle**2
    if growth < 2.5 or large - middle < 0.75 * square:
        return ""
    return (
        f"{what}: {small:,} bytes at N, {middle:,} at 2N, {large:,} at 4N: the second step is "
        f"{growth:.1f} times the first (2 is linear, 4 quadratic). Is an N x N tensor made?"
    )


def strided_inputs(machine: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Views of every kind; dO has stride 0, as from ``O.sum().backward()``."""
    Q, K, V, dO = inputs((2,), 40, 72, 16, machine)
    Q, K, V = (t.requires_grad_() for t in views(Q, K, V))
    return Q, K, V, torch.ones((), device=machine.device).expand(dO.shape)


def views(Q: Tensor, K: Tensor, V: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The same numbers with strides; each tensor's are its own.

    K and V take the same room in different orders, so that whoever reads one with the other's
    strides stays inside, and meets the NaN between its numbers.
    """
    Q, K, V = (t.detach() for t in (Q, K, V))
    return strided(Q), strided(K), strided(V.permute(1, 2, 0)).permute(2, 0, 1)


def _plain(*tensors: Tensor) -> list[Tensor]:
    return [t.detach() for t in tensors]
