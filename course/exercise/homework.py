"""One homework exercise: its tests, and what they say, in a few lines."""

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from course.compiled.cases import compiles
from course.process import ROOT
from course.submit.score import Results, read_results, score
from course.submit.testing import test_command, watch

if TYPE_CHECKING:
    from rich.console import Console

_MARKER = re.compile(r"""exercise\(\s*["']([\w-]+)["']""")
_SILENCE = 150.0  # seconds without a finished test
_SHOWN = 3  # messages
_STUB = re.compile(r"""["']([\w-]+): (.*)["']\)$""")


def test_files() -> dict[str, list[Path]]:
    """Exercise -> the files in ``tests/`` with tests of it, read without importing them."""
    found: dict[str, list[Path]] = {}
    for path in sorted((ROOT / "tests").glob("test_*.py")):
        for exercise in dict.fromkeys(_MARKER.findall(path.read_text(encoding="utf-8"))):
            found.setdefault(exercise, []).append(path)
    return found


def stubs(exercise: str, tree: Path = ROOT) -> list[str]:
    """Where an exercise is still to be written: "folder/file.py, line 7: what is missing"."""
    found = []
    for path in sorted(tree.glob("*/*.py")):
        if path.parent.name not in ("course", "tests"):
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                stub = _STUB.search(line)
                if stub and stub[1] == exercise:
                    found.append(f"{path.relative_to(tree).as_posix()}, line {number}: {stub[2]}")
    return found


def check_homework(exercise: str, solutions: bool = False) -> bool:
    """Run the tests of one exercise and print what they say; whether none of them failed."""
    from rich.markup import escape  # not above: the list of exercises needs none of it

    from course.submit.display import console

    files = [str(path) for path in test_files()[exercise]]
    with tempfile.TemporaryDirectory() as folder:
        file, log = Path(folder, "tests.jsonl"), Path(folder, "tests.log")
        command = test_command(file, solutions, *files, "--exercise", exercise)
        why = watch(command, file, log, lambda results, test: None, _SILENCE)
        results = read_results(file)
        if results.collected < 0:
            why = f"the tests could not start:\n{log.read_text(errors='replace')[-2000:]}"
    if why:
        console().print(f"[red]{exercise}[/]: {escape(why)}", soft_wrap=True)
        return False
    return _tell(console(), exercise, results)


def _tell(out: "Console", exercise: str, results: Results) -> bool:
    from rich.markup import escape

    failed = [test for test in results.tests if test["outcome"] == "failed"]
    # many sizes of one test often fail for one reason
    messages = dict.fromkeys(test["message"] for test in failed)
    for message in list(messages)[:_SHOWN]:
        # a number broken over two lines cannot be read
        out.print(f"[red]{escape(message)}[/]", soft_wrap=True)
    if len(messages) > _SHOWN:
        more = len(messages) - _SHOWN
        out.print(f"... and {more} other message{'s' * (more > 1)}")
    entry = next(one for one in score(results) if one.id == exercise)
    passed = sum(test["outcome"] == "passed" for test in results.tests)
    style = "green" if entry.state == "passed" else "bold"
    out.print(
        f"[{style}]{exercise} {entry.title}: {entry.state}[/], "
        f"{passed} of {len(results.tests)} tests passed, {entry.earned} of {entry.points} points"
    )
    if entry.state == "not written yet":
        for place in stubs(exercise):
            out.print(escape(f"  to write: {place}"), soft_wrap=True)
    for why, count in entry.unproven.items():
        out.print(escape(f"  {count} unproven here: {why}"))
    if entry.state == "passed" and results.interpreted and compiles(exercise):
        fits = f"whether it compiles for a GPU and fits it: course compile {exercise} says so"
        out.print(f"  unproven here: speed; and {fits}", soft_wrap=True)
    return not failed
