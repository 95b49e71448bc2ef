"""Running the tests in a process of their own, which nothing a learner wrote can stop early."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from course.process import ROOT, environment, python_with_torch
from course.submit.score import Exercise, Results, read_results, score
from course.submit.titles import TITLES

# longer than any one test may take, start of the child process included
SILENCE = 240.0  # seconds
_POLL = 0.1

OnTest = Callable[[Results, dict[str, Any]], None]


def tree(solutions: bool) -> Path:
    """The folder that holds the packages under test."""
    return ROOT / "solutions" if solutions else ROOT


def test_command(results: Path, solutions: bool, *options: str) -> list[str]:
    """The pytest command which records its results in a file."""
    chosen = ["--solutions"] if solutions else []
    fixed = ["-q", "--no-header", "-p", "no:cacheprovider", "--continue-on-collection-errors"]
    return python_with_torch(
        tree(solutions), "pytest", *fixed, "--course-results", str(results), *chosen, *options
    )


def watch(
    command: list[str], results_file: Path, log: Path, on_test: OnTest, silence: float = SILENCE
) -> str:
    """Run a test command until it ends, or until nothing has finished for ``silence`` seconds.

    Returns:
        Why the results are incomplete, or "".
    """
    seen, heard = 0, time.monotonic()
    stopped = False
    with log.open("ab") as sink:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(PYTEST_DISABLE_PLUGIN_AUTOLOAD="1"),  # they cost 0.1 s, unused
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            while True:
                running = process.poll() is None
                results = read_results(results_file)
                for test in results.tests[seen:]:
                    on_test(results, test)
                    heard = time.monotonic()
                seen = len(results.tests)
                if not running:
                    break
                if time.monotonic() - heard > silence:
                    stopped = True
                    break
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_POLL)
        finally:
            _stop(process)
    if results.complete:
        return ""
    if stopped:
        return f"no test finished for {silence:.0f} s, so they were stopped: an endless loop?"
    if results.collected < 0:
        return f"the tests could not start: see the end of {_relative(log)}"
    return (
        f"the tests ended early (exit status {process.returncode}): does the code end Python, or "
        "write outside a tensor (a tl.store without a mask), or run out of memory?"
    )


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the tests and whatever they left running; pytest is asked first, as it has a child."""
    with suppress(ProcessLookupError):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=5)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_all(
    outputs: Path, solutions: bool, on_test: OnTest, silence: float = SILENCE
) -> list[Exercise]:
    """Run every homework test; where one takes all down, each exercise is run alone.

    Leaves ``tests.log`` and ``tests.jsonl`` in ``outputs``.
    """
    file, log = outputs / "tests.jsonl", outputs / "tests.log"
    for old in (file, log):
        old.unlink(missing_ok=True)
    if not list((ROOT / "tests").glob("test_*.py")):
        why = "its tests are gone: get them back with 'git checkout tests'"
        return score(Results(), dict.fromkeys(TITLES, why))
    options = ["tests", "--ignore=tests/course", "--subject=child"]
    why = watch(test_command(file, solutions, *options), file, log, on_test, silence)
    results = read_results(file)
    not_tested: dict[str, str] = {}
    if results.collected < 0:
        not_tested = dict.fromkeys(TITLES, why)
    elif why:
        results, not_tested = _one_by_one(results, outputs, solutions, on_test, silence)
    for name in TITLES:
        if name not in results.points:
            not_tested.setdefault(name, "its tests are gone: 'git checkout tests' brings them back")
    return score(results, not_tested)


def _one_by_one(
    first: Results, outputs: Path, solutions: bool, on_test: OnTest, silence: float
) -> tuple[Results, dict[str, str]]:
    """What each exercise earns in a run of its own, so that only the one which stops it fails."""
    together = Results(first.collected, first.points)
    together.tests = [test for test in first.tests if not test["exercise"]]
    not_tested = {}
    file, log = outputs / "tests.jsonl", outputs / "tests.log"
    for name in first.points:
        file.unlink(missing_ok=True)
        options = ["tests", "--ignore=tests/course", "--subject=child", "--exercise", name]
        why = watch(test_command(file, solutions, *options), file, log, on_test, silence)
        if why:
            not_tested[name] = why
        together.tests += read_results(file).tests
    return together, not_tested


def _relative(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
