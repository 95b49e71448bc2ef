"""Options, the ``subject`` fixture, what is unproven here, and failures in one readable line."""

import gc
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from course import device
from course.check.registry import in_words
from course.interpreter import proves
from course.process import ROOT
from course.subject.reply import StudentError
from course.testing.results import Results

TIME_LIMIT = 60  # seconds a test, under the interpreter
ENDLESS = pytest.StashKey[set[str]]()  # exercises with a test that gave no answer

MACHINE = device.prepare()
if MACHINE.interpreted:
    torch.set_num_threads(1)  # the tensors are small; more threads only wait for each other


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("course")
    group.addoption("--solutions", action="store_true", help="test solutions/, not the stubs")
    group.addoption("--solutions-dir", metavar="DIR", help="test another tree of packages")
    group.addoption("--subject", choices=["direct", "child"], default="direct")
    group.addoption("--exercise", metavar="ID", help="only the tests of this exercise")
    group.addoption("--course-results", metavar="FILE", help="append a JSON line a test to FILE")


def tree(config: pytest.Config) -> Path:
    """The folder that holds the packages under test."""
    if config.getoption("--solutions-dir"):
        return Path(config.getoption("--solutions-dir")).resolve()
    return ROOT / "solutions" if config.getoption("--solutions") else Path(config.rootpath)


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--solutions") and not (ROOT / "solutions").is_dir():
        raise pytest.UsageError("there are no solutions in this repository")
    results = Results(config.getoption("--course-results"))
    config.pluginmanager.register(results, "course-results")


def pytest_report_header(config: pytest.Config) -> str:
    return MACHINE.sentence


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    wanted = config.getoption("--exercise")
    if wanted:
        chosen = [i for i in items if exercise(i)[0] == wanted]
        config.hook.pytest_deselected(items=[i for i in items if i not in chosen])
        items[:] = chosen
    # as the homework has them, wherever their tests stand; given code comes first
    items.sort(key=lambda item: exercise(item)[0])


def exercise(item: pytest.Item) -> tuple[str, int]:
    """Id and points of the exercise a test belongs to; ("", 0) if it belongs to none."""
    marker = item.get_closest_marker("exercise")
    return (marker.args[0], marker.kwargs.get("points", 0)) if marker else ("", 0)


def pytest_sessionfinish() -> None:
    # pytest and then Python look through all there is for garbage, though it ends with the process
    gc.freeze()


@pytest.fixture(scope="session")
def subject(pytestconfig: pytest.Config) -> Iterator[Any]:
    """Student code, here or in a child process."""
    from course.subject import Child, Direct

    kind = Child if pytestconfig.getoption("--subject") == "child" else Direct
    one = kind(tree(pytestconfig))
    yield one
    one.close()


@pytest.fixture(scope="session")
def machine() -> device.Machine:
    """Where tensors live here."""
    return MACHINE


def unproven_because(item: pytest.Item) -> str:
    """Why this machine cannot prove what a test needs; empty if it can."""
    for needs in item.iter_markers("needs"):
        reason = why_not(needs.kwargs.get("tier", ""), needs.kwargs.get("dtype", ""))
        if reason:
            return reason
    dtype = item.callspec.params.get("dtype") if hasattr(item, "callspec") else None
    return why_not("", str(dtype).removeprefix("torch.")) if dtype else ""


def why_not(tier: str, dtype: str) -> str:
    """Why kernels of this tier and dtype prove nothing here; empty if they do."""
    if tier == "run" and MACHINE.device != "cuda":
        return "needs a GPU"
    if dtype and MACHINE.interpreted and not proves(dtype):
        return f"this version of Triton interprets {dtype} wrongly: needs a GPU"
    if dtype.startswith(("bf", "fp8", "float8")) and MACHINE.device == "cuda":
        least = (8, 0) if dtype.startswith("b") else (8, 9)
        if torch.cuda.get_device_capability() < least:
            return f"this GPU has no {dtype}"
    return ""


def pytest_runtest_setup(item: pytest.Item) -> None:
    reason = unproven_because(item)
    if reason:
        pytest.skip(f"unproven here: {reason}")
    endless = item.config.stash.get(ENDLESS, set())
    name, _ = exercise(item)
    # a loop costs a learner one time limit an exercise, not one a test
    if name in endless:
        raise StudentError("another of its tests gave no answer, so this one was not run")
    marker = item.get_closest_marker("exercise")
    first = marker.kwargs.get("after", "") if marker else ""
    if first in endless:
        raise StudentError(f"{first} gave no answer, so this test was not run")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Any:
    """An endless loop in student code fails one test instead of stopping all of them."""
    if not exercise(item)[0] or item.config.getoption("--subject") == "child":
        return (yield)

    def stop(signum: int, frame: object) -> None:
        raise StudentError(f"no answer after {TIME_LIMIT} s, so it was stopped: an endless loop?")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(TIME_LIMIT)
    try:
        return (yield)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    name, points = exercise(item)
    report.exercise, report.points = name, points
    report.unproven = report.skipped and "unproven here" in str(report.longrepr)
    if name and report.failed and call.excinfo is not None:
        # pytest adds the source of the assertion to its message
        words = in_words(call.excinfo.value, name).split("\nassert ")[0]
        report.message = f"{name} {words}"
        report.unwritten = words.startswith("is not written yet")
        if "an endless loop?" in report.message:
            item.config.stash.setdefault(ENDLESS, set()).add(name)
        if item.config.option.verbose < 2:
            report.longrepr = f"{report.message}\n(pytest -vv shows where)"
        used = getattr(item, "funcargs", {}).get("subject")
        if report.when == "call" and used and not report.unwritten:
            # what wrote outside its tensors may have spoilt the process for the tests to come
            used.close()
    return report


def pytest_report_teststatus(report: Any) -> tuple[str, str, str] | None:
    if getattr(report, "unproven", False) and report.when == "setup":
        return "unproven", "u", "UNPROVEN"
    if getattr(report, "unwritten", False):
        # still a failure for the exit status, but the table of points says it once an exercise
        return "not written yet", "n", "NOT WRITTEN YET"
    return None
