"""The release of this very repository: up to date, whole, valid Python, and without solutions."""

import ast
import json
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from course.release import markers, tree, write
from course.release.settings import load

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]


@cache
def student() -> tree.Tree:
    return tree.student(ROOT)


@cache
def handwritten() -> set[str]:
    return student().keys() - tree.generated(ROOT).keys()


def python_of(released: tree.Tree) -> Iterator[tuple[str, str]]:
    """Name and source of every module and every code cell."""
    for path, file in released.items():
        if path.endswith(".py"):
            yield path, file.content.decode()
        elif path.endswith(".ipynb"):
            for number, cell in enumerate(json.loads(file.content)["cells"]):
                if cell["cell_type"] == "code":
                    yield f"{path}[{number}]", "".join(cell["source"])


def exercises() -> Iterator[tuple[str, str]]:
    for file in tree.files_under(ROOT / "solutions"):
        text = file.read_text(encoding="utf-8")
        path = file.relative_to(ROOT).as_posix()
        if markers.declaration(text, path) == "exercise":
            yield path, text


def solved(text: str, path: str) -> list[list[str]]:
    """The stripped lines of each solution."""
    lines = [line.strip() for line in text.split("\n")]
    return [lines[one.begin : one.end - 1] for one in markers.regions(text, path)]


def test_the_generated_files_are_up_to_date() -> None:
    rooms = [file for room in tree.generated_rooms(ROOT) for file in tree.files_under(ROOT / room)]
    assert write.differences(tree.generated(ROOT), ROOT, rooms) == [], "run 'course release'"


def test_all_that_a_learner_is_promised_ships() -> None:
    settings = load(ROOT)
    wanted = {"LICENSE", "README.md", "Makefile", "pyproject.toml", ".gitignore"}
    wanted |= {"test_and_submit.sh", "course/environment.sh", "homework/homework_all.pdf"}
    wanted |= {f"{package}/__init__.py" for package in settings.packages}
    wanted |= {settings.onyxia_init}
    assert wanted <= student().keys()
    assert all(
        student()[path].executable for path in ("test_and_submit.sh", "course/environment.sh")
    )
    notebooks = {path[:12] for path in student() if path.endswith(".ipynb")}
    assert notebooks >= {f"notebooks/{number:02d}" for number in range(6)}


def test_nothing_of_the_instructors_ships() -> None:
    for path, file in student().items():
        assert not path.startswith(("solutions/", "tests/course/", "course/release/")), path
        assert b"# course: " not in file.content.split(b"\n")[0], path
        assert b"tool.course.release" not in file.content or not path.endswith(".toml"), path


def test_every_module_and_every_cell_compiles() -> None:
    for name, source in python_of(student()):
        ast.parse(source, name)


def test_what_ships_imports_only_what_ships() -> None:
    rooms = {"course", *load(ROOT).packages}
    # registered by the command line where it exists, which is in this repository
    optional = {"course.release.cli", "course.release"}
    for name, source in python_of(student()):
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                modules = [node.module]
            elif isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            else:
                continue
            for module in modules:
                if module.split(".")[0] in rooms and module not in optional:
                    path = module.replace(".", "/")
                    ships = f"{path}.py" in student() or f"{path}/__init__.py" in student()
                    assert ships, f"{name} imports {module}, which does not ship"


def test_no_line_of_a_solution_ships() -> None:
    """A line that stands in solutions only, and nowhere in what is given, stands nowhere else."""
    secret: set[str] = set()
    given: set[str] = set()
    for path, text in exercises():
        secret.update(line for region in solved(text, path) for line in region if len(line) > 20)
        given.update(line.strip() for line in markers.released(text, path).split("\n"))
    for path in handwritten():
        if path.endswith((".py", ".sh", ".toml")):
            given.update(line.strip() for line in student()[path].content.decode().split("\n"))
    for file in tree.files_under(ROOT / "solutions"):
        text = file.read_text(encoding="utf-8")
        if markers.declaration(text, file.name) == "given":
            given.update(line.strip() for line in text.split("\n"))
    secret -= given
    assert len(secret) > 100
    for path, released in student().items():
        if path.endswith(".ipynb"):
            cells = json.loads(released.content)["cells"]
            text = "\n".join("".join(cell["source"]) for cell in cells)
        else:
            text = released.content.decode("utf-8", errors="ignore")
        assert not secret & {line.strip() for line in text.split("\n")}, path


def test_no_three_lines_of_a_solution_stand_in_what_is_given() -> None:
    """One line may be anybody's; three in a row, in a test or a check, would be the answer."""
    runs = {
        three: path
        for path, text in exercises()
        for region in solved(text, path)
        for lines in [[line for line in region if len(line) > 12 and line[0] != "#"]]
        for three in zip(lines, lines[1:], lines[2:], strict=False)
    }
    assert len(runs) > 50
    for path in handwritten():
        text = student()[path].content.decode("utf-8", errors="ignore")
        lines = [line.strip() for line in text.split("\n")]
        lines = [line for line in lines if len(line) > 12 and line[0] != "#"]
        for three in zip(lines, lines[1:], lines[2:], strict=False):
            assert three not in runs, f"{path} holds a part of {runs[three]}: {three}"


def test_no_placeholder_is_left() -> None:
    for path, file in student().items():
        assert not re.search(rb"\{\{(STUDENT_REPOSITORY|BADGES|HUB)", file.content), path


def test_every_launch_link_opens_a_notebook_that_ships() -> None:
    readme = student()["README.md"].content.decode()
    linked = set(re.findall(r"/blob/\w+/(notebooks/\w+\.ipynb)\)", readme))
    assert linked == {path for path in student() if path.endswith(".ipynb")}


def test_the_students_package_needs_what_this_one_needs() -> None:
    ours = tomllib.loads((ROOT / "pyproject.toml").read_text())
    theirs = tomllib.loads(student()["pyproject.toml"].content.decode())
    for key in ("name", "version", "description", "license", "requires-python", "dependencies"):
        assert theirs["project"][key] == ours["project"][key]
    for key in ("scripts", "readme"):
        assert theirs["project"][key] == ours["project"][key]
    assert theirs["build-system"] == ours["build-system"]
    assert theirs["tool"]["pytest"] == ours["tool"]["pytest"]
    assert theirs["tool"]["setuptools"] == ours["tool"]["setuptools"]
    extras = theirs["project"]["optional-dependencies"]
    assert extras.items() <= ours["project"]["optional-dependencies"].items()


@pytest.mark.parametrize("package", load(ROOT).packages)
def test_every_released_package_is_installed(package: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert f"{package}*" in project["tool"]["setuptools"]["packages"]["find"]["include"]
