"""Golden trees, ``--check``, and the promise that nobody's work is overwritten."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from course.release import tree
from course.release.cli import release
from course.release.markers import MarkerError
from course.release.write import MANIFEST, ModifiedFiles, write

GOLDEN = Path(__file__).parent / "test_release_golden"
app = typer.Typer()
app.command()(release)


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(one) for one in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def files(folder: Path) -> dict[str, tuple[bytes, bool]]:
    return {
        one.relative_to(folder).as_posix(): (one.read_bytes(), os.access(one, os.X_OK))
        for one in sorted(folder.rglob("*"))
        if one.is_file()
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return shutil.copytree(GOLDEN / "input", tmp_path / "root")


def test_the_golden_input_gives_the_golden_output(root: Path, tmp_path: Path) -> None:
    assert run("--root", root, "--out", tmp_path / "out")[0] == 0
    assert files(tmp_path / "out") == files(GOLDEN / "expected")


def test_another_process_writes_the_same_bytes(root: Path, tmp_path: Path) -> None:
    arguments = ["--root", str(root), "--out", str(tmp_path / "out")]
    command = [sys.executable, "-m", "course.release", *arguments]
    subprocess.run(command, env=os.environ | {"PYTHONHASHSEED": "1"}, check=True)
    assert files(tmp_path / "out") == files(GOLDEN / "expected")


def test_the_root_gets_what_is_generated_and_nothing_else(root: Path) -> None:
    before = files(root)
    assert run("--root", root)[0] == 0
    new = {"notebooks/01_demo.ipynb", "softmax/given.py", "softmax/softmax.py", MANIFEST}
    assert files(root).keys() - before.keys() == new
    assert {path: files(root)[path] for path in before} == before
    code, output = run("--root", root)
    assert code == 0 and "0 of them new or changed" in output
    assert run("--root", root, "--check") == (0, "All 3 files are up to date.\n")


def test_check_names_every_kind_of_difference(root: Path) -> None:
    run("--root", root)
    (root / "softmax/given.py").write_text("changed\n")
    (root / "softmax/softmax.py").unlink()
    (root / "softmax/extra.py").write_text("x = 1\n")
    (root / "notebooks/01_demo.ipynb").chmod(0o755)
    (root / "softmax/__pycache__").mkdir()
    (root / "softmax/__pycache__/given.pyc").write_text("left by Python")
    before = files(root)
    code, output = run("--root", root, "--check")
    assert code == 1
    assert output.splitlines()[:-1] == [
        "differs: notebooks/01_demo.ipynb",
        "differs: softmax/given.py",
        "missing: softmax/softmax.py",
        "stale: softmax/extra.py",
    ]
    assert files(root) == before


def test_check_sees_a_changed_source(root: Path) -> None:
    run("--root", root)
    source = root / "solutions/softmax/softmax.py"
    source.write_text(source.read_text().replace("double it", "twice as much"))
    assert run("--root", root, "--check")[1].startswith("differs: softmax/softmax.py\n")
    source.write_text(source.read_text().replace("exercise", "instructor", 1))
    demo = root / "solutions/notebooks/01_demo.py"
    demo.write_text(demo.read_text().partition('\n# %% check="hw1-2"')[0])
    assert "stale: softmax/softmax.py" in run("--root", root, "--check")[1]


def test_check_sees_a_lost_manifest(root: Path) -> None:
    run("--root", root)
    (root / MANIFEST).unlink()
    assert run("--root", root, "--check")[1].startswith(f"differs: {MANIFEST}\n")


def test_check_compares_a_student_repository(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("--root", root, "--out", out, "--check")[0] == 1 and not out.exists()
    run("--root", root, "--out", out)
    assert run("--root", root, "--out", out, "--check")[0] == 0
    (out / "README.md").write_text("mine\n")
    assert run("--root", root, "--out", out, "--check")[1].startswith("differs: README.md\n")


def test_a_modified_file_stops_the_whole_release(root: Path) -> None:
    run("--root", root)
    (root / "softmax/softmax.py").write_text("my work\n")
    (root / "softmax/given.py").unlink()
    before = files(root)
    code, output = run("--root", root)
    assert code == 1 and "Nothing was written" in output and "softmax/softmax.py" in output
    assert files(root) == before
    assert run("--root", root, "--overwrite")[0] == 0
    assert run("--root", root, "--check")[0] == 0


def test_a_file_that_was_there_before_stops_it_too(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "softmax").mkdir(parents=True)
    (out / "softmax/softmax.py").write_text("my work\n")
    code, output = run("--root", root, "--out", out)
    assert code == 1 and "softmax/softmax.py" in output
    assert list(files(out)) == ["softmax/softmax.py"]


def test_the_same_file_that_was_there_before_is_adopted(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run("--root", root, "--out", out)
    (out / MANIFEST).unlink()
    (out / "softmax/softmax.py").chmod(0o755)
    assert run("--root", root, "--out", out)[0] == 0
    assert files(out) == files(GOLDEN / "expected")


def test_other_files_of_the_folder_are_left_alone(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run("--root", root, "--out", out)
    (out / "softmax/mine.py").write_text("my own module\n")
    (out / "outputs").mkdir()
    (out / "outputs/result.csv").write_text("1\n")
    assert run("--root", root, "--out", out, "--overwrite")[0] == 0
    assert files(out).keys() - files(GOLDEN / "expected").keys() == {
        "softmax/mine.py",
        "outputs/result.csv",
    }


def test_files_no_longer_released_are_removed(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run("--root", root, "--out", out)
    (root / "tests/given.py").unlink()
    assert "removed: tests/given.py" in run("--root", root, "--out", out)[1]
    assert not (out / "tests").exists()


def test_a_modified_file_no_longer_released_is_kept(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run("--root", root, "--out", out)
    (root / "tests/given.py").unlink()
    (out / "tests/given.py").write_text("my work\n")
    code, output = run("--root", root, "--out", out)
    assert code == 1 and "tests/given.py" in output
    assert (out / "tests/given.py").read_text() == "my work\n"
    assert run("--root", root, "--out", out, "--overwrite")[0] == 0
    assert not (out / "tests").exists()


def test_a_link_is_never_written_through(root: Path, tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere.py"
    run("--root", root, "--out", out)
    elsewhere.write_text("mine\n")
    (out / "softmax/given.py").unlink()
    (out / "softmax/given.py").symlink_to(elsewhere)
    assert run("--root", root, "--out", out)[0] == 1
    assert run("--root", root, "--out", out, "--overwrite")[0] == 0
    assert elsewhere.read_text() == "mine\n"
    assert files(out) == files(GOLDEN / "expected")


def test_a_link_to_the_same_bytes_is_not_the_file(tmp_path: Path) -> None:
    wanted = {"a.py": tree.File(b"a")}
    (tmp_path / "elsewhere").write_bytes(b"a")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.py").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ModifiedFiles):
        write(wanted, tmp_path / "out")


@pytest.mark.parametrize("place", ["softmax", "softmax/given.py"])
def test_a_file_and_a_folder_in_each_others_place(root: Path, tmp_path: Path, place: str) -> None:
    out = tmp_path / "out"
    if place == "softmax":
        out.mkdir()
        (out / place).write_text("a file\n")
    else:
        (out / place).mkdir(parents=True)
    assert run("--root", root, "--out", out, "--overwrite")[0] == 2
    assert not (out / "README.md").exists()


def test_a_manifest_cannot_reach_outside_its_folder(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "victim").write_text("x")
    (tmp_path / "out" / MANIFEST).write_text('{"sha256": {"../victim": ""}}')
    with pytest.raises(ValueError, match="outside"):
        write({}, tmp_path / "out", overwrite=True)
    (tmp_path / "out" / MANIFEST).write_text("{")
    with pytest.raises(ValueError, match="damaged"):
        write({}, tmp_path / "out")


def test_an_error_half_way_leaves_no_half_file(tmp_path: Path, monkeypatch) -> None:
    wanted = {"a.py": tree.File(b"a"), "b.py": tree.File(b"b")}
    write(wanted, tmp_path)

    def full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write({"a.py": tree.File(b"new"), "b.py": tree.File(b"new")}, tmp_path)
    assert {
        path: content for path, (content, _) in files(tmp_path).items() if path != MANIFEST
    } == {
        "a.py": b"a",
        "b.py": b"b",
    }


def test_modified_files_are_listed(tmp_path: Path) -> None:
    (tmp_path / "b.py").write_text("mine")
    (tmp_path / "a.py").write_text("mine")
    with pytest.raises(ModifiedFiles) as raised:
        write({"b.py": tree.File(b"b"), "a.py": tree.File(b"a")}, tmp_path)
    assert raised.value.paths == ["a.py", "b.py"]


def test_the_instructors_repository_is_no_place_for_the_students(root: Path) -> None:
    for place in (root, root.parent):
        code, output = run("--root", root, "--out", place, "--overwrite")
        assert code == 2 and "choose another folder" in output


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("branch", "brunch"), "lacks 'branch'"),
        (('branch = "main"', 'branch = "main"\nmore = 1'), r"does not know \['more'\]"),
        (('branch = "main"', "branch = 1"), "'branch' cannot be 1"),
        (('include = ["LICENSE",', "include = [1,"), "'include' cannot be"),
        (("[tool.course.release]", "[tool.other]"), "has no table"),
        (('"docs/*.md"', '"solutions/**/*.py"'), "which never ships"),
        (('"docs/*.md"', '"course/**/*.py"'), "which never ships"),
        (('"docs/*.md"', '"tests/**/*.py"'), "which never ships"),
        (('"docs/*.md"', '"softmax/*.py"'), "two origins for softmax/given.py"),
    ],
)
def test_a_faulty_table_is_an_error(root: Path, change: tuple[str, str], why: str) -> None:
    run("--root", root)
    file = root / "pyproject.toml"
    assert change[0] in file.read_text()
    file.write_text(file.read_text().replace(*change))
    with pytest.raises(ValueError, match=why):
        tree.student(root)


@pytest.mark.parametrize(
    ("path", "text", "why"),
    [
        ("softmax/new.py", "x = 1\n", "undeclared"),
        ("softmax/__init__.py", "", "undeclared"),
        ("other/new.py", "# course: given\n", "'other' is not among the packages"),
        ("new.py", "# course: given\n", "not among the packages"),
        ("notebooks/data.csv", "# course: given\n", "a notebook's source is a .py file"),
        ("softmax/data.csv", "# course: exercise\n", "only Python files"),
    ],
)
def test_every_source_is_declared_and_has_a_place(
    root: Path, path: str, text: str, why: str
) -> None:
    (root / "solutions" / path).parent.mkdir(exist_ok=True)
    (root / "solutions" / path).write_text(text)
    with pytest.raises(MarkerError, match=f"solutions/{path}:1: .*{why}"):
        tree.student(root)


def test_sources_are_text_and_no_links(root: Path) -> None:
    (root / "solutions/softmax/photo.png").write_bytes(b"\x89PNG")
    with pytest.raises(ValueError, match=r"photo\.png is not text"):
        tree.generated(root)
    (root / "solutions/softmax/photo.png").unlink()
    (root / "solutions/softmax/link.py").symlink_to("expert.py")
    with pytest.raises(ValueError, match=r"link\.py is a symbolic link"):
        tree.generated(root)


def test_no_first_cell_is_an_error(root: Path) -> None:
    (root / "solutions/student_repository/first_cell.py").unlink()
    with pytest.raises(ValueError, match="first cell of every notebook"):
        tree.generated(root)
