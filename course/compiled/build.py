"""Starts the processes that compile, and reads what they found."""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from course.compiled.cases import ARCHITECTURES, CASES, Case
from course.compiled.row import Row
from course.process import environment, python

TIME_LIMIT = 600  # seconds for one architecture


def compile_all(
    tree: Path, architectures: Iterable[int] = ARCHITECTURES, cases: Sequence[Case] = CASES
) -> list[Row]:
    """Compile the kernels that ``cases`` launch, one process an architecture, two at a time.

    Args:
        tree: the folder that holds the packages.
        architectures: 75 for sm_75, and so on; keys of :data:`course.compiled.row.CHIPS`.

    Returns:
        One row for each kernel, configuration and specialisation, in the order of compilation.
    """
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        parts = pool.map(lambda arch: _compile_for(tree, arch, cases), architectures)
        return [row for rows in parts for row in rows]


def check(
    tree: Path,
    target: str,
    shapes: Sequence[tuple[int, ...]],
    *arguments: object,
    dtype: str = "float16",
    architectures: Iterable[int] = ARCHITECTURES,
    backward: bool = False,
) -> list[Row]:
    """Compile what one call launches, and insist that some configuration can run on each chip.

    Args:
        target: "package.module:name", called with one tensor a shape, then ``arguments``.

    Raises:
        AssertionError: says for which chip nothing can run, and why.
    """
    case = Case(target, target, tuple(shapes), dtype, arguments, backward)
    rows = compile_all(tree, architectures, [case])
    for arch in architectures:
        of_chip = [row for row in rows if row.arch == arch]
        for kernel in sorted({row.kernel for row in of_chip}):
            tried = [row for row in of_chip if row.kernel == kernel]
            assert not all(row.problem for row in tried), f"{tried[0].where}: {tried[0].verdict}"
    return rows


def _compile_for(tree: Path, arch: int, cases: Sequence[Case]) -> list[Row]:
    possible = [case for case in cases if case.exists_on(arch)]
    if not possible:
        return []
    request = json.dumps({"arch": arch, "cases": [case.as_json() for case in possible]})
    with tempfile.TemporaryDirectory(prefix="course-compiled-") as cache:
        # a fresh cache: the registers and spills are in the log of ptxas, and a hit has no log
        surroundings = environment(TRITON_CACHE_DIR=cache, TRITON_INTERPRET="0")
        command = python(tree, "course.compiled.worker")
        try:
            done = subprocess.run(
                command,
                input=request,
                capture_output=True,
                text=True,
                env=surroundings,
                timeout=TIME_LIMIT,
            )
            output, trouble = done.stdout, done.stderr[-2000:] if done.returncode else ""
        except subprocess.TimeoutExpired as error:
            # bytes even in text mode
            output = (error.stdout or b"").decode()
            trouble = f"did not finish within {TIME_LIMIT} s"
    rows = [Row(**json.loads(line)) for line in output.splitlines()]
    if trouble:
        first = possible[0]
        problem = f"the compiling process ended early: {trouble}"
        rows.append(Row("", first.op, first.dtype, first.shapes[0][-1], arch, problem=problem))
    return rows
