"""Which sizes the tables of the performance page take: in full, quickly, or as a rehearsal."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from course.bench.registry import find
from course.bench.tables import (
    Part,
    Table,
    by_rung,
    cases,
    homework_attention,
    homework_columns,
    joined,
)

_RACE: tuple[str, ...] = (
    "flash_triton",
    "expert",
    "expert_any_order",
    "sdpa_flash",
    "sdpa_cudnn",
    "sdpa_efficient",
    "naive",
)
_OURS_AND_SDPA = _RACE[:5]
_RUNGS: tuple[str, ...] = (
    "naive_batched",
    "naive",
    "basic",
    "vectorized",
    "tiled",
    "multihead",
    "descriptors",
    "fp8",
)


def full() -> dict[str, Table]:
    """Everything, for the page: about seven minutes on an H200, compiling apart."""
    widths = tuple(2**n for n in range(6, 14))
    lengths = tuple(2**n for n in range(9, 16))
    return {
        "leaderboard": _leaderboard((8192, 16384), 150.0),
        "attention_peers": Table(_peers(), joined, {"budget_ms": 50.0, "passes": 50}),
        "attention_ladder": Table(
            (
                _ladder(1, tuple(2**n for n in range(7, 14)), "fp32"),
                _ladder(8, lengths, "fp32"),
                _ladder(8, lengths, "fp16"),
            ),
            by_rung,
            {"budget_ms": 40.0, "passes": 50},
        ),
        "attention_32k": _long((4096, 8192, 16384, 32768), (64, 128, 256), 40.0),
        "softmax": Table((Part("softmax", cases("softmax", d2=widths_of_rows())),), limits=_SHORT),
        "softmax_matmul": _softmax_matmul("fp32", widths),
        "softmax_matmul_tf32": _softmax_matmul("tf32", widths),
        "attention": Table(rows=partial(homework_attention, warmup=3, passes=15)),
    }


def quick() -> dict[str, Table]:
    """Few shapes and short, on a GPU."""
    case = cases("attention", heads=16, seq_len=4096)
    return {
        "leaderboard": _leaderboard((8192,), 50.0),
        "attention_peers": Table((Part("attention", case, _RACE),), joined, _SHORT),
        "attention_ladder": Table((_ladder(8, (1024, 4096), "fp16"),), by_rung, _SHORT),
        "attention_32k": _long((8192, 32768), (64,), 20.0),
        "softmax": Table((Part("softmax", cases("softmax", d2=8192)),), limits=_SHORT),
        "softmax_matmul": _softmax_matmul("fp32", (64, 8192)),
        "softmax_matmul_tf32": _softmax_matmul("tf32", (8192,)),
        "attention": Table(rows=partial(homework_attention, warmup=2, passes=5)),
    }


def rehearsal() -> dict[str, Table]:
    """The same steps at sizes for the interpreter, so that no mistake waits for a GPU."""
    tiny: dict[str, Any] = {"heads": 1, "seq_len": 16, "head_dim": 16}
    limits = {"budget_ms": 0.01, "warmup": 1}
    names = ("flash_triton", "sdpa_math", "sdpa_cudnn", "naive")
    peers = tuple(
        Part("attention", cases("attention", **tiny, dtype=dtype), names)
        for dtype in ("fp32", "bf16")
    )
    long = cases("attention", heads=1, seq_len=(16, 32), head_dim=16, dtype="fp16")
    small = {"batch": 1, "d1": 16, "d2": (16, 32)}
    matmul = partial(cases, "softmax_matmul", **small, d3=16)
    total = (Part("attention", cases("attention", **tiny, dtype="fp16"), names, ("total",)),)
    softmax = ("fast", "online_softmax", "torch.softmax", "copy")
    ladder = cases("attention_ladder", heads=2, seq_len=(4, 8), head_dim=16)
    sizes: dict[str, Any] = {
        "batch_size": 1,
        "d_model": 16,
        "seq_lens": (16, 32),
        "warmup": 1,
        "passes": 2,
    }
    return {
        "leaderboard": Table(total, joined, limits),
        "attention_peers": Table(peers, joined, limits),
        "attention_ladder": Table((Part("attention_ladder", ladder),), by_rung, limits),
        "attention_32k": Table((Part("attention", long, names[:1]),), joined, limits),
        "softmax": Table((Part("softmax", cases("softmax", **small), softmax),), limits=limits),
        "softmax_matmul": Table((Part("softmax_matmul", matmul()),), homework_columns, limits),
        "softmax_matmul_tf32": Table(
            (Part("softmax_matmul", matmul(dtype="tf32")),), homework_columns, limits
        ),
        "attention": Table(rows=partial(homework_attention, **sizes)),
    }


def widths_of_rows() -> tuple[int, ...]:
    """The lengths of a row that softmax is timed at."""
    return find("softmax").sizes["d2"]


_SHORT = {"budget_ms": 60.0}


def _peers() -> tuple[Part, ...]:
    parts = []
    for head_dim in (64, 128):
        for is_causal in (True, False):
            for seq_len in (1024, 4096, 8192, 16384):
                names = _RACE + ("flex_attention",) * (seq_len > 1024)
                names += ("naive_compiled",) * (seq_len == 4096)
                case = cases(
                    "attention",
                    heads=16,
                    seq_len=seq_len,
                    head_dim=head_dim,
                    is_causal=is_causal,
                )
                parts.append(Part("attention", case, names))
    # elsewhere it must not fall off a cliff
    other = (*_RACE[:6], "sdpa_default")
    at = {"heads": 16, "seq_len": 8192}
    parts.append(Part("attention", cases("attention", **at, head_dim=(16, 32, 256)), other))
    parts.append(Part("attention", cases("attention", **at, head_dim=64, dtype="fp16"), other))
    single = cases(
        "attention", heads=8, seq_len=(1024, 4096, 8192), head_dim=(64, 128), dtype="fp32"
    )
    single += cases("attention", heads=8, seq_len=4096, head_dim=256, dtype="fp32")
    parts.append(Part("attention", single, ("flash_triton", "expert", "sdpa_default", "naive")))
    return tuple(parts)


def _leaderboard(lengths: tuple[int, ...], budget_ms: float) -> Table:
    at = cases("attention", heads=16, seq_len=lengths, head_dim=64)
    names = (*_OURS_AND_SDPA, "flex_attention")
    return Table((Part("attention", at, names, ("total",)),), joined, {"budget_ms": budget_ms})


def _long(lengths: tuple[int, ...], head_dims: Sequence[int], budget_ms: float) -> Table:
    parts = []
    for head_dim in head_dims:
        names = _OURS_AND_SDPA + ("naive",) * (head_dim == 64)
        at = cases("attention", heads=8, seq_len=lengths, head_dim=head_dim)
        parts.append(Part("attention", at, names))
    return Table(tuple(parts), joined, {"budget_ms": budget_ms, "passes": 50})


def _ladder(heads: int, lengths: tuple[int, ...], dtype: str) -> Part:
    at = cases("attention_ladder", heads=heads, seq_len=lengths, head_dim=64, dtype=dtype)
    return Part("attention_ladder", at, _RUNGS)


def _softmax_matmul(dtype: str, widths: tuple[int, ...]) -> Table:
    at = cases("softmax_matmul", d2=widths, dtype=dtype)
    return Table((Part("softmax_matmul", at),), homework_columns, _SHORT)


SCALES: dict[str, Callable[[], dict[str, Table]]] = {
    "full": full,
    "quick": quick,
    "rehearsal": rehearsal,
}
