"""The checks of notebook 05. They launch its kernels themselves, between NaN and red zones."""

import math
from collections.abc import Callable
from typing import Any

import torch
import triton
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

from course.check import nb05_kernels
from course.check.close import assert_matches
from course.check.fresh import Guarded, surrounded
from course.check.registry import checker
from course.oracle.attention import attention, attention_gradients, log_sum_exp, scores

_BATCH, _D = 2, 16


def _random(*shape: int, seed: int) -> Tensor:
    return surrounded(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)))


def _inputs(seq: int, count: int = 3) -> list[Tensor]:
    return [_random(_BATCH, seq, _D, seed=seed) for seed in range(count)]


def _condition(L: Tensor) -> float:
    """Rounding of scores and of L comes back through the exponential, times their size."""
    return max(1.0, L.abs().max().item())


def _describe(x: Tensor, BLOCK: int) -> TensorDescriptor:
    return TensorDescriptor.from_tensor(x, [1, BLOCK, x.shape[-1]])


@checker("nb05-1")
def online_step(step: Any) -> str:
    block, width = 16, 48
    S, V = _random(block, width, seed=1), _random(width, _D, seed=2)
    S[:8, 16:32] += 5  # the second tile raises the maximum of these rows, the third of none
    S[:, 32:] -= 9
    for what, s in (("", S), (", with scores near 1000,", surrounded(150 * S.cpu()))):
        for tiles in (1, 2, 3):
            m, l, acc = Guarded(block), Guarded(block), Guarded(block, _D)
            got = m.tensor, l.tensor, acc.tensor
            nb05_kernels.follow_kernel[(1,)](step, s, V, *got, width, tiles, block, 16, _D)
            seen = s[:, : 16 * tiles], V[: 16 * tiles]
            for i, name in enumerate(("m", "l", "acc")):
                assert_matches(
                    f"{name} after tile {tiles}{what}",
                    got[i],
                    lambda s, v, i=i: _state(s, v)[i],
                    *seen,
                    condition=_condition(s),
                )
    return "m, l and acc keep their promise in base 2, with large scores too"


def _state(s: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    m = s.amax(dim=-1)
    p = torch.exp2(s - m[:, None])
    return m, p.sum(dim=-1), p @ v


@checker("nb05-2")
def forward_kernel(kernel: Any) -> str:
    for seq, BLOCK_Q, BLOCK_K in ((32, 16, 16), (64, 16, 32), (50, 32, 16), (1, 16, 16)):
        Q, K, V = _inputs(seq)
        _judge_forward(kernel, Q, K, V, BLOCK_Q, BLOCK_K, f"for seq = {seq}")
    Q, K, V = _inputs(50)
    Q[..., 0], K[..., 0] = 14, -14
    _judge_forward(kernel, Q, K, V, 16, 16, "for seq = 50 and scores near -50")
    return "O and L are right for lengths that fit and lengths that do not"


def _judge_forward(
    kernel: Any, Q: Tensor, K: Tensor, V: Tensor, BLOCK_Q: int, BLOCK_K: int, what: str
) -> None:
    seq = Q.shape[1]
    o, lse = Guarded(_BATCH, seq, _D), Guarded(_BATCH, seq)
    grid = (triton.cdiv(seq, BLOCK_Q), _BATCH)
    kernel[grid](Q, K, V, o.tensor, lse.tensor, seq, 1 / math.sqrt(_D), _D, BLOCK_Q, BLOCK_K)
    _judge_output(o, lse, Q, K, V, False, what)


def _judge_output(
    o: Guarded, lse: Guarded, Q: Tensor, K: Tensor, V: Tensor, is_causal: bool, what: str
) -> None:
    # first, because what is written beyond one batch element is what is wrong in the next
    o.check(f"O {what}")
    lse.check(f"L {what}")
    L = log_sum_exp(Q, K, is_causal)
    assert_matches(
        f"O {what}",
        o.tensor,
        lambda q, k, v: attention(q, k, v, is_causal),
        Q,
        K,
        V,
        condition=_condition(L),
    )
    assert_matches(f"L {what}", lse.tensor, lambda q, k: log_sum_exp(q, k, is_causal), Q, K)


@checker("nb05-3")
def descriptors(describe: Callable, load_tile: Any, store_tile: Any) -> str:
    seq, block, tiles = 40, 16, 3
    x = _random(_BATCH, seq, _D, seed=1)
    y, seen = Guarded(_BATCH, seq, _D), Guarded(_BATCH, tiles * block, _D)
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
        assert list(one.shape) == [_BATCH, seq, _D] and list(one.block_shape) == [1, block, _D], (
            f"The block of the descriptor should be {[1, block, _D]} of a tensor "
            f"{[_BATCH, seq, _D]}; it is {list(one.block_shape)} of {list(one.shape)}."
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
        Q, K, V = _inputs(seq)
        what = f"for seq = {seq}, BLOCK_Q = {BLOCK_Q}, BLOCK_K = {BLOCK_K}"
        programs = triton.cdiv(seq, BLOCK_Q)
        o, lse = Guarded(_BATCH, seq, _D), Guarded(_BATCH, seq)
        visits = Guarded(_BATCH, programs, 2, dtype=torch.float32)
        tensors = [
            _describe(t, b)
            for t, b in ((Q, BLOCK_Q), (K, BLOCK_K), (V, BLOCK_K), (o.tensor, BLOCK_Q))
        ]
        kernel[(programs, _BATCH)](
            *tensors, lse.tensor, visits.tensor, seq, 1 / math.sqrt(_D), BLOCK_Q, BLOCK_K
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


@checker("nb05-5")
def delta_kernel(kernel: Any) -> str:
    for seq in (32, 50):
        O, dO = _inputs(seq, 2)
        delta = Guarded(_BATCH, seq)
        kernel[(triton.cdiv(seq, 16), _BATCH)](
            _describe(O, 16), _describe(dO, 16), delta.tensor, seq, 16
        )
        delta.check(f"delta for seq = {seq}")
        assert_matches(
            f"D for seq = {seq}",
            delta.tensor,
            lambda o, g: torch.einsum("bnd,bnd->bn", o, g),
            O,
            dO,
        )
    return "one number a row, for any length"


@checker("nb05-6")
def gradient_tile(gradient: Any) -> str:
    block, seq = 16, 32
    Q, K, V, dO = (_random(seq, _D, seed=seed) for seed in range(4))
    L, D = log_sum_exp(Q, K, True), (attention(Q, K, V, True) * dO).sum(-1)
    scale = 1 / math.sqrt(_D)
    for q_start, k_start, what in ((16, 0, "of a full tile"), (16, 16, "of a diagonal tile")):
        got = [Guarded(block, block).tensor for _ in range(2)]
        nb05_kernels.tile_kernel[(1,)](
            gradient, Q, K, V, dO, L, D, *got, q_start, k_start, scale, block, _D
        )
        tile = slice(q_start, q_start + block), slice(k_start, k_start + block)
        for i, name in enumerate(("p", "ds")):
            assert_matches(
                f"{name} {what}",
                got[i],
                lambda q, k, v, g, i=i, tile=tile: _p_and_ds(q, k, v, g)[i][tile],
                Q,
                K,
                V,
                dO,
                condition=_condition(L),
            )
    huge = 1e4 * K
    L, D = log_sum_exp(Q, huge, True), (attention(Q, huge, V, True) * dO).sum(-1)
    nb05_kernels.tile_kernel[(1,)](gradient, Q, huge, V, dO, L, D, *got, 16, 16, scale, block, _D)
    assert all(t.isfinite().all() for t in got), (
        "a hidden pair with a huge score gives inf or NaN. inf * 0 is NaN, so hide with tl.where, "
        "not with a product."
    )
    return "P and dS of full and diagonal tiles agree with PyTorch's autograd"


def _p_and_ds(Q: Tensor, K: Tensor, V: Tensor, dO: Tensor) -> tuple[Tensor, Tensor]:
    S = scores(Q, K, True).detach().requires_grad_()
    P = torch.softmax(S, dim=-1)
    return P.detach(), torch.autograd.grad((P @ V * dO).sum(), S)[0]


@checker("nb05-7")
def dkdv_kernel(kernel: Any) -> str:
    for seq in (48, 40, 1):
        Q, K, V, dO = _inputs(seq, 4)
        L = surrounded(log_sum_exp(Q, K, True).cpu())
        D = surrounded((attention(Q, K, V, True) * dO).sum(-1).cpu())
        assert_matches(
            "dV dK",
            _dv_dk(kernel, Q, K, V, dO, L, D),
            lambda q, k, v, g: attention_gradients(q, k, v, g, True)[:0:-1],
            Q,
            K,
            V,
            dO,
            condition=_condition(L),
        )
    _judge_first_tile(kernel)
    return "dK and dV agree with PyTorch's autograd, for any length, and no tile is visited in vain"


def _dv_dk(kernel: Any, *inputs: Tensor) -> tuple[Tensor, Tensor]:
    *matrices, L, D = inputs
    seq = L.shape[1]
    dk, dv = Guarded(_BATCH, seq, _D).tensor, Guarded(_BATCH, seq, _D).tensor
    tensors = [_describe(t, 16) for t in (*matrices, dk, dv)]
    kernel[(triton.cdiv(seq, 16), _BATCH)](*tensors, L, D, seq, 1 / math.sqrt(_D), 16)
    return dv, dk


def _judge_first_tile(kernel: Any) -> None:
    """The first tile of queries holds NaN, which spreads to whoever reads it."""
    Q, K, V, dO = _inputs(48, 4)
    L, D = log_sum_exp(Q, K, True), (attention(Q, K, V, True) * dO).sum(-1)
    Q[:, :16] = dO[:, :16] = math.nan
    later = torch.stack(_dv_dk(kernel, Q, K, V, dO, L, D))[:, :, 16:]
    assert not later.isnan().any(), (
        "the numbers are right, but the first 16 queries were read for keys 16 to 47, and none of "
        "them sees one of these. Start the walk at the first tile of queries that does."
    )


@checker("nb05-8")
def autograd_function(function: Any) -> str:
    Q, K, V, dO = (t.contiguous() for t in _inputs(40, 4))
    leaves = [t.clone().requires_grad_() for t in (Q, K, V)]
    saved: list[tuple[int, ...]] = []

    def note(t: Tensor) -> Tensor:
        saved.append(tuple(t.shape))
        return t

    with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
        O = function.apply(*leaves)
    condition = _condition(log_sum_exp(Q, K, True))
    assert_matches(
        "O", O.detach(), lambda q, k, v: attention(q, k, v, True), Q, K, V, condition=condition
    )
    expected = [(_BATCH, 40, _D)] * 4 + [(_BATCH, 40)]
    assert sorted(saved) == sorted(expected), (
        f"saved for the backward: tensors of shapes {saved}; Q, K, V, O and L are enough, "
        "through ctx.save_for_backward."
    )
    # O.sum().backward() hands over a gradient whose elements are one number in memory, stride 0
    for loss, gradient in (((O * dO).sum(), dO), (O.sum(), torch.ones_like(dO))):
        assert_matches(
            "dV dK dQ",
            torch.autograd.grad(loss, leaves, retain_graph=True)[::-1],
            lambda q, k, v, g: attention_gradients(q, k, v, g, True)[::-1],
            Q,
            K,
            V,
            gradient,
            condition=condition,
        )
    return "gradients agree with PyTorch's autograd; saved: Q, K, V, O, L and nothing else"
