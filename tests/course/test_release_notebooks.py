"""Notebooks: cells, grading metadata, links, and every way to tie an exercise up wrong."""

import ast
import json
from dataclasses import replace
from typing import Any

import pytest

from course.release import notebooks
from course.release.markers import MarkerError
from course.release.settings import Settings

SETTINGS = Settings("https://github.com/class/kernels", "main", "", "init.sh", (), ())
START = "# course: exercise\n# %%\nimport course.notebook\n\n"
EXERCISE = """# %% exercise="nb01-1" points=2
def twice(x):
    ### BEGIN SOLUTION nb01-1 two of them
    return x + x
    ### END SOLUTION

"""
CHECK = '# %% check="nb01-1"\ncheck("nb01-1", twice)\n\n'
GOOD = START + EXERCISE + CHECK


def convert(text: str, settings: Settings = SETTINGS, elsewhere: tuple[str, ...] = ()) -> Any:
    path = "solutions/notebooks/01_demo.py"
    return json.loads(notebooks.convert(text, path, settings, "FIRST = 1", frozenset(elsewhere)))


def cell(notebook: Any, name: str) -> Any:
    return next(one for one in notebook["cells"] if one["id"] == name)


def test_an_exercise_and_its_check_carry_nbgraders_metadata() -> None:
    notebook = convert(GOOD)
    exercise, check = cell(notebook, "nb01-1"), cell(notebook, "nb01-1-check")
    assert exercise["metadata"]["nbgrader"] == {
        "grade": False,
        "grade_id": "nb01-1",
        "locked": False,
        "schema_version": 3,
        "solution": True,
        "task": False,
    }
    assert check["metadata"]["nbgrader"] == {
        "grade": True,
        "grade_id": "nb01-1-check",
        "locked": True,
        "points": 2,
        "schema_version": 3,
        "solution": False,
        "task": False,
    }
    others = [one for one in notebook["cells"] if one not in (exercise, check)]
    assert others and all(one["metadata"] == {} for one in others)


def test_nbgrader_accepts_the_metadata() -> None:
    v3 = pytest.importorskip("nbgrader.nbgraderformat.v3", reason="nbgrader: extra 'grade'")
    import nbformat

    path = "solutions/notebooks/01_demo.py"
    text = notebooks.convert(GOOD, path, SETTINGS, "FIRST = 1", frozenset())
    notebook = nbformat.reads(text, as_version=4)
    v3.MetadataValidatorV3().validate_nb(notebook)


def test_a_whole_body_cut_is_still_python() -> None:
    source = "".join(cell(convert(GOOD), "nb01-1")["source"])
    assert source == 'def twice(x):\n    raise NotImplementedError("nb01-1: two of them")'
    ast.parse(source)


def test_a_kernel_in_a_cell_fails_to_compile() -> None:
    text = GOOD.replace("def twice", "@triton.jit\ndef twice")
    source = "".join(cell(convert(text), "nb01-1")["source"])
    assert source.endswith('tl.static_assert(False, "nb01-1: two of them")')


def test_the_first_cell_replaces_the_import() -> None:
    codes = [one for one in convert(GOOD)["cells"] if one["cell_type"] == "code"]
    assert "".join(codes[0]["source"]) == "FIRST = 1"
    assert not any("import course.notebook" in "".join(one["source"]) for one in codes)


def test_links_point_to_the_student_repository() -> None:
    badges = "".join(convert(GOOD)["cells"][0]["source"])
    assert "/github/class/kernels/blob/main/notebooks/01_demo.ipynb)" in badges
    script = "https%3A%2F%2Fraw.githubusercontent.com%2Fclass%2Fkernels%2Fmain%2Finit.sh"
    assert f"init.personalInit=%C2%AB{script}%C2%BB" in badges


def test_without_a_hub_there_is_one_line_and_no_badge() -> None:
    assert "JupyterHub" not in "".join(convert(GOOD)["cells"][0]["source"])
    nobody = Settings("https://github.com/class/kernels", "main", "", "i.sh", (), ())
    form = "nbgitpuller.readthedocs.io/en/latest/link.html?repo=https%3A%2F%2Fgithub"
    assert form in notebooks.hub_line(nobody)
    assert "badge" in notebooks.hub_line(replace(nobody, hub="https://hub.org"))


def test_a_class_with_a_hub_is_linked_to_it() -> None:
    hub = Settings("https://github.com/class/kernels", "main", "https://hub.org/", "i.sh", (), ())
    badges = "".join(convert(GOOD, hub)["cells"][0]["source"])
    assert "https://hub.org/hub/user-redirect/git-pull?repo=https%3A%2F%2Fgithub.com" in badges
    assert "&urlpath=lab%2Ftree%2Fkernels%2Fnotebooks%2F01_demo.ipynb" in badges


def test_comments_that_look_like_shell_commands_stay_comments() -> None:
    text = GOOD + "# %%\n# more rows than fit\n# cat and dog\n# %matplotlib inline\nx = 1\n"
    last = "".join(convert(text)["cells"][-1]["source"])
    assert last == "# more rows than fit\n# cat and dog\n# %matplotlib inline\nx = 1"


def test_nothing_was_run() -> None:
    notebook = convert(GOOD)
    codes = [one for one in notebook["cells"] if one["cell_type"] == "code"]
    assert all(one["outputs"] == [] and one["execution_count"] is None for one in codes)
    assert set(notebook["metadata"]) == {"accelerator", "course", "kernelspec", "language_info"}
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"


def test_ids_depend_on_the_text_alone() -> None:
    text = GOOD + "# %%\nagain\n\n# %%\nagain\n\n# %% [markdown]\n# again\n"
    ids = [one["id"] for one in convert(text)["cells"]]
    assert len(set(ids)) == len(ids) and ids[-2] == f"{ids[-3]}-2"
    with_more = convert(text.replace(START, START + "# %%\nmore = 1\n\n"))
    assert set(ids) < {one["id"] for one in with_more["cells"]}


def test_an_exercise_of_a_module_is_checked_here() -> None:
    notebook = convert(GOOD + '# %% check="hw1-2" points=3\ncheck("hw1-2")\n', elsewhere=("hw1-2",))
    assert cell(notebook, "hw1-2-check")["metadata"]["nbgrader"]["points"] == 3


def test_a_given_notebook_needs_no_exercise() -> None:
    text = "# course: given\n# %%\nimport course.notebook\n\n# %%\nx = 1\n"
    assert len(convert(text)["cells"]) == 3


MALFORMED = {
    "no first cell": (GOOD.replace("import course.notebook", "import torch"), "needs one cell"),
    "two first cells": (GOOD + "# %%\nimport course.notebook\n", "has 2"),
    "unknown option": (GOOD.replace("points=2", "point=2"), "no option 'point'"),
    "attachment": (GOOD + '# %% [markdown] attachments={"a": 1}\n# a\n', "no option 'attachments'"),
    "cell title": (GOOD + "# %% a title\nx = 1\n", "no option 'title'"),
    "exercise and check": (GOOD.replace('check="', 'exercise="nb01-1" check="'), "not both"),
    "points alone": (GOOD + "# %% points=2\nx = 1\n", "points belong to an exercise"),
    "points in words": (GOOD.replace("points=2", 'points="two"'), "points cannot be 'two'"),
    "points below nought": (GOOD.replace("points=2", "points=-1"), "points cannot be -1"),
    "no points": (GOOD.replace(" points=2", ""), "nb01-1 has no points"),
    "points twice": (GOOD.replace('check="nb01-1"', 'check="nb01-1" points=2'), "has its points"),
    "no check": (START + EXERCISE, "no check for nb01-1"),
    "two checks": (GOOD + CHECK, "nb01-1 is checked twice"),
    "check before": (START + CHECK + EXERCISE, "a check before or without exercise nb01-1"),
    "check of nothing": (GOOD + '# %% check="nb01-2"\ncheck()\n', "without exercise nb01-2"),
    "module without points": (GOOD + '# %% check="hw1-2"\ncheck()\n', "points go here"),
    "exercise twice": (GOOD + EXERCISE, "nb01-1 is an exercise twice"),
    "exercise of a module": (GOOD.replace("nb01-1", "hw1-2"), "hw1-2 is an exercise twice"),
    "another notebook's": (GOOD.replace("nb01-1", "nb02-1"), "belongs to another notebook"),
    "no solution": (GOOD + '# %% exercise="nb01-2" points=1\nx = 1\n', "marks no solution"),
    "wrong cell": (GOOD.replace("SOLUTION nb01-1", "SOLUTION nb01-2"), "not in its own cell"),
    "no exercise cell": (GOOD.replace(' exercise="nb01-1" points=2', ""), "not in its own cell"),
    "text is graded": (GOOD + '# %% [markdown] check="hw1-2"\n# a\n', "are code cells"),
    "raw cell": (GOOD + "# %% [raw]\n# a\n", "a cell of type 'raw'"),
    "two cells": (
        GOOD.replace("    return x + x\n", "    return x + x\n# %%\ndef f():\n    return x\n"),
        "spans several cells",
    ),
    "marker in text": (
        GOOD + "# %% [markdown]\n# ### BEGIN SOLUTION nb01-2 t\n# ### END SOLUTION\n",
        "looks like a marker",
    ),
    "text before": (GOOD.replace("exercise\n# %%", "exercise\n# hidden\n# %%", 1), "were read"),
    "given with markers": (GOOD.replace("course: exercise", "course: given"), "declared 'given'"),
    "nothing marked": (START + "# %%\nx = 1\n", "no solution is marked"),
}


@pytest.mark.parametrize(("text", "why"), MALFORMED.values(), ids=MALFORMED)
def test_malformed_notebooks_name_the_file(text: str, why: str) -> None:
    with pytest.raises(MarkerError) as raised:
        convert(text, elsewhere=("hw1-2",))
    assert str(raised.value).startswith("solutions/notebooks/01_demo.py:")
    assert why in str(raised.value)
