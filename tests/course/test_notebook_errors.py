"""What a cell shows that stops: one line for what is not written yet, the frames for the rest."""

import subprocess
import sys

from course.process import ROOT, environment

SESSION = """
from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell.instance(colors="nocolor")
shell.run_cell("import course.notebook")
for cell in (CELLS):
    print("cell")
    shell.run_cell(cell)
"""


def shown(*cells: str) -> list[str]:
    """What each cell prints, in a session in which the first cell of a notebook has run."""
    session = SESSION.replace("CELLS", ", ".join(map(repr, [*cells, "0"])))
    done = subprocess.run(
        [sys.executable, "-c", session],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return [part.strip() for part in done.stdout.split("cell\n")][1:-1]


def test_a_cell_that_needs_an_exercise_says_which_in_one_line():
    stub = 'raise NotImplementedError("nb00-2: add two vectors")'
    inside = f"try:\n    {stub}\nexcept NotImplementedError as e:\n    raise ValueError('x') from e"
    compiled = (
        "from triton.compiler.errors import CompileTimeAssertionFailure as Failure\n"
        "source = 'tl.static_assert(False, \"nb00-2: add two vectors\")'\n"
        "raise Failure(source, None, 'nb00-2: add two vectors')"
    )
    wrong, direct, wrapped, on_a_gpu = shown("1 / 0", stub, inside, compiled)
    assert "ZeroDivisionError: division by zero" in wrong and "1 / 0" in wrong
    line = "This cell needs nb00-2 first, which is not written yet (add two vectors)."
    assert direct == wrapped == on_a_gpu == line
