"""``course check``: an exercise of the homework by its tests, one of a notebook as it is saved."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tiny_course import course, write_course

from course.process import ROOT, environment
from course.testing.plugin import MACHINE

CHECKERS = """
import torch
from course.check.registry import checker


@checker("nb07-1")
def doubles(double):
    got = double(torch.arange(3.0))
    assert got.tolist() == [0.0, 2.0, 4.0], f"got {got.tolist()}"
    return "twice as much"


@checker("nb07-2")
def kernel(fill_kernel, SIZE):
    out = torch.zeros(SIZE)
    fill_kernel[(1,)](out, SIZE)
    assert out.tolist() == [5.0] * SIZE, f"got {out.tolist()}"


@checker("nb07-3")
def module():
    from a.work import double

    assert double(2) == 4
"""

FIRST = 'raise RuntimeError("the first cell must not run")'
IMPORTS = """%matplotlib inline
import colorsys
import torch, triton
import triton.language as tl
from course.notebook import check
SIZE = 4
print("this cell was executed")
slow = 1 / 0
"""
DOUBLE = "def double(x):\n    return 2 * x\n"
KERNEL = """
@triton.jit
def fill_kernel(out_ptr, BLOCK: tl.constexpr):
    five = 5.0
    tl.store(out_ptr + tl.arange(0, BLOCK), five)
"""


def notebook(folder: Path, double: str = DOUBLE, kernel: str = KERNEL) -> None:
    """Save the notebook with these two exercise cells."""
    cells = [
        ("", FIRST),
        ("", IMPORTS),
        ("", "def (:"),
        ("nb07-1", double),
        ("nb07-1-check", 'check("nb07-1", double)'),
        ("", "!ls\nfor n in range(10**9):\n    pass"),
        ("nb07-2", kernel),
        ("nb07-2-check", 'check("nb07-2", fill_kernel, SIZE)'),
        ("nb07-3-check", 'check("nb07-3")'),
    ]
    saved = {
        "cells": [
            {
                "cell_type": "code",
                "id": f"cell-{n}",
                "metadata": {"nbgrader": {"grade_id": name}} if name else {},
                "source": source.splitlines(keepends=True),
                "outputs": [],
                "execution_count": None,
            }
            for n, (name, source) in enumerate(cells)
        ],
        "metadata": {},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    (folder / "notebooks/07_small.ipynb").write_text(json.dumps(saved, indent=1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small course with a notebook, written once: its checks change only the notebook."""
    folder = write_course(tmp_path_factory.mktemp("small"))
    (folder / "course/check/nb07.py").write_text(CHECKERS)
    (folder / "notebooks").mkdir()
    notebook(folder)
    return folder


def test_right_as_saved(folder: Path) -> None:
    """Only what an exercise may see is executed; a kernel finds its source; a module its tree."""
    notebook(folder)
    done = course(folder, "check", "nb07-1")
    assert (done.returncode, done.stdout) == (0, "nb07-1 passed: twice as much\n"), done.stderr
    assert course(folder, "check", "nb07-2").stdout == "nb07-2 passed\n"
    assert course(folder, "check", "nb07-3").stdout == "nb07-3 passed\n"


def test_what_an_exercise_does_not_use_is_not_imported(folder: Path) -> None:
    using = "def double(x):\n    return 2 * x if colorsys.ONE_SIXTH else x\n"
    unused = "import sys\ndef double(x):\n    return x * 2 ** ('colorsys' not in sys.modules)\n"
    for cell in (using, unused):
        notebook(folder, cell)
        done = course(folder, "check", "nb07-1")
        assert (done.returncode, done.stdout) == (0, "nb07-1 passed: twice as much\n"), done.stderr
    notebook(folder)


def imported(program: str, *modules: str) -> list[str]:
    """Which of the modules a process has imported after ``program``."""
    tree = str(ROOT / "solutions")
    said = f"print([name for name in {modules} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\nsys.path[0] = {tree!r}\n{program}\n{said}"],
        env=environment(TRITON_INTERPRET="1", PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return list(ast.literal_eval(done.stdout.splitlines()[-1]))


def test_the_command_itself_imports_nothing_dear() -> None:
    """The process it starts imports torch: twice would be twice the wait."""
    program = "from course import cli\nfrom course.exercise import homework, notebook"
    assert imported(program, "torch", "numpy", "pandas", "matplotlib", "rich.console") == []


@pytest.mark.parametrize("exercise", ["nb01-6", "nb03-1", "nb05-8"])
def test_a_check_imports_nothing_dear_that_it_does_not_use(exercise: str) -> None:
    program = (
        "import course.notebook\n"
        "from course import process\n"
        "from course.exercise import cells, notebook\n"
        "process.expendable = True\n"
        f"said = cells.run_cells(cells.read(notebook.find({exercise!r}, True)), {exercise!r})\n"
        "assert not said, said"
    )
    assert imported(program, "pandas", "matplotlib", "sympy", "torch._dynamo") == []


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ("def double(x):\n    return 3 * x\n", "nb07-1 is not right yet: got [0.0, 3.0, 6.0]"),
        ("def double(x:\n    return 2 * x\n", "nb07-1: Python cannot read its cell, line 1: "),
        (
            'def double(x):\n    raise NotImplementedError("nb07-1: double it")\n',
            "nb07-1 is not written yet (double it)",
        ),
        (
            "def double(x):\n    y = x / 2\n    return y + missing\n",
            "nb07-1 stopped with NameError: name 'missing' is not defined\n"
            "  line 3 of the cell: `return y + missing`",
        ),
        ("import os\nos._exit(0)\n", "nb07-1 ended Python itself (exit status 0)"),
        ("import os\nos.kill(os.getpid(), 11)\n", "nb07-1 stopped: Python itself died (SIGSEGV)"),
        ("pass\n", "nb07-1 stopped with NameError: name 'double' is not defined (code cell 3 was"),
    ],
)
def test_wrong_as_saved(folder: Path, cell: str, says: str) -> None:
    notebook(folder, double=cell)
    done = course(folder, "check", "nb07-1")
    assert done.returncode == 1 and not done.stderr
    assert done.stdout.startswith(says), done.stdout
    assert "Traceback" not in done.stdout


def test_endless_loop_in_a_cell(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook(folder, double="def double(x):\n    while True:\n        pass\n")
    from course.exercise import notebook as checking

    # in this process, for a shorter limit; the cell runs in its own all the same
    monkeypatch.setattr(checking, "ROOT", folder)
    words = checking.check_saved("nb07-1", limit=10)
    assert words == "nb07-1 gave no answer after 10 s, so it was stopped: an endless loop?"


def test_a_damaged_notebook(folder: Path) -> None:
    notebook(folder)
    file = folder / "notebooks/07_small.ipynb"
    file.write_text(file.read_text()[:-20])
    done = course(folder, "check", "nb07-1")
    assert done.returncode == 1
    assert "07_small.ipynb cannot be read as a notebook" in done.stdout


@contextmanager
def written(path: Path, source: str) -> Iterator[None]:
    """Inside it the file holds ``source``."""
    before = path.read_text()
    path.write_text(source)
    try:
        yield
    finally:
        path.write_text(before)


def test_homework(folder: Path) -> None:
    done = course(folder, "check", "hw1-1")
    assert done.returncode == 0, done.stdout + done.stderr
    first, *more = done.stdout.splitlines()
    assert first == "hw1-1 one: passed, 2 of 2 tests passed, 2 of 2 points"
    hint = "speed; and whether it compiles for a GPU and fits it: course compile hw1-1 says so"
    assert more == [f"  unproven here: {hint}"] * MACHINE.interpreted
    done = course(folder, "check", "hw2-1")
    assert done.returncode == 0
    assert done.stdout.splitlines()[1] == "  1 unproven here: needs a GPU"


def test_wrong_homework(folder: Path) -> None:
    with written(folder / "b/work.py", "def double(x):\n    return 3 * x\n"):
        done = course(folder, "check", "hw1-2")
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 2, done.stdout
    first, last = done.stdout.splitlines()
    assert first == "hw1-2 is not right yet: got [0.0, 3.0, 6.0], expected [0.0, 2.0, 4.0]"
    assert last == "hw1-2 two: failed, 0 of 1 tests passed, 0 of 1 points"


def test_homework_that_is_not_written_says_where(folder: Path) -> None:
    with written(
        folder / "b/work.py",
        'def double(x):\n    raise NotImplementedError("hw1-2: twice (as much)")\n',
    ):
        done = course(folder, "check", "hw1-2")
    assert done.returncode == 1
    first, _, place = done.stdout.splitlines()
    assert first == "hw1-2 is not written yet (twice (as much))"
    assert place == "  to write: b/work.py, line 2: twice (as much)"


def test_all_of_a_homework(folder: Path) -> None:
    with written(folder / "b/work.py", "def double(x):\n    return 3 * x\n"):
        done = course(folder, "check", "hw1")
    assert done.returncode == 1
    lines = [line for line in done.stdout.splitlines() if "unproven" not in line]
    assert [line.split(",")[0] for line in lines] == [
        "hw1-1 one: passed",
        "hw1-2 is not right yet: got [0.0",
        "hw1-2 two: failed",
        "hw1-3 three: passed",
        "hw1: 2 of 3 exercises are right.",
    ]


def test_homework_that_ends_python(folder: Path) -> None:
    with written(folder / "c/work.py", "import os\n\nos._exit(0)\n"):
        done = course(folder, "check", "hw1-3")
    assert done.returncode == 1
    assert "hw1-3: the tests ended early (exit status 0): does the code end Python" in done.stdout


def test_unknown_and_missing_ids(folder: Path) -> None:
    notebook(folder)
    done = course(folder, "check", "hw1-33")
    assert done.returncode == 2
    assert done.stdout.startswith("There is no exercise 'hw1-33'. Did you mean hw1-3,")
    done = course(folder, "check", "nb99")
    assert done.returncode == 2
    assert done.stdout.startswith("There is no notebook 'nb99'. There are nb07;"), done.stdout
    listed = course(folder, "check").stdout
    assert [line.split()[0] for line in listed.splitlines()] == [
        *("hw1-1", "hw1-2", "hw1-3", "hw2-1", "hw2-2"),
        *("nb07-1", "nb07-2", "nb07-3"),
    ]


def test_the_command_of_another_folder_says_so(folder: Path, tmp_path: Path) -> None:
    other = write_course(tmp_path / "other")
    from typer.testing import CliRunner

    from course.cli import app

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(other / "a")
        result = CliRunner().invoke(app, ["check"])
    assert result.exit_code == 2
    assert f"In {other} use ./test_and_submit.sh" in result.output
