"""Timing, memory, plots and the committed measurements."""

from course.bench.clock import Clock, CudaClock, FakeClock
from course.bench.timing import Outcome, Timing, compare, measure

__all__ = ["Clock", "CudaClock", "FakeClock", "Outcome", "Timing", "compare", "measure"]
