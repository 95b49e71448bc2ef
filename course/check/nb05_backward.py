"""The checks of notebook 05's backward pass: D, one tile of P and dS, dK and dV, autograd."""

import math
from functools import partial
from typing import Any

import torch
import triton
from torch import Tensor

from course.check import mistakes, nb05_kernels
from course.check.close import assert_matches
from course.check.fresh import Guarded, like_a_gpu, surrounded
from course.check.nb05_inputs import BATCH, HEAD_DIM, condition, describe, inputs, random
from course.check.registry import checker
from course.oracle.attention import attention, attention_gradients, log_sum_exp, scores


@checker("nb05-5")
def delta_kernel(kernel: Any) -> str:
    for seq in (32, 50):
        O, dO = inputs(seq, 2)
        delta = Guarded(BATCH, seq)
        kernel[(triton.cdiv(seq, 16), BATCH)](
            describe(O, 16), describe(dO, 16), delta.tensor, seq, 16
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
    Q, K, V, dO = (random(seq, HEAD_DIM, seed=seed) for seed in range(4))
    L, delta = log_sum_exp(Q, K, True), (attention(Q, K, V, True) * dO).sum(-1)
    scale = 1 / math.sqrt(HEAD_DIM)
    for q_start, k_start, what in ((16, 0, "of a full tile"), (16, 16, "of a diagonal tile")):
        got = [Guarded(block, block).tensor for _ in range(2)]
        with like_a_gpu():
            nb05_kernels.tile_kernel[(1,)](
                gradient, Q, K, V, dO, L, delta, *got, q_start, k_start, scale, block, HEAD_DIM
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
                condition=condition(L),
            )
    huge = 1e4 * K
    L, delta = log_sum_exp(Q, huge, True), (attention(Q, huge, V, True) * dO).sum(-1)
    nb05_kernels.tile_kernel[(1,)](
        gradient, Q, huge, V, dO, L, delta, *got, 16, 16, scale, block, HEAD_DIM
    )
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
        Q, K, V, dO = inputs(seq, 4)
        L = surrounded(log_sum_exp(Q, K, True).cpu())
        delta = surrounded((attention(Q, K, V, True) * dO).sum(-1).cpu())
        got = _dv_dk(kernel, Q, K, V, dO, L, delta)
        with mistakes.named(("dV", "dK"), got, partial(_mistakes, Q, K, V, dO)):
            assert_matches(
                "dV dK",
                got,
                lambda q, k, v, g: attention_gradients(q, k, v, g, True)[:0:-1],
                *(Q, K, V, dO),
                condition=condition(L),
            )
    _judge_first_tile(kernel)
    return "dK and dV agree with PyTorch's autograd, for any length, and no tile is visited in vain"


def _mistakes(Q: Tensor, K: Tensor, V: Tensor, dO: Tensor) -> dict[str, tuple[Tensor, ...]]:
    made = mistakes.gradients(Q, K, V, dO, True)
    return {words: gradients[:0:-1] for words, gradients in made.items()}


def _dv_dk(kernel: Any, *tensors: Tensor) -> tuple[Tensor, Tensor]:
    *matrices, L, delta = tensors
    seq = L.shape[1]
    dk, dv = torch.full((2, BATCH, seq, HEAD_DIM), math.nan, device=L.device)
    described = [describe(t, 16) for t in (*matrices, dk, dv)]
    sizes = seq, 1 / math.sqrt(HEAD_DIM), 16
    with like_a_gpu(L=L, D=delta):
        kernel[(triton.cdiv(seq, 16), BATCH)](*described, L, delta, *sizes)
    return dv, dk


def _judge_first_tile(kernel: Any) -> None:
    """The first tile of queries holds NaN, which spreads to whoever reads it."""
    Q, K, V, dO = inputs(48, 4)
    L, delta = log_sum_exp(Q, K, True), (attention(Q, K, V, True) * dO).sum(-1)
    Q[:, :16] = dO[:, :16] = math.nan
    later = torch.stack(_dv_dk(kernel, Q, K, V, dO, L, delta))[:, :, 16:]
    assert not later.isnan().any(), (
        "the numbers are right, but the first 16 queries were read for keys 16 to 47, and none of "
        "them sees one of these. Start the walk at the first tile of queries that does."
    )


@checker("nb05-8")
def autograd_function(function: Any) -> str:
    Q, K, V, dO = (t.contiguous() for t in inputs(40, 4))
    leaves = [t.clone().requires_grad_() for t in (Q, K, V)]
    saved: list[tuple[int, ...]] = []

    def note(t: Tensor) -> Tensor:
        saved.append(tuple(t.shape))
        return t

    with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
        O = function.apply(*leaves)
    size = condition(log_sum_exp(Q, K, True))
    assert_matches(
        "O", O.detach(), lambda q, k, v: attention(q, k, v, True), Q, K, V, condition=size
    )
    expected = [(BATCH, 40, HEAD_DIM)] * 4 + [(BATCH, 40)]
    assert sorted(saved) == sorted(expected), (
        f"saved for the backward: tensors of shapes {saved}; Q, K, V, O and L are enough, "
        "through ctx.save_for_backward."
    )
    # O.sum().backward() hands over a gradient whose elements are one number in memory, stride 0
    for loss, gradient in (((O * dO).sum(), dO), (O.sum(), torch.ones_like(dO))):
        got = torch.autograd.grad(loss, leaves, retain_graph=True)
        mistakes.assert_gradients(got, Q, K, V, gradient, True, condition=size)
    return "gradients agree with PyTorch's autograd; saved: Q, K, V, O, L and nothing else"
