"""One exercise of a notebook, checked as it is saved, without running the notebook."""

import json
import re
import subprocess
import tempfile
from pathlib import Path

from course.process import ROOT, died, environment, python_with_torch

TIME_LIMIT = 60.0  # seconds
_SHOWN = 4000  # characters of what a cell printed
# in a notebook's JSON, and on the line that opens a check cell of its source
_CHECKED = re.compile(r'''"grade_id": "([\w-]+)-check"|^# ?%% check="([\w-]+)"''', re.MULTILINE)


def find(exercise: str, solutions: bool = False) -> Path | None:
    """The notebook (or its source) that an exercise is in, by the number in its id."""
    number = exercise.split("-")[0].removeprefix("nb")
    folder = ROOT / "solutions" / "notebooks" if solutions else ROOT / "notebooks"
    return next(iter(sorted(folder.glob(f"{number}_*.{'py' if solutions else 'ipynb'}"))), None)


def all_exercises(solutions: bool = False) -> dict[str, str]:
    """Every exercise with a check cell, and the notebook it is in."""
    folder = ROOT / "solutions" / "notebooks" if solutions else ROOT / "notebooks"
    return {
        exercise: path.stem
        for path in sorted(folder.glob("[0-9][0-9]_*"))
        if path.suffix == (".py" if solutions else ".ipynb")
        for match in _CHECKED.finditer(path.read_text(encoding="utf-8"))
        for exercise in [match[1] or match[2]]
    }


def check_saved(exercise: str, solutions: bool = False, limit: float = TIME_LIMIT) -> str:
    """Check an exercise in a process of its own, and print what it prints.

    Returns:
        "" if it is right, else what is wrong in words.
    """
    path = find(exercise, solutions)
    if path is None:
        return f"{exercise}: there is no notebook for it in {ROOT}"
    tree = ROOT / "solutions" if solutions else ROOT
    with tempfile.TemporaryDirectory() as folder:
        verdict, printed = Path(folder, "verdict.json"), Path(folder, "printed")
        arguments = (exercise, str(path.resolve()), str(verdict))
        command = python_with_torch(tree, "course.exercise.cells", *arguments)
        with printed.open("wb") as sink:
            try:
                status = subprocess.run(
                    command,
                    cwd=path.parent,
                    env=environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=sink,
                    stderr=subprocess.STDOUT,
                    timeout=limit,
                ).returncode
            except subprocess.TimeoutExpired:
                return (
                    f"{exercise} gave no answer after {limit:.0f} s, so it was stopped: "
                    "an endless loop?"
                )
        with printed.open(errors="replace") as stream:
            print(stream.read(_SHOWN), end="")
        if not verdict.exists():
            crash = died(status)
            if crash:
                return f"{exercise} stopped: {crash}"
            return f"{exercise} ended Python itself (exit status {status}) before it was checked"
        return str(json.loads(verdict.read_text()))
