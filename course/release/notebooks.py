"""A notebook's source (py:percent) turned into the learner's ``.ipynb``: cells empty, no outputs.

The notebook is built afresh from the text of the cells. Nothing else of the source survives, so
that no output, attachment or metadata can carry a solution.
"""

import bisect
import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from course.release import markers
from course.release.markers import NOTICE, MarkerError
from course.release.settings import Settings

if TYPE_CHECKING:
    from nbformat import NotebookNode

FIRST_CELL = "import course.notebook"
_CELL = re.compile(r"# ?%%")
_OPTIONS = {"exercise", "check", "points"}


@dataclass(frozen=True)
class _Cell:
    """One cell of the source, its solutions cut; ``line`` is that of its ``# %%``."""

    line: int
    kind: str
    source: str
    options: dict[str, Any]
    solves: tuple[str, ...]


def convert(
    text: str, path: str, settings: Settings, first_cell: str, elsewhere: frozenset[str]
) -> str:
    """The notebook as JSON, the same bytes for the same text.

    Args:
        text: the source, declared "exercise" or "given".
        path: its path, for messages; its stem names the notebook.
        settings: where the launch links point.
        first_cell: what replaces the cell ``import course.notebook``.
        elsewhere: ids of the exercises that are solved in modules and may be checked here.

    Raises:
        MarkerError: a malformed marker, an option that does not exist, an exercise without its
            check, a solution outside its exercise cell, or no cell ``import course.notebook``.
    """
    import nbformat

    cells = _cells(text, path)
    points = _points(cells, path, elsewhere)
    notebook = nbformat.v4.new_notebook(
        metadata={
            "accelerator": "GPU",  # Colab's default would be a machine without one
            "course": {"generated": NOTICE},
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    notebook.nbformat_minor = 5
    seen: dict[str, int] = {}
    notebook.cells = [_new("markdown", badges(path, settings), seen)]
    starts = [cell for cell in cells if cell.source == FIRST_CELL]
    if len(starts) != 1:
        raise MarkerError(path, 1, f"needs one cell '{FIRST_CELL}', has {len(starts)}")
    for cell in cells:
        source = first_cell if cell is starts[0] else cell.source
        new = _new(cell.kind, source, seen, cell.options.get("exercise"))
        if "exercise" in cell.options:
            _grade(new, cell.options["exercise"], None)
        elif "check" in cell.options:
            new["id"] = f"{cell.options['check']}-check"
            _grade(new, new["id"], points[cell.options["check"]])
        notebook.cells.append(new)
    nbformat.validate(notebook)
    return nbformat.writes(notebook) + "\n"


def _cells(text: str, path: str) -> list[_Cell]:
    import jupytext

    kind = markers.declaration(text, path)
    body = markers.without_declaration(text, path)
    starts = [n for n, line in enumerate(body.split("\n"), 1) if _CELL.match(line)]
    solved: dict[int, list[str]] = {}
    if kind == "exercise":
        for region in markers.regions(body, path):
            at = bisect.bisect(starts, region.begin) - 1
            if at != bisect.bisect(starts, region.last) - 1:
                raise MarkerError(path, region.begin, f"{region.id} spans several cells")
            solved.setdefault(at, []).append(region.id)
        body = markers.cut(body, path)
    elif markers.has_markers(body):
        raise MarkerError(path, 1, "declared 'given', but a solution is marked in it")
    # comment_magics would turn a comment such as '# more rows' into a shell command
    reader = {"extension": ".py", "format_name": "percent", "comment_magics": False}
    read = jupytext.reads(body.lstrip("\n"), fmt=reader).cells
    if len(read) != len(starts):
        raise MarkerError(path, 1, f"{len(starts)} cells are marked, {len(read)} were read")
    return [
        _Cell(
            line,
            one.cell_type,
            one.source.strip("\n"),
            _options(one.metadata, path, line),
            tuple(solved.get(at, ())),
        )
        for at, (line, one) in enumerate(zip(starts, read, strict=True))
    ]


def _options(metadata: dict[str, Any], path: str, line: int) -> dict[str, Any]:
    # jupytext's notes on blank lines, which matter to it only
    metadata = {key: v for key, v in metadata.items() if not key.startswith("lines_to_")}
    unknown = sorted(set(metadata) - _OPTIONS)
    if unknown:
        raise MarkerError(path, line, f"a cell has no option {', '.join(map(repr, unknown))}")
    if "exercise" in metadata and "check" in metadata:
        raise MarkerError(path, line, "a cell is an exercise or a check, not both")
    if "points" in metadata:
        number = metadata["points"]
        if isinstance(number, bool) or not isinstance(number, (int, float)) or number < 0:
            raise MarkerError(path, line, f"points cannot be {number!r}")
        if len(metadata) == 1:
            raise MarkerError(path, line, "points belong to an exercise")
    return metadata


def _points(cells: list[_Cell], path: str, elsewhere: frozenset[str]) -> dict[str, float]:
    """What each check is worth; every rule that ties exercise, solution and check together."""
    points: dict[str, float] = {}
    here: set[str] = set()
    checked: set[str] = set()
    for cell in cells:
        if cell.kind not in ("code", "markdown"):
            raise MarkerError(path, cell.line, f"a cell of type '{cell.kind}'")
        if cell.options and cell.kind != "code":
            raise MarkerError(path, cell.line, "exercises and checks are code cells")
        exercise, check = cell.options.get("exercise"), cell.options.get("check")
        for one in cell.solves:
            if one != exercise:
                raise MarkerError(path, cell.line, f"the solution of {one} is not in its own cell")
        if exercise is not None:
            if exercise not in cell.solves:
                raise MarkerError(path, cell.line, f"the exercise {exercise} marks no solution")
            if exercise in here or exercise in elsewhere:
                raise MarkerError(path, cell.line, f"{exercise} is an exercise twice")
            if not exercise.startswith(f"nb{_stem(path)[:2]}-"):
                raise MarkerError(path, cell.line, f"{exercise} belongs to another notebook")
            if "points" not in cell.options:
                raise MarkerError(path, cell.line, f"{exercise} has no points")
            here.add(exercise)
            points[exercise] = cell.options["points"]
        elif check is not None:
            if check in checked:
                raise MarkerError(path, cell.line, f"{check} is checked twice")
            checked.add(check)
            if check in here:
                if "points" in cell.options:
                    raise MarkerError(path, cell.line, f"{check} has its points in its exercise")
            elif check not in elsewhere:
                raise MarkerError(path, cell.line, f"a check before or without exercise {check}")
            elif "points" not in cell.options:
                raise MarkerError(path, cell.line, f"{check} is solved in a module: points go here")
            else:
                points[check] = cell.options["points"]
    unchecked = sorted(here - checked)
    if unchecked:
        raise MarkerError(path, 1, f"no check for {', '.join(unchecked)}")
    return points


def _new(kind: str, source: str, seen: dict[str, int], name: str | None = None) -> "NotebookNode":
    """A cell whose id depends on its text, or on its exercise, and on nothing that changes."""
    from nbformat import v4

    if name is None:
        name = hashlib.sha256(f"{kind}\n{source}".encode()).hexdigest()[:12]
        seen[name] = seen.get(name, 0) + 1
        name = name if seen[name] == 1 else f"{name}-{seen[name]}"
    make = v4.new_code_cell if kind == "code" else v4.new_markdown_cell
    return make(source, id=name)


def _stem(path: str) -> str:
    return path.rsplit("/", 1)[-1].removesuffix(".py")


def _grade(cell: "NotebookNode", name: str, points: float | None) -> None:
    """nbgrader's metadata: a solution cell, or with ``points`` a locked cell of tests."""
    cell.metadata["nbgrader"] = {
        "grade": points is not None,
        "grade_id": name,
        "locked": points is not None,
        "schema_version": 3,
        "solution": points is None,
        "task": False,
    } | ({} if points is None else {"points": points})


def badges(path: str, settings: Settings) -> str:
    """Links that open the learner's copy of this notebook elsewhere; on a hub, if one is set."""
    file = f"notebooks/{_stem(path)}.ipynb"
    colab = (
        f"https://colab.research.google.com/github/{settings.slug}/blob/{settings.branch}/{file}"
    )
    script = (
        f"https://raw.githubusercontent.com/{settings.slug}/{settings.branch}"
        f"/{settings.onyxia_init}"
    )
    # Onyxia reads strings between guillemets
    onyxia = (
        "https://datalab.sspcloud.fr/launcher/ide/jupyter-pytorch-gpu?autoLaunch=true"
        f"&name={quote(settings.name)}&init.personalInit={quote(f'«{script}»', safe='')}"
        f"&init.personalInitArgs={quote(f'«{file}»', safe='')}"
    )
    links = (
        f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({colab})\n"
        f"[![Open in SSP Cloud](https://img.shields.io/badge/SSP%20Cloud-open-blue)]({onyxia})"
    )
    if not settings.hub:
        return links
    opened = quote(f"lab/tree/{settings.name}/{file}", safe="")
    hub = f"{settings.hub.rstrip('/')}/hub/user-redirect/git-pull?{_pulled(settings)}"
    badge = "[![Open in JupyterHub](https://img.shields.io/badge/JupyterHub-open-orange)]"
    return f"{links}\n{badge}({hub}&urlpath={opened})"


def hub_line(settings: Settings) -> str:
    """What to do on a JupyterHub: click a badge, or make the link that no badge can hold."""
    if settings.hub:
        return "Click the JupyterHub badge."
    form = f"https://nbgitpuller.readthedocs.io/en/latest/link.html?{_pulled(settings)}"
    return (
        f"Open the link that your instructor gives you, or [make one]({form}): "
        "fill in your hub's address, and open the link it makes."
    )


def _pulled(settings: Settings) -> str:
    return f"repo={quote(settings.student_repository, safe='')}&branch={quote(settings.branch)}"
