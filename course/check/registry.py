"""``check("nb01-2", step)``: the cell under every notebook exercise."""

import contextlib
import importlib
import io
from collections.abc import Callable, Mapping, Sequence
from types import CodeType

from course.check.case import STUB
from course.check.place import hint, place

_CHECKERS: dict[str, Callable[..., str | None]] = {}
_CALLS: dict[str, Mapping[str, Sequence[str]]] = {}
_PASSED: dict[str, tuple[object, ...]] = {}


class CheckFailed(AssertionError):
    """An exercise is not right yet; its text is all a learner needs to see."""

    def _render_traceback_(self) -> list[str]:
        # Jupyter calls this instead of printing the frames of the course's own code.
        return [str(self)]


def checker(
    exercise: str, calls: Mapping[str, Sequence[str]] | None = None
) -> Callable[[Callable[..., str | None]], Callable[..., str | None]]:
    """Register a function as the check of ``exercise``.

    It takes what the learner wrote, raises AssertionError in words when that is wrong, and may
    return a sentence that says what was shown.

    ``calls``: an earlier exercise of the notebook -> the functions of it that this one may call. It
    is blamed first when both are wrong.
    """

    def register(function: Callable[..., str | None]) -> Callable[..., str | None]:
        assert exercise not in _CHECKERS, f"{exercise} is registered twice"
        _CHECKERS[exercise] = function
        _CALLS[exercise] = calls or {}
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
        words = in_words(error, exercise)
        raise CheckFailed(f"{_blame(exercise, objects, words)}{exercise} {words}") from None
    _PASSED[exercise] = objects
    print(f"{exercise} passed" + (f": {shown}" if shown else ""))


def _blame(exercise: str, objects: tuple[object, ...], words: str) -> str:
    """A line that names an earlier exercise if what was called of it is wrong itself; else ""."""
    scope = getattr(objects[0], "__globals__", {}) if objects else {}
    used = set().union(*(_names(getattr(one, "__code__", None)) for one in objects))
    for earlier, names in _CALLS.get(exercise, {}).items():
        # one that is not written yet, or not defined, is named already
        called = scope.keys() & used & set(names)
        if not called or f"it needs {earlier} first" in words:
            continue
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                # 'course check' leaves out what the exercise does not use
                _CHECKERS[earlier](*(scope.get(name) for name in names))
        except KeyboardInterrupt:
            raise
        except BaseException:
            return f"{earlier}, which {exercise} calls, does not pass: mend it first.\n"
    return ""


def _names(code: CodeType | None) -> set[str]:
    """The global names that a function uses, in functions inside it too."""
    if code is None:
        return set()
    inner = (_names(one) for one in code.co_consts if isinstance(one, CodeType))
    return set(code.co_names).union(*inner)


def require(exercise: str, *objects: object) -> None:
    """Stop before a launch that could write outside memory, and so kill the notebook's process.

    Raises:
        CheckFailed: the check of ``exercise`` has not passed with these very objects.
    """
    passed = _PASSED.get(exercise, ())
    if len(passed) != len(objects) or any(a is not b for a, b in zip(passed, objects, strict=True)):
        raise CheckFailed(
            f"This cell runs your kernel of {exercise} where nothing would stop it from writing "
            "outside its tensors. Run its check first: it has not passed since you last ran the "
            "kernel's cell."
        )


def unwritten(error: BaseException) -> str:
    """Which exercise a cell stopped at because it is a stub, in words; "" for all other errors."""
    stub = _stub(_root(error))
    if stub is None:
        return ""
    return f"This cell needs {stub[0]} first, which is not written yet ({stub[1]})."


def _root(error: BaseException) -> BaseException:
    """What ``error`` was raised from at first; a kernel's own error is the cause of Triton's."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _stub(error: BaseException) -> tuple[str, str] | None:
    """The exercise and the title of the stub that raised ``error``; compiled, by static_assert."""
    text = str(error).strip()
    found = STUB.findall(text)
    return found[-1] if found and ("static_assert" in text or STUB.match(text)) else None


def in_words(error: BaseException, exercise: str = "") -> str:
    """What went wrong, for someone who has never seen the course's code.

    Where an exercise stops at the stub of another, the other is named.
    A failed ``static_assert`` in a kernel sits at the end of the ``__cause__`` chain. With an
    ``exercise``, the learner's line that went wrong follows on a line of its own.
    """
    line = place(error, exercise) if exercise else ""
    error = _root(error)
    text = str(error).strip()
    stub = _stub(error)
    if stub is not None:
        where = f": it needs {stub[0]} first" if exercise and stub[0] != exercise else ""
        return f"is not written yet{where} ({stub[1]})"
    if isinstance(error, NotImplementedError):
        return f"is not written yet ({text})".removesuffix(" ()")
    kind = type(error).__name__
    if isinstance(error, AssertionError):
        words = f"is not right yet: {text}"
    elif kind == "StudentError":  # by name: its module imports more than a first cell may
        words = f"stopped: {text}"
    else:
        words = f"stopped with {kind}: {text}"
    # Triton's and Python's words are translated; the course's own need no hint
    helps = hint(text, line) if line or not isinstance(error, AssertionError) else ""
    return words + "".join(f"\n  {more}" for more in (line, helps) if more)
