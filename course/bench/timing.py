"""Time one function, or several against each other, on a device that runs behind the program."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from course.bench.clock import Clock, cuda_clock
from course.check import in_words


@dataclass(frozen=True)
class Timing:
    """The passes of one function.

    Attributes:
        median_ms, mean_ms, std_ms: of the passes, in milliseconds.
        spread: (90th - 10th percentile) / median. Differences smaller than this are noise.
        peak_mib: the most memory allocated at once during a pass, inputs included.
        launch_ms: what the program takes to queue a pass. Not part of the other times: the device
            is held until all of a pass is queued. It counts where a program has nothing else to
            launch and a pass takes the device less than that.
    """

    median_ms: float
    mean_ms: float
    std_ms: float
    spread: float
    peak_mib: float
    launch_ms: float = 0.0


# a program is stopped now and then; of what takes longest to launch a part may be timed
_HOLD_FACTOR, _LONGEST_HOLD_MS = 2.0, 8.0


class Prepared:
    """A candidate that needs something done before every pass, untimed: a forward pass, say."""

    def __init__(self, before: Callable[[], None], timed: Callable[[], object]):
        self.before = before
        self.timed = timed

    def __call__(self) -> object:
        self.before()
        return self.timed()


@dataclass(frozen=True)
class Outcome:
    """What became of one candidate: its timing, or a status and a reason instead of one."""

    status: str
    reason: str
    timing: Timing | None

    @property
    def ms(self) -> float | None:
        return None if self.timing is None else self.timing.median_ms


def summarize(passes_ms: list[float], peak_mib: float, launch_ms: float = 0.0) -> Timing:
    """The Timing of the given passes."""
    ordered = sorted(passes_ms)
    low, high = ordered[len(ordered) // 10], ordered[-1 - len(ordered) // 10]
    median = statistics.median(ordered)
    return Timing(
        median_ms=median,
        mean_ms=statistics.fmean(ordered),
        std_ms=statistics.stdev(ordered) if len(ordered) > 1 else 0.0,
        spread=(high - low) / median if median else 0.0,
        peak_mib=peak_mib,
        launch_ms=launch_ms,
    )


def measure(
    fn: Callable[[], object], warmup: int = 10, passes: int = 100, clock: Clock | None = None
) -> Timing:
    """Time ``fn()`` alone: warm-up passes untimed, the cache flushed before each timed one.

    Raises:
        RuntimeError: there is no GPU and no other clock was given.
        Exception: whatever ``fn`` raises.
    """
    clock = clock or cuda_clock()
    for _ in range(warmup):
        fn()
    peak, launch = _peak_and_launch(fn, clock)
    marks = [_one_pass(fn, clock, launch) for _ in range(passes)]
    clock.synchronize()
    return summarize([clock.elapsed_ms(*pair) for pair in marks], peak, launch)


def compare(
    candidates: Mapping[str, Callable[[], object]],
    correct: Callable[[str, object], None] | None = None,
    warmup: int = 10,
    passes: int = 100,
    budget_ms: float = float("inf"),
    clock: Clock | None = None,
) -> dict[str, Outcome]:
    """Time several functions against each other, their passes interleaved in one run.

    A candidate that fails, or whose result ``correct`` rejects, gets a status and no time; the
    others go on.

    Args:
        candidates: name -> function of no arguments.
        correct: gets a name and its result, and raises AssertionError when that is wrong.
        warmup, passes: of each candidate.
        budget_ms: time for each candidate's passes; the slow get fewer, 5 at the least, and a
            warm-up of a third of that.
        clock: the GPU's, unless given.

    Returns:
        name -> Outcome; its status is "ok", "wrong", "OOM" or "failed".
    """
    clock = clock or cuda_clock()
    outcomes: dict[str, Outcome] = {}
    left: dict[str, int] = {}
    costs: dict[str, tuple[float, float]] = {}  # peak MiB, milliseconds to launch
    marks: dict[str, list] = {name: [] for name in candidates}
    for name, fn in candidates.items():
        try:
            _judge(name, fn, correct)
            for _ in range(_warm_passes(fn, warmup, budget_ms, clock)):
                fn()
            costs[name] = _peak_and_launch(fn, clock)
            left[name] = _affordable(fn, passes, budget_ms, clock)
        except Exception as error:
            outcomes[name] = failure(error)
    while left:
        for name in list(left):
            try:
                marks[name].append(_one_pass(candidates[name], clock, costs[name][1]))
            except Exception as error:
                outcomes[name] = failure(error)
                del left[name]
                continue
            left[name] -= 1
            if not left[name]:
                del left[name]
    clock.synchronize()
    for name in candidates:
        if name not in outcomes:
            times = [clock.elapsed_ms(*pair) for pair in marks[name]]
            outcomes[name] = Outcome("ok", "", summarize(times, *costs[name]))
    return {name: outcomes[name] for name in candidates}


def failure(error: Exception) -> Outcome:
    """The Outcome of a candidate that raised ``error``."""
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return Outcome("OOM", in_words(error), None)
    status = "wrong" if isinstance(error, AssertionError) else "failed"
    return Outcome(status, in_words(error), None)


def _one_pass(fn: Callable[[], object], clock: Clock, launch_ms: float = 0.0) -> tuple:
    fn = _made_ready(fn)
    clock.flush_cache()
    if launch_ms:
        clock.hold(min(_LONGEST_HOLD_MS, _HOLD_FACTOR * launch_ms))
    start = clock.record()
    fn()
    return start, clock.record()


def _made_ready(fn: Callable[[], object]) -> Callable[[], object]:
    """What of ``fn`` is timed; what comes before it is done now."""
    if isinstance(fn, Prepared):
        fn.before()
        return fn.timed
    return fn


def _judge(
    name: str, fn: Callable[[], object], correct: Callable[[str, object], None] | None
) -> None:
    # Its own function, so that the result is not alive while the passes run.
    if correct is not None:
        correct(name, fn())


def _peak_and_launch(fn: Callable[[], object], clock: Clock) -> tuple[float, float]:
    """MiB of one pass, and the milliseconds the program takes to launch it (median of three)."""
    clock.synchronize()
    clock.reset_peak_memory()
    fn()
    peak = clock.peak_memory_mib()
    took = []
    for _ in range(3):
        timed = _made_ready(fn)
        clock.synchronize()
        began = time.perf_counter()
        timed()
        took.append(1e3 * (time.perf_counter() - began))
    return peak, statistics.median(took)


def _warm_passes(fn: Callable[[], object], warmup: int, budget_ms: float, clock: Clock) -> int:
    if budget_ms == float("inf") or warmup < 2:
        return warmup
    fn()  # the first call compiles, and says nothing about the others
    one = _one_pass_ms(fn, clock)
    return max(1, min(warmup - 2, int(budget_ms / 3 / one))) if one else warmup


def _affordable(fn: Callable[[], object], passes: int, budget_ms: float, clock: Clock) -> int:
    if budget_ms == float("inf"):
        return passes
    one = _one_pass_ms(fn, clock)
    return max(min(5, passes), min(passes, int(budget_ms / one) if one else passes))


def _one_pass_ms(fn: Callable[[], object], clock: Clock) -> float:
    pair = _one_pass(fn, clock)
    clock.synchronize()
    return clock.elapsed_ms(*pair)
