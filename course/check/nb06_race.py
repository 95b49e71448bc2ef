"""The check of nb06-4: a race on an imagined device, whose true times are known."""

import statistics
from collections.abc import Callable
from typing import Any

from course.bench.clock import FLUSH, FakeClock
from course.check.case import case

_FIRST_CALL_MS = 200.0
_TIMES = {"slow": 3.0, "fast": 1.0, "nothing": 0.01}
_WARMUP, _PASSES = 4, 20


class _Runner:
    """A pretended kernel: the first call is dear, every tenth late, and the device grows warmer."""

    def __init__(self, clock: FakeClock, name: str, ms: float) -> None:
        self.clock, self.name, self.ms = clock, name, ms
        self.calls: list[float] = []
        self.waits: list[int] = []  # for the device, before each call

    def __call__(self) -> None:
        call = len(self.calls)
        self.waits.append(self.clock.synchronizations)
        late = 4.0 if call % 10 == 9 else 1.0 + 0.02 * (call % 5)
        self.calls.append(self.ms * late + _FIRST_CALL_MS * (call == 0))
        self.clock.launch(self.name, self.calls[-1])


def judge_race(race: Callable[..., Any]) -> str:
    """Let ``race`` time three pretended kernels, and judge what it did and what it says.

    Raises:
        AssertionError: in words.
    """
    _judge_run(race, _WARMUP, _PASSES)
    with case("passes=5, of which a tenth is none"):
        try:
            _judge_run(race, 2, 5)
        except (IndexError, ValueError) as error:  # of an empty list
            raise AssertionError(
                f"{type(error).__name__}: {error}. times[0:-0] is empty: take "
                "times[tenth] and times[-1 - tenth] of all of them"
            ) from None
    return "warm, cold, in turns, and read after the device was done"


def _judge_run(race: Callable[..., Any], warmup: int, passes: int) -> None:
    clock = FakeClock(event_ms=0.001)
    runners = {name: _Runner(clock, name, ms) for name, ms in _TIMES.items()}
    got = race(runners, clock, warmup=warmup, passes=passes)
    assert isinstance(got, dict) and set(got) == set(_TIMES), (
        f"return a dictionary with a pair for each of {list(_TIMES)}"
    )
    assert clock.intervals, "nothing was timed: clock.elapsed_ms(start, end) was never asked"
    timed = [
        [(i, clock.launches[i].name) for i in range(*interval)] for interval in clock.intervals
    ]
    for inside in timed:
        _judge_interval([name for _, name in inside])
    order = sorted(inside[0] for inside in timed)
    for name, runner in runners.items():
        mine = [i for i, other in order if other == name]
        assert len(mine) == passes, f"with passes={passes}, {name} was timed {len(mine)} times"
        before = sum(launch.name == name for launch in clock.launches[: mine[0]])
        assert before == warmup, (
            f"with warmup={warmup}, {name} ran {before} times before its first timed pass"
            + ("" if before else f". The first call compiles, and took {runner.calls[0]:.0f} ms")
        )
        cold = sum(clock.launches[i - 1].name == FLUSH for i in mine)
        assert cold == passes, (
            f"{passes - cold} of {passes} passes of {name} did not begin right after "
            "clock.flush_cache(): they may find their inputs in the cache"
        )
    _judge_order([name for _, name in order])
    # those around the warm-up do no harm
    waits = clock.synchronizations - min(runner.waits[warmup] for runner in runners.values())
    assert waits < passes, (
        f"the program waited for the device {waits} times after the warm-up. Each time the device "
        "runs dry, and the next pass waits for its launch: launch all rounds, then synchronize once"
    )
    for name, runner in runners.items():
        _judge_numbers(name, got[name], sorted(runner.calls[warmup : warmup + passes]))


def _judge_interval(names: list[str]) -> None:
    assert names, "between two events nothing was launched: record, launch, record"
    assert FLUSH not in names, (
        "flushing the cache was timed too: flush first, then put down the starting event"
    )
    assert len(names) == 1, (
        f"between two events {len(names)} passes ran ({', '.join(names[:4])}): time one at a time"
    )


def _judge_order(names: list[str]) -> None:
    rounds = [names[i : i + len(_TIMES)] for i in range(0, len(names), len(_TIMES))]
    assert all(sorted(one) == sorted(_TIMES) for one in rounds), (
        "one candidate had all its passes before the next one's turn. A GPU that grows warm slows "
        "down, and whoever comes last pays: one pass of each, then the next round"
    )


def _judge_numbers(name: str, got: Any, times: list[float]) -> None:
    assert isinstance(got, (tuple, list)) and len(got) == 2, (
        f"{name}: expected (median, spread), got {got!r}"
    )
    median, tenth = statistics.median(times), len(times) // 10
    spread = (times[-1 - tenth] - times[tenth]) / median
    # an event of this device takes 0.001 ms
    assert abs(got[0] - median) <= 0.002, (
        f"{name}: the median of its passes is {median:.3f} ms, got {got[0]:.3f}"
        + (" (the mean?)" if abs(got[0] - statistics.fmean(times)) <= 0.002 else "")
    )
    assert abs(got[1] - spread) <= 0.002 / median + 1e-3, (
        f"{name}: expected a spread of {spread:.3f}, got {got[1]:.3f}: sort, leave out a tenth of "
        "the passes at either end, (largest - smallest) / median"
    )
