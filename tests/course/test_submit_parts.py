"""The parts of ``course submit`` by themselves: scoring, the archive, the benchmarks."""

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest

from course.submit import archive, benchmarks
from course.submit.score import Results, read_results, score, totals
from course.submit.titles import BONUS, PACKAGES, TITLES
from course.testing import plugin


def line(exercise: str, outcome: str, message: str = "", node: str = "t.py::t") -> dict:
    return {"nodeid": node, "exercise": exercise, "outcome": outcome, "message": message}


@pytest.mark.parametrize(
    ("outcomes", "state", "earned"),
    [
        (["passed", "passed"], "passed", 2),
        (["passed", "unproven"], "passed", 2),
        (["passed", "failed"], "failed", 0),
        (["unproven", "failed"], "failed", 0),
        (["unproven", "unproven"], "unproven here", 0),
        ([], "not tested", 0),
    ],
)
def test_an_exercise_is_earned_when_all_that_can_be_proven_is(
    outcomes: list[str], state: str, earned: int
) -> None:
    tests = [line("hw1-1", outcome, "because") for outcome in outcomes]
    (one,) = score(Results(len(tests), {"hw1-1": 2}, tests))
    assert (one.state, one.earned, one.points) == (state, earned, 2)
    assert one.counts_as_failure == (state in ("failed", "not tested"))


def test_what_is_wrong_is_not_hidden_by_what_is_missing() -> None:
    stub = line("hw3-4", "failed", "hw3-4 is not written yet: it needs hw3-3 first")
    wrong = line("hw3-4", "failed", "hw3-4 is not right yet: O is wrong")
    (one,) = score(Results(2, {"hw3-4": 1}, [stub, wrong]))
    assert (one.state, one.reason) == ("failed", "O is wrong")
    (one,) = score(Results(1, {"hw3-4": 1}, [stub]))
    assert (one.state, one.reason) == ("not written yet", "it needs hw3-3 first")


def test_of_a_bonus_left_alone_nothing_is_wrong() -> None:
    fallback = line("hw3-9", "failed", "hw3-9 no kernel ran: this is still the PyTorch fallback")
    wrong = line("hw3-9", "failed", "hw3-9 is not right yet: no Triton kernel ran in the backward")
    (one,) = score(Results(2, {"hw3-9": 2}, [wrong, fallback]))
    assert one.state == "not written yet" and not one.counts_as_failure


def test_a_file_python_cannot_read_is_not_blamed_on_the_given_code() -> None:
    says = "hw1-4 benchmarking/bench.py, line 3: Python cannot read this file: invalid syntax"
    broken = [line("hw1-4", "failed", says), line("", "failed")]
    assert [one.id for one in score(Results(2, {"hw1-4": 2}, broken))] == ["hw1-4"]
    wrong = [line("hw1-4", "failed", "hw1-4 is not right yet"), line("", "failed")]
    assert [one.id for one in score(Results(2, {"hw1-4": 2}, wrong))] == ["given", "hw1-4"]


def test_tests_run_in_the_order_of_the_homework(request: pytest.FixtureRequest) -> None:
    class Item:
        def __init__(self, name: str) -> None:
            self.name = name

        def get_closest_marker(self, _: str) -> Any:
            return pytest.mark.exercise(self.name).mark if self.name else None

    items: Any = [Item(name) for name in ("nb03-1", "hw3-6", "", "hw1-4", "hw1-5")]
    plugin.pytest_collection_modifyitems(request.config, items)
    assert [item.name for item in items] == ["", "hw1-4", "hw1-5", "hw3-6", "nb03-1"]


def test_totals_keep_homework_bonus_notebooks_and_unproven_apart() -> None:
    points = {"hw1-1": 2, "hw3-1": 3, "hw3-7": 1, "nb03-1": 4}
    tests = [
        line("hw1-1", "passed"),
        line("hw3-1", "unproven", "needs a GPU"),
        line("hw3-7", "failed", "hw3-7 no Triton kernel ran: this is still the PyTorch fallback"),
        line("nb03-1", "failed", "nb03-1 is not written yet"),
        line("", "passed"),
    ]
    exercises = score(Results(5, points, tests))
    assert totals(exercises) == {
        "hw1": {"earned": 2, "points": 2, "unproven": 0},
        "hw3": {"earned": 0, "points": 3, "unproven": 3},
        "total": {"earned": 2, "points": 5, "unproven": 3},
        "bonus": {"earned": 0, "points": 1, "unproven": 0},
        "nb03": {"earned": 0, "points": 4, "unproven": 0},
    }
    assert not any(exercise.counts_as_failure for exercise in exercises)


def test_a_half_written_line_is_left_for_later(tmp_path: Path) -> None:
    file = tmp_path / "tests.jsonl"
    whole = json.dumps({"collected": 2, "exercises": {"hw1-1": 2}})
    file.write_text(f'{whole}\n{json.dumps(line("hw1-1", "passed"))}\n{{"nodeid": "t')
    results = read_results(file)
    assert len(results.tests) == 1 and not results.complete


def test_the_same_files_give_the_same_archive(tmp_path: Path) -> None:
    tree, outputs = student(tmp_path)
    archive.write_archive(tree, outputs)
    first = (outputs / "submission.zip").read_bytes()
    os.utime(tree / "softmax_matmul/mine.py", (1, 1))
    archive.write_archive(tree, outputs)
    assert (outputs / "submission.zip").read_bytes() == first


def test_only_what_is_listed_goes_in(tmp_path: Path) -> None:
    tree, outputs = student(tmp_path)
    hidden = ("outputs/.hidden/x.txt", "softmax_matmul/.ipynb_checkpoints/mine.py")
    for name in (".env", "notes.txt", "softmax_matmul/data.bin", *hidden):
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).write_text("private")
    secret = tmp_path / "secret.py"
    secret.write_text("password")
    (tree / "softmax_matmul/leak.py").symlink_to(secret)
    os.mkfifo(tree / "softmax_matmul/pipe.py")
    left_out = archive.write_archive(tree, outputs)
    with zipfile.ZipFile(outputs / "submission.zip") as written:
        names = written.namelist()
        contents = b"".join(written.read(name) for name in names)
    listed = ["notebooks/01.ipynb", "outputs/scorecard.txt"]
    listed += ["softmax_matmul/mine.py", "softmax_matmul/parts/more.py"]
    assert names == sorted([*listed, "manifest.json"])
    assert b"password" not in contents and b"private" not in contents
    assert "link to a place outside" in left_out["softmax_matmul/leak.py"]
    assert left_out["softmax_matmul/pipe.py"] == "not a plain file"


def test_what_is_too_large_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree, outputs = student(tmp_path)
    monkeypatch.setattr(archive, "LIMIT", 2**20)
    (tree / "notebooks/02.ipynb").write_bytes(b" " * (2**20 + 1))
    left_out = archive.write_archive(tree, outputs)
    assert list(left_out) == ["notebooks/02.ipynb"]
    assert (
        "1.0 MB, and all together may have 1 MB: clear its outputs"
        in left_out["notebooks/02.ipynb"]
    )


def student(folder: Path) -> tuple[Path, Path]:
    tree = folder / "tree"
    mine = ("softmax_matmul/mine.py", "softmax_matmul/parts/more.py")
    for name in (*mine, "notebooks/01.ipynb", "outputs/scorecard.txt"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(f"{name}\n")
    return tree, tree / "outputs"


@pytest.mark.parametrize(
    ("program", "state", "says"),
    [
        ("import pathlib\npathlib.Path({out!r}).write_text('a\\n1\\n2\\n')\n", "done", "2 rows"),
        ("raise ValueError('BLOCK is odd')\n", "failed", "ValueError: BLOCK is odd"),
        ("raise NotImplementedError('hw1-4: time it')\n", "not written yet", "hw1-4: time it"),
        ("print('hello')\n", "failed", "wrote no outputs/x.csv"),
        ("while True:\n    pass\n", "failed", "stopped after 1 s"),
    ],
)
def test_benchmarks_report_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, state: str, says: str
) -> None:
    monkeypatch.setitem(benchmarks.BENCHMARKS, "timings.bench", "x.csv")
    (tmp_path / "timings").mkdir()
    source = program.replace("{out!r}", repr(str(tmp_path / "x.csv")))
    (tmp_path / "timings/bench.py").write_text(source)
    run = benchmarks.run_benchmark("timings.bench", tmp_path, tmp_path, limit=1)
    assert run.state == state and says in run.line, run


def test_titles_name_the_exercises_of_the_tests() -> None:
    from course.exercise.homework import test_files

    assert sorted(TITLES) == sorted(test_files())
    assert set(TITLES) > BONUS


def test_packages_are_those_that_are_released() -> None:
    from course.release import settings

    assert settings.load(Path(__file__).parents[2]).packages == PACKAGES
