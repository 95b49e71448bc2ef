"""Time one function, or several against each other, on a device that runs behind the program."""

import statistics
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
    """

    median_ms: float
    mean_ms: float
    std_ms: float
    spread: float
    peak_mib: float


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


def summarize(passes_ms: list[float], peak_mib: float) -> Timing:
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
    peak = _peak_of_one_pass(fn, clock)
    marks = [_one_pass(fn, clock) for _ in range(passes)]
    clock.synchronize()
    return summarize([clock.elapsed_ms(*pair) for pair in marks], peak)


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
    peaks: dict[str, float] = {}
    marks: dict[str, list] = {name: [] for name in candidates}
    for name, fn in candidates.items():
        try:
            _judge(name, fn, correct)
            for _ in range(_warm_passes(fn, warmup, budget_ms, clock)):
                fn()
            peaks[name] = _peak_of_one_pass(fn, clock)
            left[name] = _affordable(fn, passes, budget_ms, clock)
        except Exception as error:
            outcomes[name] = failure(error)
    while left:
        for name in list(left):
            try:
                marks[name].append(_one_pass(candidates[name], clock))
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
            outcomes[name] = Outcome("ok", "", summarize(times, peaks[name]))
    return {name: outcomes[name] for name in candidates}


def failure(error: Exception) -> Outcome:
    """The Outcome of a candidate that raised ``error``."""
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return Outcome("OOM", in_words(error), None)
    status = "wrong" if isinstance(error, AssertionError) else "failed"
    return Outcome(status, in_words(error), None)


def replayed(fn: Callable[[], object]) -> Callable[[], object]:
    """``fn`` recorded as a CUDA graph: a replay launches its kernels without Python's help.

    Raises:
        RuntimeError: it does what cannot be recorded, or there is no GPU.
    """
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            fn()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        fn()
    return graph.replay


def _one_pass(fn: Callable[[], object], clock: Clock) -> tuple:
    if isinstance(fn, Prepared):
        fn.before()
        fn = fn.timed
    clock.flush_cache()
    start = clock.record()
    fn()
    return start, clock.record()


def _judge(
    name: str, fn: Callable[[], object], correct: Callable[[str, object], None] | None
) -> None:
    # Its own function, so that the result is not alive while the passes run.
    if correct is not None:
        correct(name, fn())


def _peak_of_one_pass(fn: Callable[[], object], clock: Clock) -> float:
    clock.synchronize()
    clock.reset_peak_memory()
    fn()
    return clock.peak_memory_mib()


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
