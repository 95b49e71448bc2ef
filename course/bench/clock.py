"""What a benchmark reads: a device's clock and its memory, real or imagined.

Benchmarks take a clock as an argument. On a GPU it is a :class:`CudaClock`; where there is none a
:class:`FakeClock` shows whether a benchmark measures the right thing, without measuring anything.
"""

import weakref
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import torch

MIB = 2**20
# Larger than the L2 cache of any GPU so far (60 MB on an H200, 126 MB on a B200).
FLUSH_BYTES = 256 * MIB
# the fake device's flush: a launch like any other, so that a pass charged for it shows
FLUSH = "flush_cache"
FLUSH_MS = 5.0
_TICKS = 1_000_000


class Clock(Protocol):
    """Times in milliseconds, memory in MiB.

    A device runs behind the program: ``record`` marks the place in its queue that is reached when
    all work launched so far is done, and a mark can be read only after ``synchronize``.
    """

    device: str
    name: str

    def record(self) -> Any:
        """Put a mark (an event) behind the work launched so far."""

    def elapsed_ms(self, start: Any, end: Any) -> float:
        """Milliseconds between two marks. RuntimeError: the device has not reached them yet."""

    def synchronize(self) -> None:
        """Wait until the device has done all that was launched."""

    def reset_peak_memory(self) -> None:
        """Forget the largest amount of memory seen so far."""

    def peak_memory_mib(self) -> float:
        """The largest amount of memory allocated at once since the last reset."""

    def allocated_mib(self) -> float:
        """The memory allocated now."""

    def flush_cache(self) -> None:
        """Push the inputs out of the L2 cache, so that the next pass reads them from memory."""

    def hold(self, ms: float) -> None:
        """Keep the device busy that long, so that what is launched meanwhile waits in its queue."""


class CudaClock:
    """The clock of the current CUDA device: events and the caching allocator.

    The buffer of ``flush_cache`` is the clock's own, and is left out of what it reports.

    Raises:
        RuntimeError: there is no GPU.
    """

    device = "cuda"

    def __init__(self) -> None:
        if not torch.cuda.is_available():
            raise RuntimeError("there is no GPU here, and only a GPU can be timed")
        self.name = torch.cuda.get_device_name()
        self._flush = torch.empty(FLUSH_BYTES, dtype=torch.int8, device=self.device)
        # ticks of the chip's clock, at full speed once it has worked a while: under load it slows
        # down, and a hold lasts a little longer
        for _ in range(20):
            torch.cuda._sleep(_TICKS)
        start = self.record()
        torch.cuda._sleep(_TICKS)
        end = self.record()
        self.synchronize()
        self._ticks_a_ms = _TICKS / self.elapsed_ms(start, end)

    def record(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def elapsed_ms(self, start: torch.cuda.Event, end: torch.cuda.Event) -> float:
        return start.elapsed_time(end)

    def synchronize(self) -> None:
        torch.cuda.synchronize()

    def reset_peak_memory(self) -> None:
        # cuBLAS keeps its workspace (32 MiB on Hopper): who needs it takes it again, and is charged
        torch._C._cuda_clearCublasWorkspaces()
        torch.cuda.reset_peak_memory_stats()

    def peak_memory_mib(self) -> float:
        return (torch.cuda.max_memory_allocated() - FLUSH_BYTES) / MIB

    def allocated_mib(self) -> float:
        return (torch.cuda.memory_allocated() - FLUSH_BYTES) / MIB

    def flush_cache(self) -> None:
        self._flush.zero_()

    def hold(self, ms: float) -> None:
        torch.cuda._sleep(int(ms * self._ticks_a_ms))


@lru_cache(maxsize=1)
def cuda_clock() -> CudaClock:
    """The one CudaClock of this process: it holds 256 MiB."""
    return CudaClock()


class Launch(NamedTuple):
    """A piece of work on the fake device, and how long it takes there."""

    name: str
    ms: float


class Interval(NamedTuple):
    """One ``elapsed_ms``: it spans ``launches[first:last]`` of its clock."""

    first: int
    last: int


class FakeEvent:
    """A mark in the fake device's queue; ``at`` is None until the device has reached it."""

    def __init__(self, place: int):
        self.place = place
        self.at: float | None = None


class FakeBlock:
    """Memory of the fake device: given back when let go of, or at the end of a ``with``."""

    def __init__(self, clock: "FakeClock", mib: float):
        self._finalizer = weakref.finalize(self, clock._free, mib)

    def __enter__(self) -> "FakeBlock":
        return self

    def __exit__(self, *_: object) -> None:
        self._finalizer()


class FakeClock:
    """An imagined device with its clock, to judge a benchmark by.

    Stand-ins for kernels call ``launch`` and ``allocate``. As on a GPU, work is done when the
    program waits for it, and memory is counted when it is asked for. ``launches`` and ``intervals``
    then say what ran and which of it was timed.

    Args:
        capacity_mib: beyond it, ``allocate`` raises ``torch.cuda.OutOfMemoryError``.
        event_ms: what reaching a mark costs; above 0 no interval is empty.
        device: where its tensors live; "meta" tells them from those made without asking the clock.
    """

    name = "a fake device"

    def __init__(
        self, capacity_mib: float = float("inf"), event_ms: float = 0.0, device: str = "cpu"
    ):
        self.device = device
        self.launches: list[Launch] = []
        self.intervals: list[Interval] = []
        self.synchronizations = 0
        self.peak_resets = 0
        self._capacity_mib = capacity_mib
        self._event_ms = event_ms
        self._queue: list[Launch | FakeEvent] = []
        self._now_ms = 0.0
        self._allocated_mib = 0.0
        self._peak_mib = 0.0

    def launch(self, name: str, ms: float) -> None:
        """Queue work that takes ``ms`` on the device."""
        work = Launch(name, ms)
        self.launches.append(work)
        self._queue.append(work)

    def allocate(self, mib: float) -> FakeBlock:
        """Take memory, until the block is let go of."""
        if self._allocated_mib + mib > self._capacity_mib:
            raise torch.cuda.OutOfMemoryError(
                f"CUDA out of memory. Tried to allocate {mib:g} MiB of {self._capacity_mib:g} MiB."
            )
        self._allocated_mib += mib
        self._peak_mib = max(self._peak_mib, self._allocated_mib)
        return FakeBlock(self, mib)

    def _free(self, mib: float) -> None:
        self._allocated_mib -= mib

    def record(self) -> FakeEvent:
        event = FakeEvent(len(self.launches))
        self._queue.append(event)
        return event

    def elapsed_ms(self, start: FakeEvent, end: FakeEvent) -> float:
        if start.at is None or end.at is None:
            raise RuntimeError("device not ready: synchronize() before reading elapsed_ms()")
        if start.place > end.place:
            words = "Start and end are swapped: elapsed_ms(start, end) got the later one first"
            raise ValueError(words)
        self.intervals.append(Interval(start.place, end.place))
        return end.at - start.at

    def synchronize(self) -> None:
        self.synchronizations += 1
        for item in self._queue:
            if isinstance(item, FakeEvent):
                self._now_ms += self._event_ms
                item.at = self._now_ms
            else:
                self._now_ms += item.ms
        self._queue.clear()

    def reset_peak_memory(self) -> None:
        self.peak_resets += 1
        self._peak_mib = self._allocated_mib

    def peak_memory_mib(self) -> float:
        return self._peak_mib

    def allocated_mib(self) -> float:
        return self._allocated_mib

    def flush_cache(self) -> None:
        """Nothing to push out here, but it takes time and shows among the launches."""
        self.launch(FLUSH, FLUSH_MS)

    def hold(self, ms: float) -> None:
        """Nothing to wait for: here the device does not run beside the program."""
