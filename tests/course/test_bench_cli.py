"""The command ``course bench``: names, messages, exit statuses, and what it writes."""

import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console
from typer.testing import CliRunner

from course.bench import FakeClock, cli
from course.bench.ceilings import Ceilings
from course.bench.registry import op_names
from course.cli import app
from course.compiled.cases import cases_of
from course.process import ROOT, environment

runner = CliRunner()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[cli.Request]:
    """The requests of the command line, in place of measuring them."""
    seen: list[cli.Request] = []

    def run(request: cli.Request) -> int:
        seen.append(request)
        return 0

    monkeypatch.setattr(cli, "run", run)
    return seen


@pytest.mark.parametrize("option", ["--seq-len", "--seq_len"])
def test_the_one_liner(asked, option):
    result = runner.invoke(app, ["bench", "attention", option, "4096"])
    assert result.exit_code == 0, result.output
    (request,) = asked
    assert [case["seq_len"] for case in request.cases] == [4096]
    assert request.passes == ("forward", "backward", "total") and request.names is None
    case = request.cases[0]
    assert (case["heads"], case["head_dim"], case["dtype"]) == (16, 64, "bf16")


def test_sizes_repeat_or_come_in_lists_and_underscores_work_everywhere(asked):
    text = "bench attention --seq_len 1024,2048 --seq-len 32768 --head_dim 64 --head-dim 256"
    text += " --heads 8 --full --dtype float16 --impl naive --impl sdpa_flash --pass forward"
    text += " --budget_ms 50"
    assert runner.invoke(app, text.split()).exit_code == 0
    (request,) = asked
    assert len(request.cases) == 6 and {c["head_dim"] for c in request.cases} == {64, 256}
    case = request.cases[-1]
    assert (case["seq_len"], case["dtype"], case["is_causal"]) == (32768, "fp16", False)
    assert request.names == ["naive", "sdpa_flash"] and request.passes == ("forward",)
    assert request.limits == {"budget_ms": 50.0} and request.tree == ROOT


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "Which op? There are: attention, attention_ladder, softmax"),
        ("attentio", "there is no op 'attentio'. Did you mean attention?"),
        ("attention --impl flash", "no implementation of attention 'flash'"),
        ("attention --impl flash", "There are: expert, expert_any_order, flash_triton, flex"),
        ("attention --dtype int4", "no dtype 'int4'. There are: bf16, fp16, fp32"),
        ("attention --seq-len many", "--seq-len: expected whole numbers such as 4096"),
        ("attention --seq-len 0", "--seq-len: expected whole numbers"),
        ("attention --seq-len ²", "--seq-len: expected whole numbers"),
        ("attention --pass sideways", "There are: backward, forward, total"),
        ("softmax --head-dim 64", "--head-dim means nothing to softmax, whose sizes are --batch"),
        ("copy --causal", "means nothing to copy, which has no mask"),
    ],
)
def test_a_mistake_is_answered_with_what_there_is(words, message):
    result = runner.invoke(app, ["bench", *words.split()])
    assert result.exit_code == 2
    assert message in result.stderr and "Traceback" not in result.output


def test_without_a_gpu_it_says_what_one_can_do_instead():
    clean = {k: v for k, v in environment().items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-m", "course.cli", "bench", "attention", "--seq_len", "4096"],
        env=clean | {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": os.fspath(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    for words in (
        "no GPU",
        "course check hw3-1",
        "course compile hw3-1",
        "performance.md",
        "Colab",
    ):
        assert words in done.stderr, done.stderr


@pytest.mark.parametrize("name", op_names())
def test_what_it_says_one_can_compile_can_be_compiled(name):
    assert cases_of(cli.EXERCISES.get(name, cli.EXERCISE))


def measured(words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **sizes: Any):
    """What a request does with a clock that tells no time; its status, and what it printed."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    names = words.split()
    many: dict[str, cli.Many] = {name: [str(value)] for name, value in sizes.items()}
    request = cli.asked(names[0], many, ["fp32"] if names[0] == "attention" else None, None)
    chosen = replace(
        request,
        names=names[1:],
        limits={"budget_ms": 0.02},
        csv=tmp_path / "a" / "rows.csv",
        json=tmp_path / "b" / "rows.json",
        plot=tmp_path / "plots",
    )
    out = io.StringIO()
    console = Console(file=out, width=110)
    ceilings = Ceilings(1000.0, {"fp32": 10.0})
    status = cli.run(chosen, FakeClock(event_ms=0.01), console, ceilings)
    return status, out.getvalue()


def test_it_shows_and_writes_what_it_measured(tmp_path, monkeypatch):
    sizes = {"heads": 1, "seq_len": "16,32", "head_dim": 16}
    status, text = measured("attention naive sdpa_math", tmp_path, monkeypatch, **sizes)
    assert status == 0, text
    assert "attention, backward: batch 1, heads 1, head_dim 16, fp32, causal" in text
    for header in ("spread", "TFLOP/s", "of roofline", "peak MiB"):
        assert header in text
    frame = pd.read_csv(tmp_path / "a" / "rows.csv")
    assert frame["implementation"].tolist() == ["naive", "sdpa_math"] * 2
    content = json.loads((tmp_path / "b" / "rows.json").read_text())
    assert {"gpu", "driver", "torch", "triton", "commit", "op"} <= set(content["meta"])
    assert content["rows"][0]["forward_roofline"] > 0
    drawn = {path.stem for path in (tmp_path / "plots").glob("*.png")}
    assert {"attention_forward_time", "attention_total_speedup", "attention_total_scaling"} <= drawn
    assert "REHEARSAL" in text


def test_a_row_without_a_time_says_why_below_the_table(tmp_path, monkeypatch):
    sizes = {"heads": 1, "seq_len": 16, "head_dim": 16}
    status, text = measured("attention naive sdpa_cudnn", tmp_path, monkeypatch, **sizes)
    assert status == 0
    assert "unsupported" in text
    assert "sdpa_cudnn: unsupported, cannot run here: takes bf16 or fp16, not fp32" in text


def test_a_wrong_kernel_of_this_repository_is_exit_status_1(tmp_path, monkeypatch):
    from course.bench.registry import Implementation, find

    op = find("attention")
    wrong = Implementation(lambda case: lambda Q, K, V: Q + K + V, module="math")
    monkeypatch.setattr(op, "implementations", {**op.implementations, "flash_triton": wrong})
    sizes = {"heads": 1, "seq_len": 16, "head_dim": 16}
    status, text = measured("attention flash_triton naive", tmp_path, monkeypatch, **sizes)
    assert status == 1
    assert "flash_triton: wrong, is not right yet: O is wrong" in text
