"""What the doctor and the first cell say of versions and machines that are not this one."""

import subprocess
import sys

import pytest
from rich.console import Console

from course import doctor, versions
from course.device import Machine

INTERPRETED = Machine("cpu", True, "Kernels are interpreted on the CPU (there is no GPU here).")
DEFAULT = {"torch": "2.13.0+cpu", "triton": "3.7.1", "numpy": "2.4.6"}


def pretend(monkeypatch: pytest.MonkeyPatch, **installed: str | None) -> None:
    found = {**DEFAULT, **installed}
    monkeypatch.setattr(versions, "installed", found.get)


@pytest.mark.parametrize(
    ("installed", "interpreted", "says"),
    [
        ({}, True, None),
        ({"triton": "3.6.0", "torch": "2.11.0", "numpy": "2.3.5"}, True, None),
        ({"triton": "3.6.0", "torch": "2.11.0+cu130", "numpy": "2.5.0"}, False, None),
        ({"triton": "3.6.0", "numpy": "2.4.0"}, True, 'install "numpy<2.4"'),
        ({"triton": "3.9.0"}, True, None),
        ({"triton": "3.10.0"}, True, "triton 3.10.0 is not supported"),
        ({"triton": "3.5.1"}, True, "triton 3.5.1 is not supported"),
        ({"triton": None}, True, "Triton"),
        ({"torch": None}, True, "PyTorch is not installed"),
        ({"torch": "2.9.1"}, True, "torch 2.9.1 is too old"),
    ],
)
def test_versions(
    monkeypatch: pytest.MonkeyPatch,
    installed: dict[str, str | None],
    interpreted: bool,
    says: str | None,
) -> None:
    pretend(monkeypatch, **installed)
    problems = versions.problems(interpreted)
    assert len(problems) == (says is not None)
    assert says is None or says in problems[0]


def test_untested_pairs_are_noted_and_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    assert versions.notes() == []
    pretend(monkeypatch, triton="3.8.0")
    assert versions.notes() == ["triton 3.8.0 was not tested with this course."]
    pretend(monkeypatch, torch="2.14.0")
    assert "torch 2.14.0 beside it is untested" in versions.notes()[0]
    assert versions.problems(True) == []


def test_an_old_python_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    monkeypatch.setattr(versions.sys, "version_info", (3, 9, 18))
    assert "the course needs 3.10" in versions.problems(True)[0]


def test_versions_import_neither_torch_nor_triton() -> None:
    program = (
        "import sys; from course import versions; versions.problems(); "
        "assert not {'torch', 'triton', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def report(monkeypatch: pytest.MonkeyPatch, found: tuple) -> tuple[int, str]:
    monkeypatch.setattr(doctor, "machine", lambda: found)
    out = Console(width=200, record=True, quiet=False, file=None)
    with out.capture() as capture:
        status = doctor.report(out)
    return status, capture.get()


@pytest.mark.parametrize(
    ("capability", "says"),
    [
        ((7, 0), "older than Triton supports"),
        ((7, 5), "sm_75 has no bf16"),
        ((8, 0), "sm_80: fp32, TF32, fp16, bf16, int8. No fp8"),
        ((8, 9), "sm_89: fp32, TF32, fp16, bf16, int8, fp8."),
        ((9, 0), "TMA"),
        ((10, 0), "tcgen05"),
    ],
)
def test_every_gpu_is_told_what_it_can(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], says: str
) -> None:
    pretend(monkeypatch)
    machine = Machine("cuda", False, "Kernels run on a GPU.")
    status, words = report(monkeypatch, (machine, capability, ""))
    assert status == 0 and says in words
    assert "interpreter" not in words


@pytest.mark.parametrize(
    ("mended", "says"),
    [(True, "and so are bf16 and fp8"), (False, "and bf16 and fp8 come out wrong")],
)
def test_without_a_gpu_the_course_works(
    monkeypatch: pytest.MonkeyPatch, mended: bool, says: str
) -> None:
    pretend(monkeypatch)
    monkeypatch.setattr(doctor, "proves", lambda dtype: mended)
    status, words = report(monkeypatch, (INTERPRETED, None, ""))
    assert status == 0 and "The course works here." in words
    assert says in words


def test_what_cannot_work_is_said_and_exits_1(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, triton="3.6.0", torch="2.11.0")
    status, words = report(monkeypatch, (INTERPRETED, None, ""))
    assert status == 1 and "cannot interpret kernels with NumPy 2.4.6" in words
    pretend(monkeypatch)
    status, words = report(monkeypatch, (None, None, "torch does not work: OSError: libc10.so"))
    assert status == 1 and "libc10.so" in words


def test_it_speaks_where_torch_is_missing() -> None:
    program = (
        "import sys; sys.modules['torch'] = None; sys.argv = ['course', 'doctor']; "
        "from course.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "")
    assert "torch does not work: ModuleNotFoundError" in done.stdout
    assert "The course does not work here yet." in done.stdout


def test_here() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "course.cli", "doctor"], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "The course works here." in done.stdout
