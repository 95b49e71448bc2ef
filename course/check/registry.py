"""``check("nb01-2", step)``: the cell under every notebook exercise."""

import importlib
import re
from collections.abc import Callable

from course.check.place import hint, place

_CHECKERS: dict[str, Callable[..., str | None]] = {}
_PASSED: dict[str, tuple[object, ...]] = {}

# What 'course release' leaves in place of a solution: "nb00-2: add two vectors".
_STUB = re.compile(r"\b((?:hw|nb)\d+-\d+): ([^\"\n]+)")


class CheckFailed(AssertionError):
    """An exercise is not right yet; its text is all a learner needs to see."""

    def _render_traceback_(self) -> list[str]:
        # Jupyter calls this instead of printing the frames of the course's own code.
        return [str(self)]


def checker(exercise: str) -> Callable[[Callable[..., str | None]], Callable[..., str | None]]:
    """Register a function as the check of ``exercise``.

    It takes what the learner wrote, raises AssertionError in words when that is wrong, and may
    return a sentence that says what was shown.
    """

    def register(function: Callable[..., str | None]) -> Callable[..., str | None]:
        assert exercise not in _CHECKERS, f"{exercise} is registered twice"
        _CHECKERS[exercise] = function
        return function

    return register


def check(exercise: str, *objects: object) -> None:
    """Say whether an exercise is right.

    Raises:
        CheckFailed: it is not; the message says what is wrong.
        KeyError: there is no such exercise.
    """
    importlib.import_module(f"course.check.{exercise.split('-')[0]}")
    _PASSED.pop(exercise, None)
    try:
        shown = _CHECKERS[exercise](*objects)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise CheckFailed(f"{exercise} {in_words(error, exercise)}") from None
    _PASSED[exercise] = objects
    print(f"{exercise} passed" + (f": {shown}" if shown else ""))


def require(exercise: str, *objects: object) -> None:
    """Stop before a launch that could write outside memory, and so kill the notebook's process.

    Raises:
        CheckFailed: the check of ``exercise`` has not passed with these very objects.
    """
    passed = _PASSED.get(exercise, ())
    if len(passed) != len(objects) or any(a is not b for a, b in zip(passed, objects, strict=True)):
        raise CheckFailed(
            f"This cell runs your kernel of {exercise}, unguarded. Run its check first: it has not "
            "passed since you last ran the kernel's cell."
        )


def in_words(error: BaseException, exercise: str = "") -> str:
    """What went wrong, for someone who has never seen the course's code.

    Where an exercise stops at the stub of another, the other is named.
    A failed ``static_assert`` in a kernel sits at the end of the ``__cause__`` chain. With an
    ``exercise``, the learner's line that went wrong follows on a line of its own.
    """
    line = place(error, exercise) if exercise else ""
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error).strip()
    stubs = _STUB.findall(text)
    unwritten = stubs and ("static_assert" in text or _STUB.match(text))
    if isinstance(error, NotImplementedError) or unwritten:
        if not stubs:
            return f"is not written yet ({text})".removesuffix(" ()")
        stub, title = stubs[-1]
        if exercise and stub != exercise:
            return f"is not written yet: it needs {stub} first ({title})"
        return f"is not written yet ({title})"
    kind = type(error).__name__
    if isinstance(error, AssertionError):
        words = f"is not right yet: {text}"
    elif kind == "StudentError":  # by name: its module imports more than a first cell may
        words = f"stopped: {text}"
    else:
        words = f"stopped with {kind}: {text}"
    return words + "".join(f"\n  {more}" for more in (line, line and hint(text, line)) if more)
