"""Clocks, timing, charts, committed measurements, and a rehearsal of the performance report."""

import json
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import torch

from course.bench import FakeClock, compare, measure, measured, plots
from course.bench.attention import flops
from course.bench.report import file_results
from course.process import ROOT, environment, python

META = {"gpu": "NVIDIA X", "torch": "2.11.0", "triton": "3.6.0", "date": "2026-11-20T10:00:00"}


def test_a_fake_device_is_not_ready_before_it_is_waited_for():
    clock = FakeClock()
    start = clock.record()
    clock.launch("work", 3.0)
    end = clock.record()
    with pytest.raises(RuntimeError, match="synchronize"):
        clock.elapsed_ms(start, end)
    clock.synchronize()
    assert clock.elapsed_ms(start, end) == 3.0


def test_fake_memory_is_given_back_and_its_peak_remembered():
    clock = FakeClock(capacity_mib=10.0)
    block = clock.allocate(4.0)
    with clock.allocate(5.0):
        with pytest.raises(torch.cuda.OutOfMemoryError, match="out of memory"):
            clock.allocate(2.0)
    assert (clock.allocated_mib(), clock.peak_memory_mib()) == (4.0, 9.0)
    del block
    clock.reset_peak_memory()
    assert (clock.allocated_mib(), clock.peak_memory_mib()) == (0.0, 0.0)


def test_measure_leaves_the_warmup_out():
    clock = FakeClock()
    calls = iter(range(100))

    def fn() -> None:
        call = next(calls)
        with clock.allocate(50.0 if call == 0 else 7.0):
            clock.launch("fn", 900.0 if call < 3 else 1.0 + call % 2)

    timing = measure(fn, warmup=3, passes=9, clock=clock)
    # the tenth pass of all, for the peak, is not timed either
    ms = [launch.ms for launch in clock.launches if launch.name == "fn"]
    assert ms == [900.0] * 3 + [2.0, 1.0] * 5
    assert (timing.median_ms, timing.peak_mib) == (1.0, 7.0)
    assert timing.mean_ms == pytest.approx(13 / 9)


def test_compare_takes_turns_and_gives_no_time_to_what_is_wrong_or_cannot_run():
    clock = FakeClock(capacity_mib=10.0)

    def runs(name: str, ms: float, result: int = 1, mib: float = 1.0) -> int:
        with clock.allocate(mib):
            clock.launch(name, ms)
        return result

    def breaks() -> None:
        raise ValueError("no such shape")

    def correct(name: str, result: object) -> None:
        assert result == 1, f"{name} is off by one"

    candidates: dict[str, Callable[[], object]] = {
        "a": partial(runs, "a", 2.0),
        "wrong": partial(runs, "wrong", 1.0, 2),
        "large": partial(runs, "large", 1.0, 1, 11.0),
        "breaks": breaks,
        "b": partial(runs, "b", 4.0),
    }
    outcomes = compare(candidates, correct, warmup=1, passes=20, budget_ms=40.0, clock=clock)
    assert {name: o.status for name, o in outcomes.items()} == {
        "a": "ok",
        "wrong": "wrong",
        "large": "OOM",
        "breaks": "failed",
        "b": "ok",
    }
    assert (outcomes["a"].ms, outcomes["b"].ms, outcomes["wrong"].ms) == (2.0, 4.0, None)
    assert "off by one" in outcomes["wrong"].reason
    timed = [clock.launches[first].name for first, _ in clock.intervals[2:]]
    # 20 passes of a and, for the same time, 10 of b
    assert (timed.count("a"), timed.count("b")) == (20, 10)
    last = "".join(launch.name for launch in clock.launches if launch.name in "ab")
    assert "abababababababababab" in last


def test_measurements_come_back_with_where_they_were_made(tmp_path: Path):
    measured.save("x", [{"n": 1, "ms": 0.5}, {"n": 2, "ms": None}], META, tmp_path)
    frame, source = measured.load("x", tmp_path)
    assert source == "NVIDIA X, torch 2.11.0, triton 3.6.0, 2026-11-20"
    assert frame["n"].tolist() == [1, 2] and frame["ms"].isna().tolist() == [False, True]
    with pytest.raises(FileNotFoundError, match="there are: x"):
        measured.load("y", tmp_path)


def test_a_power_law_is_found_where_launching_no_longer_counts():
    x = pd.Series([2**n for n in range(4, 14)])
    power, factor = plots.fitted_power(x, 3e-6 * x**2)
    assert (power, factor) == (pytest.approx(2.0), pytest.approx(3e-6))
    power, _ = plots.fitted_power(x, (3e-6 * x**2).clip(lower=0.01))
    assert power == pytest.approx(2.0)


@pytest.mark.parametrize("chart", ["time", "memory", "scaling", "speedup"])
def test_every_chart_draws_what_was_measured(chart: str):
    frame = pd.DataFrame(
        {"n": n, "what": what, "ms": None if (what, n) == ("b", 4) else ms}
        for n, ms in ((1, 1.0), (2, 4.0), (4, 16.0))
        for what in "ab"
    )
    more = {"baseline": "a"} if chart == "speedup" else {}
    figure = getattr(plots, f"{chart}_chart")(frame, "n", "ms", "what", source="X", **more)
    axes = figure.axes[0]
    labels = [text.get_text().split(":")[0] for text in axes.get_legend().get_texts()]
    assert labels == ["a", "b"]
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_operations_of_attention_are_counted_as_in_the_paper():
    assert flops(16, 8192, 64, False) == 4 * 16 * 8192**2 * 64
    assert flops(16, 8192, 64, True, "total") == 3.5 * flops(16, 8192, 64, False) / 2


def test_the_report_can_be_rehearsed_without_a_gpu_and_filed(tmp_path: Path):
    done = report("--rehearse", "--out", str(tmp_path / "out"), "--commit", "abc")
    assert done.returncode == 0, done.stdout + done.stderr
    results = tmp_path / "out" / "results.json"
    content = json.loads(results.read_text())
    assert not content["failed"] and content["meta"]["commit"] == "abc"
    status = {
        (row["implementation"], row["dtype"]): row["status"]
        for row in content["results"]["attention_peers"]
    }
    # there is no cuDNN on a CPU, and the interpreter computes bf16 wrongly
    assert status[("ours", "fp32")] == status[("sdpa_default", "fp32")] == "ok"
    assert status[("sdpa_cudnn", "fp32")] == "failed"
    assert status[("ours", "bf16")] == "wrong"
    with pytest.raises(ValueError, match="rehearsal"):
        file_results(results, tmp_path / "performance")

    content["meta"] |= META
    results.write_text(json.dumps(content))
    folder = tmp_path / "performance"
    done = report("--from", str(results), "--folder", str(folder))
    assert done.returncode == 0, done.stdout + done.stderr
    assert {p.stem for p in folder.glob("*.json")} == set(content["results"])
    page = (tmp_path / "performance.md").read_text()
    assert "NVIDIA X" in page and "![" in page
    for picture in folder.glob("*.png"):
        assert f"(performance/{picture.name})" in page


def report(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = python(ROOT / "solutions", "course.bench.report", *arguments)
    return subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=240)
