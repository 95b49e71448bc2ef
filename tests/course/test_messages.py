"""What a learner reads when something goes wrong: their own line, no false reason."""

import linecache
import sys
from io import StringIO
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console
from triton.runtime.errors import InterpreterError

from course.check import CheckFailed, assert_close_to_exact, check, in_words
from course.check.registry import _CHECKERS
from course.exercise.homework import _tell
from course.subject import Child, Direct, Reply, StudentError
from course.submit.score import Results
from course.testing import plugin
from course.testing.attention import assert_forward, inputs, views

KERNEL = """import torch, triton
import triton.language as tl

@triton.jit
def kernel(out_ptr, SIZE: tl.constexpr):
    o = tl.arange(0, SIZE)
    {line}
    tl.store(out_ptr + o, x)

def launch(out, size=16):
    kernel[(1,)](out, size)
"""

MISTAKES = {
    "torch": ("x = o + torch.arange(0, 16)", "Inside a kernel use tl., not torch."),
    "torch.exp": ("x = torch.exp(o)", "Inside a kernel use tl., not torch."),
    "read": ("x = out_ptr[o]", "Read and write memory with tl.load and tl.store, not ptr[i]."),
    "write": ("out_ptr[o] = 1", "Read and write memory with tl.load and tl.store, not ptr[i]."),
    "method": ("x = o.to(tl.float32).exp()", "In a kernel write tl.exp(x), not x.exp()."),
    "size": (
        "x = tl.zeros((15,), tl.float32)",
        "A size inside a kernel must be a power of two (triton.next_power_of_2 in the launcher).",
    ),
    "name": ("x = missing + o", None),
}


def cell(source: str, filename: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Run the source as a notebook's cell of that file name."""
    module = ModuleType("a_cell")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    lines = source.splitlines(keepends=True)
    monkeypatch.setitem(linecache.cache, filename, (len(source), None, lines, filename))
    exec(compile(source, filename, "exec"), vars(module))
    return module


@pytest.mark.parametrize("filename", ["<nb99-2>", "/tmp/ipykernel_12/345.py"])
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_kernel_s_line_in_a_cell(monkeypatch, mistake, filename):
    line, helps = MISTAKES[mistake]
    module = cell(KERNEL.format(line=line), filename, monkeypatch)
    monkeypatch.setitem(_CHECKERS, "nb99-2", module.launch)
    monkeypatch.setitem(sys.modules, "course.check.nb99", ModuleType("nb99"))
    with pytest.raises(CheckFailed) as raised:
        check("nb99-2", torch.zeros(16))
    said = str(raised.value).splitlines()
    assert said[0].startswith("nb99-2 stopped with ")
    assert said[1] == f"  line 7 of the cell: `{line}`"
    assert said[2:] == ([f"  {helps}"] if helps else [])


def test_a_kernel_without_its_decorator(monkeypatch):
    source = KERNEL.format(line="x = o").replace("@triton.jit", "")
    module = cell(source, "<nb99-1>", monkeypatch)
    with pytest.raises(TypeError) as raised:
        module.launch(torch.zeros(16))
    assert in_words(raised.value, "nb99-2").splitlines()[1:] == [
        "  line 11 of the cell of nb99-1: `kernel[(1,)](out, size)`",
        "  Is @triton.jit still above the def?",
    ]


@pytest.mark.skipif(not plugin.MACHINE.interpreted, reason="unproven here: compiled")
@pytest.mark.parametrize("launched_before", [False, True])
def test_a_kernel_without_its_grid(monkeypatch, launched_before):
    source = KERNEL.format(line="x = o + tl.program_id(0)")
    if launched_before:
        cell(source, "<nb99-3>", monkeypatch).launch(torch.zeros(16))
    module = cell(source.replace("kernel[(1,)](", "kernel("), "<nb99-1>", monkeypatch)
    with pytest.raises(TypeError) as raised:
        module.launch(torch.zeros(16))
    assert in_words(raised.value, "nb99-2").splitlines() == [
        "stopped with TypeError: kernel was called without a grid: write kernel[grid](...)",
        "  line 11 of the cell of nb99-1: `kernel(out, size)`",
    ]


@pytest.mark.parametrize("kind", [Direct, Child])
def test_a_kernel_s_line_in_a_file(tmp_path: Path, monkeypatch, kind):
    package = tmp_path / "slips"
    package.mkdir()
    (package / "work.py").write_text(KERNEL.format(line="x = out_ptr[o]"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    subject = kind(tmp_path)
    try:
        # the interpreter's error, or what it was raised from
        with pytest.raises((InterpreterError, TypeError)) as raised:
            subject.call("slips.work:launch", torch.zeros(16))
    finally:
        subject.close()
        sys.modules.pop("slips.work", None)
        sys.modules.pop("slips", None)
    assert in_words(raised.value, "hw9-1").splitlines() == [
        "stopped with TypeError: 'int' object is not iterable",
        "  line 7 of slips/work.py: `x = out_ptr[o]`",
        "  Read and write memory with tl.load and tl.store, not ptr[i].",
    ]


def test_no_line_of_the_course_is_shown():
    with pytest.raises(CheckFailed) as raised:
        check("nb00-2")
    assert "\n" not in str(raised.value)


def test_what_the_course_says_itself_has_no_class_name():
    said = in_words(StudentError("no answer after 60 s, so it was stopped"), "hw1-1")
    assert said == "stopped: no answer after 60 s, so it was stopped"


def message(got: torch.Tensor, exact: torch.Tensor) -> str:
    """What is said of a wrong result."""
    with pytest.raises(AssertionError) as raised:
        assert_close_to_exact("out", got, exact.double(), exact.to(got.dtype), 1.0, 1e-7)
    return str(raised.value)


def test_all_nan_is_not_said_to_be_unwritten():
    said = message(torch.full((4,), float("nan")), torch.ones(4))
    assert said.endswith(
        "Every element is NaN: inf - inf, inf / inf, inf * 0 or 0 / 0? Or a kernel that did "
        "not store them, or read what was never written or a mask hides?"
    )


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ((slice(None), slice(2, 4)), "NaN in columns 2 to 3: "),
        ((slice(1, 2), slice(0, 3)), "NaN in columns 0 to 2: "),
        ((slice(1, 2), slice(None)), "NaN in row 1: "),
        (([0, 1, 2, 3], [0, 2, 3, 0]), "NaN somewhere: "),
    ],
)
def test_nan_is_located(place, words):
    got = torch.ones(4, 4)
    got[place] = float("nan")
    assert words in message(got, torch.ones(4, 4))


@pytest.mark.parametrize(
    ("factor", "said"), [(0.25, True), (-1, True), (0.97, False), (1e-5, False), (1e5, False)]
)
def test_one_factor_is_plausible(factor, said):
    exact = torch.linspace(-1, 2, 30)
    assert ("off by one factor" in message(factor * exact, exact)) is said


def test_one_factor_needs_different_elements():
    assert "off by one factor" not in message(torch.tensor([2.0, 4.0]), torch.tensor([1.0, 2.0]))
    # ones added in bfloat16 stop at 256
    saturated = torch.full((64,), 256.0, dtype=torch.bfloat16)
    assert "off by one factor" not in message(saturated, torch.full((64,), 1000.0))


def test_a_message_is_not_broken_into_lines():
    said = "hw9-1 is not right yet: out is wrong: " + "got 0.0318607, expected 0.0123456; " * 9
    test = {"nodeid": "t", "exercise": "hw9-1", "outcome": "failed", "message": said}
    out = StringIO()
    _tell(Console(file=out, width=60, highlight=False), "hw9-1", Results(1, {"hw9-1": 1}, [test]))
    assert out.getvalue().startswith(said + "\n")


def test_a_failure_names_its_inputs():
    Q, K, V, _ = inputs((2,), 3, 5, 4, SimpleNamespace(device="cpu"))
    subject = SimpleNamespace(call=lambda *_: Reply(outputs=[torch.zeros(2, 3, 4)]))
    with pytest.raises(AssertionError, match=r"with Q .2, 3, 4., K and V .2, 5, 4., causal=T"):
        assert_forward(subject, "hw9:f", Q, K, V, True)


def test_an_output_with_strides_is_said_to_have_them():
    Q, K, V = views(*inputs((2,), 3, 5, 4, SimpleNamespace(device="cpu"))[:3])
    subject = SimpleNamespace(call=lambda *_: Reply(outputs=[torch.zeros_like(Q)]))
    with pytest.raises(AssertionError, match=r"an O that is not contiguous .strides .12, 1, 3"):
        assert_forward(subject, "hw9:f", Q, K, V, True)


def test_all_zero_is_not_said_to_be_unstored():
    # weights that underflow are stored, and zero
    said = message(torch.zeros(9), torch.arange(9.0))
    assert "out is zero everywhere: " in said and "underflow" in said


def test_an_exercise_after_an_endless_one_does_not_wait_again():
    mark = pytest.mark.exercise("hw9-2", after="hw9-1").mark
    item: Any = SimpleNamespace(
        config=SimpleNamespace(stash={plugin.ENDLESS: {"hw9-1"}}),
        iter_markers=lambda name: [],
        get_closest_marker=lambda name: mark,
    )
    with pytest.raises(StudentError, match="hw9-1 gave no answer, so this test was not run"):
        plugin.pytest_runtest_setup(item)
    item.config.stash[plugin.ENDLESS] = {"hw9-3"}
    plugin.pytest_runtest_setup(item)
