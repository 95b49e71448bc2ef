"""``course submit`` on a small course: what it prints and writes, whatever happens to it."""

import hashlib
import json
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from tiny_course import GOOD, course, write_course

AGAIN = """
@pytest.mark.exercise("hw1-3", points=1)
def test_three(subject):
    doubles(subject, "c")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_course(tmp_path / "a course")  # with a space, as people's folders have


def card(folder: Path) -> dict[str, dict]:
    found = json.loads((folder / "outputs/scorecard.json").read_text())
    return {exercise["id"]: exercise for exercise in found["exercises"]}


def archived(folder: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(folder / "outputs/submission.zip") as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_all_solved(folder: Path) -> None:
    done = course(folder, "submit")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((folder / "outputs/scorecard.json").read_text())
    assert found["totals"]["total"] == {"earned": 7, "points": 7, "unproven": 0}
    assert found["totals"]["bonus"] == {"earned": 1, "points": 1, "unproven": 0}
    # what could not be proven is said apart, and costs nothing
    assert card(folder)["hw2-1"]["unproven"] == {"needs a GPU": 1}
    assert card(folder)["hw2-1"]["earned"] == 3
    assert "1 tests are unproven here" in done.stdout
    assert "Archive to hand in" in done.stdout
    assert "\x1b[" not in done.stdout  # plain where nobody watches
    files = archived(folder)
    manifest = json.loads(files.pop("manifest.json"))
    assert {"a/work.py", "outputs/environment.json", "outputs/scorecard.txt"} <= set(files)
    assert not [name for name in files if name.startswith(("course/", "tests/"))]
    assert manifest["sha256"] == {n: hashlib.sha256(d).hexdigest() for n, d in files.items()}


def test_sabotage(folder: Path) -> None:
    """Four broken files fail four exercises, each in one clear line; the rest is graded."""
    (folder / "a/work.py").write_text("def double(x:\n    return 2 * x\n")
    (folder / "b/work.py").write_text("def doubel(x):\n    return 2 * x\n")
    (folder / "c/work.py").write_text("def double(x):\n    while True:\n        pass\n")
    tests = folder / "tests/test_tiny.py"  # two tests of the loop, of which one has to wait for it
    tests.write_text(tests.read_text().replace(AGAIN, f"{AGAIN}\n{AGAIN.replace('three', 'more')}"))
    (folder / "e/work.py").write_text("import os\n\nos._exit(0)\n")
    done = course(folder, "submit")
    assert done.returncode == 1, done.stderr
    reasons = {name: exercise["reason"] for name, exercise in card(folder).items()}
    states = {name: exercise["state"] for name, exercise in card(folder).items()}
    assert states == {
        "hw1-1": "failed",
        "hw1-2": "failed",
        "hw1-3": "failed",
        "hw2-1": "passed",
        "hw2-2": "failed",
    }
    assert "line 1" in reasons["hw1-1"] and "work.py" in reasons["hw1-1"]
    assert "has no double: was it renamed" in reasons["hw1-2"]
    assert "an endless loop?" in reasons["hw1-3"]
    assert "ended before it answered" in reasons["hw2-2"]
    assert not [reason for reason in reasons.values() if "\n" in reason]
    assert not [reason for reason in reasons.values() if "StudentError" in reason]
    assert "c/work.py" in archived(folder)
    log = (folder / "outputs/tests.jsonl").read_text()
    assert log.count("an endless loop?") == 1
    assert log.count("another of its tests gave no answer, so this one was not run") == 1


def test_unfinished_work(folder: Path) -> None:
    stub = 'def double(x):\n    raise NotImplementedError("hw1-2: double it")\n'
    (folder / "a/work.py").write_text("def double(x):\n    return 3 * x\n")
    (folder / "b/work.py").write_text(stub)
    done = course(folder, "submit")
    assert done.returncode == 1
    found = card(folder)
    assert (found["hw1-1"]["earned"], found["hw1-1"]["state"]) == (0, "failed")
    assert "got [0.0, 3.0, 6.0], expected [0.0, 2.0, 4.0]" in found["hw1-1"]["reason"]
    assert (found["hw1-2"]["reason"], found["hw1-2"]["state"]) == ("double it", "not written yet")
    assert found["hw2-1"]["earned"] == 3


@pytest.mark.slow
def test_tests_that_take_the_run_down_fail_alone(folder: Path) -> None:
    tests = folder / "tests/test_tiny.py"
    ending = tests.read_text().replace('doubles(subject, "b")', "import os; os._exit(3)")
    hanging = ending.replace('doubles(subject, "e")', "import time; time.sleep(600)")
    tests.write_text(hanging)
    assert course(folder, "submit", "--patience", "25", seconds=300).returncode == 1
    found = card(folder)
    assert found["hw1-2"]["state"] == found["hw2-2"]["state"] == "not tested"
    assert "ended early (exit status 3)" in found["hw1-2"]["reason"]
    assert "no test finished for 25 s" in found["hw2-2"]["reason"]
    assert (found["hw1-1"]["earned"], found["hw2-1"]["earned"]) == (2, 3)


@pytest.mark.parametrize("damage", ["deleted", "unreadable"])
def test_damaged_tests(folder: Path, damage: str) -> None:
    tests = folder / "tests/test_tiny.py"
    if damage == "deleted":
        tests.unlink()
    else:
        tests.write_text("def (:\n")
    done = course(folder, "submit")
    assert done.returncode == 1, done.stderr
    assert {exercise["state"] for exercise in card(folder).values()} == {"not tested"}
    assert "git checkout tests" in done.stdout
    assert "a/work.py" in archived(folder)


def test_interrupt_leaves_nothing_running(folder: Path) -> None:
    (folder / "a/work.py").write_text("def double(x):\n    while True:\n        pass\n")
    (folder / "tests/conftest.py").unlink()  # so that it would go on for a minute
    process = subprocess.Popen(
        [sys.executable, "-m", "course.cli", "submit"],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # a shell that starts the tests in the background makes them, and so this, ignore Ctrl-C
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    until = time.monotonic() + 60
    while not children(folder, "course.subject.serve") and time.monotonic() < until:
        time.sleep(0.1)
    assert children(folder, "course.subject.serve"), "the tests never started"
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert not children(folder, "course.subject.serve")
    assert not children(folder, "pytest")


def children(folder: Path, word: str) -> list[str]:
    """Command lines of running processes that name the folder and the word."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it has just ended
        if str(folder) in line and word in line:
            found.append(line)
    return found


def test_no_solutions_here(folder: Path) -> None:
    done = course(folder, "submit", "--solutions")
    assert done.returncode == 2
    assert "no solutions in this repository" in done.stdout


def test_solutions(folder: Path) -> None:
    (folder / "solutions").mkdir()
    for package in "abcde":
        (folder / package).rename(folder / "solutions" / package)
        (folder / package).mkdir()
    (folder / "solutions/a/fast.py").write_text("# course: instructor\nSECRET = 1\n")
    assert course(folder, "submit", "--solutions").returncode == 0
    assert "a/work.py" in archived(folder)
    assert not [data for data in archived(folder).values() if b"SECRET" in data]
    assert (folder / "solutions/a/work.py").read_text() == GOOD
