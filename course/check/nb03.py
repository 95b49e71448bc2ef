"""Checks of notebook 03: the rungs, read anew from their files, and the counts beside them.

A rung runs in a process of its own, so that a store without a mask ends that and not the notebook.
"""

import contextlib
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from course.check.case import case
from course.check.close import assert_matches
from course.check.counted import assert_counted
from course.check.fresh import Guarded, surrounded
from course.check.registry import checker
from course.device import prepare
from course.oracle.attention import attention as oracle
from course.subject import Child


def _random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


class _Rung:
    """A rung in a child process, which reads its file as it is now."""

    def __init__(self, name: str) -> None:
        self.name = name
        package = importlib.import_module("attention_ladder")
        self._child = Child(Path(package.__path__[0]).parent)

    def judge(self, q: Tensor, k: Tensor, v: Tensor, what: str) -> None:
        for is_causal in (False, True):
            shape = f"seq_q={len(q)}, seq_k={len(k)}, d={q.shape[1]}"
            inputs = f"{shape}{what}{', causal' if is_causal else ''}"
            reply = self._child.call(f"attention_ladder.{self.name}:attention", q, k, v, is_causal)
            with case(inputs):
                assert_matches("o", reply.output, oracle, q, k, v, is_causal)
        assert reply.kernels, f"{self.name} launched no kernel"
        assert not reply.torch_ops, (
            f"{self.name} let PyTorch compute {reply.torch_ops[0]}; the kernel should do it all"
        )

    def close(self) -> None:
        self._child.close()


class _fenced(TorchFunctionMode):
    """Inside it, the memory that is handed out lies between two red zones."""

    def __init__(self) -> None:
        super().__init__()
        self.outputs: list[Guarded] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is not torch.empty_like:
            return result
        self.outputs.append(Guarded(*result.shape, dtype=result.dtype))
        return self.outputs[-1].tensor


def _all_inputs(name: str) -> None:
    """First what cannot hurt the notebook, then that a rung writes nowhere but into its output."""
    device = prepare().device
    with contextlib.closing(_Rung(name)) as rung:
        for seq_q, seq_k, d in ((1, 1, 16), (4, 8, 32), (7, 3, 16), (3, 11, 40)):
            q, k, v = (
                surrounded(_random(n, d, seed=s)) for s, n in enumerate((seq_q, seq_k, seq_k))
            )
            rung.judge(q, k, v, "")
        far = torch.ones(5, 16)
        q, k, v = (surrounded(t) for t in (far, -30 * far + _random(5, 16), _random(5, 16, seed=1)))
        rung.judge(q, k, v, ", scores around -120")
        q, k, v = (surrounded(_random(6, 24, seed=s), strides=(3, 20)) for s in range(3))
        rung.judge(q, k, v, ", strided")
        q, k, v = (_random(6, 16, seed=s, dtype=torch.float16).to(device) for s in range(3))
        rung.judge(q, k, v, ", float16")
    attention = _reloaded(name)
    q, k, v = (surrounded(_random(3, 40, seed=s)) for s in range(3))
    with _fenced() as fenced:
        attention(q, k, v, False)
    for output in fenced.outputs:
        output.check("o (seq_q=3, seq_k=3, d=40)")


def _reloaded(name: str) -> Callable[..., Tensor]:
    """The rung as its file says now, for the cells that follow."""
    module = importlib.import_module(f"attention_ladder.{name}")
    return importlib.reload(module).attention


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
