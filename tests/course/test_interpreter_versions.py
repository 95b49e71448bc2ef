"""Which versions of triton are mended, that the others are named, and what does the mending."""

import subprocess
from pathlib import Path

import pytest
import torch
from small_floats import E4M3, E5M2, FP8, SMALL, interpreted

from course import interpreter
from course.process import environment, python
from course.subject import Child
from course.testing.plugin import why_not

pytestmark = interpreted

KERNEL = """
import torch
import triton
import triton.language as tl

@triton.jit
def kernel(x_ptr, y_ptr, N: tl.constexpr):
    i = tl.arange(0, N)
    x = tl.load(x_ptr + i)
    tl.store(y_ptr + i, (x + x).to(y_ptr.dtype.element_ty))

def doubled(x, dtype):
    y = torch.zeros(x.shape, dtype=dtype)
    kernel[(1,)](x, y, x.numel())
    return y.float().tolist()

x = torch.tensor([1.0, -3.0])
"""
UNKNOWN = "from course import interpreter; interpreter.KNOWN.clear()\n"
PREPARED = "from course.device import prepare; prepare()\n"


def run(folder: Path, program: str) -> subprocess.CompletedProcess[str]:
    """Run ``program`` from a file, because the interpreter reads a kernel's source from there."""
    (folder / "program.py").write_text(program)
    return subprocess.run(
        python(folder, "program"),
        env=environment(TRITON_INTERPRET="1"),
        capture_output=True,
        text=True,
    )


def test_bf16_is_right_where_kernels_are_prepared_for(tmp_path: Path) -> None:
    said = "print(doubled(x.bfloat16(), torch.bfloat16))"
    done = run(tmp_path, PREPARED + KERNEL + said)
    assert (done.stdout, done.stderr) == ("[2.0, -6.0]\n", "")


@pytest.mark.parametrize(
    ("number", "right"),
    [("bfloat16", [2.0, -6.0]), ("float8_e4m3fn", [2.0, -6.0]), ("float8_e5m2", [2.0, -6.0])],
)
def test_stock_triton_is_wrong(tmp_path: Path, number: str, right: list[float]) -> None:
    """Once this fails for a version of triton, that version need not be mended."""
    done = run(tmp_path, KERNEL + f"print(doubled(x.to(torch.{number}), torch.{number}))")
    assert done.returncode == 0 and done.stdout != f"{right}\n"


def test_stock_triton_rounds_wrongly(tmp_path: Path) -> None:
    """1.006 is nearer to 1.0078125 than to 1; 1.9999 of E4M3 carries into the exponent."""
    said = """
print(doubled(torch.tensor([0.503]), torch.bfloat16))
print(doubled(torch.tensor([0.99995]), torch.float8_e4m3fn))
"""
    right = "[1.0078125]\n[2.0]\n"
    assert run(tmp_path, PREPARED + KERNEL + said).stdout == right
    stock = run(tmp_path, KERNEL + said).stdout
    assert stock.split("\n")[0] != "[1.0078125]" and stock.split("\n")[1] != "[2.0]"


def test_an_unknown_version_is_left_alone_and_said(tmp_path: Path) -> None:
    """Said once, proving nothing, and with nothing of it replaced."""
    said = """
from triton.runtime import interpreter as stock
before = dict(vars(stock.InterpreterBuilder)), vars(stock).copy(), dict(vars(stock.TensorHandle))
interpreter.install()
interpreter.install()
after = dict(vars(stock.InterpreterBuilder)), vars(stock).copy(), dict(vars(stock.TensorHandle))
print(before == after, interpreter.proves("bf16"), interpreter.proves("fp8e4nv"))
print(interpreter.proves("fp16"))
"""
    done = run(tmp_path, UNKNOWN + said)
    assert done.stdout == "True False False\nTrue\n", done.stderr
    assert done.stderr.count("bf16 and FP8 are WRONG when triton") == 1


def test_an_unknown_version_makes_tests_of_bf16_unproven(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert why_not("", "bf16") == why_not("", "float8_e4m3fn") == why_not("", "fp16") == ""
    monkeypatch.setattr("course.testing.plugin.proves", lambda dtype: dtype == "fp16")
    assert "interprets bf16 wrongly" in why_not("", "bf16")
    assert "interprets float8_e5m2 wrongly" in why_not("", "float8_e5m2")
    assert why_not("", "fp16") == ""


def test_another_source_is_another_version(tmp_path: Path) -> None:
    import triton.runtime.interpreter as stock

    assert interpreter.fingerprint(stock) in interpreter.KNOWN
    changed = tmp_path / "interpreter.py"
    changed.write_text(Path(stock.__file__).read_text() + "\n")

    class Changed:
        __file__ = str(changed)

    assert interpreter.fingerprint(Changed) not in interpreter.KNOWN


def test_what_is_proven_before_and_without_triton(tmp_path: Path) -> None:
    said = "print(interpreter.proves('bf16'), 'triton' in sys.modules, 'torch' in sys.modules)"
    done = run(tmp_path, "import sys\nfrom course import interpreter\n" + said)
    assert done.stdout == "False False False\n", done.stderr
    missing = "import sys\nsys.modules['triton'] = None\nfrom course import interpreter\n"
    said = "interpreter.install(); print(interpreter.proves('bf16'))"
    done = run(tmp_path, missing + said)
    assert (done.stdout, done.stderr) == ("False\n", "")


@SMALL
def test_names_of_what_is_proven(dtype: torch.dtype) -> None:
    names = {torch.bfloat16: "bf16", E4M3: "fp8e4nv", E5M2: "fp8e5"}
    assert interpreter.proves(dtype) and interpreter.proves(names[dtype])
    assert interpreter.proves(torch.float32) and interpreter.proves(torch.int8)
    assert not interpreter.proves(torch.float8_e4m3fnuz) and not interpreter.proves("fp8e4b15")


def test_a_notebooks_first_cell_prepares(tmp_path: Path) -> None:
    said = "import sys; print(doubled(x.to(torch.float8_e5m2), torch.float8_e5m2), file=sys.stderr)"
    done = run(tmp_path, "import course.notebook\n" + KERNEL + said)
    assert done.stderr == "[2.0, -6.0]\n"


def test_the_graders_child_prepares(tmp_path: Path) -> None:
    (tmp_path / "pupil.py").write_text(KERNEL.replace(".float().tolist()", ""))
    child = Child(tmp_path)
    try:
        y = child.call("pupil:doubled", torch.tensor([1.0, -3.0]).bfloat16(), torch.bfloat16).output
    finally:
        child.close()
    assert y.dtype == torch.bfloat16 and y.tolist() == [2.0, -6.0]


@FP8
def test_bits_that_come_for_a_number_are_an_error(dtype: torch.dtype) -> None:
    """What a future interpreter may do, and what must not pass in silence."""
    import numpy as np
    import triton.language as tl
    import triton.runtime.interpreter as stock

    kind = tl.float8e4nv if dtype == E4M3 else tl.float8e5
    with pytest.raises(TypeError, match="not all of the interpreter is mended"):
        stock.TensorHandle(np.zeros(4, np.uint8), kind)
    with pytest.raises(TypeError, match="not all of the interpreter is mended"):
        stock._convert_float(np.zeros(4, np.uint8), kind, tl.float16, None)
    value = stock.TensorHandle(np.ones(4, np.float32), kind)
    pointers = stock.TensorHandle(np.zeros(4, np.uint64), tl.pointer_type(tl.uint8))
    with pytest.raises(TypeError, match="cannot be stored as uint8"):
        stock.interpreter_builder.create_masked_store(pointers, value, None, None, None)
