"""The command ``course compile``."""

import itertools
import textwrap
from typing import Annotated

import typer

from course.compiled.build import compile_all
from course.compiled.cases import ARCHITECTURES, cases_of
from course.compiled.row import CHIPS, Row
from course.process import ROOT

_MANY_BYTES = 128  # 32 registers: fewer are mostly spilled outside the loop, or stay in L1


def compile_kernels(
    exercise: Annotated[str, typer.Argument(help="An id such as hw1-1, hw3-1 or nb03-1.")],
    arch: Annotated[
        list[str] | None, typer.Option(help="sm_75 is a T4; say it again for more chips.")
    ] = None,
    solutions: Annotated[
        bool, typer.Option("--solutions", help="The solutions instead (instructor's repository).")
    ] = False,
) -> None:
    """Compile your kernel for chips that need not be here: registers, spills, shared memory.

    Exit status 0 if some configuration of every kernel can run on every chip. Says nothing about
    numbers or speed.
    """
    tree = ROOT / "solutions" if solutions else ROOT
    try:
        cases = cases_of(exercise)
        chips = [_architecture(name) for name in arch or []] or list(ARCHITECTURES)
        if not tree.is_dir():
            raise ValueError("there are no solutions in this repository; leave out --solutions")
    except ValueError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    for chip in chips:
        if not any(case.exists_on(chip) for case in cases):
            since = min(case.since for case in cases)
            names = f"{CHIPS[chip].names} (sm_{chip})"
            typer.echo(f"{names}: not compiled, because {exercise} needs sm_{since} or later.")
    rows = compile_all(tree, chips, cases)
    for line in report(rows):
        typer.echo(line)
    raise typer.Exit(1 if cannot_run(rows) else 0)


def report(rows: list[Row]) -> list[str]:
    """What was found, chip by chip, each followed by what to do about it."""
    lines = []
    for number, of_chip in itertools.groupby(rows, key=lambda row: row.arch):
        mine = list(of_chip)
        lines += ["", f"{CHIPS[number].names} (sm_{number})"]
        # a kernel that is not written fails at every size for one reason
        found = [(f"{row.kernel or row.op}: ", row.problem) for row in mine if row.problem]
        lines += [f"  {name}{problem}" for name, problem in dict.fromkeys(found)]
        lines += [
            f"  {row.kernel}, {row.dtype}, d {row.head_dim}, {row.config}: {row.verdict}"
            for row in mine
            if not row.problem
        ]
        for words in _advice(mine):
            lines += textwrap.wrap(words, 96, initial_indent="  -> ", subsequent_indent="     ")
    return lines


def cannot_run(rows: list[Row]) -> list[str]:
    """What has no configuration that could run, one phrase each."""
    return [tried[0].where for tried in alternatives(rows) if all(row.problem for row in tried)]


def alternatives(rows: list[Row]) -> list[list[Row]]:
    """Rows grouped by what they compile; autotuning chooses one of a group."""
    groups: dict[tuple, list[Row]] = {}
    for row in rows:
        key = (row.arch, row.op, row.kernel, row.dtype, row.head_dim)
        groups.setdefault(key, []).append(row)
    return list(groups.values())


def _advice(rows: list[Row]) -> list[str]:
    advice = []
    worst = max(rows, key=lambda row: row.spill_bytes)
    if worst.spill_bytes:
        found = (
            f"The worst, {worst.dtype} at {worst.config}, spills {worst.spill_bytes} bytes a thread"
        )
        if worst.spill_bytes < _MANY_BYTES:
            advice.append(f"{found}. A few bytes cost little: let timing decide.")
        else:
            advice.append(
                f"{found} to local memory: the tile is too large for its registers. Try smaller "
                "blocks, or more warps for the same block."
            )
    if any(row.serialised for row in rows):
        advice.append(
            "Serialised: the compiler waits for every product before it starts the next, mostly "
            "because something else touches the accumulator. Try one loop, or smaller blocks."
        )
    plain = [row for row in rows if row.kernel and row.dtype != "float32" and not row.tensor_cores]
    if plain and plain[0].arch < 80:
        advice.append(
            "Triton does not use this chip's tensor cores: the kernel will not be fast here."
        )
    return advice


def _architecture(name: str) -> int:
    digits = name.removeprefix("sm_")
    if not digits.isdigit() or int(digits) not in CHIPS:
        known = ", ".join(f"sm_{number} ({chip.names})" for number, chip in CHIPS.items())
        raise ValueError(f"--arch {name}: known are {known}")
    return int(digits)
