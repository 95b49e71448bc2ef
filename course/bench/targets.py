"""What the course sets out to reach on one H200, and whether the measurements reached it.

All but the milliseconds and MiB of a few are ratios within one run.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from course.bench.plots import fitted_power

Where = Mapping[str, Any]


@dataclass(frozen=True)
class Target:
    """Some rows of a table, and the number they must reach.

    Attributes:
        what: in words.
        table: its name; ``ours`` and ``against`` are names of implementations in it.
        column: the peer's value divided by ours must be ``least`` at the worst row. Without
            ``against`` our own value must be ``most`` at the worst; with ``growth`` the power with
            which it grows with seq_len must.
        where: column -> value, or a tuple of those that count.
    """

    what: str
    table: str
    ours: str
    column: str
    where: Where
    against: str = ""
    least: float = 0.0
    most: float = float("inf")
    growth: bool = False
    unit: str = ""


def _attention(
    ours: str, what: str, head_dim: int, lengths: tuple[int, ...], masks: tuple[bool, ...], *least
) -> list[Target]:
    words = {"forward": "forward", "backward": "backward", "total": "forward + backward"}[what]
    mask = "" if len(masks) > 1 else ", causal"
    where = {"head_dim": head_dim, "seq_len": lengths, "is_causal": masks, "dtype": "bf16"}
    peers = ("sdpa_flash", "flex_attention", "sdpa_cudnn")
    return [
        Target(
            f"{ours}: {words}, d {head_dim}{mask}, S {' '.join(map(str, lengths))}",
            "attention_peers",
            ours,
            f"{what}_ms",
            {**where, "batch_heads": 16},
            against=peer,
            least=one,
        )
        for peer, one in zip(peers, least, strict=True)
    ]


_ANY, _CAUSAL = (True, False), (True,)
_LONG = (8192, 16384)
_ALL = (4096, 8192, 16384)


def _leaderboard(ours: str) -> list[Target]:
    at = {"head_dim": 64, "seq_len": _LONG}
    peers = {"sdpa_flash": 1.8, "flex_attention": 1.5, "sdpa_cudnn": 1.10}
    ratios = [
        Target(
            f"{ours}: forward + backward, leaderboard's shape, S 8192 16384",
            "leaderboard",
            ours,
            "total_ms",
            at,
            against=peer,
            least=least,
        )
        for peer, least in peers.items()
    ]
    times = [
        Target(
            f"{ours}: {kind}, S {n}",
            "leaderboard",
            ours,
            "total_ms",
            {"head_dim": 64, "seq_len": n},
            most=ms,
            unit="ms",
        )
        for kind, n, ms in (
            ("leaderboard's shape", 8192, 1.12),
            ("leaderboard's shape", 16384, 4.06),
            ("leaderboard's shape, stretch", 8192, 1.0),
            ("leaderboard's shape, stretch", 16384, 3.7),
        )
    ]
    return ratios + times


def _kernels() -> list[Target]:
    widest = {"batch": 8, "d1": 2048, "d2": 8192}
    ladder = {"seq_len": 8192, "heads": 8, "head_dim": 64}
    first = {"seq_len": 512, "heads": 1, "head_dim": 64, "dtype": "fp32"}
    row = ("softmax", "fast", "forward_ms", widest)
    made = [
        Target("softmax of 8 x 2048 x 8192", *row, against="torch.softmax", least=1.8),
        Target("softmax of 8 x 2048 x 8192", *row, against="copy", least=0.85),
    ]
    for table, words, least in (
        ("softmax_matmul_tf32", "TF32", 1.2),
        ("softmax_matmul", "IEEE", 1.0),
    ):
        what, at = f"softmax(x) @ V, d2 8192, {words}", {"d2": 8192}
        made.append(Target(what, table, "fast", "forward_ms", at, against="torch", least=least))
    # x 1024 MiB, V 256 and the output 64
    made.append(
        Target(
            "softmax(x) @ V, d2 8192: inputs and output, nothing else",
            "softmax_matmul",
            "fast",
            "forward_peak_MiB",
            {"d2": 8192},
            most=1344.5,
            unit="MiB",
        )
    )
    for ours, against, least in (("vectorized", "basic", 2.0), ("vectorized", "naive", 1.0)):
        made.append(
            Target(
                "ladder: vectorized, S 512, one head, d 64",
                "attention_ladder",
                ours,
                "forward_ms",
                first,
                against=against,
                least=least,
            )
        )
    for rung, dtype, least in (
        ("tiled", "fp32", 1.7),
        ("multihead", "fp16", 1.9),
        ("fp8", "fp16", 2.3),
    ):
        made.append(
            Target(
                f"ladder: {rung}, S 8192, 8 heads, d 64, {dtype}",
                "attention_ladder",
                rung,
                "forward_ms",
                {**ladder, "dtype": dtype},
                against="naive_batched",
                least=least,
            )
        )
        made.append(
            Target(
                f"ladder: memory of {rung} grows as S",
                "attention_ladder",
                rung,
                "forward_peak_MiB",
                {"heads": 8, "head_dim": 64, "dtype": dtype},
                most=1.05,
                growth=True,
                unit="power",
            )
        )
    return made


def _others() -> list[Target]:
    made = [
        Target(
            "flash_triton: forward, d 64, S 4096",
            "attention_peers",
            "flash_triton",
            "forward_ms",
            {"head_dim": 64, "seq_len": 4096, "dtype": "bf16"},
            against="naive",
            least=5.0,
        )
    ]
    for name in ("flash_triton", "expert"):
        made += [
            Target(
                f"{name}: no cliff, {what}, other head dims and dtypes",
                "attention_peers",
                name,
                f"{what}_ms",
                {"seq_len": (4096, 8192)},
                against="sdpa_default",
                least=0.8,
            )
            for what in ("forward", "total")
        ]
        for head_dim in (64, 128, 256):
            at = {"head_dim": head_dim}
            words = f"{name}: 8 heads, d {head_dim}, up to S 32768"
            made += [
                Target(
                    f"{words}, memory grows as S",
                    "attention_32k",
                    name,
                    "total_peak_MiB",
                    at,
                    most=1.05,
                    growth=True,
                    unit="power",
                ),
                Target(
                    f"{words}, time grows as S²",
                    "attention_32k",
                    name,
                    "total_ms",
                    at,
                    most=2.05,
                    growth=True,
                    unit="power",
                ),
            ]
    return made


TARGETS: tuple[Target, ...] = (
    *_attention("flash_triton", "forward", 64, _LONG, _CAUSAL, 1.6, 1.3, 0.97),
    *_attention("flash_triton", "forward", 128, _ALL, _ANY, 1.6, 1.25, 0.92),
    *_attention("flash_triton", "total", 64, _LONG, _CAUSAL, 1.5, 1.27, 0.93),
    *_attention("flash_triton", "total", 128, (8192,), _CAUSAL, 1.4, 1.25, 0.85),
    *_attention("expert", "forward", 64, _ALL, _ANY, 1.8, 1.45, 1.10),
    *_attention("expert", "forward", 128, _ALL, _ANY, 1.85, 1.45, 1.05),
    *_attention("expert", "backward", 64, _ALL, _ANY, 1.75, 1.5, 1.07),
    *_attention("expert", "backward", 128, _ALL, _ANY, 1.8, 1.5, 1.0),
    *_attention("expert_any_order", "backward", 64, _ALL, _ANY, 1.75, 1.5, 1.07),
    *_attention("expert_any_order", "backward", 128, _ALL, _ANY, 1.8, 1.5, 1.0),
    *_leaderboard("expert"),
    *_leaderboard("expert_any_order"),
    *_kernels(),
    *_others(),
)


def verdicts(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """One row a target that was measured: what, against, target, worst, best, verdict.

    The verdict is of the worst row: "met", or "missed by 7%".
    """
    rows = []
    for target in TARGETS:
        frame = tables.get(target.table)
        values = [] if frame is None else _values(target, frame)
        if not values:
            continue
        smaller = bool(target.against)
        worst, best = (min(values), max(values)) if smaller else (max(values), min(values))
        limit = target.least if smaller else target.most
        missed = 1 - worst / limit if smaller else worst / limit - 1
        sign = "≥" if smaller else "≤"
        rows.append(
            {
                "what": target.what,
                "against": target.against or target.unit,
                "target": f"{sign} {limit:g}",
                "worst": worst,
                "best": best,
                "verdict": "met" if missed <= 0 else f"missed by {missed:.1%}",
            }
        )
    return pd.DataFrame(rows)


def _values(target: Target, frame: pd.DataFrame) -> list[float]:
    name = "rung" if "rung" in frame else "implementation"
    columns = {name, target.column, *target.where, *(["seq_len"] if target.growth else [])}
    if not columns <= set(frame.columns):
        return []
    for column, wanted in target.where.items():
        frame = frame[frame[column].isin(wanted if isinstance(wanted, tuple) else (wanted,))]
    values = frame.assign(value=frame[target.column].astype(float))
    ours = values[(values[name] == target.ours) & values["value"].notna()]
    if target.growth:
        power, _ = fitted_power(ours["seq_len"], ours["value"])
        return [] if np.isnan(power) else [power]
    if not target.against:
        return ours["value"].tolist()
    peers = values[(values[name] == target.against) & values["value"].notna()]
    keys = [c for c in _CASE if c in frame]
    both = ours.merge(peers, on=keys, suffixes=("", "_peer"))
    return (both["value_peer"] / both["value"]).tolist()


_CASE = ("batch", "batch_heads", "heads", "seq_len", "head_dim", "dtype", "is_causal", "d1", "d2")
