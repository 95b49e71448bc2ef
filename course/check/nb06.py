"""Checks of notebook 06: counts, roofs, timing on an imagined device, exp2, FP8, three rungs."""

import contextlib
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from course.check import nb06_kernels
from course.check.case import case
from course.check.close import assert_matches
from course.check.counted import assert_counted
from course.check.fresh import Guarded, random, surrounded
from course.check.mistakes import named
from course.check.nb06_fp8 import judge_fp8, judge_quantiser
from course.check.nb06_race import judge_race
from course.check.nb06_rungs import LadderRung, judge_multihead, judge_tiled
from course.check.nb06_traffic import arithmetic
from course.check.registry import checker


@checker("nb06-1")
def io(naive_bytes: Callable, flash_bytes: Callable) -> str:
    for N, d, size in ((8, 3, 4), (1000, 64, 2)):
        square, thin = size * N * N, size * N * d
        parts = {
            "reading Q": thin,
            "reading K": thin,
            "writing S": square,
            "reading S": square,
            "writing P": square,
            "reading P": square,
            "reading V": thin,
            "writing O": thin,
        }
        got = _number(naive_bytes(N, d, size))
        usual = {
            "S and P pass twice each: they are written, and read back": 2 * square + 4 * thin,
        }
        assert_counted(f"naive_bytes({N}, {d}, {size})", got, parts, size, usual)
    # one of everything, lengths that fit, the last tiles started, a diagonal between two tiles
    for N, d, BLOCK_Q, BLOCK_K, size in (
        *((16, 3, 16, 16, 4), (64, 16, 16, 16, 2), (100, 64, 32, 16, 2), (70, 8, 16, 64, 4)),
        *((128, 8, 64, 16, 2), (96, 8, 16, 32, 2)),
    ):
        for is_causal in (False, True):
            arguments = (N, d, BLOCK_Q, BLOCK_K, size, is_causal)
            parts = _walk(N, d, BLOCK_Q, BLOCK_K, size, is_causal)
            got = _number(flash_bytes(*arguments))
            usual = _usual(N, d, BLOCK_Q, BLOCK_K, size, is_causal)
            assert_counted(f"flash_bytes{arguments}", got, parts, size, usual)
    return "the formula is what a walk over the tiles counts, causal or not, for any length"


def _walk(N: int, d: int, BLOCK_Q: int, BLOCK_K: int, size: int, is_causal: bool) -> dict[str, int]:
    """The bytes of every load and store, counted loop by loop."""
    rows = 0
    for q_start in range(0, N, BLOCK_Q):
        for k_start in range(0, N, BLOCK_K):
            if not is_causal or k_start < q_start + BLOCK_Q:
                rows += min(BLOCK_K, N - k_start)
    thin = size * N * d
    walked = size * rows * d
    return {"reading Q": thin, "reading K": walked, "reading V": walked, "writing O": thin}


def _usual(
    N: int, d: int, BLOCK_Q: int, BLOCK_K: int, size: int, is_causal: bool
) -> dict[str, int]:
    """What usual mistakes come to, by what helps."""
    starts = range(0, N, BLOCK_Q)
    tiles_end = [start + BLOCK_Q if is_causal else N for start in starts]
    ends = [min(N, end) for end in tiles_end]
    whole = [math.ceil(end / BLOCK_K) * BLOCK_K for end in tiles_end]
    clipped = [min(N, end) for end in whole]
    rows: dict[str, list[float]] = {
        "The last tile of queries is a tile, however few queries it has: round up": (
            [*clipped[: N // BLOCK_Q]]
        ),
        "Keys from N on do not exist, and cost nothing: min(N, ...)": [*whole],
        "A tile of keys is read whole, even if the diagonal ends inside it: round up": [*ends],
        "Causal tiles of keys that no query of the tile sees are not visited": [N] * len(ends),
        "K and V are read once for each tile of queries, not once in all": [N],
        "A causal walk visits more than half: tiles that the diagonal crosses are read whole": (
            [N * len(ends) / 2]
        ),
    }
    usual = {words: int(size * (2 * N * d + 2 * sum(read) * d)) for words, read in rows.items()}
    padded = BLOCK_Q * len(ends)
    words = "Queries from N on do not exist: Q and O have N rows each"
    usual[words] = size * (2 * padded * d + 2 * sum(clipped) * d)
    usual[f"{words}, and K and V too"] = size * (2 * padded * d + 2 * sum(whole) * d)
    return usual


def _number(got: object) -> object:
    """A number that torch counted, as Python's."""
    return got.item() if isinstance(got, Tensor) and got.numel() == 1 else got


@checker("nb06-2")
def tiled() -> str:
    return judge_tiled()


@checker("nb06-3")
def roofline(
    copy: Callable, softmax: Callable, matmul: Callable, attention: Callable, attainable: Callable
) -> str:
    square, thin = 1024**2, 1024 * 64
    wanted: tuple[tuple[str, Any, tuple[int, int], dict[float, str], dict[float, str]], ...] = (
        ("copy(1000, 4)", copy(1000, 4), (0, 8000), {}, _COPIED),
        (
            *("softmax(16, 100, 4)", softmax(16, 100, 4), (8000, 12800)),
            {1600: "5 flops a number: max, subtract, exp, add, divide"},
            {6400: _COPIED[4000], 19200: "what is read once more need not be: read once, write"},
        ),
        (
            *("matmul(8, 16, 32, 2)", matmul(8, 16, 32, 2), (8192, 1792)),
            {4096: "a multiply-add is two flops"},
            {
                1536: "the result, M x N, is written too",
                2304: "the result is written once: it need not be read",
            },
        ),
        (
            *("attention(1024, 64, 2)", attention(1024, 64, 2), (4 * square * 64, 8 * thin)),
            {
                2 * square * 64: "there are two products, and a multiply-add is two flops",
                square * 64: "there are two products, and a multiply-add is two flops",
                4 * square * 64 + 5 * square: "the two products only, without the softmax",
            },
            {
                6 * thin: "Q, K and V are read, and O is written",
                **{
                    8 * thin + 2 * passes * square: "the score matrix need not move"
                    for passes in (1, 2, 4)
                },
            },
        ),
    )
    for call, got, (flops, nbytes), flop_words, byte_words in wanted:
        assert isinstance(got, (tuple, list)) and len(got) == 2, f"{call}: return flops, bytes"
        _judge_count(call, "flops", got[0], flops, flop_words)
        _judge_count(call, "bytes", got[1], nbytes, byte_words)
    # roofs of 100 TFLOP/s and 2 TB/s: they meet at 50 flops for each byte
    for work, traffic, tflops, roof in (
        (10.0, 1.0, 20.0, "memory"),
        (500.0, 2.0, 100.0, "arithmetic"),
        (0.0, 5.0, 0.0, "memory"),
        (49.0, 1.0, 98.0, "memory"),
    ):
        name = f"attainable({work:g}, {traffic:g}, tflops=100, tb_per_s=2)"
        got = attainable(work, traffic, 100.0, 2.0)
        assert isinstance(got, (tuple, list)) and len(got) == 2, (
            f"{name}: return TFLOP/s and the roof"
        )
        assert math.isclose(got[0], tflops), (
            f"{name}: expected {tflops:g} TFLOP/s, got {got[0]:g}. {work / traffic:g} flops for "
            "each byte, times TB/s, is what memory can feed"
        )
        assert got[1] == roof, f"{name}: expected the roof {roof!r}, got {got[1]!r}"
    return "below the ridge memory decides, above it arithmetic"


_COPIED: dict[float, str] = {4000: "all numbers are read, and all are written"}


def _judge_count(
    call: str, what: str, got: object, wanted: int, usual: Mapping[float, str]
) -> None:
    count = _number(got)
    why = usual.get(count, "") if isinstance(count, (int, float)) else ""
    assert count == wanted, f"{call}: expected {wanted} {what}, got {count}" + (
        f": {why}" if why else ""
    )


@checker("nb06-4")
def race(function: Callable) -> str:
    return judge_race(function)


@checker("nb06-5")
def multihead() -> str:
    return judge_multihead()


@checker("nb06-6")
def base_two(tile: Any) -> str:
    rows, keys, d, scale = 16, 64, 32, 1 / math.sqrt(32)
    v = surrounded(random(keys, d, seed=2))
    apart = torch.zeros(rows, 1)
    apart[::2] = -1e4
    kinds = {
        "ordinary scores": (6.0, torch.zeros(1)),
        "large scores": (300.0, torch.zeros(1)),
        "negative scores": (6.0, torch.tensor(-700.0)),
        "scores 10,000 lower in every other row than in the rest": (6.0, apart),
    }
    for what, (factor, shift) in kinds.items():
        s = surrounded(factor * random(rows, keys, seed=1) + shift)
        o, lse = Guarded(rows, d), Guarded(rows)
        with arithmetic((rows, keys)) as counts:
            nb06_kernels.tile_kernel[(1,)](tile, s, v, o.tensor, lse.tensor, scale, rows, keys, d)
        condition = max(1.0, (s * scale).abs().max().item())
        with case(what):
            with named(("lse",), lse.tensor, partial(_logarithms, s.double(), scale)):
                assert_matches("lse", lse.tensor, _log_sum_exp, s, scale, condition=condition)
            with named(("o",), o.tensor, partial(_averages, s.double(), v.double(), scale)):
                assert_matches("o", o.tensor, _weighted, s, v, scale, condition=condition)
    if counts is None:
        return "o and lse are right (how it multiplies is unproven: only the interpreter counts)"
    assert not counts["exp"] and counts["exp2"] == 1, (
        "the numbers are right, but the exponentials of the tile should be one tl.exp2 and no "
        f"tl.exp; there were {counts['exp2']} and {counts['exp']}"
    )
    multiplied = counts["fmul"] + counts["fdiv"]
    assert multiplied <= 1, (
        f"the numbers are right, but the whole tile was multiplied or divided {multiplied} times. "
        "Once is enough: multiply scale and log2(e) first, they are single numbers; and divide by "
        "l when only (BLOCK_Q, D) numbers are left"
    )
    order = list(counts)
    assert "fmul" not in order or "fsub" not in order[: order.index("fmul")], (
        "the numbers are right, but the maximum is subtracted before the tile is multiplied, and "
        "of (s - max) * c no compiler makes one multiply-add. Multiply s first, and subtract c "
        "times the maximum"
    )
    return "one multiplication and one exp2 a score, and L is a natural logarithm"


def _log_sum_exp(s: Tensor, scale: float) -> Tensor:
    return torch.logsumexp(s * scale, 1)


def _weighted(s: Tensor, v: Tensor, scale: float) -> Tensor:
    return torch.softmax(s * scale, 1) @ v


def _logarithms(s: Tensor, scale: float) -> dict[str, tuple[Tensor, ...]]:
    """lse, and what it becomes."""
    right, m = _log_sum_exp(s, scale), s.amax(1) * scale
    return {
        "": (right,),
        "in base 2: multiply (m + log2(l)) by ln 2": (right * math.log2(math.e),),
        "if only log2(l) is multiplied by ln 2, and m is not": (m * math.log2(math.e) + right - m,),
        "if only m is multiplied by ln 2, and log2(l) is not": (m + (right - m) / math.log(2),),
        "without the scale": (torch.logsumexp(s, 1),),
        "without the maximum": (right - m,),
    }


def _averages(s: Tensor, v: Tensor, scale: float) -> dict[str, tuple[Tensor, ...]]:
    """o, and what it becomes."""
    p = torch.exp((s - s.amax(1, keepdim=True)) * scale)
    return {
        "": (_weighted(s, v, scale),),
        "without the scale": (_weighted(s, v, 1.0),),
        "if exp2 takes scores without the factor log2(e)": (_weighted(s, v, scale * math.log(2)),),
        "without the division by l": (p @ v,),
    }


@checker("nb06-7")
def quantiser(quantise: Callable) -> str:
    return judge_quantiser(quantise)


@checker("nb06-8")
def fp8() -> str:
    with contextlib.closing(LadderRung("fp8")) as rung:
        return judge_fp8(rung)
