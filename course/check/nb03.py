"""Checks of notebook 03: the rungs, read anew from their files, and the counts beside them."""

import contextlib
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from course.check.counted import assert_counted
from course.check.fresh import random, surrounded
from course.check.registry import checker
from course.check.rungs import (
    Rung,
    assert_writes_only_its_output,
    beyond_float16,
    by_heads_in_float32,
    laid_out_apart,
    traffic,
)


def _qkv(seq_q: int, seq_k: int, d: int) -> tuple[Tensor, Tensor, Tensor]:
    return random(seq_q, d), random(seq_k, d, seed=1), random(seq_k, d, seed=2)


def _judge(
    rung: Rung,
    inputs: Iterable[Tensor],
    what: str,
    reference: Callable[..., Tensor] | None = None,
) -> None:
    q, k, v = inputs
    rung.judge(q, k, v, what, reference)


def _all_inputs(name: str) -> None:
    """Widths without a mask first; then that a rung writes only its output, before it can crash."""
    with contextlib.closing(Rung(name)) as rung:
        for lengths in ((1, 1, 16), (4, 8, 32), (7, 3, 16)):
            _judge(rung, map(surrounded, _qkv(*lengths)), "")
        inputs = map(surrounded, _qkv(3, 3, 40))
        assert_writes_only_its_output(name, *inputs, what="seq_q=3, seq_k=3, d=40")
        for lengths in ((3, 11, 40), (2, 70, 72), (1, 400, 16)):
            _judge(rung, map(surrounded, _qkv(*lengths)), "")
        far = torch.ones(5, 16)
        q, k, v = far, -30 * far + random(5, 16), random(5, 16, seed=1)
        asks = "is the maximum subtracted, and does it start at -inf?"
        _judge(rung, map(surrounded, (q, k, v)), f", scores around -120 ({asks})")
        asks = "is every stride used, each of its own tensor?"
        _judge(rung, laid_out_apart(*_qkv(6, 8, 24)), f", strided ({asks})")
        asks = "products up to 96,000: is what is loaded converted before it is multiplied?"
        half = map(surrounded, beyond_float16(*_qkv(5, 9, 256)))
        _judge(rung, half, f", float16 ({asks})", by_heads_in_float32)


@checker("nb03-1")
def basic() -> str:
    _all_inputs("basic")
    q, k, v = map(surrounded, _qkv(4, 8, 24))
    seen = traffic("basic", q, k, v)
    for tensor, values in (("k", k), ("v", v)):
        once, row = len(q) * values.numel(), values.shape[1]
        # BLOCK_D of 24 is 32
        assert seen.widest[tensor] <= 32, (
            f"the numbers are right, but {tensor} was read in blocks of {seen.widest[tensor]}: one "
            f"key at a time is one row, of {row} numbers and their padding"
        )
        assert seen.loaded[tensor] <= once, (
            f"the numbers are right, but each program read {tensor} {seen.loaded[tensor] / once:g} "
            "times. One pass is enough: what has been seen is in m, l and acc"
        )
    counted = "in one pass, " if seen.loaded else ""
    return f"any length, causal or not, strided, float16; {counted}and no matrix anywhere"


@checker("nb03-2")
def vectorized() -> str:
    _all_inputs("vectorized")
    q, k, v = map(surrounded, _qkv(4, 8, 32))
    seen = traffic("vectorized", q, k, v)
    for tensor, widest in seen.widest.items():
        assert tensor == "q" or widest >= 8 * 32, (
            f"the numbers are right, but {tensor} was read in blocks of {widest} numbers. All keys "
            f"at once are one tile, here of 8 x 32 = {8 * 32}: then no maximum is ever corrected"
        )
    counted = "; all keys at once" if seen.loaded else ""
    return f"any length that fits, causal or not, strided, float16{counted}"


@checker("nb03-3")
def reach(longest: Callable) -> str:
    cases = {(64, 32768): 512, (16, 32768): 2048, (80, 32768): 256, (1, 1024): 64, (200, 4096): 16}
    for (head_dim, max_tile), expected in cases.items():
        got = longest(head_dim, max_tile)
        call = f"longest({head_dim}, {max_tile})"
        assert isinstance(got, int), f"{call} is {got!r}; keys are counted in whole numbers (//)"
        assert got == expected, (
            f"{call} is {got}; a tile of {expected} keys has "
            f"{expected} x {max_tile // expected} = {max_tile} numbers, and one key more doubles it"
        )
    return "512 keys at d = 64, and padding counts"


@checker("nb03-4")
def count(naive_bytes: Callable, per_query_bytes: Callable) -> str:
    for N, d, size in ((8, 3, 4), (100, 64, 2), (8192, 64, 4)):
        square, thin = size * N * N, size * N * d
        naive = {
            "scaling q (read and written)": 2 * thin,
            "reading q and k": 2 * thin,
            "writing the scores": square,
            "reading the scores": square,
            "writing the weights": square,
            "reading the weights": square,
            "reading v": thin,
            "writing o": thin,
        }
        program = {
            "reading q": thin,
            "reading all of k, in each program": N * thin,
            "reading all of v, in each program": N * thin,
            "writing o": thin,
        }
        of = f"({N}, {d}, {size})"
        fours = f"An element has size bytes, here {size}: 4 is what size is unless it is given"
        usual = {
            fours: 4 * sum(naive.values()) // size,
            "Nothing is causal here: no pass over the scores for a mask": (
                sum(naive.values()) + 2 * square
            ),
        }
        assert_counted(f"naive_bytes{of}", naive_bytes(N, d, size), naive, size, usual)
        usual = {
            fours: 4 * sum(program.values()) // size,
            f"That is what one program moves, and there are N = {N} of them": (
                sum(program.values()) // N
            ),
            f"Each of the {N} programs reads all of k and v": 4 * thin,
        }
        assert_counted(f"per_query_bytes{of}", per_query_bytes(N, d, size), program, size, usual)
    return "4 N² + 6 N d elements against 2 N² d + 2 N d: without the matrix, but not for free"


@checker("nb03-5")
def blocks(block_bytes: Callable, queries_needed: Callable) -> str:
    for N, d, BLOCK_Q, size in ((8, 3, 1, 4), (64, 16, 16, 2), (8192, 64, 128, 2)):
        thin = size * N * d
        parts = {
            "reading q": thin,
            "reading k, once a program": N // BLOCK_Q * thin,
            "reading v, once a program": N // BLOCK_Q * thin,
            "writing o": thin,
        }
        programs = N // BLOCK_Q
        usual = {
            "Only k and v are shared: q is read and o written whole, BLOCK_Q rows a program": (
                2 * (1 + N) * thin // BLOCK_Q
            ),
            "Missing: reading q and writing o": 2 * programs * thin,
            f"An element has size bytes, here {size}": 4 * sum(parts.values()) // size,
            "That is what one program moves": sum(parts.values()) // programs,
        }
        got = block_bytes(N, d, BLOCK_Q, size)
        assert_counted(f"block_bytes({N}, {d}, {BLOCK_Q}, {size})", got, parts, size, usual)
    cases = ((206, 2, 256), (14, 4, 32), (16, 4, 32), (16.1, 4, 64), (0.5, 4, 1), (0.1, 4, 1))
    for balance, size, expected in cases:
        got = queries_needed(balance, size)
        assert got == expected, (
            f"queries_needed({balance}, {size}) is {got}, expected {expected}: "
            f"2 x {expected} / {size} = {2 * expected / size:g} flops for each byte"
            + (
                f", and with {expected // 2} queries only {expected / size:g}"
                if expected > 1
                else ", and no power of two that counts queries is smaller"
            )
        )
    return "twice the queries in a block, half the bytes"
