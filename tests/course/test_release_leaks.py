"""Planted secrets: nothing between markers, and nothing of an instructor's file, reaches a learner.

Every channel a solution could leave by gets a secret of its own, and the student repository, the
manifest and everything packed inside files are searched for all of them, byte by byte.
"""

import gzip
import io
import json
import re
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from course.release import tree
from course.release.write import write

GOLDEN = Path(__file__).parent / "test_release_golden"


def contents(data: bytes) -> Iterator[bytes]:
    """The bytes themselves, and whatever they hold once unpacked or decoded."""
    yield data
    if data[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for name in archive.namelist():
                yield name.encode()
                yield from contents(archive.read(name))
    if data[:2] == b"\x1f\x8b":
        yield from contents(gzip.decompress(data))
    if data[:5] == b"%PDF-":
        for stream in re.findall(rb"stream\r?\n(.*?)endstream", data, re.DOTALL):
            try:
                yield zlib.decompressobj().decompress(stream)
            except zlib.error:
                yield stream
    if data[:1] == b"{":
        try:
            yield json.dumps(json.loads(data), ensure_ascii=False).encode()
        except ValueError:
            return


def found(folder: Path, secrets: dict[str, str]) -> set[str]:
    """The channels whose secret is anywhere below ``folder``, in a name or in a file."""
    seen = set()
    for path in folder.rglob("*"):
        texts = [path.relative_to(folder).as_posix().encode()]
        if path.is_file():
            texts += contents(path.read_bytes())
        for channel, secret in secrets.items():
            if any(secret.encode() in text for text in texts):
                seen.add(channel)
    return seen


MODULE = '''# course: exercise
"""A module."""

import triton
import triton.language as tl


@triton.jit
def kernel(x_ptr):
    ### BEGIN SOLUTION hw9-1 a kernel
    # {kernel_comment}
    x = tl.load(x_ptr)
    {kernel_code} = x
    ### END SOLUTION


def f(x):
    """What it does."""
    y = 1
    ### BEGIN SOLUTION hw9-2 a body
    """{docstring}"""
    y = "{string}"  # {comment}

    def {name}():
        text = """
{long_string}
"""
        return text
    # {last_comment}
    ### END SOLUTION
    ### BEGIN STUB
    # return y
    ### END STUB
    return y


def bonus(x):
    # a hint that stays
    ### BEGIN SOLUTION hw9-3 a bonus
    ### {banner}
    return "{bonus}"
    ### END SOLUTION
    ### BEGIN STUB
    # return x
    ### END STUB


### BEGIN SOLUTION hw9-4 a class
@{decorator}
class Launch:
    """{class_docstring}"""


### END SOLUTION
### BEGIN STUB
# Launch = None
### END STUB
'''

NOTEBOOK = """# course: exercise
# ---
# jupyter:
#   {header}: 1
# ---

# %%
import course.notebook

# %% exercise="nb09-1" points=1
def f():
    ### BEGIN SOLUTION nb09-1 a cell
    # {cell_comment}
    return "{cell_code}"
    ### END SOLUTION

# %% check="nb09-1"
check("nb09-1", f)
"""

WRITTEN = json.dumps(
    {
        "cells": [
            {
                "attachments": {"a.txt": {"text/plain": "{attachment}"}},
                "cell_type": "markdown",
                "metadata": {"a": "{cell_metadata}"},
                "source": "{written_cell}",
            },
            {
                "cell_type": "code",
                "execution_count": 7,
                "metadata": {},
                "outputs": [{"name": "stdout", "output_type": "stream", "text": "{output}"}],
                "source": "",
            },
        ],
        "metadata": {"a": "{metadata}"},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
)

# what stands where: each {name} is a channel, and its secret is put there
PLACES = {
    "solutions/softmax/leaky.py": MODULE,
    "solutions/notebooks/09_leaky.py": NOTEBOOK,
    "solutions/softmax/fast.py": "# course: instructor\n{instructors_module}\n",
    "solutions/softmax/{file_name}.py": "# course: instructor\n",
    "solutions/notebooks/10_answers.py": "# course: instructor\n# %%\n{instructors_notebook}\n",
    "solutions/student_repository/key.md": "<!-- course: instructor -->\n{instructors_text}\n",
    "solutions/mutants/wrong.py": "# course: instructor\n{mutant}\n",
    "solutions/hidden/test_x.py": "# course: instructor\n{hidden_test}\n",
    "solutions/softmax/__pycache__/leaky.cpython-311.pyc": "{cached}",
    "solutions/softmax/__pycache__/kernel.ttir": "{cached_kernel}",
    "solutions/softmax/left.pyc": "{cached_beside}",
    "solutions/softmax/.ipynb_checkpoints/leaky-checkpoint.py": "{checkpoint}",
    "solutions/outputs/result.csv": "{result}",
    "softmax/old.py": "{once_generated}",
    "softmax/__pycache__/softmax.cpython-311.pyc": "{cached_stub}",
    "notebooks/01_demo.ipynb": WRITTEN,
    "notebooks/09_leaky.ipynb": WRITTEN.replace("{output}", "{other_output}"),
    "notebooks/11_more.ipynb": '{"cells": ["{stray_notebook}"]}',
    "course/answers.py": "# course: instructor\n{instructors_tooling}\n",
    "course/__pycache__/given.cpython-311.pyc": "{cached_tooling}",
    "course/release/more.py": "{release}",
    "course/grade/key.py": "{grading}",
    "tests/course/test_x.py": "{tooling_test}",
    "tests/hidden.py": "# course: instructor\n{instructors_test}\n",
    "docs/answers.md": "<!-- course: instructor -->\n{instructors_notes}\n",
    "docs/guide/key.md": "{not_listed}",
    ".git/objects/ab": "{history}",
    "outputs/graded.csv": "{outputs}",
}


def plant(root: Path) -> dict[str, str]:
    """Write every place with its secrets; channel -> secret."""
    channels = {
        name for pair in PLACES.items() for one in pair for name in re.findall(r"\{(\w+)\}", one)
    }
    secrets = {name: f"planted_{number:03d}_{name}" for number, name in enumerate(sorted(channels))}

    def filled(text: str) -> str:
        return re.sub(r"\{(\w+)\}", lambda match: secrets[match[1]], text)

    for path, text in PLACES.items():
        file = root / filled(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(filled(text))
    return secrets


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return shutil.copytree(GOLDEN / "input", tmp_path / "root")


def test_no_planted_secret_reaches_a_learner(root: Path, tmp_path: Path) -> None:
    secrets = plant(root)
    assert len(secrets) > 40 and found(root, secrets) == set(secrets)
    released = tree.student(root)
    write(released, tmp_path / "out")
    assert found(tmp_path / "out", secrets) == set()
    # and it was not a lack of anything to find
    assert {"softmax/leaky.py", "notebooks/09_leaky.ipynb"} < released.keys()
    assert b"a hint that stays" in released["softmax/leaky.py"].content


def test_no_planted_secret_reaches_the_generated_files(root: Path) -> None:
    secrets = plant(root)
    for path, file in tree.generated(root).items():
        assert not [s for s in secrets.values() if s.encode() in file.content], path


def _pdf(secret: str) -> bytes:
    return b"%PDF-1.7\nstream\n" + zlib.compress(secret.encode()) + b"\nendstream\n"


def _zip(secret: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", secret * 9)
    return packed.getvalue()


@pytest.mark.parametrize(
    "pack",
    [str.encode, _pdf, _zip, lambda secret: gzip.compress(_zip(secret))],
    ids=["plain", "pdf", "zip", "zip in gzip"],
)
def test_the_search_finds_what_is_packed(tmp_path: Path, pack: Callable[[str], bytes]) -> None:
    (tmp_path / "file").write_bytes(pack("secret"))
    assert found(tmp_path, {"channel": "secret", "other": "absent"}) == {"channel"}


def test_the_search_finds_what_json_escapes(tmp_path: Path) -> None:
    (tmp_path / "a.ipynb").write_text(json.dumps({"a": "α secret"}))
    assert found(tmp_path, {"channel": "α secret"}) == {"channel"}


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("solutions/softmax/given.py", "# course: given\n### BEGIN SOLUTION hw1-1 t\nsecret\n"),
        ("solutions/student_repository/a.md", "<!-- course: given -->\n### BEGIN SOLUTION\nsecret"),
        ("solutions/notebooks/02_a.py", "# course: given\n# %%\n### BEGIN SOLUTION\n"),
        ("course/given.py", "def f():\n    ### BEGIN SOLUTION hw1-1 t\n    secret = 1\n"),
        ("tests/given.py", "#   end_solution\n"),
        ("docs/a.md", "### BEGIN SOLUTION hw1-1 t\nsecret\n### END SOLUTION\n"),
    ],
)
def test_markers_in_files_that_are_not_cut_stop_the_release(
    root: Path, path: str, text: str
) -> None:
    (root / path).parent.mkdir(exist_ok=True)
    (root / path).write_text(text)
    with pytest.raises(ValueError, match=re.escape(path)):
        tree.student(root)


@pytest.mark.parametrize("link", ["docs/a.md", "course/a.py", "tests/a.py", "docs"])
def test_a_link_to_a_solution_stops_the_release(root: Path, link: str) -> None:
    target = root / "solutions/softmax"
    (root / link).parent.mkdir(exist_ok=True)
    if link == "docs":
        (target / "a.md").write_text("<!-- course: instructor -->\n")
        (root / link).symlink_to(target, target_is_directory=True)
    else:
        (root / link).symlink_to(target / "expert.py")
    with pytest.raises(ValueError, match="symbolic link"):
        tree.student(root)
