"""Every wrong solution in solutions/mutants fails the tests of its exercise, and none other does.

A fork server imports torch, triton and pytest once; each mutant is then a process forked from it,
which tests a copy of the solutions with one place changed.
"""

import importlib.util
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from course.exercise.homework import test_files as homework_files
from course.exercise.notebook import all_exercises
from course.process import ROOT

SOLUTIONS = ROOT / "solutions"
TIME_LIMIT = 120  # seconds a mutant; one that loops for ever is stopped by the tests themselves
# what a child would import anyway; deterministic mode imports torch._inductor, in 2 s
_PRELOAD = [
    *("torch", "torch._inductor", "torch._subclasses.schema_check_mode"),
    *("triton", "triton.experimental.gluon", "jaxtyping", "pandas", "matplotlib.pyplot"),
    *("pytest", "pdb", "jupytext", "course.notebook", "course.subject", "course.bench.scenarios"),
    *("course.testing.plugin", "course.testing.attention"),
    *("course.exercise.homework", "course.exercise.notebook"),
]
_ENVIRONMENT = {
    "TRITON_INTERPRET": "1",
    "OMP_NUM_THREADS": "1",
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    "PYTHONPATH": str(ROOT),
}


@dataclass(frozen=True)
class Mutant:
    """One place of one file made wrong; ``says`` is part of the message a learner must read."""

    exercise: str
    file: str
    title: str
    old: str
    new: str
    says: str = ""


@dataclass(frozen=True)
class Verdict:
    """What the tests of an exercise said about a tree; ``error`` when they could not."""

    message: str
    error: str = ""


def _load() -> list[Mutant]:
    found: list[Mutant] = []
    for path in sorted((SOLUTIONS / "mutants").glob("[a-z]*.py")):
        spec = importlib.util.spec_from_file_location(f"mutants_{path.stem}", path)
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found += [Mutant(**fields) for fields in module.MUTANTS]
    return found


MUTANTS = _load()
EXERCISES = sorted({mutant.exercise for mutant in MUTANTS})


def _judge(exercise: str, mutant: Mutant | None) -> Verdict:
    """In a forked process: the tests of ``exercise`` on a copy of the solutions."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder, "tree")
        shutil.copytree(
            SOLUTIONS, tree, ignore=shutil.ignore_patterns("__pycache__", "mutants", "student_*")
        )
        if mutant:
            file = tree / mutant.file
            file.write_text(file.read_text().replace(mutant.old, mutant.new))
        log = os.open(Path(folder, "log"), os.O_WRONLY | os.O_CREAT)
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.dont_write_bytecode = True
        try:
            return (
                _notebook(exercise, tree) if exercise.startswith("nb") else _tests(exercise, tree)
            )
        except BaseException as error:
            return Verdict("", f"{type(error).__name__}: {error}")


def _notebook(exercise: str, tree: Path) -> Verdict:
    from course.exercise.cells import read, run_cells

    sys.path.insert(0, str(tree))
    number = exercise.split("-")[0].removeprefix("nb")
    (source,) = (tree / "notebooks").glob(f"{number}_*.py")
    return Verdict(run_cells(read(source), exercise))


def _tests(exercise: str, tree: Path) -> Verdict:
    results = tree.parent / "results"
    files = [str(path) for path in homework_files()[exercise]]
    options = ["-x", "-q", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml")]
    chosen = ["--exercise", exercise, "--solutions-dir", str(tree)]
    status = pytest.main([*files, *options, *chosen, "--course-results", str(results)])
    lines = results.read_text().splitlines() if results.exists() else []
    tests = [json.loads(line) for line in lines]
    failed = [test["message"] for test in tests if test.get("outcome") == "failed"]
    if status != (pytest.ExitCode.TESTS_FAILED if failed else pytest.ExitCode.OK):
        log = (tree.parent / "log").read_text(errors="replace")
        return Verdict("", f"pytest ended with {status!r}:\n{log[-2000:]}")
    return Verdict(failed[0] if failed else "")


@pytest.fixture(scope="module")
def verdict_on(request: pytest.FixtureRequest) -> Iterator[Callable[..., Verdict]]:
    """The verdict on an exercise, with or without a mutant; all are started at the first question.

    Under pytest-xdist each worker asks for its own tests one by one instead.
    """
    alone = "PYTEST_XDIST_WORKER" not in os.environ
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOAD)
    before = os.environ.copy()
    os.environ.update(_ENVIRONMENT)
    pool = context.Pool(os.cpu_count() if alone else 1, maxtasksperchild=1)
    started: dict[tuple[str, Mutant | None], Any] = {}

    def start(exercise: str, mutant: Mutant | None) -> Any:
        key = exercise, mutant
        if key not in started:
            started[key] = pool.apply_async(_judge, key)
        return started[key]

    def verdict(exercise: str, mutant: Mutant | None = None) -> Verdict:
        if alone and not started:
            for item in request.session.items:
                if getattr(item, "module", None) is request.module and hasattr(item, "callspec"):
                    chosen = item.callspec.params
                    one = chosen.get("mutant")
                    start(one.exercise if one else chosen["exercise"], one)
        try:
            return start(exercise, mutant).get(TIME_LIMIT)
        except multiprocessing.TimeoutError:
            return Verdict("", f"no verdict after {TIME_LIMIT} s: did the process die?")

    yield verdict
    pool.terminate()
    pool.join()
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.parametrize("exercise", EXERCISES)
def test_the_solution_passes(exercise, verdict_on):
    verdict = verdict_on(exercise)
    assert not verdict.error, verdict.error
    assert not verdict.message


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: f"{m.exercise}: {m.title}")
def test_a_wrong_solution_fails(mutant, verdict_on):
    source = (SOLUTIONS / mutant.file).read_text()
    assert source.count(mutant.old) == 1, (
        f"{mutant.file} holds {source.count(mutant.old)} times: {mutant.old!r}"
    )
    verdict = verdict_on(mutant.exercise, mutant)
    assert not verdict.error, verdict.error
    assert verdict.message, f"{mutant.exercise} accepts a wrong solution: {mutant.title}"
    assert mutant.says in verdict.message, (
        f"a learner should read {mutant.says!r} and reads: {verdict.message}"
    )


def test_every_exercise_has_a_wrong_solution():
    known = {*homework_files(), *all_exercises(solutions=True)}
    assert known <= set(EXERCISES), sorted(known - set(EXERCISES))


def test_every_mutant_is_another():
    titles = [(mutant.exercise, mutant.title) for mutant in MUTANTS]
    assert len(titles) == len(set(titles))
    assert len(MUTANTS) >= 30
