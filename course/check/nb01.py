"""Checks of notebook 01: rows that break a careless softmax, orders, and a clock with traps."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import triton
from torch import Tensor
from torch.overrides import TorchFunctionMode

from course.bench.memory import peak_bytes
from course.check import mistakes
from course.check.case import case
from course.check.close import assert_matches
from course.check.columns import Columns
from course.check.fresh import STORE_ADVICE, Guarded, like_a_gpu, nan_memory, random, surrounded
from course.check.registry import checker
from course.check.tricky_clock import KERNEL_MS, TrickyClock, why
from course.check.unchanged import unchanged
from course.device import prepare
from course.oracle.softmax import softmax

Kernel = Any  # a triton.jit function: launched as kernel[grid](*arguments)


def _rows(n: int) -> list[tuple[str, Tensor]]:
    """Rows that are easy, far from 0, far from each other, all equal, with one huge element."""
    huge = random(3, n)
    huge[:, n // 2] = 500.0
    return [
        ("ordinary rows", random(3, n)),
        ("rows around -50", random(3, n) * 10 - 50),
        ("rows around 100", random(3, n) * 10 + 100),
        ("rows around 0, -200 and -1000", random(3, n) - torch.tensor([[0], [200], [1000]])),
        ("equal elements", torch.full((3, n), -7.0)),
        ("one huge element", huge),
    ]


def _assert_softmax(name: str, y: Tensor, x: Tensor, tiles: tuple[int, ...] = ()) -> None:
    # x * log2(e), or a logarithm of the sum, is rounded in proportion to its size
    size = max(1.0, x.abs().max().item()) if x.dtype == torch.float32 else 1.0
    with mistakes.named((name,), y, lambda: mistakes.softmaxes(x, tiles)):
        assert_matches(name, y, softmax, x, condition=size)


def _maximum_and_sum(x: Tensor) -> tuple[Tensor, Tensor]:
    m = x.amax(-1, keepdim=True)
    return m, torch.exp(x - m).sum(-1, keepdim=True)


def _nothing(like: Tensor) -> tuple[Tensor, Tensor]:
    return torch.full_like(like[:, :1], float("-inf")), torch.zeros_like(like[:, :1])


@checker("nb01-1")
def three_passes(safe_softmax: Callable) -> str:
    for name, x in _rows(17):
        with case(name):
            _assert_softmax("y", unchanged(safe_softmax, x), x)
    used = _calls(safe_softmax, random(2, 8))
    assert not used, f"right, but by PyTorch's own {used[0]}: write the three passes yourself"
    return "no overflow, whatever the rows"


@checker("nb01-2")
def running(step: Callable) -> str:
    x = random(3, 24)
    pair = unchanged(step, *_nothing(x), x[:, :8])
    assert isinstance(pair, (tuple, list)) and len(pair) == 2, "expected a pair: the new m and l"
    with case("the first block, from m = -inf and l = 0"):
        assert_matches("m l", pair, _maximum_and_sum, x[:, :8])
    for name, row in (*_rows(24), ("rising rows", x.sort(-1).values * 5)):
        pair, seen = _nothing(row), 0
        for block in row.split([8, 8, 5, 3], dim=1):
            pair, seen = unchanged(step, *pair, block), seen + block.shape[1]
            with case(f"{name}, {seen} columns seen"):
                assert_matches("m l", pair, _maximum_and_sum, row[:, :seen])
    return "m and l are those of the columns seen so far, also when the maximum rises"


@checker("nb01-3")
def in_blocks(blocked_softmax: Callable) -> str:
    for n, BLOCK in ((16, 16), (16, 4), (17, 4), (1, 8), (63, 16)):
        for name, x in _rows(n):
            with nan_memory():
                y = unchanged(blocked_softmax, x, BLOCK)
            with case(f"{name}, n={n}, BLOCK={BLOCK}"):
                _assert_softmax("y", y, x, (BLOCK,))
    with case("float64"):
        _assert_softmax("y", blocked_softmax(random(3, 16).double(), 4), random(3, 16).double())
    x = random(2, 64)
    with Columns(x, 8) as taken:
        blocked_softmax(x, 8)
    assert taken.widest <= 8, (
        f"{taken.widest} columns of x were taken at once; with BLOCK=8 it may be 8"
    )
    assert taken.passes <= 2, (
        f"x was read in {taken.passes} passes, and two are enough: step finds m and l in one"
    )
    return "one block or many, and a shorter last one"


def _calls(function: Callable, *arguments: object) -> list[str]:
    """The softmaxes of PyTorch that ``function(*arguments)`` calls."""
    calls: list[str] = []

    class Watch(TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            if "softmax" in func.__name__:
                calls.append(func.__name__)
            return func(*args, **(kwargs or {}))

    with Watch():
        function(*arguments)
    return calls


@checker("nb01-4")
def merged(merge: Callable) -> str:
    for kind, x in _rows(24):
        parts = [_maximum_and_sum(block) for block in x.split(6, dim=1)]
        nothing = _nothing(x)

        def compare(name: str, first: Any, second: Any, seen: Tensor, kind: str = kind) -> Any:
            pair = unchanged(merge, *first, *second)
            with case(f"{kind}, {name}"):
                assert_matches("m l", pair, _maximum_and_sum, seen)
            return pair

        compare("columns 0-5, then 6-11", parts[0], parts[1], x[:, :12])
        compare("columns 6-11, then 0-5", parts[1], parts[0], x[:, :12])
        compare("the first part has seen nothing", nothing, parts[0], x[:, :6])
        compare("the second part has seen nothing", parts[0], nothing, x[:, :6])
        for order in ((0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)):
            pair = nothing
            for i in order[:-1]:
                pair = merge(*pair, *parts[i])
            compare(f"order {order}", pair, parts[order[-1]], x)
        halves = merge(*parts[0], *parts[3]), merge(*parts[1], *parts[2])
        compare("as a tree", *halves, x)
    return "three orders and a tree give the same m and l"


@checker("nb01-5")
def kernel(softmax_kernel: Kernel) -> str:
    for n, BLOCK, hint in (
        (64, 16, ""),
        (63, 16, "; n=64 is right, so what do masked places hold?"),
        (1, 16, ""),
        (40, 32, ""),
    ):
        for name, values in _rows(n):
            _run(softmax_kernel, f"{name}, n={n}, BLOCK={BLOCK}{hint}", values, (n, 1), BLOCK)
    values, dense = random(3, 20) * 10 - 50, "contiguous rows are right"
    _run(softmax_kernel, f"a transposed view; {dense}", values, (1, 3), 16)
    _run(softmax_kernel, f"every second column; {dense}", values, (50, 2), 16)
    # many terms so small that a sum kept in fp16 loses each of them
    long = torch.full((1, 4096), math.log(0.9 / 16))
    long[:, :2048] = 0
    _run(softmax_kernel, "fp16, 4096 columns", long.half(), (4096, 1), 16)
    shown = "negative, huge, ragged and strided rows, and nothing outside y was written"
    return f"{shown}, or outside x read" if prepare().interpreted else shown


def _run(
    softmax_kernel: Kernel, name: str, values: Tensor, strides: tuple[int, int], BLOCK: int
) -> None:
    rows, n = values.shape
    x, y = surrounded(values, strides), Guarded(rows, n, dtype=values.dtype)
    with case(name):
        with like_a_gpu(x=x, y=(y, STORE_ADVICE)) as traffic:
            softmax_kernel[(rows,)](x, y.tensor, *strides, n, BLOCK=BLOCK)
        y.check("y")
        _assert_softmax("y", y.tensor, x, (BLOCK,))
        assert traffic.widest["x"] <= BLOCK, (
            f"a tl.load took {traffic.widest['x']} columns of x; BLOCK, {BLOCK}, is the most"
        )
        # a clamped address instead of a mask reads the last element again
        passes = traffic.loaded["x"] // (rows * BLOCK * triton.cdiv(n, BLOCK))
        assert passes <= 2, (
            f"each element of x was read {passes} times, and two are enough: the first loop "
            "finds m and l together"
        )


def _gradient(y: Tensor, dy: Tensor) -> Tensor:
    """By autograd, through the logarithm: softmax(log y) is y."""
    x = y.detach().log().requires_grad_()
    return torch.autograd.grad((softmax(x) * dy).sum(), x)[0]


@checker("nb01-6")
def backward(softmax_backward: Callable) -> str:
    for rows, n in ((3, 17), (6, 6), (1, 5)):
        y = torch.softmax(random(rows, n), dim=-1)
        dy = random(rows, n, seed=1)
        got = unchanged(softmax_backward, y, dy)
        made = partial(_gradients, y, dy)
        with case(f"{rows} row{'s' * (rows > 1)} of {n}"), mistakes.named(("dx",), got, made):
            assert_matches("dx", got, _gradient, y, dy)
    y = torch.softmax(random(4, 9, seed=2), dim=-1)
    got = softmax_backward(y, torch.ones(1, 1).expand(4, 9))
    assert got.abs().max() < 1e-6, "the gradient of sum(y) = 1 must be 0: is D missing?"
    used = _calls(softmax_backward, y, y.clone())
    assert not used, f"right, but by PyTorch's own {used[0]}: write the equation yourself"
    y = torch.softmax(random(1, 512), dim=-1)
    alive = peak_bytes(lambda: softmax_backward(y, y), y)
    assert alive < y.numel() ** 2, (
        f"{alive} bytes were alive at once for one row of {y.numel()}: was the whole of J made?"
    )
    return "the same gradient as autograd, without any n x n matrix"


def _gradients(y: Tensor, dy: Tensor) -> dict[str, tuple[Tensor, ...]]:
    y, dy = y.double(), dy.double()
    D = (y * dy).sum(-1, keepdim=True)
    return {
        "": (y * (dy - D),),
        "without D: each row of dx should sum to 0": (y * dy,),
        "if D is summed over the rows, dim=0": (y * (dy - (y * dy).sum(0)),),
        "if only the diagonal of J counts: y (1 - y) dy": (y * (1 - y) * dy,),
        "with y * dy - D instead of y * (dy - D)": (y * dy - D,),
        "if D is a sum of dy, not of y * dy": (y * (dy - dy.sum(-1, keepdim=True)),),
        "with the sign turned round": (y * (D - dy),),
    }


@checker("nb01-7")
def stopwatch(time_ms: Callable) -> str:
    for warm_up, passes in ((3, 5), (1, 4)):
        clock = TrickyClock()
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
        assert clock.synchronizations < passes, (
            f"right, but the program waited {clock.synchronizations} times for {passes} passes: "
            "wait once, at the end, so that the GPU always has the next pass in its queue"
        )
        for i, ms in enumerate(times):
            assert abs(ms - KERNEL_MS) < 1e-9, f"pass {i}: {why(ms)}"
    return "compiling, the cache and the flush are all left out of the times"


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
