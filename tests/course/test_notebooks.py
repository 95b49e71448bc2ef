"""Every notebook's source: it runs, and it keeps the rules that a learner relies on."""

import ast
import importlib
import json
import re
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jupytext
import pytest

from course.check import registry
from course.exercise import cells as checked_alone
from course.process import ROOT, environment

SOURCES = sorted((ROOT / "solutions" / "notebooks").glob("*.py"))
CPU_SECONDS = 20
# it compiles, and runs rungs in processes of their own
CPU_SECONDS_OF = {"06_performance": 60}

_CARD = re.compile(r"(?m)^### (nb\d\d-\d+) \S.* &nbsp; · &nbsp; \d+ min$")
_HINT = re.compile(r"<details><summary>.+</summary>\n\n(?s:.+?)\n</details>")
_BOOT = "import sys; sys.path[0:1] = sys.argv[1].split('|'); del sys.argv[1]; "
_SCRIPT = _BOOT + "import runpy; runpy.run_path(sys.argv[1], run_name='__main__')"
_ALONE = _BOOT + (
    "import json; from pathlib import Path; from course import device; device.prepare(); "
    "from course.exercise.cells import read, run_cells; cells = read(Path(sys.argv[1])); "
    "ids = [c.id[:-6] for c in cells if c.id.endswith('-check')]; "
    "print(json.dumps({i: run_cells(cells, i) for i in ids}))"
)


@dataclass(frozen=True)
class Cell:
    kind: str
    source: str
    options: dict[str, Any]

    @property
    def exercise(self) -> str:
        return self.options.get("exercise", "")

    @property
    def check(self) -> str:
        return self.options.get("check", "")


def read(text: str) -> list[Cell]:
    reader = {"extension": ".py", "format_name": "percent", "comment_magics": False}
    body = text.partition("\n")[2]
    cells = jupytext.reads(body, fmt=reader).cells
    return [Cell(c.cell_type, c.source, dict(c.metadata)) for c in cells]


def run(code: str, path: Path, timeout: int) -> subprocess.CompletedProcess[str]:
    """A child with the solutions first on its path, that chooses GPU or interpreter by itself."""
    clean = {k: v for k, v in environment().items() if k != "TRITON_INTERPRET"}
    places = f"{ROOT / 'solutions'}|{ROOT}"
    command = [sys.executable, "-c", code, places, str(path)]
    return subprocess.run(
        command, env=clean, cwd="/", capture_output=True, text=True, timeout=timeout
    )


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.stem)
def test_course_check_sees_the_cells_that_jupytext_sees(path: Path) -> None:
    code = [cell for cell in read(path.read_text()) if cell.kind == "code"]
    ids = [f"{cell.check}-check" if cell.check else cell.exercise for cell in code]
    alone = checked_alone.read(path)
    # the first is the line that declares the file, which is no cell of the notebook
    assert [cell.source for cell in alone[1:]] == [cell.source for cell in code]
    assert [cell.id for cell in alone[1:]] == ids


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.stem)
def test_it_runs_as_a_script(path: Path) -> None:
    before = _cpu_seconds()
    done = run(_SCRIPT, path, timeout=180)
    assert done.returncode == 0, done.stderr[-2000:]
    passed = re.findall(r"^(nb\d\d-\d+) passed", done.stdout, re.MULTILINE)
    assert passed == [c.check for c in read(path.read_text()) if c.check]
    used = _cpu_seconds() - before
    limit = CPU_SECONDS_OF.get(path.stem, CPU_SECONDS)
    assert used < limit, f"{used:.0f} s of CPU time, at most {limit} are allowed"


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.stem)
def test_each_exercise_is_checked_alone(path: Path) -> None:
    """With the imports, definitions and UPPER_CASE constants above it, and nothing else."""
    done = run(_ALONE, path, timeout=180)
    assert done.returncode == 0, done.stderr[-2000:]
    wrong = {k: v for k, v in json.loads(done.stdout.splitlines()[-1]).items() if v}
    assert not wrong


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.stem)
def test_it_keeps_the_rules(path: Path) -> None:
    found = problems(read(path.read_text()), path.stem)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.stem)
def test_each_check_is_registered(path: Path) -> None:
    number = path.stem[:2]
    importlib.import_module(f"course.check.nb{number}")
    registered = {one for one in registry._CHECKERS if one.startswith(f"nb{number}-")}
    assert registered == {c.check for c in read(path.read_text()) if c.check}


def problems(cells: list[Cell], stem: str) -> list[str]:
    """What a notebook does that a learner would trip over."""
    found = [*_opening(cells), *_lengths(cells), *_sections(cells)]
    ids = [cell.check for cell in cells if cell.check]
    expected = [f"nb{stem[:2]}-{n}" for n in range(1, len(ids) + 1)]
    if ids != expected:
        found.append(f"the checks are {ids}, expected {expected}")
    for at, cell in enumerate(cells):
        if cell.exercise:
            following = cells[at + 1].check if at + 1 < len(cells) else ""
            if following != cell.exercise:
                found.append(f"{cell.exercise}: the cell under it is not its check")
            if not re.search(r"(?m)^ *# about \d+ ", cell.source):
                found.append(f"{cell.exercise}: does not say '# about n lines'")
        if cell.check:
            found += _exercise(cells, at)
    return found


def _opening(cells: list[Cell]) -> list[str]:
    found = []
    if not re.match(r"# \d\d · .+\n(?s:.*)About .*(minute|hour)", cells[0].source):
        found.append("the first cell gives no number, title and 'About n minutes'")
    if cells[1].source != "import course.notebook":
        found.append("the second cell is not 'import course.notebook'")
    return found


def _lengths(cells: list[Cell]) -> list[str]:
    found = []
    for cell in cells:
        count, limit = len(cell.source.splitlines()), 12 if cell.kind == "markdown" else 15
        if count > limit and not cell.exercise:
            found.append(f"{count} lines, at most {limit}: {cell.source.splitlines()[0]}")
        if cell.kind == "code":
            try:
                ast.parse(cell.source)
            except SyntaxError as error:
                found.append(f"not plain Python: {error.text}")
            if "get_ipython" in cell.source:
                found.append("get_ipython is not plain Python")
    return found


def _sections(cells: list[Cell]) -> list[str]:
    """Each numbered section ends with a checkpoint."""
    text = "\n".join(cell.source for cell in cells if cell.kind == "markdown")
    parts = re.split(r"(?m)^## ", text)[1:]
    return [
        f"no checkpoint in '{part.splitlines()[0]}'"
        for part in parts
        if re.match(r"\d", part) and "**Checkpoint" not in part
    ]


def _exercise(cells: list[Cell], at: int) -> list[str]:
    name, found = cells[at].check, []
    call = ast.parse(cells[at].source).body
    if len(call) != 1 or not re.match(rf'check\("{name}"[,)]', cells[at].source):
        found.append(f'{name}: its check is not one call of check("{name}", ...)')
    has_cell = cells[at - 1].exercise == name
    points = cells[at - 1 if has_cell else at].options.get("points")
    if not isinstance(points, int) or points < 1:
        found.append(f"{name}: has no points")
    # an exercise solved in a module may have cells that explain it between card and check
    above = [c for c in cells[:at] if c.kind == "markdown"] if not has_cell else [cells[at - 2]]
    if name not in _CARD.findall("\n".join(c.source for c in above)):
        found.append(f"{name}: no card '### {name} title &nbsp; · &nbsp; n min' above it")
    below = cells[at + 1].source if at + 1 < len(cells) else ""
    if not _HINT.match(below):
        found.append(f"{name}: no hint folded in <details> under its check")
    return found


_GOOD = """# course: exercise
# %% [markdown]
# # 07 · A title
# About 10 minutes.

# %%
import course.notebook

# %% [markdown]
# ## 1. A section

# %% [markdown]
# ### nb07-1 Twice &nbsp; · &nbsp; 5 min

# %% exercise="nb07-1" points=1
def twice(x):
    # about 1 line
    return 2 * x

# %% check="nb07-1"
check("nb07-1", twice)

# %% [markdown]
# <details><summary>It is half of what it should be</summary>
#
# Once is not enough.
# </details>

# %% [markdown]
# **Checkpoint.** What have you learnt?
"""


def test_a_good_notebook_has_no_problems() -> None:
    assert problems(read(_GOOD), "07_demo") == []


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("About 10 minutes", "Not long", "About n minutes"),
        ("import course.notebook", "import torch", "second cell"),
        ("# Once is not enough.", "# Once is not enough.\n" * 13, "at most 12"),
        ("import course.notebook", "import course.notebook\n" * 16, "at most 15"),
        ("import course.notebook", "%time import course.notebook", "plain Python"),
        ("**Checkpoint.**", "", "no checkpoint in '1. A section'"),
        ('# %% check="nb07-1"', "# %%", "not its check"),
        ('# %% check="nb07-1"', "# %%\n1\n\n" + '# %% check="nb07-1"', "not its check"),
        ('check("nb07-1", twice)', 'check("nb07-1", twice)\nprint(1)', "not one call"),
        ('check("nb07-1", twice)', 'check("nb07-2", twice)', "not one call"),
        (" points=1", "", "has no points"),
        ("### nb07-1 Twice &nbsp; · &nbsp; 5 min", "### nb07-1 Twice", "no card"),
        ("<details><summary>", "", "no hint"),
        ("# about 1 line", "", "about n lines"),
        ("nb07-1", "nb07-2", "the checks are ['nb07-2'], expected ['nb07-1']"),
    ],
)
def test_a_faulty_notebook_is_named(old: str, new: str, why: str) -> None:
    assert old in _GOOD
    found = problems(read(_GOOD.replace(old, new)), "07_demo")
    assert any(why in one for one in found), found
