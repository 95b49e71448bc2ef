"""Measurements on a terminal: a table, and a bar while they are made."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from course.bench.harness import Progress as Told
from course.bench.harness import Rows
from course.bench.registry import Op


def no_gpu(exercise: str = "hw3-1") -> str:
    """What to do on a machine that cannot time anything."""
    return (
        "There is no GPU here, so there is nothing to time: kernels are interpreted on the CPU, "
        "and how long that takes says nothing about a GPU. What you can do here: "
        f"'course check {exercise}' tells whether a kernel is right, 'course compile {exercise}' "
        "how it compiles for real chips; docs/performance.md has the times on an H200. With a "
        "Colab notebook (Runtime, Change runtime type, GPU) you can time your own."
    )


@contextmanager
def progress(console: Console, total: int) -> Iterator[Told]:
    """A bar that moves on each time it is told what comes next; gone when all is done."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=total)
        started: list[str] = []

        def told(text: str) -> None:
            bar.update(task, description=text, completed=len(started))
            started.append(text)

        yield told


def tables(op: Op, rows: Rows, passes: Sequence[str], source: str) -> list[Table]:
    """A table a pass, case by case."""
    unit = "TFLOP/s" if op.rate == "TFLOP_per_s" else "GB/s"
    sizes = [name for name in op.case() if len({row[name] for row in rows}) > 1]
    fixed = {name: rows[0][name] for name in op.case() if name not in sizes} if rows else {}
    said = ", ".join(_value(name, value) for name, value in fixed.items())
    first = rows[0]["implementation"] if rows else ""
    made = []
    for what in passes:
        title = f"{op.name}, {what}: {said}"
        shown = Table(title=title, caption=source, title_justify="left", caption_justify="right")
        for name in (*sizes, ""):
            shown.add_column(name, justify="right" if name else "left", no_wrap=True)
        for header in ("ms", "spread", unit, "of roofline", f"{first} is faster by", "peak MiB"):
            shown.add_column(header, justify="right")
        previous = None
        for row in rows:
            here = tuple(row[name] for name in sizes)
            if previous not in (None, here):
                shown.add_section()
            previous = here
            shown.add_row(*_cells(op, row, sizes, what))
        made.append(shown)
    return made


def reasons(rows: Rows) -> list[str]:
    """A line for each row that is not "ok"; the same reason once."""
    lines: dict[str, None] = {}
    for row in rows:
        if row["status"] != "ok":
            words = f"{row['implementation']}: {row['status']}"
            lines[f"{words}, {row['reason']}" if row.get("reason") else words] = None
    return list(lines)


def frame_of(rows: Rows) -> pd.DataFrame:
    """The rows as a table of pandas."""
    return pd.DataFrame(rows)


def _cells(op: Op, row: dict[str, Any], sizes: list[str], what: str) -> list[str]:
    speed = row.get(f"{what}_speed")
    return [
        *(_value("", row[name]) for name in sizes),
        row["implementation"],
        _number(row.get(f"{what}_ms"), ".4g") if row.get(f"{what}_ms") else row["status"],
        _number(row.get(f"{what}_spread"), ".0%"),
        _number(row.get(f"{what}_{op.rate}"), ".0f"),
        _number(row.get(f"{what}_roofline"), ".0%"),
        "" if speed is None else f"{speed:.2f}x",
        _number(row.get(f"{what}_peak_MiB"), ".0f"),
    ]


def _value(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "causal" if value else "full"
    return f"{name} {value}".strip() if name != "dtype" else str(value)


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
