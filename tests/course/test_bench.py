"""Clocks, timing, and committed measurements."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import torch

from course.bench import FakeClock, compare, measure, measured, plots
from course.bench.timing import Prepared

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
    # four more, for the peak and for what launching takes, are not timed either
    ms = [launch.ms for launch in clock.launches if launch.name == "fn"]
    assert ms == [900.0] * 3 + [2.0, 1.0] * 6 + [2.0]
    assert (timing.median_ms, timing.peak_mib) == (2.0, 7.0)
    assert timing.mean_ms == pytest.approx(14 / 9)


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


def test_a_budget_shortens_the_warmup_of_what_is_slow():
    clock = FakeClock()
    outcomes = compare(
        {"slow": lambda: clock.launch("slow", 100.0)}, budget_ms=90.0, passes=50, clock=clock
    )
    assert outcomes["slow"].ms == 100.0
    # two calls to see how slow it is, one more, one for the peak, three for what launching takes,
    # one to count, five timed
    assert sum(launch.name == "slow" for launch in clock.launches) == 13


def test_what_comes_before_a_pass_is_not_timed():
    clock = FakeClock()
    one = Prepared(lambda: clock.launch("before", 50.0), lambda: clock.launch("timed", 3.0))
    assert compare({"x": one}, warmup=1, passes=4, clock=clock)["x"].ms == 3.0
    names = [launch.name for launch in clock.launches]
    assert names[-3:] == ["before", "flush_cache", "timed"]


def test_the_device_is_held_until_a_pass_is_queued_and_the_holding_is_not_timed():
    class HeldClock(FakeClock):
        def hold(self, ms: float) -> None:
            assert ms > 0
            self.launch("hold", 70.0)

    clock = HeldClock()
    outcome = compare({"x": lambda: clock.launch("timed", 3.0)}, passes=4, clock=clock)["x"]
    assert outcome.ms == 3.0
    assert outcome.timing is not None and 0 < outcome.timing.launch_ms < 70.0
    names = [launch.name for launch in clock.launches]
    assert names[-6:] == ["flush_cache", "hold", "timed"] * 2


def test_a_rehearsal_says_so_and_is_never_filed(tmp_path: Path):
    meta = META | {"gpu": FakeClock.name}
    assert "REHEARSAL" in measured.sentence(meta)
    with pytest.raises(ValueError, match="rehearsal"):
        measured.save("x", [], meta, tmp_path)
    assert not list(tmp_path.iterdir())


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
