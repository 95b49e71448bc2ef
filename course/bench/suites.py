"""What the performance report measures: one function a table, each returns its rows.

They take a clock and sizes, so that they run anywhere, and ``limits``, those of
:func:`course.bench.timing.compare`. What they measure is the student packages that come first on
the path. A row without a time has a ``status`` that says why.
"""

import importlib
import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from course.bench.attention import race
from course.bench.clock import Clock
from course.bench.timing import Outcome, compare
from course.check import assert_matches
from course.oracle import attention as exact_attention
from course.oracle.softmax import softmax

Rows = list[dict[str, Any]]


class Shape(NamedTuple):
    """One shape of attention, and who takes part in the race there."""

    batch_heads: int
    seq_len: int
    head_dim: int
    dtype: str
    is_causal: bool
    implementations: tuple[str, ...]


DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def copy_softmax(
    clock: Clock,
    shapes: Sequence[tuple[int, int, int]],
    tiles: Sequence[tuple[int, int]],
    **limits: Any,
) -> Rows:
    """Copy, torch.softmax and the online softmax, float32; bytes counted as one read, one write.

    The row "online_softmax" is the fastest of the tiles, and names it; the first of them, what the
    function does unless asked otherwise, has a row of its own.
    """
    online: Any = importlib.import_module("online_softmax.online_softmax")
    rows: Rows = []
    for shape in shapes:
        x = torch.randn(shape, device=clock.device)
        candidates = {
            "copy": partial(torch.clone, x),
            "torch.softmax": partial(torch.softmax, x, -1),
        }
        by_tile = {
            f"online_softmax {m} x {n}": partial(online.online_softmax, x, m, n) for m, n in tiles
        }
        judge = partial(_softmax_is_right, x)
        outcomes = compare(candidates | by_tile, judge, clock=clock, **limits)
        fastest = min(by_tile, key=lambda name: outcomes[name].ms or float("inf"))
        chosen = {
            "copy": "copy",
            "torch.softmax": "torch.softmax",
            next(iter(by_tile)): next(iter(by_tile)),
            "online_softmax": fastest,
        }
        moved = 2 * x.numel() * x.element_size()
        for kernel, name in chosen.items():
            ms = outcomes[name].ms
            row: dict[str, Any] = {"kernel": kernel}
            row |= dict(zip(("batch", "d1", "d2"), shape, strict=True))
            row |= {"ms": ms, "GB_per_s": moved / ms / 1e6 if ms else None}
            row["tile"] = name.removeprefix("online_softmax ") if name in by_tile else None
            rows.append(row | _why(outcomes[name]))
    return rows


def _softmax_is_right(x: Tensor, name: str, result: object) -> None:
    assert isinstance(result, Tensor)
    if name == "copy":
        assert torch.equal(result, x), "the copy differs"
        return
    for batch in (0, -1):
        condition = math.sqrt(x.shape[-1])  # the denominators are sums of that many terms
        assert_matches("softmax", result[batch], softmax, x[batch], condition=condition)


def softmax_matmul(clock: Clock, **sizes: Any) -> Rows:
    """The homework's own benchmark, float32 products as PyTorch's default, 'highest', has them."""
    bench: Any = importlib.import_module("benchmarking.bench_softmax_matmul")
    ours: Any = importlib.import_module("softmax_matmul.softmax_matmul")
    return bench.sweep(clock, ours.fused_softmax, ours.softmax_mult, **sizes)


def softmax_matmul_tf32(clock: Clock, **sizes: Any) -> Rows:
    """The same with ``torch.set_float32_matmul_precision("high")``."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        return softmax_matmul(clock, **sizes)
    finally:
        torch.set_float32_matmul_precision(before)


def attention(clock: Clock, **sizes: Any) -> Rows:
    """The homework's own benchmark, float32."""
    bench: Any = importlib.import_module("benchmarking.bench_attention")
    return bench.sweep(clock, bench.load_implementations(), **sizes)


def attention_ladder(
    clock: Clock, seq_lens: Sequence[int], head_dim: int = 64, **limits: Any
) -> Rows:
    """The rungs and FlashAttention: one head, float32, not causal; peak MiB includes inputs."""
    flash: Any = importlib.import_module("flash_attention.flash_attention")
    rungs: dict[str, Any] = {
        rung: importlib.import_module(f"attention_ladder.{rung}").attention
        for rung in ("naive", "basic", "vectorized")
    }
    rungs["flash"] = lambda q, k, v: flash.FlashAttentionTriton.apply(q[None], k[None], v[None])[0]
    rows: Rows = []
    for seq_len in seq_lens:
        q, k, v = torch.randn(3, seq_len, head_dim, device=clock.device)

        def right(name: str, result: object, q: Tensor = q, k: Tensor = k, v: Tensor = v) -> None:
            assert isinstance(result, Tensor)
            # each row is a sum over seq_len keys, which the lowest rung takes one after the other
            condition = math.sqrt(len(k))
            assert_matches("o", result, exact_attention.attention, q, k, v, condition=condition)

        candidates = {name: partial(rung, q, k, v) for name, rung in rungs.items()}
        for rung, outcome in compare(candidates, right, clock=clock, **limits).items():
            peak = outcome.timing.peak_mib if outcome.timing else None
            rows.append(
                {
                    "rung": rung,
                    "seq_len": seq_len,
                    "head_dim": head_dim,
                    "forward_ms": outcome.ms,
                    "forward_peak_MiB": peak,
                    **_why(outcome),
                }
            )
    return rows


def attention_peers(clock: Clock, shapes: Sequence[tuple], **limits: Any) -> Rows:
    """Our FlashAttention against PyTorch's, forward, backward and both, at each shape."""
    rows: Rows = []
    for shape in map(Shape._make, shapes):
        heads, seq_len, head_dim, dtype, is_causal, names = shape
        outcomes = race(names, heads, seq_len, head_dim, DTYPES[dtype], is_causal, clock, **limits)
        for name, passes in outcomes.items():
            bad = [outcome for outcome in passes.values() if outcome.timing is None]
            rows.append(
                {"implementation": name}
                | {k: v for k, v in shape._asdict().items() if k != "implementations"}
                | {f"{what}_ms": outcome.ms for what, outcome in passes.items()}
                | _why((bad or list(passes.values()))[0])
            )
    return rows


def leaderboard(clock: Clock, seq_lens: Sequence[int], **sizes: Any) -> Rows:
    """What ``submit_leaderboard`` would hand in, at its own length and at others."""
    submission: Any = importlib.import_module("benchmarking.submit_leaderboard")
    return [{"seq_len": n} | submission.entry(clock, seq_len=n, **sizes) for n in seq_lens]


def _why(outcome: Outcome) -> dict[str, str]:
    """The status, and for a failure its reason, cut to a line."""
    reason = " ".join(outcome.reason.split())[:200]
    return {"status": outcome.status} | ({"reason": reason} if reason else {})
