"""A clock on which every careless way to time a kernel shows."""

from course.bench.clock import FakeClock, Launch

KERNEL_MS, CACHED_MS, COMPILE_MS, FLUSH_MS = 2.0, 0.75, 400.0, 5.0


class TrickyClock(FakeClock):
    """Its first launch compiles, a repeated launch reads the cache, flushing takes time."""

    def __init__(self) -> None:
        super().__init__()
        self._cold = True

    def run(self) -> None:
        first = not self.launches
        self.launch(
            "kernel", (COMPILE_MS if first else 0) + (KERNEL_MS if self._cold else CACHED_MS)
        )
        self._cold = False

    def flush_cache(self) -> None:
        self._queue.append(Launch("flush", FLUSH_MS))
        self._cold = True


def why(ms: float) -> str:
    """What must have been timed for ``ms`` to come out."""
    likely = {
        COMPILE_MS + KERNEL_MS: "the first call's compiling is in it: warm up first",
        CACHED_MS: "the inputs came from the cache: flush it before every timed pass",
        KERNEL_MS + FLUSH_MS: "the flush is in it: put the first mark after it",
        FLUSH_MS: "only the flush was timed",
        0.0: "nothing lies between the two marks",
        KERNEL_MS / 1000: "those are seconds: elapsed_ms gives milliseconds already",
    }
    reason = likely.get(ms, "more or less than one call lies between the two marks")
    return (
        f"the kernel takes {KERNEL_MS} ms, you measured {ms:g} ms. {reason[0].upper()}{reason[1:]}."
    )
