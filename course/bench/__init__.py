"""Timing, memory, plots and the committed measurements.

One harness: :mod:`course.bench.registry` lists the ops, :mod:`course.bench.harness` checks and
times them, and on these stand the command ``course bench``, the functions below, and ``make
performance`` (:mod:`course.bench.report`), which files its tables as ``docs/performance/*.json``
and writes ``docs/performance.md``. :mod:`course.bench.tables` lists the tables by name.
"""

from course.bench.api import benchmark_attention, quick_benchmark, test_correctness
from course.bench.clock import Clock, CudaClock, FakeClock
from course.bench.timing import Outcome, Timing, compare, measure

__all__ = [
    "Clock",
    "CudaClock",
    "FakeClock",
    "Outcome",
    "Timing",
    "benchmark_attention",
    "compare",
    "measure",
    "quick_benchmark",
    "test_correctness",
]
