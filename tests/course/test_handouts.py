"""The hand-outs and READMEs say what the code says: names, signatures, points, columns, links."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from course.handout import build
from course.handout.names import FENCE, constant, points, shell_lines, spans, wrong_with
from course.release import tree

ROOT = build.ROOT
HANDOUTS = {f"hw{number}": ROOT / name for number, name in enumerate(build.HANDOUTS, 1)}
READMES = [ROOT / "README.md", ROOT / "solutions/student_repository/README.md"]
DOCUMENTS = [*HANDOUTS.values(), *READMES]
SHELL = ("git ", "cd ", "source ", "pip ", "jupyter ")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.parent.name + "/" + p.name)
def test_every_name_is_in_the_code(document: Path) -> None:
    text = document.read_text("utf-8")
    wrong = {span: wrong_with(span) for span in dict.fromkeys(spans(text))}
    ours = [line for line in shell_lines(text) if not line.startswith(SHELL)]
    wrong |= {line: wrong_with(line) for line in ours}
    assert not {span: why for span, why in wrong.items() if why}


@pytest.mark.parametrize(
    ("span", "why"),
    [
        ("hw1-9", "no test"),
        ("nb00-99", "no notebook"),
        ("fused_softmaxx", "nothing in the code"),
        ("fused_softmax(x, V, BLOCK=16)", "the signature is"),
        ("FlashAttentionTriton.apply(Q, K, V)", "the signature is"),
        ("tl.make_tile", "triton.language has no"),
        ("softmax_matmul/fused.py", "no such file"),
        ("outputs/softmax.csv", "nothing writes"),
        ("course chekc hw1-1", "no command"),
        ("[tool.course.releases]", "no such table"),
        ("course check hw1-9", "no test"),
        ("course check hw9", "nothing in the code"),
        ("course compile hw1", "nothing in the code"),
        ("python -m benchmarking.bench_softmax", "no such module"),
        ("pytest --exercises hw1-1", "unknown option"),
    ],
)
def test_a_wrong_name_is_seen(span: str, why: str) -> None:
    assert why in wrong_with(span)


def rows_of_exercises(text: str) -> Iterator[tuple[str, list[str]]]:
    """Id and the other cells of every table row that begins with an exercise's id."""
    for row in re.findall(r"^\| `(hw\d-\d+)` \|(.*)\|$", text, re.MULTILINE):
        yield row[0], [cell.strip() for cell in row[1].split("|")]


@pytest.mark.parametrize("homework", HANDOUTS)
def test_points_are_those_of_the_tests(homework: str) -> None:
    text = HANDOUTS[homework].read_text("utf-8")
    wanted = {name: worth for name, worth in points().items() if name.startswith(f"{homework}-")}
    assert sum(wanted.values()) == (12 if homework == "hw3" else 8)
    work, marks = text.split("## How it is marked")
    for part in (work, marks):
        told = {
            name: int(c) for name, cells in rows_of_exercises(part) for c in cells if c.isdigit()
        }
        assert told == wanted
    headings = re.findall(r"^### `(hw\d-\d+)`.*\((\d) points?\)$", text, re.MULTILINE)
    assert {name: int(worth) for name, worth in headings}.items() <= wanted.items()


def test_columns_and_parameters_are_those_of_the_benchmarks() -> None:
    for homework, module, columns, tables in [
        (
            "hw1",
            "benchmarking.bench_softmax_matmul",
            ("CONFIGURATION", "MEASURED"),
            ("D2S", "BLOCKS"),
        ),
        ("hw3", "benchmarking.bench_attention", ("COLUMNS",), ("SEQ_LENS", "IMPLEMENTATIONS")),
    ]:
        text = HANDOUTS[homework].read_text("utf-8")
        wanted = ",".join(column for name in columns for column in constant(module, name))
        listings = [re.sub(r",\s+", ",", body.strip()) for _, body in FENCE.findall(text)]
        assert wanted in listings
        for name in tables:
            values = [str(value) for value in constant(module, name)]
            assert ", ".join(values) in text.replace("`", ""), f"{name}: {values}"


def test_chapters_are_those_of_the_notebooks() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    rows = re.findall(r"\((solutions/notebooks/\w+\.py)\).*to `nb\d+-(\d+)` \| ([^|]+) \|", text)
    sources = sorted((ROOT / "solutions/notebooks").glob("*.py"))
    assert [path for path, _, _ in rows] == [str(path.relative_to(ROOT)) for path in sources]
    for path, exercises, time in rows:
        source = (ROOT / path).read_text("utf-8")
        assert f"About {time} · {exercises} exercises" in source, path


@pytest.fixture(scope="module")
def student() -> tree.Tree:
    return tree.student(ROOT)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.parent.name + "/" + p.name)
def test_links_lead_somewhere(document: Path, student: tree.Tree) -> None:
    links = re.findall(r"\]\(([^)#\s]+)\)", document.read_text("utf-8"))
    inside = [link for link in links if "://" not in link and "{{" not in link]
    if "student_repository" in document.parts:
        assert not [link for link in inside if link not in student]
    else:
        assert not [link for link in inside if not (document.parent / link).exists()]


def test_the_learners_readme_is_complete_when_released(student: tree.Tree) -> None:
    text = student["README.md"].content.decode()
    assert "{{" not in text and "solutions/" not in text
    notebooks = {path for path in student if path.endswith(".ipynb")}
    assert notebooks == set(re.findall(r"/blob/main/(notebooks/\w+\.ipynb)\)", text))


def test_the_pdf_is_up_to_date() -> None:
    built = build.fingerprint_in(ROOT / build.PDF)
    assert built == build.fingerprint(), "run 'python -m course.handout', and look at the pages"


def test_a_change_of_a_source_is_seen(tmp_path: Path) -> None:
    for path in build.sources():
        if path.is_relative_to(ROOT / "course"):
            continue
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    assert build.fingerprint(tmp_path) == build.fingerprint()
    with (tmp_path / build.HANDOUTS[0]).open("a") as file:
        file.write("One more sentence.\n")
    assert build.fingerprint(tmp_path) != build.fingerprint()


def test_folded_hints_stand_open_on_paper() -> None:
    text = (
        "<details>\n<summary>NaN in `y`</summary>\n\nMask it: $e^{-\\infty} = 0$.\n\n</details>\n"
    )
    page = build.to_typst(text)
    assert "==== NaN in `y`" in page and "Mask it: " in page and "details" not in page
