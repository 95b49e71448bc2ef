"""Checks of notebook 06: counts, roofs, timing on an imagined device, exp2, FP8, three rungs."""

import contextlib
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from course.check import nb06_kernels
from course.check.case import case
from course.check.close import assert_matches
from course.check.counted import assert_counted
from course.check.fresh import Guarded, surrounded
from course.check.nb06_fp8 import judge_fp8, judge_quantiser
from course.check.nb06_race import judge_race
from course.check.nb06_traffic import arithmetic
from course.check.registry import checker
from course.check.rungs import Rung, assert_writes_only_its_output
from course.device import prepare
from course.interpreter import proves


def _random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


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
        got = naive_bytes(N, d, size)
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
            got = flash_bytes(*arguments)
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
    ends = [min(N, start + BLOCK_Q) if is_causal else N for start in starts]
    rows = {
        "The last tile of queries is a tile, however few queries it has: round up": [
            min(N, math.ceil(end / BLOCK_K) * BLOCK_K) for end in ends[: N // BLOCK_Q]
        ],
        "Keys from N on do not exist, and cost nothing: min(N, ...)": [
            math.ceil(end / BLOCK_K) * BLOCK_K for end in ends
        ],
        "A tile of keys is read whole, even if the diagonal ends inside it: round up": ends,
        "Causal tiles of keys that no query of the tile sees are not visited": [N] * len(ends),
    }
    return {words: size * (2 * N * d + 2 * sum(read) * d) for words, read in rows.items()}


@checker("nb06-2")
def tiled() -> str:
    with contextlib.closing(Rung("tiled")) as rung:
        _any_rung(rung)
        # 96 components: more than one tile of features, and the last one started
        q, k, v = (surrounded(_random(n, 96, seed=s)) for s, n in enumerate((20, 40, 40)))
        rung.judge(q, k, v, "")
        _judge_tiles_visited(rung)
    _fenced("tiled")
    return "any length, any head dimension, causal or not, and nothing beyond the diagonal is read"


@checker("nb06-3")
def roofline(
    copy: Callable, softmax: Callable, matmul: Callable, attention: Callable, attainable: Callable
) -> str:
    wanted = {
        "copy(1000, 4)": (copy(1000, 4), (0, 8000)),
        "softmax(16, 100, 4)": (softmax(16, 100, 4), (8000, 12800)),
        "matmul(8, 16, 32, 2)": (matmul(8, 16, 32, 2), (8192, 1792)),
        "attention(1024, 64, 2)": (attention(1024, 64, 2), (4 * 1024**2 * 64, 8 * 1024 * 64)),
    }
    for call, (got, (flops, nbytes)) in wanted.items():
        assert isinstance(got, tuple) and len(got) == 2, f"{call}: return flops, bytes"
        assert got[0] == flops, f"{call}: expected {flops} flops, got {got[0]}"
        assert got[1] == nbytes, f"{call}: expected {nbytes} bytes, got {got[1]}"
    # roofs of 100 TFLOP/s and 2 TB/s: they meet at 50 flops for each byte
    for work, traffic, tflops, roof in (
        (10.0, 1.0, 20.0, "memory"),
        (500.0, 2.0, 100.0, "arithmetic"),
        (0.0, 5.0, 0.0, "memory"),
        (49.0, 1.0, 98.0, "memory"),
    ):
        name = f"attainable({work:g}, {traffic:g}, tflops=100, tb_per_s=2)"
        got = attainable(work, traffic, 100.0, 2.0)
        assert isinstance(got, tuple) and len(got) == 2, f"{name}: return TFLOP/s and the roof"
        assert math.isclose(got[0], tflops), (
            f"{name}: expected {tflops:g} TFLOP/s, got {got[0]:g}. {work / traffic:g} flops for "
            "each byte, times TB/s, is what memory can feed"
        )
        assert got[1] == roof, f"{name}: expected the roof {roof!r}, got {got[1]!r}"
    return "below the ridge memory decides, above it arithmetic"


@checker("nb06-4")
def race(function: Callable) -> str:
    return judge_race(function)


@checker("nb06-5")
def multihead() -> str:
    with contextlib.closing(Rung("multihead")) as rung:
        _any_rung(rung)
        for dtype in (torch.float16, *_bfloat16()):
            q, k, v = (_random(70, 3, 32, seed=s, dtype=dtype) for s in range(3))
            q, k, v = (surrounded(t) for t in (q, k, v))
            rung.judge(q, k, v, f", {str(dtype).removeprefix('torch.')}")
        _judge_tiles_visited(rung)
    _fenced("multihead")
    return "every head, 16 bits or 32, any length, and no key beyond the diagonal is loaded"


def _bfloat16() -> tuple[torch.dtype, ...]:
    if prepare().interpreted:
        return (torch.bfloat16,) if proves(torch.bfloat16) else ()
    return (torch.bfloat16,) if torch.cuda.get_device_capability() >= (8, 0) else ()


def _judge_tiles_visited(rung: Rung) -> None:
    """Keys that no query of the first tile may see hold NaN, which spreads to whoever reads it."""
    q, k, v = (_random(256, 1, 16, seed=s) for s in range(3))
    k[128:] = v[128:] = math.nan
    q, k, v = (surrounded(t) for t in (q, k, v))
    got = rung.run(q, k, v, True)
    assert not got[:128].isnan().any(), (
        "the numbers are right, but keys 128 to 255 were read for queries 0 to 127, none of which "
        "sees one of these. The walk ends with the diagonal."
    )


def _any_rung(rung: Rung) -> None:
    for seq_q, seq_k, d in ((1, 1, 16), (70, 100, 16), (100, 70, 40)):
        q, k, v = (surrounded(_random(n, d, seed=s)) for s, n in enumerate((seq_q, seq_k, seq_k)))
        rung.judge(q, k, v, "")
    far = torch.ones(70, 16)
    q, k, v = (surrounded(t) for t in (far, -30 * far + _random(70, 16), _random(70, 16, seed=1)))
    rung.judge(q, k, v, ", scores around -120")
    q, k, v = (surrounded(_random(20, 2, 24, seed=s), strides=(24, 500, 1)) for s in range(3))
    rung.judge(q, k, v, ", strided")


def _fenced(name: str) -> None:
    q, k, v = (surrounded(_random(3, 40, seed=s)) for s in range(3))
    assert_writes_only_its_output(name, q, k, v, what="seq_q=3, seq_k=3, d=40")


@checker("nb06-6")
def base_two(tile: Any) -> str:
    rows, keys, d, scale = 16, 64, 32, 1 / math.sqrt(32)
    v = surrounded(_random(keys, d, seed=2))
    kinds = {"ordinary": (6.0, 0.0), "large": (300.0, 0.0), "negative": (6.0, -700.0)}
    for what, (factor, shift) in kinds.items():
        s = surrounded(factor * _random(rows, keys, seed=1) + shift)
        o, lse = Guarded(rows, d), Guarded(rows)
        with arithmetic((rows, keys)) as counts:
            nb06_kernels.tile_kernel[(1,)](tile, s, v, o.tensor, lse.tensor, scale, rows, keys, d)
        condition = max(1.0, (s * scale).abs().max().item())
        with case(f"{what} scores"):
            assert_matches("lse", lse.tensor, _log_sum_exp, s, scale, condition=condition)
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
    return "one multiplication and one exp2 a score, and L is a natural logarithm"


def _log_sum_exp(s: Tensor, scale: float) -> Tensor:
    return torch.logsumexp(s * scale, 1)


def _weighted(s: Tensor, v: Tensor, scale: float) -> Tensor:
    return torch.softmax(s * scale, 1) @ v


@checker("nb06-7")
def quantiser(quantise: Callable) -> str:
    return judge_quantiser(quantise)


@checker("nb06-8")
def fp8() -> str:
    with contextlib.closing(Rung("fp8")) as rung:
        return judge_fp8(rung)
