"""Checks of notebook 01: rows that break a careless softmax, orders, and a clock with traps."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from course.bench.clock import FakeClock, Launch
from course.check.close import assert_matches
from course.check.fresh import Guarded, nan_memory, surrounded
from course.check.registry import checker
from course.oracle.softmax import softmax

Kernel = Any  # a triton.jit function: launched as kernel[grid](*arguments)

KERNEL_MS, CACHED_MS, COMPILE_MS, FLUSH_MS = 2.0, 0.75, 400.0, 5.0


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _rows(n: int) -> list[tuple[str, Tensor]]:
    """Rows that are easy, far from 0, far from each other, all equal, with one huge element."""
    huge = _random(3, n)
    huge[:, n // 2] = 500.0
    return [
        ("ordinary rows", _random(3, n)),
        ("rows around -50", _random(3, n) * 10 - 50),
        ("rows around 100", _random(3, n) * 10 + 100),
        ("rows around 0, -200 and -400", _random(3, n) - torch.tensor([[0], [200], [400]])),
        ("equal elements", torch.full((3, n), -7.0)),
        ("one huge element", huge),
    ]


def _maximum_and_sum(x: Tensor) -> tuple[Tensor, Tensor]:
    m = x.amax(-1, keepdim=True)
    return m, torch.exp(x - m).sum(-1, keepdim=True)


def _nothing(like: Tensor) -> tuple[Tensor, Tensor]:
    return torch.full_like(like[:, :1], float("-inf")), torch.zeros_like(like[:, :1])


@checker("nb01-1")
def three_passes(safe_softmax: Callable) -> str:
    for name, x in _rows(17):
        assert_matches(f"y ({name})", safe_softmax(x.clone()), softmax, x)
    used = [name for name, _ in _calls(safe_softmax, _random(2, 8)) if "softmax" in name]
    assert not used, f"right, but by PyTorch's own {used[0]}: write the three passes yourself"
    return "no overflow, whatever the rows"


@checker("nb01-2")
def running(step: Callable) -> str:
    x = _random(3, 24)
    pair = step(*_nothing(x), x[:, :8])
    assert isinstance(pair, tuple) and len(pair) == 2, "expected a pair: the new m and l"
    assert_matches("m l", pair, _maximum_and_sum, x[:, :8])
    for name, row in (*_rows(24), ("rising rows", x.sort(-1).values * 5)):
        pair, seen = _nothing(row), 0
        for block in row.split([8, 8, 5, 3], dim=1):
            pair, seen = step(*pair, block.clone()), seen + block.shape[1]
            try:
                assert_matches("m l", pair, _maximum_and_sum, row[:, :seen])
            except AssertionError as error:
                raise AssertionError(f"{name}, after {seen} columns: {error}") from None
    return "m and l are those of the columns seen so far, also when the maximum rises"


@checker("nb01-3")
def in_blocks(blocked_softmax: Callable) -> str:
    for n, BLOCK in ((16, 16), (16, 4), (17, 4), (1, 8), (63, 16)):
        for name, x in _rows(n):
            with nan_memory():
                y = blocked_softmax(x.clone(), BLOCK)
            assert_matches(f"y ({name}, n={n}, BLOCK={BLOCK})", y, softmax, x)
    calls = _calls(blocked_softmax, _random(2, 64), 8)
    sizes = [columns for name, columns in calls if name in ("exp", "exp_", "softmax")]
    assert max(sizes, default=0) <= 8, (
        f"exp was taken of {max(sizes)} columns at once; with BLOCK=8 it should be 8 at most"
    )
    return "one block or many, and a shorter last one"


def _calls(function: Callable, x: Tensor, *arguments: object) -> list[tuple[str, int]]:
    """The PyTorch functions that ``function(x, *arguments)`` calls, and the columns each is given.

    0 columns: its first argument is no matrix.
    """
    calls: list[tuple[str, int]] = []

    class Watch(TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            matrix = bool(args) and isinstance(args[0], Tensor) and args[0].ndim > 0
            calls.append((func.__name__, args[0].shape[-1] if matrix else 0))
            return func(*args, **(kwargs or {}))

    with Watch():
        function(x, *arguments)
    return calls


@checker("nb01-4")
def merged(merge: Callable) -> str:
    x = _random(3, 24) * 10 - 50
    parts = [_maximum_and_sum(block) for block in x.split(6, dim=1)]
    nothing = _nothing(x)
    _compare("columns 0-5, then 6-11", merge(*parts[0], *parts[1]), x[:, :12])
    _compare("columns 6-11, then 0-5", merge(*parts[1], *parts[0]), x[:, :12])
    _compare("the first part has seen nothing", merge(*nothing, *parts[0]), x[:, :6])
    _compare("the second part has seen nothing", merge(*parts[0], *nothing), x[:, :6])
    for order in ((0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)):
        pair = nothing
        for i in order:
            pair = merge(*pair, *parts[i])
        _compare(f"order {order}", pair, x)
    _compare("as a tree", merge(*merge(*parts[0], *parts[3]), *merge(*parts[1], *parts[2])), x)
    return "three orders and a tree give the same m and l"


def _compare(name: str, pair: Any, seen: Tensor) -> None:
    try:
        assert_matches("m l", pair, _maximum_and_sum, seen)
    except AssertionError as error:
        raise AssertionError(f"{name}: {error}") from None


@checker("nb01-5")
def kernel(softmax_kernel: Kernel) -> str:
    for n, BLOCK in ((64, 16), (63, 16), (1, 16)):
        for name, values in _rows(n):
            _run(softmax_kernel, f"{name}, n={n}, BLOCK={BLOCK}", values, (n, 1), BLOCK)
    values = _random(3, 20) * 10 - 50
    _run(softmax_kernel, "a transposed view", values, (1, 3), 16)
    _run(softmax_kernel, "every second column", values, (50, 2), 16)
    # many terms so small that a sum kept in fp16 loses each of them
    long = torch.full((1, 4096), math.log(0.9 / 16))
    long[:, :2048] = 0
    _run(softmax_kernel, "fp16, 4096 columns", long.half(), (4096, 1), 16)
    return "negative, huge, ragged and strided rows, and nothing outside y was written"


def _run(
    softmax_kernel: Kernel, name: str, values: Tensor, strides: tuple[int, int], BLOCK: int
) -> None:
    rows, n = values.shape
    x, y = surrounded(values, strides), Guarded(rows, n, dtype=values.dtype)
    softmax_kernel[(rows,)](x, y.tensor, *strides, n, BLOCK=BLOCK)
    y.check(f"y ({name})")
    assert_matches(f"y ({name})", y.tensor, softmax, x)


def _gradient(y: Tensor, dy: Tensor) -> Tensor:
    """By autograd, through the logarithm: softmax(log y) is y."""
    x = y.detach().log().requires_grad_()
    return torch.autograd.grad((softmax(x) * dy).sum(), x)[0]


@checker("nb01-6")
def backward(softmax_backward: Callable) -> str:
    for rows, n in ((1, 5), (3, 17), (6, 6)):
        y = torch.softmax(_random(rows, n), dim=-1)
        dy = _random(rows, n, seed=1)
        got = softmax_backward(y.clone(), dy.clone())
        assert_matches(f"dx ({rows} rows of {n})", got, _gradient, y, dy)
    y = torch.softmax(_random(4, 9, seed=2), dim=-1)
    got = softmax_backward(y, torch.ones(1, 1).expand(4, 9))
    assert got.abs().max() < 1e-6, "the gradient of sum(y) = 1 must be 0: is D missing?"
    return "the same gradient as autograd, without any n x n matrix"


class _TrickyClock(FakeClock):
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


@checker("nb01-7")
def stopwatch(time_ms: Callable) -> str:
    for warm_up, passes in ((3, 5), (1, 4)):
        clock = _TrickyClock()
        times = time_ms(clock.run, clock, warm_up, passes)
        calls = len(clock.launches)
        assert isinstance(times, list), f"expected a list of times, got {times!r}"
        assert len(times) == passes, f"expected {passes} times, one a pass, got {len(times)}"
        assert calls == warm_up + passes, (
            f"fn was called {calls} times; {warm_up} warm-up and {passes} timed passes are "
            f"{warm_up + passes}"
        )
        assert clock.intervals, (
            f"you measured {times[0]} ms without clock.elapsed_ms: by a CPU clock such as "
            "time.time()? That times the launch, not the kernel"
        )
        for i, ms in enumerate(times):
            assert abs(ms - KERNEL_MS) < 1e-9, f"pass {i}: {_why(ms)}"
    return "compiling, the cache and the flush are all left out of the times"


def _why(ms: float) -> str:
    likely = {
        COMPILE_MS + KERNEL_MS: "the first call's compiling is in it: warm up first",
        CACHED_MS: "the inputs came from the cache: flush it before every timed pass",
        KERNEL_MS + FLUSH_MS: "the flush is in it: put the first mark after it",
        FLUSH_MS: "only the flush was timed",
        0.0: "nothing lies between the two marks",
    }
    reason = likely.get(ms, "more or less than one call lies between the two marks")
    return (
        f"the kernel takes {KERNEL_MS} ms, you measured {ms:g} ms. {reason[0].upper()}{reason[1:]}."
    )


@checker("nb01-8")
def rate(bytes_moved: Callable, gb_per_s: Callable) -> str:
    for arguments, expected in (
        ((1000, 1000, 4, 1, 1), 8_000_000),
        ((1000, 1000, 2, 2, 1), 6_000_000),
        ((7, 3, 4, 3, 1), 336),
    ):
        got = bytes_moved(*arguments)
        assert got == expected, f"bytes_moved{arguments} is {got}, expected {expected}"
    for moved, ms, wanted in ((8e9, 2.0, 4000.0), (1e9, 1000.0, 1.0), (336, 0.5, 0.000672)):
        speed = gb_per_s(moved, ms)
        assert abs(speed - wanted) <= 1e-9 * wanted, (
            f"gb_per_s({moved:g}, {ms:g}) is {speed:g}, expected {wanted:g} (10^9 bytes a second)"
        )
    return "bytes counted, seconds converted"
