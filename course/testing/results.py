"""Points by exercise: a table at the end of a run, and a JSON line a test for other programs."""

import json
from pathlib import Path
from typing import Any

import pytest


class Results:
    """Collects outcomes; an exercise's points are earned when all its provable tests pass."""

    def __init__(self, file: str | None) -> None:
        self._file = Path(file) if file else None
        self._points: dict[str, dict[str, int]] = {}
        self._outcomes: dict[str, dict[str, list[str]]] = {}
        self._reasons: dict[str, str] = {}  # of the first failure of an exercise

    def _write(self, line: dict[str, Any]) -> None:
        if self._file:
            with self._file.open("a") as stream:
                stream.write(json.dumps(line) + "\n")

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        from course.testing.plugin import MACHINE, exercise

        for item in getattr(session, "items", []):  # none where pytest-xdist's workers collect
            name, points = exercise(item)
            if name:
                # a parametrized function's points count once
                function = item.nodeid.split("[")[0]
                self._points.setdefault(name, {})[function] = points
        totals = {name: sum(by_test.values()) for name, by_test in self._points.items()}
        first = {"collected": len(session.items), "exercises": totals}
        self._write(first | {"interpreted": MACHINE.interpreted})

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when != "call" and report.outcome == "passed":
            return
        outcome = "unproven" if getattr(report, "unproven", False) else report.outcome
        outcome = "unproven" if outcome == "skipped" else outcome
        name = getattr(report, "exercise", "")
        message = getattr(report, "message", "")
        if outcome == "unproven" and isinstance(report.longrepr, tuple):
            message = report.longrepr[2].removeprefix("Skipped: ")
        function = report.nodeid.split("[")[0]
        if name:
            self._points.setdefault(name, {})[function] = report.points
            self._outcomes.setdefault(name, {}).setdefault(function, []).append(outcome)
            if outcome == "failed":
                words = message.removeprefix(f"{name} ")
                self._reasons.setdefault(name, words if len(words) < 120 else "failed, see above")
        self._write(
            {
                "nodeid": report.nodeid,
                "exercise": name,
                "points": getattr(report, "points", 0),
                "outcome": outcome,
                "message": message,
                "seconds": round(report.duration, 3),
            }
        )

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if not self._outcomes:
            return
        terminalreporter.section("points")
        earned_total = possible_total = 0
        for name in sorted(self._points):
            by_test = self._outcomes.get(name, {})
            possible = sum(self._points[name].values())
            flat = [outcome for outcomes in by_test.values() for outcome in outcomes]
            earned = possible if "passed" in flat and "failed" not in flat else 0
            unproven = flat.count("unproven")
            note = self._reasons.get(name, "")
            if not note and unproven:
                note = f"({unproven} of {len(flat)} tests unproven here)"
            terminalreporter.write_line(f"{name:8} {earned:3} / {possible}  {note}".rstrip())
            earned_total, possible_total = earned_total + earned, possible_total + possible
        terminalreporter.write_line(f"{'total':8} {earned_total:3} / {possible_total}")
