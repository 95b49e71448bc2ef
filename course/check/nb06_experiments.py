"""The experiments of notebook 06: on an imagined GPU anywhere, on a real one where there is one.

``experiments(clock)`` measures those whose results are committed as the table "experiments", with
rows ``{experiment, what, ms, status}``.
"""

import importlib
import importlib.util
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from course.bench.clock import Clock, FakeClock
from course.bench.timing import Outcome, compare
from course.check.close import assert_matches
from course.check.nb06_kernels import nothing, rung_with_tiles, salted_copy
from course.check.nb06_traffic import bytes_asked_for
from course.check.rungs import by_heads, tree

__all__ = [
    "TILES",
    "ImaginedGPU",
    "bytes_asked_for",
    "candidates",
    "experiments",
    "fresh_copies",
    "mistakes",
    "tile_name",
    "tree",
]

# queries, keys, warps, stages
TILES = (
    *((64, 64, 4, 2), (128, 64, 4, 2), (128, 64, 4, 3), (64, 128, 4, 3)),
    *((128, 128, 4, 2), (128, 128, 8, 2)),
)
_COPIED = 16 << 20  # bytes: read and written, 32 MiB fit the L2 cache of an H200
_REHEARSED = 16 << 10  # without a GPU


class ImaginedGPU(FakeClock):
    """A device with a cache and a compiler, whose times are made up, and so known.

    A pass takes 1 ms if its inputs come from memory and 0.25 ms if they are still in the cache,
    give or take 4%; 150 ms more the first time, for compiling; the program spends 0.02 ms on each
    launch.
    """

    name = "an imagined GPU"
    TRUTH_MS = 1.0

    def host_ms(self) -> float:
        """What the program's own clock says."""
        return self._now_ms + 0.02 * len(self.launches)

    def make(self) -> Callable[[], None]:
        """A kernel that has not been compiled yet."""
        calls = 0

        def kernel() -> None:
            nonlocal calls
            cached = bool(self.launches) and self.launches[-1].name == "kernel"
            ms = (0.25 if cached else self.TRUTH_MS) * (0.96 + 0.02 * (calls % 5))
            self.launch("kernel", ms + 150.0 * (calls == 0))
            calls += 1

        return kernel


def mistakes(clock: Clock, make: Callable[[], Callable[[], object]]) -> list[dict[str, Any]]:
    """Time one kernel in one right and several wrong ways.

    Args:
        clock: a real one, or an :class:`ImaginedGPU`.
        make: gives the kernel anew, not compiled yet.

    Returns:
        {what, ms} for each way, the right one first.
    """
    host_ms = getattr(clock, "host_ms", lambda: 1e3 * time.perf_counter())

    def passes(fn: Callable[[], object], count: int, flush: bool) -> list[float]:
        marks = []
        for _ in range(count):
            if flush:
                clock.flush_cache()
            begun = clock.record()
            fn()
            marks.append((begun, clock.record()))
        clock.synchronize()
        return [clock.elapsed_ms(*pair) for pair in marks]

    found = {}
    fn = make()
    clock.flush_cache()
    cold = passes(fn, 5, True)
    found["everything right, median of 50"] = statistics.median(passes(fn, 50, True))
    found["no warm-up, mean of 5"] = statistics.fmean(cold)
    passes(fn, 1, False)
    found["inputs left in the cache"] = statistics.median(passes(fn, 50, False))
    start = clock.record()
    clock.flush_cache()
    fn()
    end = clock.record()
    clock.synchronize()
    found["the flush timed with it"] = clock.elapsed_ms(start, end)
    clock.flush_cache()
    clock.synchronize()
    begin = host_ms()
    fn()
    found["the program's clock, not waiting"] = host_ms() - begin
    clock.synchronize()
    return [{"what": what, "ms": ms} for what, ms in found.items()]


def fresh_copies(device: str) -> Callable[[], Callable[[], object]]:
    """Makes copies of 16 MiB whose kernel has not been compiled yet."""
    x = torch.randn((_COPIED if device == "cuda" else _REHEARSED) // 4, device=device)
    # a constant of its own makes it another kernel
    return lambda: partial(salted_copy, x, random.randrange(1 << 30))


def candidates(clock: Clock) -> dict[str, Callable[[], object]]:
    """For a race: nothing, a copy, and the same copy once more, on this clock's device."""
    if isinstance(clock, ImaginedGPU):
        kernel = clock.make()
        nothing_at_all = partial(clock.launch, "nothing", 0.004)
        return {"nothing": nothing_at_all, "a kernel": kernel, "the same kernel": kernel}
    copy = fresh_copies(clock.device)()
    x = torch.zeros(1, device=clock.device)
    return {"nothing": partial(nothing, x), "a copy of 16 MiB": copy, "the same copy": copy}


def experiments(clock: Clock) -> list[dict[str, Any]]:
    """Measure what needs a GPU: bf16, causal, 16 heads of 64, 8,192 tokens, forward.

    What is measured are the packages that come first on the path. With a clock that has no GPU it
    is a rehearsal, small enough for the interpreter.

    Returns:
        {experiment, what, ms, status} for each; ``ms`` is None unless the status is "ok".
    """
    rows: list[dict[str, Any]] = []
    seq_len, heads, passes = (8192, 16, 50) if clock.device == "cuda" else (64, 2, 1)

    def race(experiment: str, candidates: Mapping[str, Callable[[], object]], **more: Any) -> None:
        limits = {"passes": passes, "warmup": min(passes, 10), **more}
        outcomes: dict[str, Outcome] = compare(candidates, clock=clock, **limits)
        for what, one in outcomes.items():
            row = {"experiment": experiment, "what": what, "ms": one.ms, "status": one.status}
            rows.append(row)

    for row in mistakes(clock, fresh_copies(clock.device)):
        rows.append({"experiment": "mistakes", **row, "status": "ok"})
    race("floor", candidates(clock))
    shape = (3, seq_len, heads, 64)
    q, k, v = torch.randn(*shape, device=clock.device, dtype=torch.bfloat16)

    def right(name: str, got: Any) -> None:
        part = slice(0, 2)  # of the heads: the scores of all of them would not fit
        few = (t[:, part] for t in (q, k, v))
        assert_matches("o", got[:, part], by_heads, *few, True)

    by_tiles = {
        tile_name(tiles): partial(rung_with_tiles, q, k, v, "multihead", *tiles) for tiles in TILES
    }
    race("tiles", by_tiles, correct=right)
    for experiment, (first, second), changes in (
        ("order", ("heaviest tile first", "lightest tile first"), _LIGHTEST_FIRST),
        ("exponential", ("exp2, scale folded in", "exp"), _BASE_E),
    ):
        own: Any = importlib.import_module("attention_ladder.multihead")
        pair = {first: own, second: _changed("multihead", changes)}
        race(
            experiment,
            {name: partial(module.attention, q, k, v, True) for name, module in pair.items()},
            correct=right,
        )
    return rows


def tile_name(tiles: Sequence[int]) -> str:
    """How a row of the experiment "tiles" is called."""
    BLOCK_Q, BLOCK_K, warps, stages = tiles
    return f"{BLOCK_Q} x {BLOCK_K}, {warps} warps, {stages} stages"


_LIGHTEST_FIRST = (("tl.num_programs(0) - 1 - tl.program_id(0)", "tl.program_id(0)"),)
_BASE_E = (("tl.exp2(", "tl.exp("), ("math.log2(math.e) / ", "1.0 / "))


def _changed(rung: str, changes: Sequence[tuple[str, str]]) -> ModuleType:
    """A rung with some of its text replaced.

    Raises:
        ValueError: the rung holds no such text.
    """
    own = importlib.import_module(f"attention_ladder.{rung}")
    source = Path(str(own.__file__)).read_text()
    for old, new in changes:
        if old not in source:
            raise ValueError(f"attention_ladder/{rung}.py does not hold {old!r}")
        source = source.replace(old, new)
    # triton reads a kernel's source from its file, so the folder has to stay
    path = Path(tempfile.mkdtemp(prefix="course-experiment-"), f"{rung}.py")
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(f"changed_{rung}_{len(source)}", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
