"""From finished tests to a scorecard: what each exercise earned, and why not more."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from course.submit.titles import BONUS, TITLES

State = Literal["passed", "failed", "not written yet", "unproven here", "not tested"]

# a test whose marker names no exercise looks after the code the course gives
GIVEN = "given"

# what tests say of a stub; a bonus's stub works, through PyTorch
_FALLBACK = "PyTorch fallback"
_UNWRITTEN = ("is not written yet", _FALLBACK)
# what they say of a file that is not Python, or does not get as far as its functions
_UNREADABLE = ("Python cannot read this file", " cannot be imported: ")


@dataclass
class Exercise:
    """One line of the scorecard."""

    id: str
    title: str
    points: int
    earned: int
    state: State
    reason: str
    unproven: dict[str, int] = field(default_factory=dict)  # reason -> number of tests

    @property
    def bonus(self) -> bool:
        return self.id in BONUS

    @property
    def counts_as_failure(self) -> bool:
        """Unproven never is one; an unsolved exercise is, but for the bonus and the notebooks'."""
        optional = self.bonus or not self.id.startswith("hw")
        return self.state in ("failed", "not tested") or (
            self.state == "not written yet" and not optional
        )


@dataclass
class Results:
    """What the plugin of the tests recorded in one run."""

    collected: int = -1  # -1: the tests never started
    points: dict[str, int] = field(default_factory=dict)
    tests: list[dict[str, Any]] = field(default_factory=list)
    interpreted: bool = False  # kernels ran on the CPU

    @property
    def complete(self) -> bool:
        return self.collected >= 0 and len({t["nodeid"] for t in self.tests}) >= self.collected


def read_results(file: Path) -> Results:
    """Read the JSON lines of ``pytest --course-results``; a last half-written line is left out."""
    results = Results()
    if not file.exists():
        return results
    for line in file.read_text().splitlines(keepends=True):
        if not line.endswith("\n"):
            break
        row = json.loads(line)
        if "collected" in row:
            results.collected, results.points = row["collected"], row["exercises"]
            results.interpreted = row.get("interpreted", False)
        else:
            results.tests.append(row)
    return results


def score(results: Results, not_tested: dict[str, str] | None = None) -> list[Exercise]:
    """One entry an exercise, in the order of the homework; tests of given code come first.

    A learner's file that cannot be imported fails the given code in it too. Its exercises say so,
    and the tests of the given code, which could not run, are left out.

    Args:
        results: a complete run, or what there is of it.
        not_tested: exercise -> why its tests never finished.
    """
    not_tested = not_tested or {}
    by_exercise: dict[str, list[dict[str, Any]]] = {name: [] for name in results.points}
    unreadable = {
        _file(test)
        for test in results.tests
        if test["exercise"] and any(sign in test["message"] for sign in _UNREADABLE)
    }
    for test in results.tests:
        given = not test["exercise"]
        if given and test["outcome"] == "failed" and _file(test) in unreadable:
            continue
        by_exercise.setdefault(test["exercise"] or GIVEN, []).append(test)
    names = sorted({*by_exercise, *not_tested}, key=lambda name: (name != GIVEN, name))
    return [
        _judge(name, results.points.get(name, 0), by_exercise.get(name, []), not_tested.get(name))
        for name in names
    ]


def _file(test: dict[str, Any]) -> str:
    return str(test["nodeid"]).split("::")[0]


def unwritten(test: dict[str, Any]) -> bool:
    """Whether a test failed because its exercise is still a stub."""
    return test["outcome"] == "failed" and any(sign in test["message"] for sign in _UNWRITTEN)


def _judge(name: str, points: int, tests: list[dict[str, Any]], not_run: str | None) -> Exercise:
    stubs = [_said(test) for test in tests if unwritten(test)]
    wrong = [_said(test) for test in tests if test["outcome"] == "failed" and not unwritten(test)]
    if any(_FALLBACK in said for said in stubs):
        wrong = []  # of a bonus left alone nothing can be wrong
    unproven: dict[str, int] = {}
    for test in tests:
        if test["outcome"] == "unproven":
            why = test["message"].removeprefix("unproven here: ")
            unproven[why] = unproven.get(why, 0) + 1
    state: State
    reason = ""
    if not_run is not None:
        state, reason = "not tested", not_run
    elif wrong or stubs:
        # a part that is missing does not explain away one that is wrong
        state = "failed" if wrong else "not written yet"
        reason = _one_line(name, (wrong or stubs)[0])
    elif any(test["outcome"] == "passed" for test in tests):
        state = "passed"
    elif unproven:
        state, reason = "unproven here", "; ".join(unproven)
    else:
        state, reason = "not tested", "none of its tests ran"
    title = TITLES.get(name, "the code the course gives" if name == GIVEN else "")
    earned = points if state == "passed" else 0
    return Exercise(name, title, points, earned, state, reason, unproven)


def _said(test: dict[str, Any]) -> str:
    # a test of given code has no message for learners
    short = test["nodeid"].split("::")[-1]
    return test["message"] or f"{short} failed: was given code changed? See outputs/tests.log"


def _one_line(name: str, message: str) -> str:
    """The message's first line without the exercise's name, which stands beside it."""
    line = next((line.strip() for line in message.splitlines() if line.strip()), "no message")
    line = line.removeprefix(name).strip().removeprefix("is not written yet").lstrip(": ")
    line = line.removeprefix("is not right yet:").strip()
    if line.startswith("(") and line.endswith(")"):
        line = line[1:-1].removeprefix(f"{name}:").strip()
    return line if len(line) <= 160 else line[:157] + "..."


def totals(exercises: list[Exercise]) -> dict[str, dict[str, int]]:
    """Earned, possible and unproven points: of each part, of the bonus, and of all homework."""
    sums: dict[str, dict[str, int]] = {}
    for exercise in exercises:
        if not exercise.points:
            continue
        part = "bonus" if exercise.bonus else exercise.id.split("-")[0]
        in_total = part.startswith("hw") and not exercise.bonus
        for name in (part, "total") if in_total else (part,):
            line = sums.setdefault(name, {"earned": 0, "points": 0, "unproven": 0})
            line["earned"] += exercise.earned
            line["points"] += exercise.points
            if exercise.state == "unproven here":
                line["unproven"] += exercise.points
    order = {"total": 1, "bonus": 2}  # after the homework, before the notebooks
    return dict(
        sorted(
            sums.items(),
            key=lambda item: (order.get(item[0], 3 * item[0].startswith("nb")), item[0]),
        )
    )
