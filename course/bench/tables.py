"""The tables of the performance page: what each of them measures, at three scales.

==================  ==============================================================================
roofline            this GPU's ceilings: a copy, and products in bf16, fp16, TF32 and fp32
leaderboard         forward + backward at the leaderboard's shape, and at twice its length
attention_peers     attention against PyTorch's; implementation, batch_heads, seq_len, ...
attention_ladder    rung by rung; rung, heads, seq_len, head_dim, dtype, forward_ms, ...
attention_32k       8 heads up to 32,768 tokens, head dims up to 256
softmax             beside a copy of the same size
softmax_matmul      exact products (IEEE); the columns of homework 1, and implementation
softmax_matmul_tf32 the same with TF32 products
attention           the attention benchmark of homework 3
expert_steps        what each step of the expert kernels bought
experiments         those of notebook 06
==================  ==============================================================================

The last two are HOOKS: functions elsewhere that get the clock and return the rows.
"""

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from course.bench import harness
from course.bench.ceilings import Ceilings
from course.bench.clock import Clock
from course.bench.harness import Rows
from course.bench.registry import find

HOOKS = {
    "expert_steps": "flash_attention.expert_steps:rows",
    "experiments": "course.check.nb06_experiments:experiments",
}


@dataclass(frozen=True)
class Part:
    """Some cases of one op that share implementations and passes."""

    op: str
    cases: tuple[dict[str, Any], ...]
    names: tuple[str, ...] = ()
    passes: tuple[str, ...] = ()

    def present(self) -> list[str]:
        """The implementations that exist here; without names, all of them."""
        op = find(self.op)
        return [n for n in self.names or op.named(None) if op.implementations[n].is_here()]


@dataclass(frozen=True)
class Table:
    """Parts, what becomes of a row, and the limits of each cell; or a function that returns rows.

    Attributes:
        rows: called with the clock; in place of parts.
    """

    parts: tuple[Part, ...] = ()
    columns: Callable[[dict[str, Any]], dict[str, Any]] = dict
    limits: dict[str, Any] = field(default_factory=dict)
    rows: Callable[[Clock], Rows] | None = None

    def measure(self, clock: Clock, ceilings: Ceilings | None, **more: Any) -> Rows:
        """The rows; ``more`` is handed on to :func:`course.bench.harness.bench`."""
        if self.rows:
            return self.rows(clock)
        made: Rows = []
        for part in self.parts:
            passes = part.passes or None
            options = {**self.limits, **more}
            op, names = find(part.op), part.present()
            made += harness.bench(op, part.cases, names, clock, passes, ceilings, **options)
        return [self.columns(row) for row in made]


def cases(op: str, **values: Any) -> tuple[dict[str, Any], ...]:
    """The cases of all combinations; a value that is a tuple stands for several."""
    made: list[dict[str, Any]] = [{}]
    for name, some in values.items():
        several = some if isinstance(some, tuple) else (some,)
        made = [one | {name: value} for one in made for value in several]
    return tuple(find(op).case(**one) for one in made)


def hooked() -> dict[str, Table]:
    """Tables that modules elsewhere measure, of those that exist."""
    found: dict[str, Table] = {}
    for name, place in HOOKS.items():
        module, function = place.split(":")
        if importlib.util.find_spec(module):
            found[name] = Table(rows=getattr(importlib.import_module(module), function))
    return found


def homework_attention(clock: Clock, **sizes: Any) -> Rows:
    """The benchmark of homework 3, as the tree on the path has it."""
    bench: Any = importlib.import_module("benchmarking.bench_attention")
    return bench.sweep(clock, bench.load_implementations(), **sizes)


def joined(row: dict[str, Any]) -> dict[str, Any]:
    """Batch and heads as one number: nothing in attention tells them apart."""
    named = dict(row)
    return {
        "implementation": named.pop("implementation"),
        "batch_heads": named.pop("batch") * named.pop("heads"),
        **named,
    }


def by_rung(row: dict[str, Any]) -> dict[str, Any]:
    return {"rung": row["implementation"]} | {k: v for k, v in row.items() if k != "implementation"}


def homework_columns(row: dict[str, Any]) -> dict[str, Any]:
    """The columns of ``benchmarking.bench_softmax_matmul``, the implementation's name, the rest."""
    block = row["implementation"].removeprefix("fused_")
    return {
        "implementation": row["implementation"],
        "batch_size": row["batch"],
        "d1": row["d1"],
        "d2": row["d2"],
        "d3": row["d3"],
        "triton": row["implementation"] != "torch",
        "BLOCK": int(block) if block.isdigit() else None,
        "forward_ms_mean": row["forward_mean_ms"],
        "forward_ms_std": row["forward_std_ms"],
        "forward_peak_MiB": row["forward_peak_MiB"],
        "forward_ms": row["forward_ms"],
        "forward_TFLOP_per_s": row["forward_TFLOP_per_s"],
        "forward_roofline": row["forward_roofline"],
        "status": row["status"],
        **({"reason": row["reason"]} if "reason" in row else {}),
    }
