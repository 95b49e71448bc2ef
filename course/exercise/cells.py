"""The process that checks one exercise of a saved notebook without running the notebook.

It executes from the cells before only imports, functions, classes and UPPER_CASE constants, then
the exercise's cell and its check.
"""

import ast
import contextlib
import io
import json
import linecache
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from course.check.registry import CheckFailed, in_words

_SOURCE_CELL = re.compile(r"^# %%(.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Cell:
    """A code cell; ``id`` is "nb02-3" for an exercise, "nb02-3-check" for its check, else ""."""

    id: str
    source: str


def read(path: Path) -> list[Cell]:
    """The code cells of a saved notebook, or of a notebook's py:percent source.

    Raises:
        ValueError: the file is no notebook.
    """
    if path.suffix == ".py":
        # what stands above the first mark counts as a cell, as the first of a notebook is one
        # that nothing else needs; jupytext takes longer to import than most checks to run
        parts = _SOURCE_CELL.split(path.read_text(encoding="utf-8"))
        return [
            Cell(_id_in_source(options), body.strip("\n"))
            for options, body in zip(["", *parts[1::2]], parts[::2], strict=True)
            if "[markdown]" not in options
        ]
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        return [
            Cell(
                cell.get("metadata", {}).get("nbgrader", {}).get("grade_id") or cell.get("id", ""),
                "".join(cell["source"]),
            )
            for cell in cells
            if cell["cell_type"] == "code"
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path.name} cannot be read as a notebook: save it again") from error


def _id_in_source(options: str) -> str:
    named = re.search(r'\b(exercise|check)="([\w-]+)"', options)
    return "" if named is None else named[2] + ("-check" if named[1] == "check" else "")


def run_cells(cells: list[Cell], exercise: str) -> str:
    """Execute what an exercise needs, its cell and its check, in this process.

    Returns:
        "" if it is right, else what is wrong in words.
    """
    ids = [cell.id for cell in cells]
    check = f"{exercise}-check"
    if check not in ids:
        return f"{exercise} has no check cell in this notebook: fetch the notebook again"
    # an exercise solved in a module has a check cell only
    first = ids.index(exercise) if exercise in ids else ids.index(check)
    module = ModuleType("notebook_cells")  # classes and kernels look their module up by name
    sys.modules[module.__name__] = module
    left_out = []
    with contextlib.redirect_stdout(io.StringIO()):
        # the first cell finds the course, which is already found
        for at, cell in enumerate(cells[1:first], 2):
            left_out += _execute(_definitions, cell.source, f"<code cell {at}>", vars(module))
    chosen = [cell for cell in cells if cell.id in (exercise, check)]
    try:
        for cell in chosen:
            source = _without_magics(cell.source)
            _remember(source, f"<{cell.id}>")
            exec(compile(source, f"<{cell.id}>", "exec"), vars(module))
    except CheckFailed as error:
        return str(error)
    except SyntaxError as error:
        return f"{exercise}: Python cannot read its cell, line {error.lineno}: {error.msg}"
    except (Exception, SystemExit) as error:
        hint = f" ({'; '.join(left_out)})" if left_out and isinstance(error, NameError) else ""
        return f"{exercise} {in_words(error, exercise)}{hint}"
    return ""


def _execute(chosen: Any, source: str, name: str, namespace: dict[str, Any]) -> list[str]:
    """Execute the chosen statements of a cell one by one; say which of them failed."""
    source = _without_magics(source)
    _remember(source, name)
    failed = []
    try:
        statements = chosen(ast.parse(source))
    except SyntaxError as error:
        return [f"{name[1:-1]} was left out: {error.msg}, line {error.lineno}"]
    for statement in statements:
        try:
            exec(compile(ast.Module([statement], []), name, "exec"), namespace)
        except Exception as error:
            failed.append(f"{name[1:-1]}, line {statement.lineno}: {type(error).__name__}: {error}")
    return failed


def _definitions(cell: ast.Module) -> list[ast.stmt]:
    kinds = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return [one for one in cell.body if isinstance(one, kinds) or _is_constant(one)]


def _is_constant(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
        targets = [statement.target]
    else:
        return False
    names = [
        part for one in targets for part in (one.elts if isinstance(one, ast.Tuple) else [one])
    ]
    return all(isinstance(one, ast.Name) and one.id.isupper() for one in names)


def _without_magics(source: str) -> str:
    """Jupyter's own lines ("%timeit ...", "!ls") made empty statements, so that Python can read."""
    return re.sub(r"^(\s*)[%!][^\n]*", r"\1pass", source, flags=re.MULTILINE)


def _remember(source: str, name: str) -> None:
    # @triton.jit reads a kernel's source again, and finds it here; None: never checked on disk
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)


def main(exercise: str, path: str, verdict: str) -> None:
    """Check ``exercise`` in the notebook at ``path`` and write the verdict as JSON."""
    with contextlib.redirect_stdout(io.StringIO()):
        import course.notebook  # noqa: F401  # chooses the interpreter, before any cell can
    try:
        words = run_cells(read(Path(path)), exercise)
    except ValueError as error:
        words = str(error)
    Path(verdict).write_text(json.dumps(words))


if __name__ == "__main__":
    main(*sys.argv[1:])
