"""``python -m course.bench.report``: measure everything on a GPU, or rebuild the page from that.

On the GPU machine, which may be far away and bare::

    python3 -m course.bench.report --out DIR [--scale quick] [--only TABLE]... [--commit HASH]

compiles what it will time in parallel, measures the solutions (or, where there are none, your own
packages) table by table, and writes ``results.json``, ``performance.md`` and its charts to DIR. At
home::

    python3 -m course.bench.report --from DIR/results.json

files the results under ``docs/performance/`` and rewrites ``docs/performance.md`` from all of them.
``make performance`` does both in one go. ``--scale rehearsal`` takes every step with tiny inputs,
no GPU, and a clock that tells no time; what it writes says so, and cannot be filed.
"""

import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer

from course import device
from course.bench import measured
from course.bench.clock import Clock, FakeClock, cuda_clock
from course.check.registry import in_words


def measure_tables(
    clock: Clock,
    tables: dict[str, Any],
    out: Path,
    commit: str | None = None,
    within_s: float = float("inf"),
    ceilings_at: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Measure, table by table; ``out/results.json`` is written after each.

    Args:
        within_s: seconds from now; what has not begun by then has rows that say so.
        ceilings_at: sizes for :func:`course.bench.ceilings.measure_ceilings`.

    Returns:
        ``meta``, ``results`` (name -> rows) and ``failed`` (name -> why that table has no rows).
    """
    from course.bench.ceilings import measure_ceilings

    until = time.monotonic() + within_s
    meta = measured.environment(clock.name, commit)
    done: dict[str, Any] = {"meta": meta, "results": {}, "failed": {}}
    out.mkdir(parents=True, exist_ok=True)
    ceilings = None
    for name, table in {"roofline": None, **tables}.items():
        began = time.monotonic()
        try:
            if table is None:
                ceilings, rows = measure_ceilings(clock, **(ceilings_at or {}))
            elif began > until:
                raise TimeoutError("the time allowed was up before it began")
            else:
                rows = table.measure(clock, ceilings, until=until)
            done["results"][name] = rows
        except Exception as error:
            done["failed"][name] = in_words(error)
        (out / "results.json").write_text(json.dumps(done))
        outcome = done["failed"].get(name, f"{len(done['results'].get(name, []))} rows")
        typer.echo(f"{name:20} {time.monotonic() - began:6.1f} s  {outcome}")
        if clock.device == "cuda":
            torch.cuda.empty_cache()
    return done


def file_results(path: Path, folder: Path) -> None:
    """Split a ``results.json`` into one file a table under ``folder``.

    Raises:
        ValueError: the results are those of a rehearsal.
    """
    content = json.loads(path.read_text())
    for name, rows in content["results"].items():
        if rows:
            measured.save(name, rows, content["meta"], folder)


def rebuild(folder: Path) -> Path:
    """Write the page beside ``folder`` from the tables in it; returns its path."""
    from course.bench import page

    tables = {p.stem: measured.load(p.stem, folder) for p in sorted(folder.glob("*.json"))}
    path = folder.parent / "performance.md"
    page.write(tables, path, folder)
    typer.echo(f"{path} written from {len(tables)} tables")
    return path


def main(
    out: Annotated[Path, typer.Option(help="Where measurements go.")] = Path("outputs/report"),
    scale: Annotated[str, typer.Option(help="full, quick, or rehearsal (needs no GPU).")] = "full",
    only: Annotated[list[str] | None, typer.Option(help="Only this table; repeatable.")] = None,
    commit: Annotated[str | None, typer.Option(help="Recorded where git is missing.")] = None,
    within: Annotated[float, typer.Option(help="Seconds for all of it.")] = 560.0,
    warm: Annotated[bool, typer.Option(help="Compile in parallel first.")] = True,
    source: Annotated[
        list[Path] | None, typer.Option("--from", help="A results.json to file; repeatable.")
    ] = None,
    folder: Annotated[Path, typer.Option(help="With --from or --file: where.")] = measured.FOLDER,
    again: Annotated[
        bool, typer.Option("--rebuild", help="Write the page again from the filed tables.")
    ] = False,
    file: Annotated[bool, typer.Option("--file", help="File what was measured at once.")] = False,
) -> None:
    """Measure on this machine's GPU, or with --from rebuild the page from measurements."""
    began = time.monotonic()
    if source or again:
        for path in source or ():
            file_results(path, folder)
        rebuild(folder)
        return
    rehearse = scale == "rehearsal"
    if device.prepare().device != "cuda" and not rehearse:
        typer.echo(
            "There is no GPU here, so nothing can be measured. --from RESULTS rebuilds the page "
            "from measurements; --scale rehearsal takes every step without them.",
            err=True,
        )
        raise typer.Exit(2)
    tree = measured.ROOT / "solutions"
    if not tree.is_dir():
        tree = measured.ROOT
    sys.path.insert(0, str(tree))
    # triton is imported here, after the choice between GPU and interpreter
    from course.bench import plans, tables
    from course.bench import warm as warming
    from course.bench.registry import UnknownName

    if scale not in plans.SCALES:
        raise typer.BadParameter(str(UnknownName("scale", scale, plans.SCALES)))
    plan = plans.SCALES[scale]() | ({} if rehearse else tables.hooked())
    unknown = set(only or ()) - set(plan)
    if unknown:
        raise typer.BadParameter(f"--only: {sorted(unknown)} is not among {sorted(plan)}")
    plan = {name: plan[name] for name in plan if not only or name in only}
    if warm and not rehearse:
        warming.fill_caches(plan.values(), tree, within / 3, typer.echo)
    clock: Clock = FakeClock(event_ms=0.01) if rehearse else cuda_clock()
    small = {"copy_bytes": 2**16, "size": 32, "budget_ms": 0.01} if rehearse else None
    left = within - (time.monotonic() - began)
    done = measure_tables(clock, plan, out, commit, left, small)
    _show(done, out, rehearse)
    if file:
        file_results(out / "results.json", folder)
        rebuild(folder)
    raise typer.Exit(1 if done["failed"] else 0)


def _show(done: dict[str, Any], out: Path, rehearse: bool) -> None:
    from course.bench import page

    says = measured.sentence(done["meta"])
    frames = {name: (pd.DataFrame(rows), says) for name, rows in done["results"].items() if rows}
    path = out / "performance.md"
    page.write(frames, path, out)
    typer.echo(path.read_text().split("\n## ")[1] if not rehearse else f"{path} is a rehearsal")


if __name__ == "__main__":
    typer.run(main)
