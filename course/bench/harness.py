"""Correct first, then timed: implementations of an op raced against each other, case by case."""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from course.bench.ceilings import Ceilings
from course.bench.clock import Clock
from course.bench.registry import Case, Function, Implementation, Op
from course.bench.timing import Outcome, compare, failure

Rows = list[dict[str, Any]]
Progress = Callable[[str], None]
UNSUPPORTED = "unsupported"


def race(
    op: Op,
    case: Case,
    names: Iterable[str],
    clock: Clock,
    what: Sequence[str] | None = None,
    mine: Mapping[str, Function] | None = None,
    **limits: Any,
) -> dict[str, dict[str, Outcome]]:
    """Time implementations against each other on one case; the wrong ones get no time.

    Args:
        names: implementations of the op.
        what: the passes to time; all that the op has unless given.
        mine: further functions, by name, that take the op's inputs.
        limits: those of :func:`course.bench.timing.compare`: warmup, passes, budget_ms.

    Returns:
        name -> pass -> Outcome; its status may be "unsupported" besides those of ``compare``.
    """
    wanted = tuple(what or op.passes)
    chosen = _chosen(op, names, mine)
    results: dict[str, dict[str, Outcome]] = {}
    try:
        inputs = op.inputs(case, clock.device)
    except Exception as error:
        return {name: dict.fromkeys(wanted, failure(error)) for name in chosen}
    judge = op.judge(case, inputs, wanted)
    contenders: dict[str, Function] = {}
    for name, implementation in chosen.items():
        reason = implementation.refuses(case, _chip(clock))
        if reason:
            results[name] = dict.fromkeys(
                wanted, Outcome(UNSUPPORTED, f"cannot run here: {reason}", None)
            )
            continue
        try:
            contenders[name] = implementation.make(case)
            judge(name, contenders[name])
        except Exception as error:
            contenders.pop(name, None)
            results[name] = dict.fromkeys(wanted, failure(error))
        if clock.device == "cuda":
            torch.cuda.empty_cache()
    # float64 results are large, and would count as everybody's memory
    del judge
    for one_pass in wanted:
        # made for one pass at a time: what a backward pass needs stays allocated
        candidates: dict[str, Callable[[], object]] = {}
        for name, function in contenders.items():
            try:
                keeps = chosen[name].keeps_graph
                candidates[name] = op.candidate(one_pass, function, inputs, keeps)
            except Exception as error:
                results.setdefault(name, {})[one_pass] = failure(error)
        for name, outcome in compare(candidates, clock=clock, **limits).items():
            results.setdefault(name, {})[one_pass] = outcome
    return {name: results[name] for name in chosen}


def rows_of(
    op: Op, case: Case, outcomes: Mapping[str, Mapping[str, Outcome]], ceilings: Ceilings | None
) -> Rows:
    """One row an implementation.

    Columns: implementation, the case, and for every pass ``<pass>_ms``, ``_mean_ms``, ``_std_ms``,
    ``_spread``, ``_TFLOP_per_s`` or ``_GB_per_s``, ``_roofline`` (its share of what the measured
    ceilings allow), ``_speed`` (its time divided by that of the first row, which is therefore that
    many times as fast), ``_launch_ms`` (what Python takes to queue it, in none of the others) and
    ``_peak_MiB``; then status, and a reason where it is not "ok".
    """
    rows: Rows = []
    first = next(iter(outcomes), None)
    for name, passes in outcomes.items():
        row: dict[str, Any] = {"implementation": name, **case}
        for what, outcome in passes.items():
            timing = outcome.timing
            ms = outcome.ms
            work = op.flops(case, what) if op.rate == "TFLOP_per_s" else op.moved(case, what) * 1e3
            least = ceilings.least_ms(op, case, what) if ceilings else None
            base = outcomes[first][what].ms if first is not None else None
            values = {
                "ms": ms,
                "mean_ms": timing.mean_ms if timing else None,
                "std_ms": timing.std_ms if timing else None,
                "spread": timing.spread if timing else None,
                op.rate: work / ms / 1e9 if ms else None,
                "roofline": least / ms if ms and least else None,
                "speed": ms / base if ms and base else None,
                "launch_ms": timing.launch_ms if timing else None,
                "peak_MiB": timing.peak_mib if timing else None,
            }
            row |= {f"{what}_{key}": rounded(value) for key, value in values.items()}
        rows.append(row | why(passes.values()))
    return rows


def bench(
    op: Op,
    cases: Iterable[Case],
    names: Iterable[str] | None,
    clock: Clock,
    what: Sequence[str] | None = None,
    ceilings: Ceilings | None = None,
    mine: Mapping[str, Function] | None = None,
    progress: Progress = lambda _: None,
    until: float = math.inf,
    **limits: Any,
) -> Rows:
    """:func:`race` case after case; a case that fails has its rows, and the sweep goes on.

    Args:
        until: of ``time.monotonic()``; cases that would begin later have rows that say so.
    """
    names = op.named(names) if names or not mine else []
    rows: Rows = []
    for case in cases:
        progress(described(case))
        if time.monotonic() > until:
            late = Outcome(UNSUPPORTED, "not measured: the time allowed was up", None)
            wanted = tuple(what or op.passes)
            outcomes = {name: dict.fromkeys(wanted, late) for name in _chosen(op, names, mine)}
        else:
            outcomes = race(op, case, names, clock, what, mine, **limits)
        rows += rows_of(op, case, outcomes, ceilings)
        if clock.device == "cuda":
            torch.cuda.empty_cache()
    return rows


def described(case: Case) -> str:
    """ "seq_len 4096, head_dim 64, bf16, causal"."""
    parts = []
    for name, value in case.items():
        if name == "is_causal":
            parts.append("causal" if value else "full")
        else:
            parts.append(str(value) if name == "dtype" else f"{name} {value}")
    return ", ".join(parts)


def why(outcomes: Iterable[Outcome]) -> dict[str, str]:
    """The status of a row, and for a failure its reason, cut to a line."""
    all_of_them = list(outcomes)
    worst = next((one for one in all_of_them if one.timing is None), all_of_them[0])
    reason = " ".join(worst.reason.split())[:240]
    return {"status": worst.status} | ({"reason": reason} if reason else {})


def rounded(value: float | None) -> float | None:
    """Six significant digits: more is noise, and makes files long."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.6g}")


def _chosen(
    op: Op, names: Iterable[str], mine: Mapping[str, Function] | None
) -> dict[str, Implementation]:
    chosen = {
        name: Implementation(make=lambda case, function=function: function)  # type: ignore[misc]
        for name, function in (mine or {}).items()
    }
    for name in names:
        chosen.setdefault(name, op.implementations[name])
    return chosen


def _chip(clock: Clock) -> tuple[int, int] | None:
    return torch.cuda.get_device_capability() if clock.device == "cuda" else None


def as_tensor(result: object, name: str) -> Tensor:
    """The result, if it is a tensor.

    Raises:
        AssertionError: it is not.
    """
    assert isinstance(result, Tensor), f"{name}: expected a tensor, got {type(result).__name__}"
    return result
