"""The process that checks one exercise of a saved notebook without running the notebook.

It executes from the cells before only imports, functions, classes, UPPER_CASE constants, and names
of numbers, words and lambdas; of these only what the exercise uses, then its cell and its check.
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

from course import process
from course.check.place import learners
from course.check.registry import CheckFailed, in_words

_EXERCISE = re.compile(r"nb\d+-\d+")
_SOURCE_CELL = re.compile(r"^# %%(.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Cell:
    """A code cell; ``id`` is "nb02-3" for an exercise, "nb02-3-check" for its check."""

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
    definitions, left_out = [], []
    # the first cell finds the course, which is already found
    for at, cell in enumerate(cells[1:first], 2):
        name = cell.id if _EXERCISE.fullmatch(cell.id) else f"code cell {at}"
        found, wrong = _definitions(cell.source, f"<{name}>")
        definitions += found
        left_out += wrong
    chosen = [cell for cell in cells if cell.id in (exercise, check)]
    with contextlib.redirect_stdout(io.StringIO()):
        left_out += _execute(_needed(definitions, chosen), vars(module))
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


@dataclass(frozen=True)
class _Definition:
    """A statement of the cell ``where``, and the names it gives a value."""

    where: str
    statement: ast.stmt
    names: frozenset[str]


def _definitions(source: str, where: str) -> tuple[list[_Definition], list[str]]:
    """What a cell defines, or why Python cannot read it."""
    source = _without_magics(source)
    _remember(source, where)
    try:
        body = ast.parse(source).body
    except SyntaxError as error:
        return [], [f"{learners(where)} was left out: {error.msg}, line {error.lineno}"]
    found = [_Definition(where, one, frozenset(_defined(one))) for one in body]
    return [one for one in found if one.names], []


def _defined(statement: ast.stmt) -> list[str]:
    """The names of an import, a function, a class or constants; of anything else none."""
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        return [one.asname or one.name.split(".")[0] for one in statement.names]
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return [statement.name]
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
        targets = [statement.target]
    else:
        return []
    names = [
        part for one in targets for part in (one.elts if isinstance(one, ast.Tuple) else [one])
    ]
    cheap = statement.value is not None and _is_cheap(statement.value)
    constants = [
        one.id for one in names if isinstance(one, ast.Name) and (cheap or one.id.isupper())
    ]
    return constants if len(constants) == len(names) else []


def _is_cheap(value: ast.expr) -> bool:
    """A lambda, or numbers and words, such as ``-float("inf")`` or ``tl.constexpr(2)``."""
    names = {one.id for one in ast.walk(value) if isinstance(one, ast.Name)}
    attributes = {one.attr for one in ast.walk(value) if isinstance(one, ast.Attribute)}
    plain = names <= {"float", "int", "tl"} and attributes <= {"constexpr"}
    return plain or isinstance(value, ast.Lambda)


def _needed(definitions: list[_Definition], cells: list[Cell]) -> list[_Definition]:
    """Those that the cells use, or that these use in turn: pictures cost more than most checks."""
    used = {"*"}
    for cell in cells:
        with contextlib.suppress(SyntaxError):  # which is said when the cell is executed
            used |= _used(ast.parse(_without_magics(cell.source)))
    for one in definitions:
        if _is_loaded(one.statement):
            used |= one.names
    needed: list[_Definition] = []
    while len(needed) < len(found := [one for one in definitions if one.names & used]):
        needed = found
        for one in needed:
            used |= _used(one.statement)
    return needed


def _is_loaded(statement: ast.stmt) -> bool:
    """An import that costs nothing. A kernel needs ``tl`` even where it does not name it."""
    if isinstance(statement, ast.Import):
        return all(one.name in sys.modules for one in statement.names)
    return isinstance(statement, ast.ImportFrom) and statement.module in sys.modules


def _used(tree: ast.AST) -> set[str]:
    return {one.id for one in ast.walk(tree) if isinstance(one, ast.Name)}


def _execute(definitions: list[_Definition], namespace: dict[str, Any]) -> list[str]:
    """Execute them one by one; say which of them failed."""
    failed = []
    for one in definitions:
        try:
            exec(compile(ast.Module([one.statement], []), one.where, "exec"), namespace)
        except Exception as error:
            line = f"{learners(one.where)}, line {one.statement.lineno}"
            failed.append(f"{line}: {type(error).__name__}: {error}")
    return failed


def _without_magics(source: str) -> str:
    """Jupyter's own lines ("%timeit ...", "!ls") made empty statements, so that Python can read."""
    return re.sub(r"^(\s*)[%!][^\n]*", r"\1pass", source, flags=re.MULTILINE)


def _remember(source: str, name: str) -> None:
    # @triton.jit reads a kernel's source again, and finds it here; None: never checked on disk
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)


def main(exercise: str, path: str, verdict: str) -> None:
    """Check ``exercise`` in the notebook at ``path`` and write the verdict as JSON."""
    process.expendable = True
    with contextlib.redirect_stdout(io.StringIO()):
        import course.notebook  # chooses the interpreter, before any cell can
    if course.notebook.INTERPRETED:
        import torch

        torch.set_num_threads(1)  # the tensors are small; more threads only wait for each other
    try:
        words = run_cells(read(Path(path)), exercise)
    except ValueError as error:
        words = str(error)
    Path(verdict).write_text(json.dumps(words))


if __name__ == "__main__":
    main(*sys.argv[1:])
