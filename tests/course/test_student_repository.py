"""The written student repository, installed in a clean environment and used as its README says."""

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from course.release import tree, write

ROOT = Path(__file__).resolve().parents[2]
HOMEWORK_1 = "softmax_matmul/softmax_matmul.py"  # hw1-1 to hw1-3

pytestmark = pytest.mark.slow


class Learner:
    """A learner's folder and environment, which has the course and sees the libraries used here."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "triton-course"
        write.write(tree.student(ROOT), self.folder)
        self.bin = folder / "environment" / "bin"
        venv.create(self.bin.parent, with_pip=True)
        # a path in a .pth file does not bring that folder's own .pth files, such as this course's
        (libraries,) = self.bin.parent.glob("lib/python*/site-packages")
        here = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
        (libraries / "libraries.pth").write_text("\n".join(here) + "\n")
        installed = self.run("python", "-m", "pip", "install", "-q", "--no-deps", "-e", ".")
        assert installed.returncode == 0, installed.stderr

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment, activated, in the learner's folder."""
        dropped = ("PYTHONPATH", "TRITON_INTERPRET", "CONDA_PREFIX", "PYTHON")
        active = {
            "VIRTUAL_ENV": str(self.bin.parent),
            "PATH": f"{self.bin}:{os.environ['PATH']}",
        }
        kept = {key: value for key, value in os.environ.items() if key not in dropped}
        path = self.bin / program
        return subprocess.run(
            [path if path.exists() else program, *arguments],
            cwd=self.folder,
            env=kept | active,
            capture_output=True,
            text=True,
            timeout=300,
        )


@pytest.fixture(scope="module")
def learner(tmp_path_factory: pytest.TempPathFactory) -> Learner:
    return Learner(tmp_path_factory.mktemp("learner"))


def test_everything_is_imported_from_the_learners_folder(learner: Learner) -> None:
    packages = ["course", *tree.load(ROOT).packages]
    program = f"for name in {packages}: print(__import__(name).__file__)"
    # -I: neither the working directory nor the environment's variables help
    done = learner.run("python", "-I", "-c", program)
    expected = [str(learner.folder / name / "__init__.py") for name in packages]
    assert done.stdout.split("\n")[:-1] == expected, done.stderr


def test_the_doctor_finds_nothing_wrong(learner: Learner) -> None:
    done = learner.run("course", "doctor")
    assert (done.returncode, done.stderr) == (0, "")
    assert "The course works here." in done.stdout


@pytest.mark.parametrize("exercise", ["hw1-1", "nb01-1", "nb03-1"])
def test_an_unsolved_exercise_is_not_written_yet(learner: Learner, exercise: str) -> None:
    done = learner.run("course", "check", exercise)
    assert done.returncode == 1
    assert done.stdout.startswith(f"{exercise} is not written yet"), done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_what_is_for_instructors_is_not_there(learner: Learner) -> None:
    for arguments in (["check", "hw1-1", "--solutions"], ["release"]):
        done = learner.run("course", *arguments)
        assert done.returncode == 2, done.stdout


def test_of_the_stubs_only_what_is_given_passes(learner: Learner, tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    done = learner.run("python", "-m", "pytest", "-q", "--course-results", str(file))
    assert done.returncode == 1, done.stdout + done.stderr  # 2 to 5: collection failed
    first, *tests = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(tests) == first["collected"] > 100
    for test in tests:
        if not test["exercise"]:
            assert test["outcome"] in ("passed", "unproven"), test
        elif test["outcome"] != "unproven":
            words = (f"{test['exercise']} is not written yet", "still the PyTorch fallback")
            assert any(one in test["message"] for one in words), test
            assert test["outcome"] == "failed" and "\n" not in test["message"]


def test_a_solved_module_earns_its_points_and_is_handed_in(learner: Learner) -> None:
    solved = (ROOT / "solutions" / HOMEWORK_1).read_bytes()
    (learner.folder / HOMEWORK_1).write_bytes(solved)
    checked = learner.run("course", "check", "hw1-1")
    assert checked.returncode == 0 and "2 of 2 points" in checked.stdout, checked.stdout
    done = learner.run("./test_and_submit.sh", "--no-benchmarks")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "which has torch and triton" in done.stderr  # the active environment, as it is
    outputs = learner.folder / "outputs"
    card = json.loads((outputs / "scorecard.json").read_text())
    earned = {one["id"]: one["earned"] for one in card["exercises"] if one["earned"]}
    assert earned == {"hw1-1": 2, "hw1-2": 1, "hw1-3": 1}
    with zipfile.ZipFile(outputs / "submission.zip") as archive:
        assert archive.read(HOMEWORK_1) == solved
