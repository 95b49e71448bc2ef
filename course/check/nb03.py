"""Checks of notebook 03: the rungs, read anew from their files, and the counts beside them."""

import contextlib
from collections.abc import Callable

import torch
from torch import Tensor

from course.check.counted import assert_counted
from course.check.fresh import surrounded
from course.check.registry import checker
from course.check.rungs import Rung, assert_writes_only_its_output
from course.device import prepare


def _random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def _all_inputs(name: str) -> None:
    """Widths without a mask first; then that a rung writes only its output, before it can crash."""
    device = prepare().device
    with contextlib.closing(Rung(name)) as rung:
        for seq_q, seq_k, d in ((1, 1, 16), (4, 8, 32), (7, 3, 16)):
            q, k, v = (
                surrounded(_random(n, d, seed=s)) for s, n in enumerate((seq_q, seq_k, seq_k))
            )
            rung.judge(q, k, v, "")
        q, k, v = (surrounded(_random(3, 40, seed=s)) for s in range(3))
        assert_writes_only_its_output(name, q, k, v, what="seq_q=3, seq_k=3, d=40")
        q, k, v = (surrounded(_random(n, 40, seed=s)) for s, n in enumerate((3, 11, 11)))
        rung.judge(q, k, v, "")
        far = torch.ones(5, 16)
        q, k, v = (surrounded(t) for t in (far, -30 * far + _random(5, 16), _random(5, 16, seed=1)))
        rung.judge(q, k, v, ", scores around -120")
        q, k, v = (surrounded(_random(6, 24, seed=s), strides=(3, 20)) for s in range(3))
        rung.judge(q, k, v, ", strided")
        q, k, v = (_random(6, 16, seed=s, dtype=torch.float16).to(device) for s in range(3))
        rung.judge(q, k, v, ", float16")


@checker("nb03-1")
def basic() -> str:
    _all_inputs("basic")
    return "any length, causal or not, strided, float16; and no matrix anywhere"


@checker("nb03-2")
def vectorized() -> str:
    _all_inputs("vectorized")
    return "any length that fits, causal or not, strided, float16; without a single correction"


@checker("nb03-3")
def reach(longest: Callable) -> str:
    cases = {(64, 32768): 512, (16, 32768): 2048, (80, 32768): 256, (1, 1024): 64, (200, 4096): 16}
    for (head_dim, max_tile), expected in cases.items():
        got = longest(head_dim, max_tile)
        assert got == expected, (
            f"longest({head_dim}, {max_tile}) is {got}; a tile of {expected} keys has "
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
        assert_counted(f"naive_bytes{of}", naive_bytes(N, d, size), naive, size)
        assert_counted(f"per_query_bytes{of}", per_query_bytes(N, d, size), program, size)
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
        got = block_bytes(N, d, BLOCK_Q, size)
        assert_counted(f"block_bytes({N}, {d}, {BLOCK_Q}, {size})", got, parts, size)
    for balance, size, expected in ((206, 2, 256), (14, 4, 32), (16, 4, 32), (0.5, 4, 1)):
        got = queries_needed(balance, size)
        assert got == expected, (
            f"queries_needed({balance}, {size}) is {got}, expected {expected}: it gives "
            f"{2 * expected / size:g} flops for each byte, half of it {expected / size:g}"
        )
    return "twice the queries in a block, half the bytes"
