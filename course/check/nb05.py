"""The checks of notebook 05, forward. They launch its kernels between NaN and red zones."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import triton
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

from course.check import mistakes, nb05_kernels
from course.check import nb05_backward as nb05_backward  # registers the checks from nb05-5 on
from course.check.close import assert_matches
from course.check.fresh import STORE_ADVICE, Guarded, like_a_gpu, surrounded
from course.check.nb05_inputs import BATCH, HEAD_DIM, condition, describe, inputs, random
from course.check.registry import checker
from course.oracle.attention import attention, log_sum_exp


@checker("nb05-1")
def online_step(step: Any) -> str:
    block, width = 16, 48
    S, V = random(block, width, seed=1), random(width, HEAD_DIM, seed=2)
    S[:8, 16:32] += 5  # the second tile raises the maximum of these rows, the third of none
    S[:, 32:] -= 9
    for what, s in (("", S), (", with scores near 1000,", surrounded(150 * S.cpu()))):
        for tiles in (1, 2, 3):
            m, l, acc = Guarded(block), Guarded(block), Guarded(block, HEAD_DIM)
            got = m.tensor, l.tensor, acc.tensor
            with like_a_gpu():
                sizes = width, tiles, block, 16, HEAD_DIM
                nb05_kernels.follow_kernel[(1,)](step, s, V, *got, *sizes)
            seen = s[:, : 16 * tiles], V[: 16 * tiles]
            for i, name in enumerate(("m", "l", "acc")):
                assert_matches(
                    f"{name} after tile {tiles}{what}",
                    got[i],
                    lambda s, v, i=i: _state(s, v)[i],
                    *seen,
                    condition=condition(s),
                )
    return "m, l and acc keep their promise in base 2, with large scores too"


def _state(s: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    m = s.amax(dim=-1)
    p = torch.exp2(s - m[:, None])
    return m, p.sum(dim=-1), p @ v


@checker("nb05-2")
def forward_kernel(kernel: Any) -> str:
    for seq, BLOCK_Q, BLOCK_K in ((32, 16, 16), (64, 16, 32), (50, 32, 16), (1, 16, 16)):
        Q, K, V = inputs(seq)
        _judge_forward(kernel, Q, K, V, BLOCK_Q, BLOCK_K, f"for seq = {seq}")
    Q, K, V = inputs(50)
    Q[..., 0], K[..., 0] = 14, -14
    _judge_forward(kernel, Q, K, V, 16, 16, "for seq = 50 and scores near -50")
    return "O and L are right for lengths that fit and lengths that do not"


def _judge_forward(
    kernel: Any, Q: Tensor, K: Tensor, V: Tensor, BLOCK_Q: int, BLOCK_K: int, what: str
) -> None:
    seq = Q.shape[1]
    o, lse = Guarded(BATCH, seq, HEAD_DIM), Guarded(BATCH, seq)
    grid = (triton.cdiv(seq, BLOCK_Q), BATCH)
    sizes = HEAD_DIM, BLOCK_Q, BLOCK_K
    with like_a_gpu(Q=Q, K=K, V=V, O=(o, STORE_ADVICE), L=(lse, STORE_ADVICE)):
        kernel[grid](Q, K, V, o.tensor, lse.tensor, seq, 1 / math.sqrt(HEAD_DIM), *sizes)
    _judge_output(o, lse, Q, K, V, False, what)


def _judge_output(
    o: Guarded, lse: Guarded, Q: Tensor, K: Tensor, V: Tensor, is_causal: bool, what: str
) -> None:
    # first, because what is written beyond one batch element is what is wrong in the next
    o.check(f"O {what}")
    lse.check(f"L {what}")
    L = log_sum_exp(Q, K, is_causal)
    with mistakes.named(("O",), o.tensor, partial(mistakes.outputs, Q, K, V, is_causal)):
        assert_matches(
            f"O {what}",
            o.tensor,
            lambda q, k, v: attention(q, k, v, is_causal),
            *(Q, K, V),
            condition=condition(L),
        )
    assert_matches(f"L {what}", lse.tensor, lambda q, k: log_sum_exp(q, k, is_causal), Q, K)


@checker("nb05-3")
def descriptors(describe: Callable, load_tile: Any, store_tile: Any) -> str:
    seq, block, tiles = 40, 16, 3
    x = random(BATCH, seq, HEAD_DIM, seed=1)
    y, seen = Guarded(BATCH, seq, HEAD_DIM), Guarded(BATCH, tiles * block, HEAD_DIM)
    try:
        described = [describe(t, block) for t in (x, y.tensor)]
    except AssertionError as error:
        if "rank mismatch" not in str(error):
            raise
        raise AssertionError(
            "The block of the descriptor needs one number for each of the 3 dimensions of x."
        ) from None
    for one in described:
        assert isinstance(one, TensorDescriptor), "describe should return a TensorDescriptor"
        assert list(one.shape) == [BATCH, seq, HEAD_DIM] and list(one.block_shape) == [
            1,
            block,
            HEAD_DIM,
        ], (
            f"The block of the descriptor should be {[1, block, HEAD_DIM]} of a tensor "
            f"{[BATCH, seq, HEAD_DIM]}; it is {list(one.block_shape)} of {list(one.shape)}."
        )
    nb05_kernels.copy(load_tile, store_tile, described, seen.tensor, block)
    padded = torch.nn.functional.pad(x, (0, 0, 0, tiles * block - seq))
    assert_matches("the tiles loaded, one after the other,", seen.tensor, torch.clone, padded)
    assert_matches("what was stored", y.tensor, lambda x: 2 * x, x)
    y.check("the tensor stored to")
    return "tiles end where their batch element ends, reading and writing"


@checker("nb05-4")
def causal_kernel(kernel: Any) -> str:
    for seq, BLOCK_Q, BLOCK_K in ((64, 16, 16), (64, 16, 32), (64, 32, 16), (50, 16, 16)):
        Q, K, V = inputs(seq)
        what = f"for seq = {seq}, BLOCK_Q = {BLOCK_Q}, BLOCK_K = {BLOCK_K}"
        programs = triton.cdiv(seq, BLOCK_Q)
        o, lse = Guarded(BATCH, seq, HEAD_DIM), Guarded(BATCH, seq)
        visits = Guarded(BATCH, programs, 2, dtype=torch.float32)
        tensors = [
            describe(t, b)
            for t, b in ((Q, BLOCK_Q), (K, BLOCK_K), (V, BLOCK_K), (o.tensor, BLOCK_Q))
        ]
        with like_a_gpu():
            kernel[(programs, BATCH)](
                *tensors, lse.tensor, visits.tensor, seq, 1 / math.sqrt(HEAD_DIM), BLOCK_Q, BLOCK_K
            )
        _judge_output(o, lse, Q, K, V, True, what)
        counts = visits.tensor[0].int().tolist()
        expected = [_visits(tile * BLOCK_Q, BLOCK_Q, BLOCK_K) for tile in range(programs)]
        assert counts != expected or programs == 1, (
            "Program 0 took the lightest tile, the first one; the last one has the longest walk."
        )
        assert counts == expected[::-1], (
            f"the numbers are right, but {what} the programs visited {counts} full and diagonal "
            f"tiles; {expected[::-1]} are needed."
        )
    return "right, heaviest tile first, no tile beyond the diagonal, no comparison before it"


def _visits(q_start: int, BLOCK_Q: int, BLOCK_K: int) -> list[int]:
    full = (q_start + 1) // BLOCK_K
    return [full, triton.cdiv(q_start + BLOCK_Q, BLOCK_K) - full]
