"""What notebook 06 stands on: counted bytes, an imagined GPU, compiled instructions, tables."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
import triton
import triton.language as tl

from course.bench import measured
from course.check import nb06_experiments as lab
from course.check.nb06_kernels import through_descriptors, through_pointers
from course.compiled import Case, compile_all
from course.compiled.cli import report
from course.compiled.row import Row
from course.pictures import committed
from course.process import ROOT, environment

META = {"gpu": "a GPU", "torch": "2", "triton": "3", "date": "2026-01-01"}


@triton.jit
def _copy_kernel(x_ptr, y_ptr, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y_ptr + at, tl.load(x_ptr + at, mask=at < n), mask=at < n)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.int8])
def test_only_what_exists_is_counted(dtype: torch.dtype) -> None:
    x = torch.ones(100, dtype=dtype)
    y = torch.empty_like(x)
    asked = lab.bytes_asked_for(lambda: _copy_kernel[(4,)](x, y, 100, 32))
    assert asked == (100 * dtype.itemsize, 100 * dtype.itemsize)
    assert torch.equal(x, y)


def test_what_descriptors_load_is_counted() -> None:
    x = torch.ones(64, 16)
    assert lab.bytes_asked_for(lambda: through_descriptors(x)) == (64 * 16 * 4, 64 * 16 * 4)


def test_counting_ends_with_the_call() -> None:
    x = torch.ones(64, 16)
    with pytest.raises(ZeroDivisionError):
        lab.bytes_asked_for(lambda: 1 / 0)
    assert torch.equal(through_pointers(x), x)


def test_one_way_of_timing_is_right_on_the_imagined_gpu() -> None:
    gpu = lab.ImaginedGPU()
    found = {row["what"]: row["ms"] for row in lab.mistakes(gpu, gpu.make)}
    right, *wrong = found.values()
    assert right == pytest.approx(gpu.TRUTH_MS, rel=0.01)
    assert len(wrong) >= 4
    assert all(abs(ms - gpu.TRUTH_MS) > 0.5 * gpu.TRUTH_MS for ms in wrong)


def test_the_experiments_rehearse_without_a_gpu() -> None:
    code = (
        "import sys, json; sys.path[:0] = sys.argv[1].split('|'); from course import device; "
        "device.prepare(); from course.bench.clock import FakeClock; "
        "from course.check.nb06_experiments import experiments; "
        "print(json.dumps(experiments(FakeClock(event_ms=0.01))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, f"{ROOT / 'solutions'}|{ROOT}"],
        env=environment(TRITON_INTERPRET="1"),
        cwd="/",
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = json.loads(done.stdout.splitlines()[-1])
    assert {row["experiment"] for row in rows} == {
        *("mistakes", "floor", "tiles", "order", "exponential")
    }
    assert [row for row in rows if row["status"] != "ok"] == []


def test_the_compiler_counts_instructions() -> None:
    kernels = "course.check.nb06_kernels"
    cases = [
        Case("exp", f"{kernels}:exponentials", ((64, 64),), "float32", (False,)),
        Case("exp2", f"{kernels}:exponentials", ((64, 64),), "float32", (True,)),
        Case("pointers", f"{kernels}:through_pointers", ((256, 64),), "float16"),
        Case("descriptors", f"{kernels}:through_descriptors", ((256, 64),), "float16"),
    ]
    rows = {row.op: row for row in compile_all(ROOT / "solutions", [90], cases)}
    assert not [row.problem for row in rows.values() if row.problem]
    # 64 x 64 scores, 128 threads
    assert rows["exp"].count("ex2") == rows["exp2"].count("ex2") == 32
    assert rows["exp2"].count("mul.f32") + 32 <= rows["exp"].count("mul.f32")
    assert rows["descriptors"].count("cp.async.bulk.tensor") == 2
    assert rows["descriptors"].count("ld.global", "st.global") == 0
    assert rows["pointers"].count("ld.global") == rows["pointers"].count("st.global") > 0


@pytest.mark.parametrize(
    ("spilled", "words"), [(36, "let timing decide"), (512, "the tile is too large")]
)
def test_only_many_spilled_bytes_are_called_too_many(spilled: int, words: str) -> None:
    row = Row("_kernel", "attention", "float16", 64, 90, "128 x 128", spill_bytes=spilled)
    lines = report([row])
    advice = lines[next(n for n, line in enumerate(lines) if line.startswith("  ->")) :]
    assert words in " ".join(line.strip() for line in advice)
    assert max(map(len, advice)) <= 96


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(measured, "FOLDER", tmp_path)
    return tmp_path


def test_what_is_not_measured_says_so(tables: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert committed.measured("experiments", experiment="tiles") is None
    assert committed.rungs("multihead", "fp8") is None
    assert committed.measured_mistakes() is None
    assert committed.beside_bytes({}) is None
    assert committed.roofline_of_peers(lambda n, d, size: (1, 1)) is None
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 5 and all("not measured yet" in line for line in said)
    assert "data sheet" in committed.ceilings()[2]


def test_what_is_measured_is_shown_with_its_source(
    tables: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    roofline: list[dict] = [
        {"ceiling": "copy", "GB_per_s": 4000.0, "TFLOP_per_s": None},
        {"ceiling": "bf16", "GB_per_s": None, "TFLOP_per_s": 700.0},
    ]
    measured.save("roofline", roofline, META)
    assert committed.ceilings()[:2] == (700.0, 4.0)
    rows: list[dict] = [
        {"experiment": "mistakes", "what": "right", "ms": 1.0},
        {"experiment": "mistakes", "what": "wrong", "ms": 9.0},
        {"experiment": "tiles", "what": "a", "ms": 2.0},
    ]
    measured.save("experiments", rows, META)
    shown = committed.measured("experiments", experiment="tiles")
    assert isinstance(shown, pd.DataFrame) and list(shown["ms"]) == [2.0]
    assert committed.measured_mistakes() is not None
    peer = {"batch_heads": 16, "seq_len": 1024, "head_dim": 64, "dtype": "bf16"}
    rows = [
        {"implementation": name, **peer, "is_causal": False, "forward_ms": 1.0}
        for name in ("naive", "flash_triton")
    ]
    measured.save("attention_peers", rows, META)
    table = committed.beside_bytes({"naive": lambda n: 10**6 * n, "flash_triton": lambda n: n})
    assert table is not None
    of = table.set_index("implementation")
    # 16 heads of 1.024 GB at 4 TB/s
    assert of.loc["naive", "bytes_alone_ms"] == pytest.approx(4.096)
    assert committed.roofline_of_peers(lambda n, d, size: (n * d, size)) is not None
    assert "a GPU, torch 2, triton 3" in capsys.readouterr().out
