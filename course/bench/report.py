"""``python -m course.bench.report``: measure everything on a GPU, or rebuild the page from that.

On the GPU machine, which may be far away::

    python -m course.bench.report --out DIR [--quick] [--only SUITE]... [--commit HASH]

measures the solutions (or, where there are none, your own packages) and writes ``results.json``,
``performance.md`` and its charts to DIR. At home::

    python -m course.bench.report --from DIR/results.json

files the results under ``docs/performance/`` and rewrites ``docs/performance.md`` from all of them.
``--rehearse`` takes every step with tiny inputs, no GPU, and a clock that tells no time.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer

from course import device
from course.bench import measured, page
from course.bench.clock import Clock, FakeClock, cuda_clock
from course.check import in_words

_RIVALS: tuple[str, ...] = ("ours", "sdpa_flash", "sdpa_cudnn", "sdpa_efficient", "naive")
# compiled for each shape, which takes seconds: only where the comparison matters
_WITH_FLEX: tuple[str, ...] = (*_RIVALS, "flex_attention")
_FP32: tuple[str, ...] = ("ours", "sdpa_default", "naive")

Plan = dict[str, dict[str, Any]]


def full() -> Plan:
    """What each suite is called with for the page: a few minutes on an H200."""
    limits = {"budget_ms": 150.0}
    shapes = [(64, n) for n in (1024, 4096, 8192, 16384)] + [(128, n) for n in (4096, 8192)]
    peers = [
        (16, n, d, "bf16", causal, _WITH_FLEX if causal and n >= 4096 else _RIVALS)
        for d, n in shapes
        for causal in (True, False)
    ]
    peers += [(8, n, 64, "fp32", True, _FP32) for n in (1024, 4096, 8192)]
    tiles = ((16, 16), (16, 64), (4, 256), (4, 1024), (1, 2048), (1, 4096))
    widths = (1024, 2048, 4096, 8192, 16384)
    return {
        "softmax_matmul": {},
        "softmax_matmul_tf32": {},
        "attention": {},
        "attention_ladder": {"seq_lens": [2**n for n in range(7, 15)], **limits},
        "copy_softmax": {"shapes": [(8, 2048, d2) for d2 in widths], "tiles": tiles, **limits},
        "leaderboard": {"seq_lens": (8192, 16384)},
        "attention_peers": {"shapes": peers, **limits},
    }


def quick() -> Plan:
    """Few shapes and passes, on a GPU."""
    limits = {"budget_ms": 20.0}
    homework = {"warmup": 2, "passes": 5}
    peers = [(16, 4096, 64, "bf16", True, _WITH_FLEX), (8, 1024, 64, "fp32", True, _FP32)]
    return {
        "softmax_matmul": homework,
        "softmax_matmul_tf32": homework,
        "attention": homework,
        "attention_ladder": {"seq_lens": [128, 512, 2048], **limits},
        "copy_softmax": {"shapes": [(8, 2048, 8192)], "tiles": ((16, 16), (4, 1024)), **limits},
        "leaderboard": {"seq_lens": (8192,), **limits},
        "attention_peers": {"shapes": peers, **limits},
    }


def rehearsal() -> Plan:
    """The same steps at sizes for the interpreter, so that no mistake waits for a GPU."""
    limits = {"budget_ms": 0.01, "warmup": 1}
    homework = {"warmup": 1, "passes": 2}
    matmul = {"batch_size": 1, "d1": 16, "d2s": (16, 32), "d3": 16, "blocks": (16,), **homework}
    peers = [
        (1, 16, 16, "fp32", True, ("ours", "sdpa_default", "sdpa_cudnn")),
        (1, 16, 16, "bf16", True, ("ours", "naive")),
    ]
    tiny = {"heads": 1, "head_dim": 16, "dtype": torch.float32, "peer": "sdpa_default"}
    return {
        "softmax_matmul": matmul,
        "softmax_matmul_tf32": matmul,
        "attention": {"batch_size": 1, "d_model": 16, "seq_lens": (16, 32), **homework},
        "attention_ladder": {"seq_lens": [4, 8], "head_dim": 16, **limits},
        "copy_softmax": {"shapes": [(2, 4, 32)], "tiles": ((16, 16),), **limits},
        "leaderboard": {"seq_lens": (16,), **tiny, **limits},
        "attention_peers": {"shapes": peers, **limits},
    }


def run_suites(clock: Clock, plan: Plan, out: Path, commit: str | None = None) -> dict[str, Any]:
    """Measure, suite by suite; ``out/results.json`` is written after each.

    Returns:
        ``meta``, ``results`` (name -> rows) and ``failed`` (name -> why that suite has no rows).
    """
    # triton is imported here, after the choice between GPU and interpreter
    from course.bench import suites

    done: dict[str, Any] = {
        "meta": measured.environment(clock.name, commit),
        "results": {},
        "failed": {},
    }
    out.mkdir(parents=True, exist_ok=True)
    for name, arguments in plan.items():
        began = time.perf_counter()
        suite: Callable[..., list[dict[str, Any]]] = getattr(suites, name)
        try:
            done["results"][name] = suite(clock, **arguments)
        except Exception as error:
            done["failed"][name] = in_words(error)
        (out / "results.json").write_text(json.dumps(done))
        outcome = done["failed"].get(name, "measured")
        typer.echo(f"{name:20} {time.perf_counter() - began:6.1f} s  {outcome}")
    return done


def file_results(path: Path, folder: Path) -> None:
    """Split a ``results.json`` into one file a table under ``folder``.

    Raises:
        ValueError: the results are those of a rehearsal.
    """
    content = json.loads(path.read_text())
    if content["meta"]["gpu"] == FakeClock.name:
        raise ValueError(f"{path} comes from a rehearsal: nothing in it was measured")
    for name, rows in content["results"].items():
        measured.save(name, rows, content["meta"], folder)


def main(
    out: Annotated[Path, typer.Option(help="Where measurements go.")] = Path("outputs/report"),
    few: Annotated[bool, typer.Option("--quick", help="Few shapes and passes.")] = False,
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="Every step, tiny, without a GPU; measures nothing.")
    ] = False,
    only: Annotated[list[str] | None, typer.Option(help="Only this suite; repeatable.")] = None,
    commit: Annotated[str | None, typer.Option(help="Recorded where git is missing.")] = None,
    source: Annotated[
        list[Path] | None, typer.Option("--from", help="A results.json to file; repeatable.")
    ] = None,
    folder: Annotated[Path, typer.Option(help="With --from: where.")] = measured.FOLDER,
) -> None:
    """Measure on this machine's GPU, or with --from rebuild the page from measurements."""
    if source:
        for path in source:
            file_results(path, folder)
        tables = {p.stem: measured.load(p.stem, folder) for p in folder.glob("*.json")}
        page.write(tables, folder.parent / "performance.md", folder)
        typer.echo(f"{folder.parent / 'performance.md'} written from {len(tables)} tables")
        return
    if device.prepare().device != "cuda" and not rehearse:
        typer.echo("There is no GPU here. --from RESULTS rebuilds the page from measurements.")
        raise typer.Exit(2)
    solutions = measured.ROOT / "solutions"
    if solutions.is_dir():
        sys.path.insert(0, str(solutions))
    plan = rehearsal() if rehearse else quick() if few else full()
    unknown = set(only or ()) - set(plan)
    if unknown:
        raise typer.BadParameter(f"--only: {sorted(unknown)} is not among {sorted(plan)}")
    plan = {name: plan[name] for name in plan if not only or name in only}
    clock: Clock = FakeClock(event_ms=0.01) if rehearse else cuda_clock()
    done = run_suites(clock, plan, out, commit)
    says = measured.sentence(done["meta"])
    tables = {name: (pd.DataFrame(rows), says) for name, rows in done["results"].items()}
    page.write(tables, out / "performance.md", out)
    typer.echo((out / "performance.md").read_text())
    raise typer.Exit(1 if done["failed"] else 0)


if __name__ == "__main__":
    typer.run(main)
