"""Targets, the page, the plan of the report, and a rehearsal of all of it without a GPU."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from course.bench import measured, page, plans, tables, targets, warm
from course.bench.registry import UnknownName, find
from course.process import ROOT, environment, python

META = {"gpu": "NVIDIA X", "torch": "2.11.0", "triton": "3.6.0", "date": "2026-11-20T10:00:00"}


def peers(**ms: float) -> pd.DataFrame:
    at = {"batch_heads": 16, "head_dim": 64, "dtype": "bf16", "is_causal": True}
    return pd.DataFrame(
        {"implementation": name, **at, "seq_len": n, "forward_ms": each * n / 8192}
        for n in (8192, 16384)
        for name, each in ms.items()
    )


def test_a_target_is_judged_by_its_worst_row():
    frame = peers(flash_triton=1.0, sdpa_flash=1.7, sdpa_cudnn=0.9)
    slow = (frame["implementation"] == "sdpa_flash") & (frame["seq_len"] == 16384)
    frame.loc[slow, "forward_ms"] = 3.0
    reached = targets.verdicts({"attention_peers": frame}).set_index("against")
    flash, cudnn = reached.loc["sdpa_flash"], reached.loc["sdpa_cudnn"]
    assert (flash["worst"], flash["best"]) == (1.5, 1.7)
    assert flash["target"] == "≥ 1.6" and flash["verdict"] == "missed by 6.2%"
    assert cudnn["verdict"] == "missed by 7.2%"
    assert "flex_attention" not in reached.index, "what was not measured is not judged"
    frame = peers(flash_triton=1.0, sdpa_flash=1.6)
    reached = targets.verdicts({"attention_peers": frame})
    assert reached["verdict"].tolist() == ["met"]


def test_growth_and_absolute_targets_are_judged_too():
    rows = [
        {"implementation": "flash_triton", "head_dim": 64, "seq_len": n}
        | {"total_ms": n**2.2, "total_peak_MiB": 3.0 * n}
        for n in (4096, 8192, 16384, 32768)
    ]
    reached = targets.verdicts({"attention_32k": pd.DataFrame(rows)})
    of = {row["what"].split(", ")[-1]: row for _, row in reached.iterrows()}
    assert of["memory grows as S"]["verdict"] == "met"
    assert of["time grows as S²"]["worst"] == pytest.approx(2.2)
    assert of["time grows as S²"]["verdict"].startswith("missed by 7.3%")
    row = {"implementation": "expert", "head_dim": 64, "seq_len": 8192, "total_ms": 1.05}
    reached = targets.verdicts({"leaderboard": pd.DataFrame([row])})
    assert reached["verdict"].tolist() == ["met", "missed by 5.0%"]


def test_every_target_speaks_of_something_the_full_plan_measures():
    plan = plans.full()
    for target in targets.TARGETS:
        names = {n for part in plan[target.table].parts for n in part.names} or None
        ops = {part.op for part in plan[target.table].parts}
        known = {n for op in ops for n in find(op).implementations}
        for name in (target.ours, target.against or target.ours):
            assert name in (names or known), (target.what, name)


@pytest.mark.parametrize("scale", ["full", "quick", "rehearsal"])
def test_every_part_of_a_plan_exists(scale: str):
    for table in plans.SCALES[scale]().values():
        for part in table.parts:
            op = find(part.op)
            assert part.cases and op.named(part.names)
            assert set(part.passes) <= set(op.passes)


def test_a_plan_with_a_wrong_size_is_an_error():
    with pytest.raises(UnknownName, match="no size of softmax 'rows'"):
        tables.cases("softmax", rows=3)
    assert len(tables.cases("softmax", d1=(1, 2), d2=(3, 4, 5), batch=1)) == 6


def test_a_kernel_is_compiled_once_for_all_lengths_and_a_shape_for_itself():
    lengths = (512, 4096, 1024, 8192)
    part = tables.Part(
        "attention",
        tables.cases("attention", seq_len=lengths, head_dim=(64, 128)),
        ("flash_triton", "expert", "flex_attention", "sdpa_flash"),
    )
    again = tables.Part(part.op, part.cases, ("sdpa_flash",))
    jobs = warm.jobs([tables.Table((part, again))])
    of = {name: [c["seq_len"] for _, n, c in jobs if n == name] for name in part.names}
    if find("attention").implementations["flash_triton"].is_here():
        assert sorted(of["flash_triton"]) == [512, 512, 8192, 8192]
    if find("attention").implementations["expert"].is_here():
        assert sorted(of["expert"]) == [512, 512, 8192, 8192]
    assert sorted(of["flex_attention"]) == sorted(lengths * 2)
    assert not of["sdpa_flash"]
    assert jobs[0][1] == "flex_attention", "what takes longest begins first"


def test_the_committed_page_is_that_of_the_committed_tables(tmp_path: Path):
    folder = measured.FOLDER
    known = {p.stem: measured.load(p.stem) for p in sorted(folder.glob("*.json"))}
    page.write(known, tmp_path / "performance.md", tmp_path / "performance")
    assert (tmp_path / "performance.md").read_text() == (
        folder.parent / "performance.md"
    ).read_text(), "run: python -m course.bench.report --rebuild"
    drawn = {p.name for p in (tmp_path / "performance").glob("*.png")}
    assert drawn == {p.name for p in folder.glob("*.png")}


def test_a_row_without_a_number_is_a_dash_and_a_reason(tmp_path: Path):
    frame = peers(flash_triton=1.0, sdpa_cudnn=0.9).assign(status="ok", reason=None)
    frame.loc[1, ["forward_ms", "status", "reason"]] = [None, "OOM", "stopped | 8 GiB"]
    text = written({"attention_peers": frame}, tmp_path)
    assert "| 8192 | sdpa_cudnn | – | – | – | OOM: stopped / 8 GiB |" in text
    assert "| 16384 | sdpa_cudnn | 1.8 |" in text


def test_tables_of_others_are_shown_as_they_are(tmp_path: Path):
    steps = pd.DataFrame([{"step": "overlap", "forward_ms": 0.25, "note": "exp2 hidden"}])
    text = written({"expert_steps": steps, "experiments": steps}, tmp_path)
    assert "## The expert kernels, step by step" in text
    assert "| step | forward ms | note |" in text and "| overlap | 0.25 | exp2 hidden |" in text


def written(frames: dict[str, pd.DataFrame], folder: Path) -> str:
    page.write({n: (f, "NVIDIA X") for n, f in frames.items()}, folder / "p.md", folder / "p")
    return (folder / "p.md").read_text()


def test_hooks_are_measured_where_their_module_exists(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tables, "HOOKS", {"a": "no_such_module_here:rows", "b": "course.bench:x"})
    monkeypatch.setattr("course.bench.x", lambda clock: [{"clock": clock}], raising=False)
    found = tables.hooked()
    clock: Any = "the clock"
    assert list(found) == ["b"] and found["b"].measure(clock, None) == [{"clock": clock}]


def report(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = python(ROOT / "solutions", "course.bench.report", *arguments)
    return subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=280)


def test_the_report_can_be_rehearsed_without_a_gpu_and_filed_only_when_measured(tmp_path: Path):
    done = report("--scale", "rehearsal", "--out", str(tmp_path / "out"), "--commit", "abc")
    assert done.returncode == 0, done.stdout + done.stderr
    results = tmp_path / "out" / "results.json"
    content = json.loads(results.read_text())
    assert not content["failed"] and content["meta"]["commit"] == "abc"
    status = {
        (row["implementation"], row["dtype"]): row["status"]
        for row in content["results"]["attention_peers"]
    }
    assert status["flash_triton", "fp32"] == status["naive", "fp32"] == "ok"
    assert status["sdpa_cudnn", "fp32"] == "unsupported"
    bad = [
        (name, row)
        for name, rows in content["results"].items()
        for row in rows
        if row.get("status") == "wrong"
    ]
    assert not bad
    assert (tmp_path / "out" / "performance.md").read_text().count("REHEARSAL") > 5
    folder = tmp_path / "performance"
    done = report("--from", str(results), "--folder", str(folder))
    assert done.returncode != 0 and "rehearsal" in done.stderr and not folder.exists()

    content["meta"] |= META
    results.write_text(json.dumps(content))
    done = report("--from", str(results), "--folder", str(folder))
    assert done.returncode == 0, done.stdout + done.stderr
    assert {p.stem for p in folder.glob("*.json")} == set(content["results"])
    text = (tmp_path / "performance.md").read_text()
    assert "NVIDIA X" in text
    for picture in folder.glob("*.png"):
        assert f"(performance/{picture.name})" in text


def test_without_a_gpu_nothing_is_measured(tmp_path: Path):
    done = report("--out", str(tmp_path / "out"))
    assert done.returncode == 2 and "no GPU" in done.stderr and not (tmp_path / "out").exists()
