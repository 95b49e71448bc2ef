"""What ships, and as what: the two trees that are derived from the instructor's repository."""

import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from course.release import markers, notebooks
from course.release.markers import MarkerError
from course.release.settings import Settings, load

SOLUTIONS = "solutions"
NOTEBOOKS = "notebooks"
STUDENT = "student_repository"
FIRST_CELL = "first_cell.py"
PLACEHOLDER = "{{STUDENT_REPOSITORY}}"
# "{{BADGES 01_online_softmax}}" in a README: the links that open this notebook elsewhere
BADGES = re.compile(r"\{\{BADGES (\w+)\}\}")

# whatever 'include' says: these hold solutions, or show how to forge a mark
_NEVER = (SOLUTIONS, "tests/course", "course/release", "course/grade")
_LEFT_BY_TOOLS = {
    "__pycache__",
    ".ipynb_checkpoints",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".DS_Store",
    "outputs",
}


@dataclass(frozen=True)
class File:
    """A released file: its bytes, and whether it can be executed."""

    content: bytes
    executable: bool = False


Tree = dict[str, File]


def generated(root: Path) -> Tree:
    """The files that are generated into the instructor's root, by path relative to it.

    Raises:
        MarkerError: a file under ``solutions/`` that is undeclared, or has malformed markers.
        ValueError: a faulty ``[tool.course.release]``, a link, a file that is not text.
    """
    settings = load(root)
    sources = dict(_sources(root, settings))
    modules = frozenset(
        region.id
        for path, text in sources.items()
        if not path.startswith((f"{SOLUTIONS}/{NOTEBOOKS}/", f"{SOLUTIONS}/{STUDENT}/"))
        and markers.declaration(text, path) == "exercise"
        for region in markers.regions(text, path)
    )
    tree: Tree = {}
    for path, text in sources.items():
        inner = path.removeprefix(f"{SOLUTIONS}/")
        room = inner.split("/", 1)[0]
        if room == NOTEBOOKS:
            notebook = notebooks.convert(text, path, settings, _first_cell(sources), modules)
            tree[f"{inner.removesuffix('.py')}.ipynb"] = File(notebook.encode())
        elif room != STUDENT:
            tree[inner] = File(markers.released(text, path).encode(), _executable(root / path))
    return tree


def student(root: Path) -> Tree:
    """The whole student repository: what is generated, what is its own, what is copied.

    Raises:
        MarkerError, ValueError: as :func:`generated`; also a file that has two origins, and a
            copied file that holds a marker.
    """
    settings = load(root)
    tree = generated(root)
    own: Tree = {}
    for path, text in _sources(root, settings):
        inner = path.removeprefix(f"{SOLUTIONS}/{STUDENT}/")
        if inner not in (path, FIRST_CELL):
            text = BADGES.sub(lambda m: notebooks.badges(m[1], settings).replace("\n", " "), text)
            text = text.replace("{{HUB}}", notebooks.hub_line(settings))
            own[inner] = File(markers.released(text, path).encode(), _executable(root / path))
    for more in (own, _included(root, settings)):
        twice = sorted(tree.keys() & more.keys())
        if twice:
            raise ValueError(f"two origins for {', '.join(twice)}")
        tree |= more
    return dict(sorted(tree.items()))


def generated_rooms(root: Path) -> tuple[str, ...]:
    """The folders of the root that hold generated files and nothing else."""
    return (*load(root).packages, NOTEBOOKS)


def files_under(folder: Path) -> Iterator[Path]:
    """Every file below a folder, in order, but what tools leave behind.

    Raises:
        ValueError: a symbolic link, which could lead anywhere.
    """
    if not folder.is_dir():
        return
    for one in sorted(folder.iterdir()):
        if one.name in _LEFT_BY_TOOLS or one.suffix == ".pyc" or one.name.endswith(".egg-info"):
            continue
        if one.is_symlink():
            raise ValueError(f"{one} is a symbolic link")
        if one.is_dir():
            yield from files_under(one)
        else:
            yield one


def _sources(root: Path, settings: Settings) -> Iterator[tuple[str, str]]:
    """Path and text of all under ``solutions/`` that is released; every file there is declared."""
    rooms = (*settings.packages, NOTEBOOKS, STUDENT)
    for file in files_under(root / SOLUTIONS):
        path = file.relative_to(root).as_posix()
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise ValueError(f"{path} is not text") from None
        kind = markers.declaration(text, path)
        if kind == "instructor":
            continue
        room, _, inner = path.removeprefix(f"{SOLUTIONS}/").partition("/")
        if room not in rooms or not inner:
            raise MarkerError(
                path,
                1,
                f"declared '{kind}', but '{room}' is not among the packages in pyproject.toml",
            )
        if room == NOTEBOOKS and ("/" in inner or not inner.endswith(".py")):
            raise MarkerError(path, 1, "a notebook's source is a .py file in solutions/notebooks/")
        yield path, text.replace(PLACEHOLDER, settings.student_repository)


def _first_cell(sources: dict[str, str]) -> str:
    path = f"{SOLUTIONS}/{STUDENT}/{FIRST_CELL}"
    if path not in sources:
        raise ValueError(f"{path}, the first cell of every notebook, is missing or not given")
    return markers.without_declaration(sources[path], path).strip("\n")


def _included(root: Path, settings: Settings) -> Tree:
    """Copies of what ``include`` names. A glob that matches nothing is not an error: not all of it
    exists in every tree."""
    tree: Tree = {}
    for pattern in settings.include:
        for file in sorted(root.glob(pattern)):
            path = file.relative_to(root).as_posix()
            if _LEFT_BY_TOOLS & set(path.split("/")) or file.is_dir() or file.suffix == ".pyc":
                continue
            if any(path == never or path.startswith(f"{never}/") for never in _NEVER):
                raise ValueError(f"'{pattern}' includes {path}, which never ships")
            if file.is_symlink() or any(
                parent.is_symlink() for parent in file.parents if parent.is_relative_to(root)
            ):
                raise ValueError(f"{path} is a symbolic link")
            content = file.read_bytes()
            text = content.decode("utf-8", errors="ignore")
            if _is_instructors(text, path):
                continue
            if markers.has_markers(text):
                raise ValueError(f"{path} is copied as it stands, and holds a solution marker")
            tree[path] = File(content, _executable(file))
    return tree


def _is_instructors(text: str, path: str) -> bool:
    try:
        return markers.declaration(text, path) == "instructor"
    except MarkerError:
        return False  # only files under solutions/ must say what they are


def _executable(file: Path) -> bool:
    return bool(file.stat().st_mode & stat.S_IXUSR)
