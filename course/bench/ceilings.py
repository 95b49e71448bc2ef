"""What this GPU can do at most, measured: a copy's bandwidth and the rate of large products."""

from dataclasses import dataclass, field
from typing import Any

import torch

from course.bench.clock import Clock
from course.bench.registry import Case, Op
from course.bench.timing import Outcome, compare

COPY_BYTES = 2**30
SIZE = 8192
_PRODUCTS = {
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "tf32": torch.float32,
    "fp32": torch.float32,
}


@dataclass(frozen=True)
class Ceilings:
    """Bandwidth of a copy (read and written bytes) and products' rates by dtype or "tf32"."""

    GB_per_s: float
    TFLOP_per_s: dict[str, float] = field(default_factory=dict)

    def least_ms(self, op: Op, case: Case, what: str) -> float | None:
        """The least time a pass could take: its bytes at a copy's speed, or its products."""
        rate = self.TFLOP_per_s.get(op.ceiling(case))
        products = op.flops(case, what) / rate / 1e9 if rate else 0.0
        least = max(op.moved(case, what) / self.GB_per_s / 1e6, products)
        return least or None


def measure_ceilings(
    clock: Clock, copy_bytes: int = COPY_BYTES, size: int = SIZE, **limits: Any
) -> tuple[Ceilings, list[dict[str, Any]]]:
    """Copy ``copy_bytes`` and multiply ``size`` x ``size`` matrices, in turns, on this GPU.

    Returns:
        The ceilings, and the table "roofline": ceiling, ms, spread, GB_per_s or TFLOP_per_s,
        status. A dtype the GPU does not have is a row that says so.

    Raises:
        RuntimeError: not even the copy could be timed.
    """
    limits = {"warmup": 5, "passes": 30, "budget_ms": 150.0} | limits
    data = torch.empty(copy_bytes // 8, device=clock.device)
    target = torch.empty_like(data)
    copied = compare({"copy": lambda: target.copy_(data)}, clock=clock, **limits)["copy"]
    del data, target
    if not copied.ms:
        raise RuntimeError(f"the copy {copied.reason}")
    # half of the bytes are read, the other half written
    bandwidth = copy_bytes / copied.ms / 1e6
    rows = [_row("copy", copied) | {"GB_per_s": bandwidth, "TFLOP_per_s": None}]
    rates: dict[str, float] = {}
    for name in _PRODUCTS:
        outcome = _product(name, clock, size, limits)
        rate = 2 * size**3 / outcome.ms / 1e9 if outcome.ms else None
        if rate:
            rates[name] = rate
        rows.append(_row(name, outcome) | {"GB_per_s": None, "TFLOP_per_s": rate})
    return Ceilings(bandwidth, rates), rows


def from_rows(rows: list[dict[str, Any]]) -> Ceilings:
    """The ceilings of a table "roofline"."""
    rates = {row["ceiling"]: row["TFLOP_per_s"] for row in rows if row["TFLOP_per_s"]}
    return Ceilings(next(row["GB_per_s"] for row in rows if row["GB_per_s"]), rates)


def _product(name: str, clock: Clock, size: int, limits: dict[str, Any]) -> Outcome:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if name == "tf32" else "highest")
    try:
        a, b = torch.randn(2, size, size, device=clock.device).to(_PRODUCTS[name])
        return compare({name: lambda: a @ b}, clock=clock, **limits)[name]
    finally:
        torch.set_float32_matmul_precision(before)


def _row(name: str, outcome: Outcome) -> dict[str, Any]:
    spread = outcome.timing.spread if outcome.timing else None
    return {"ceiling": name, "ms": outcome.ms, "spread": spread, "status": outcome.status}
