"""``check("nb01-2", step)``: the cell under every notebook exercise."""

import importlib
import re
from collections.abc import Callable

_CHECKERS: dict[str, Callable[..., str | None]] = {}

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
    try:
        shown = _CHECKERS[exercise](*objects)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise CheckFailed(f"{exercise} {in_words(error, exercise)}") from None
    print(f"{exercise} passed" + (f": {shown}" if shown else ""))


def in_words(error: BaseException, exercise: str = "") -> str:
    """What went wrong, for someone who has never seen the course's code.

    Where an exercise stops at the stub of another, the other is named.
    A failed ``static_assert`` in a kernel sits at the end of the ``__cause__`` chain.
    """
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
    if isinstance(error, AssertionError):
        return f"is not right yet: {text}"
    kind = type(error).__name__
    # by name: its module imports more than a notebook's first cell may, and its text says it all
    return f"stopped: {text}" if kind == "StudentError" else f"stopped with {kind}: {text}"
