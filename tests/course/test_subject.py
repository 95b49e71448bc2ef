"""The door to student code: the same answers from this process and another; nothing bad spreads."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from course.process import ROOT
from course.subject import Child, Direct, StudentError, Subject

WORK = """
import os, sys, threading, time

import torch
import triton
import triton.language as tl


def double(x):
    print("noise on standard output " * 10_000)
    return 2 * x


def many(x, *rest):
    return x.t(), None, x.sum()


def spoil(x):
    x.zero_()
    return x


def own_error(x):
    raise ValueError(f"x: expected nothing, got shape {tuple(x.shape)}")


def caused(x):
    try:
        own_error(x)
    except ValueError as error:
        raise RuntimeError("outside") from error


def badly_encoded():
    b"\\xff".decode()


def leave():
    sys.exit(2)


def die():
    os._exit(3)


def die_later():
    threading.Timer(0.2, os._exit, [0]).start()


def loop():
    while True:
        time.sleep(0.01)


def precision():
    return torch.tensor(torch.get_float32_matmul_precision() == "high")


def fresh(n):
    return torch.empty(n)


def unspeakable(clock, fused, reference, log=None, **sizes):
    return [{"row": object()}]


def cube(x):
    return x**3


def timed_by_nobody(launch, quantiles):
    launch()
    return [1.0, 1.0, 1.0]


@triton.autotune([triton.Config({"BLOCK": b}) for b in (16, 32)], key=[], do_bench=timed_by_nobody)
@triton.jit
def fill_kernel(y_ptr, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y_ptr + i, i.to(tl.float32), mask=i < n)


def tuned(n):
    y = torch.empty(n)
    fill_kernel[lambda meta: (triton.cdiv(n, meta["BLOCK"]),)](y, n)
    return y


@triton.jit
def broken_kernel(y_ptr):
    tl.static_assert(False, "hw9-1: a kernel")


def unwritten(y):
    broken_kernel[(1,)](y)
"""

FACADE = """
import importlib


def __getattr__(name):
    return getattr(importlib.import_module("pupil.unreadable"), name)
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tree")
    package = folder / "pupil"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "work.py").write_text(WORK)
    (package / "unreadable.py").write_text("x = 1\ndef f(:\n")
    (package / "unimportable.py").write_text("import torch\nimport nowhere_to_be_found\n")
    (package / "facade.py").write_text(FACADE)
    return folder


@pytest.fixture(scope="module", params=[Direct, Child], ids=["direct", "child"])
def subject(request: pytest.FixtureRequest, tree: Path):
    one = request.param(tree)
    yield one
    one.close()
    if str(tree) in sys.path:
        sys.path.remove(str(tree))


@pytest.fixture(scope="module")
def child(tree: Path):
    one = Child(tree, time_limit=20.0)
    yield one
    one.close()


def test_tensors_arrive_as_they_are(subject: Subject):
    wide = torch.randn(6, 8)
    for x in (
        wide[::2, 1::3],
        torch.ones(()).expand(3, 4),
        torch.randn(2, 3).half(),
        wide.double(),
    ):
        first, last = subject.call("pupil.work:many", x, 1.5, "word", None, True).outputs
        assert torch.equal(first, x.t()) and first.dtype == x.dtype
        assert first.stride() == x.t().stride()
        assert torch.equal(last, x.sum())


def test_what_is_done_to_an_argument_stays_there_and_is_said(subject: Subject):
    x = torch.ones(3)
    with pytest.raises(AssertionError, match="input 1 was changed, of shape"):
        subject.call("pupil.work:spoil", x)
    assert x.sum() == 3


def test_large_answers_and_noise(subject: Subject):
    x = torch.randn(1 << 20, requires_grad=True)
    reply = subject.call("pupil.work:double", x, grad_output=torch.full_like(x, 3.0))
    assert torch.equal(reply.output, 2 * x.detach())
    (gradient,) = reply.gradients
    assert gradient is not None and torch.equal(gradient, torch.full_like(x, 6.0))
    assert x.grad is None
    assert reply.torch_ops == ["mul"]
    assert reply.peak_bytes == x.numel() * 4


def test_an_autotuned_launch_is_one_launch(subject: Subject):
    reply = subject.call("pupil.work:tuned", 40)
    assert reply.kernels == ["fill_kernel"]
    assert torch.equal(reply.output, torch.arange(40.0))
    assert subject.call("pupil.work:tuned", 40, noop="forward").output.isnan().all()


def test_memory_nobody_wrote_is_nan(subject: Subject):
    assert subject.call("pupil.work:fresh", 5).output.isnan().all()


def test_nothing_stays_changed(subject: Subject):
    assert subject.call("pupil.work:precision", matmul_precision="high").output
    assert not subject.call("pupil.work:precision").output
    assert torch.get_float32_matmul_precision() == "highest"
    assert not torch.are_deterministic_algorithms_enabled()


def test_gradcheck(subject: Subject):
    x = torch.randn(3, dtype=torch.float64, requires_grad=True)
    assert subject.gradcheck("pupil.work:cube", x)


@pytest.mark.parametrize(
    ("target", "kind", "says"),
    [
        ("unreadable:f", StudentError, r"pupil/unreadable.py, line 2: Python cannot read this"),
        ("facade:f", StudentError, r"pupil/unreadable.py, line 2: Python cannot read this"),
        ("unimportable:f", StudentError, r"pupil.unimportable cannot be imported: .*line 2: Mod"),
        ("work:renamed", StudentError, r"pupil.work has no renamed: was it renamed or deleted"),
        ("missing:f", StudentError, r"pupil.missing cannot be imported"),
        ("work:own_error", ValueError, r"x: expected nothing, got shape \(2,\)"),
    ],
)
def test_what_is_wrong_is_said(subject: Subject, target, kind, says):
    with pytest.raises(kind, match=says):
        subject.call(f"pupil.{target}", torch.zeros(2))


def test_the_cause_of_an_error_crosses_over(child: Child):
    with pytest.raises(ValueError, match="x: expected nothing"):
        child.call("pupil.work:caused", torch.zeros(2))
    with pytest.raises(AssertionError, match="hw9-1: a kernel"):
        child.call("pupil.work:unwritten", torch.zeros(2))
    with pytest.raises(StudentError, match=r"UnicodeDecodeError: .*invalid start byte"):
        child.call("pupil.work:badly_encoded")
    with pytest.raises(StudentError, match="SystemExit: 2"):
        child.call("pupil.work:leave")
    with pytest.raises(TypeError, match="not JSON serializable"):
        child.benchmark("pupil.work:unspeakable", "softmax")
    assert child.call("pupil.work:double", torch.ones(1)).output == 2


def test_a_process_that_ends_is_replaced(child: Child):
    x = torch.randn(1 << 18)
    with pytest.raises(StudentError, match="ended before it answered"):
        child.call("pupil.work:die")
    assert torch.equal(child.call("pupil.work:double", x).output, 2 * x)
    child.call("pupil.work:die_later")
    time.sleep(1)
    # not the fault of this call, and larger than a pipe
    assert torch.equal(child.call("pupil.work:double", x).output, 2 * x)


def test_an_endless_loop_is_stopped_and_forgotten(child: Child):
    assert child.call("pupil.work:double", torch.ones(1)).output == 2
    child.time_limit = 1.0
    with pytest.raises(StudentError, match=r"no answer after 1 s.*an endless loop\?"):
        child.call("pupil.work:loop")
    child.time_limit = 20.0
    assert child.call("pupil.work:double", torch.ones(1)).output == 2


def test_the_interpreter_can_still_be_chosen_after_the_subject_is_imported():
    # a child asks which device there is itself, wherever its parent forgot to
    code = "import sys, course.subject, course.subject.probe; sys.exit('triton' in sys.modules)"
    surroundings = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=surroundings)
    assert done.returncode == 0
