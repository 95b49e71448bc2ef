"""What ``course submit`` prints: progress, then the scorecard."""

import time
from collections import Counter
from contextlib import AbstractContextManager
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from course.submit.benchmarks import Run
from course.submit.score import GIVEN, Exercise, Results, totals, unwritten
from course.submit.titles import PARTS

WIDTH = 120  # columns where nobody can say: a notebook's cell, a file, CI
_STYLE = {
    "passed": "green",
    "failed": "bold red",
    "not tested": "bold red",
    "not written yet": "yellow",
    "unproven here": "cyan",
}


def console() -> Console:
    """Standard output, wide enough for the scorecard where it is not a terminal."""
    plain = Console(highlight=False, soft_wrap=False)
    return plain if plain.is_terminal else Console(highlight=False, width=WIDTH)


class Shown(AbstractContextManager["Shown"]):
    """Progress by exercise: a bar on a terminal, elsewhere one line an exercise."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._bar: Progress | None = None
        if out.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description:16}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                console=out,
                transient=True,
            )
            self._task = self._bar.add_task("starting", total=None)
        self._current: str | None = None
        self._counts: Counter[str] = Counter()
        self._since = time.monotonic()

    def __enter__(self) -> "Shown":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._end_exercise()
        if self._bar:
            self._bar.stop()

    def test(self, results: Results, test: dict[str, Any]) -> None:
        """Show one finished test."""
        name = test["exercise"] or GIVEN
        if name != self._current:
            self._end_exercise()
            self._current = name
        self._counts["not written yet" if unwritten(test) else test["outcome"]] += 1
        if self._bar:
            total = results.collected if results.collected > 0 else None
            self._bar.update(self._task, description=name, total=total, advance=1)

    def _end_exercise(self) -> None:
        unremarkable = self._current == GIVEN and not self._counts["failed"]
        if self._current and not self._bar and not unremarkable:
            counts = ", ".join(f"{n} {outcome}" for outcome, n in self._counts.items())
            seconds = time.monotonic() - self._since
            self._out.print(f"  {self._current:7} {counts} ({seconds:.1f} s)")
        self._counts.clear()
        self._since = time.monotonic()


def scorecard(out: Console, exercises: list[Exercise], benchmarks: list[Run]) -> None:
    """The scorecard by exercise, then totals, then what this machine could not prove."""
    table = Table(title="Scorecard", title_justify="left", box=SIMPLE_HEAD)
    for column in ("exercise", "title"):
        table.add_column(column, no_wrap=True)
    table.add_column("points", justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("why", overflow="fold")
    homework = None
    for exercise in exercises:
        if exercise.id == GIVEN and exercise.state == "passed":
            continue
        if homework is not None and exercise.id.split("-")[0] != homework:
            table.add_section()
        homework = exercise.id.split("-")[0]
        style = _STYLE[exercise.state]
        points = f"{exercise.earned} / {exercise.points}" if exercise.points else ""
        state = f"[{style}]{exercise.state}[/]"
        table.add_row(exercise.id, exercise.title, points, state, escape(exercise.reason))
    out.print(table)
    _print_totals(out, exercises)
    _print_unproven(out, exercises)
    for run in benchmarks:
        out.print(escape(f"{run.module}: {run.state}. {run.line}"))


def _print_totals(out: Console, exercises: list[Exercise]) -> None:
    for name, line in totals(exercises).items():
        title = {"total": "All homework", "bonus": "Bonus"}.get(name)
        title = title or f"{name} {PARTS.get(name, '')}".strip()
        unproven = f", {line['unproven']} unproven here" if line["unproven"] else ""
        out.print(f"{title:46} {line['earned']:3} of {line['points']}{unproven}")


def _print_unproven(out: Console, exercises: list[Exercise]) -> None:
    why: Counter[str] = Counter()
    for exercise in exercises:
        why.update(exercise.unproven)
    if why:
        out.print(f"{sum(why.values())} tests are unproven here, which is no failure:")
        for reason, count in why.most_common():
            out.print(escape(f"  {count:4}  {reason}"))
