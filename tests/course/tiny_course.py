"""A small course in a folder of its own: the real tooling, five one-line exercises."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

TITLES = """
PARTS = {"hw1": "One", "hw2": "Two"}
TITLES = {"hw1-1": "one", "hw1-2": "two", "hw1-3": "three", "hw2-1": "four", "hw2-2": "five"}
BONUS = frozenset({"hw2-2"})
PACKAGES = ("a", "b", "c", "d", "e")
"""

TESTS = """
import pytest
import torch

X = torch.arange(3.0)


def doubles(subject, package):
    got = subject.call(f"{package}.work:double", X).output
    assert torch.equal(got, 2 * X), f"got {got.tolist()}, expected {(2 * X).tolist()}"


@pytest.mark.exercise("hw1-1", points=2)
@pytest.mark.parametrize("again", [0, 1])
def test_one(subject, again):
    doubles(subject, "a")


@pytest.mark.exercise("hw1-2", points=1)
def test_two(subject):
    doubles(subject, "b")


@pytest.mark.exercise("hw1-3", points=1)
def test_three(subject):
    doubles(subject, "c")


@pytest.mark.exercise("hw2-1", points=3)
def test_four(subject):
    doubles(subject, "d")


@pytest.mark.needs(tier="run")
@pytest.mark.exercise("hw2-1", points=0)
def test_four_fast(subject):
    doubles(subject, "d")


@pytest.mark.exercise("hw2-2", points=1)
def test_five(subject):
    doubles(subject, "e")
"""

# a learner's endless loop costs the tests of the tooling less than it costs the learner
CONFTEST = """
from course.subject.child import Child

Child.__init__.__defaults__ = (15.0,)
"""

GOOD = "def double(x):\n    return 2 * x\n"


def write_course(folder: Path) -> Path:
    """Write the small course, everything in it solved; its folder."""
    skip = shutil.ignore_patterns("__pycache__", "release")
    shutil.copytree(ROOT / "course", folder / "course", ignore=skip)
    (folder / "course/submit/titles.py").write_text(TITLES)
    (folder / "pyproject.toml").write_text(
        '[tool.pytest.ini_options]\naddopts = "--strict-markers -p course.testing.plugin"\n'
        'markers = ["exercise", "needs"]\n'
    )
    (folder / "tests").mkdir()
    (folder / "tests/test_tiny.py").write_text(TESTS)
    (folder / "tests/conftest.py").write_text(CONFTEST)
    for package in "abcde":
        (folder / package).mkdir()
        (folder / package / "__init__.py").touch()
        (folder / package / "work.py").write_text(GOOD)
    return folder


def course(folder: Path, *arguments: str, seconds: float = 120) -> subprocess.CompletedProcess[str]:
    """Run the course's command in ``folder`` as ``test_and_submit.sh`` does."""
    dropped = ("PYTHONPATH", "TRITON_INTERPRET")
    return subprocess.run(
        [sys.executable, "-m", "course.cli", *arguments],
        cwd=folder,
        env={k: v for k, v in os.environ.items() if k not in dropped},
        capture_output=True,
        text=True,
        timeout=seconds,
    )
