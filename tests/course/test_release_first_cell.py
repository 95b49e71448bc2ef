"""The first cell of every notebook: finds the course or fetches it, and overwrites nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from course.release import markers

ROOT = Path(__file__).resolve().parents[2]
CELL = ROOT / "solutions/student_repository/first_cell.py"

# The environment the tests run in may have the course installed; a bare machine has not.
BARE = """
import importlib.util, sys, types
known = importlib.util.find_spec
def find_spec(name):
    if name == "course":
        return known(name) if {installed} else None
    return None if name in {lacking} else known(name)
importlib.util.find_spec = find_spec
"""
DRIVE = """
drive = types.ModuleType("google.colab.drive")
drive.mount = lambda place: print("mounted", place)
colab = types.ModuleType("google.colab")
colab.drive = drive
sys.modules |= {"google": types.ModuleType("google"), "google.colab": colab}
"""


def make_course(folder: Path, says: str) -> Path:
    package = folder / "course"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "versions.py").write_text("def problems():\n    return ['numpy is too new']\n")
    (package / "notebook.py").write_text(f"print({says!r})\n")
    return folder


def run(
    folder: Path,
    repository: str = "/nowhere/kernels.git",
    lacking: tuple[str, ...] = (),
    installed: bool = False,
    setup: str = "",
    on_drive: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run the cell with ``folder`` as the working directory, as Jupyter does."""
    cell = markers.without_declaration(CELL.read_text(), CELL.name)
    cell = cell.replace("{{STUDENT_REPOSITORY}}", repository)
    if on_drive is not None:
        cell = cell.replace("ON_DRIVE = False", "ON_DRIVE = True", 1)
        cell = cell.replace("/content/drive/MyDrive", str(on_drive))
        setup += DRIVE
    bare = BARE.format(installed=installed, lacking=lacking)
    folder.mkdir(parents=True, exist_ok=True)
    # -I: neither the working directory nor PYTHONPATH helps it to find the course
    command = [sys.executable, "-I", "-c", bare + setup + cell]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """A student repository to clone."""
    folder = make_course(tmp_path / "origin" / "kernels", "cloned")
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "--quiet", "-m", "Released"], check=True)
    return folder


def test_it_is_short() -> None:
    lines = [line for line in CELL.read_text().splitlines()[1:] if line.strip()]
    assert len(lines) <= 25


@pytest.mark.parametrize("inside", ["notebooks", "notebooks/deeper", "."])
def test_it_finds_the_course_above_the_notebook(tmp_path: Path, inside: str) -> None:
    make_course(tmp_path / "any name", "found")
    result = run(tmp_path / "any name" / inside)
    assert result.stdout == "numpy is too new\nfound\n", result.stderr


def test_it_finds_the_course_beside_the_notebook(tmp_path: Path) -> None:
    make_course(tmp_path / "home" / "kernels", "found")
    assert run(tmp_path / "home").stdout.endswith("found\n")
    assert run(tmp_path / "home" / "assignment").stdout.endswith("found\n")


def test_an_installed_course_will_do(tmp_path: Path) -> None:
    course = make_course(tmp_path / "shared", "installed")
    setup = f"sys.path.append({str(course)!r})\n"
    result = run(tmp_path / "home", installed=True, setup=setup)
    assert result.stdout.endswith("installed\n") and not any((tmp_path / "home").iterdir())


def test_otherwise_it_clones_the_student_repository_once(tmp_path: Path, origin: Path) -> None:
    home = tmp_path / "home"
    first = run(home, str(origin))
    assert first.stdout.endswith("cloned\n"), first.stderr
    (home / "kernels/course/notebook.py").write_text("print('changed by me')\n")
    assert run(home, str(origin)).stdout.endswith("changed by me\n")


def test_an_address_with_git_at_its_end_makes_the_same_folder(tmp_path: Path, origin: Path) -> None:
    origin.rename(origin.with_name("kernels.git"))
    assert run(tmp_path / "home", f"{origin}.git").returncode == 0
    assert [one.name for one in (tmp_path / "home").iterdir()] == ["kernels"]


def test_it_overwrites_nothing(tmp_path: Path, origin: Path) -> None:
    mine = tmp_path / "home/kernels/mine.py"
    mine.parent.mkdir(parents=True)
    mine.write_text("my work\n")
    result = run(tmp_path / "home", str(origin))
    assert result.returncode != 0 and "already exists" in result.stderr
    assert [one.name for one in mine.parent.iterdir()] == ["mine.py"]
    assert mine.read_text() == "my work\n"


def test_on_request_it_clones_to_the_drive(tmp_path: Path, origin: Path) -> None:
    drive = tmp_path / "drive"
    drive.mkdir()
    make_course(tmp_path / "home" / "kernels", "lost when the session ends")
    result = run(tmp_path / "home", str(origin), on_drive=drive)
    assert result.stdout.startswith("mounted /content/drive\n"), result.stderr
    assert result.stdout.endswith("cloned\n") and (drive / "kernels/course").is_dir()


def test_it_installs_only_what_is_lacking(tmp_path: Path) -> None:
    make_course(tmp_path, "found")
    calls = tmp_path / "calls.json"
    setup = f"""
import json, subprocess
def called(command, **options):
    open({str(calls)!r}, "w").write(json.dumps([*command[1:], options]))
subprocess.run = called
"""
    assert run(tmp_path, setup=setup).returncode == 0 and not calls.exists()
    run(tmp_path, lacking=("einops", "rich"), setup=setup)
    wanted = ["-m", "pip", "install", "--quiet", "einops", "rich", {"check": True}]
    assert json.loads(calls.read_text()) == wanted
