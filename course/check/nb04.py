"""The checks of notebook 04, FlashAttention in PyTorch. Everything runs on the CPU."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from course.check import mistakes
from course.check.close import assert_matches
from course.check.fresh import random
from course.check.registry import checker
from course.oracle.attention import attention, attention_gradients, log_sum_exp, scores


def _condition(L: Tensor) -> float:
    """Rounding of scores and of L comes back through the exponential, times their size."""
    return max(1.0, L.abs().max().item())


@checker("nb04-1")
def online_step(step: Callable) -> str:
    V = random(24, 8, seed=1)
    tiles = random(5, 24, seed=2).split(8, dim=1)
    # the second tile raises the maximum of rows 0 to 2 only, the third of no row
    raised = torch.tensor([4.0, 5, 6, -9, -9])[:, None]
    S = torch.cat([tiles[0], tiles[1] + raised, tiles[2] - 9], dim=1)
    _follow(step, S, V, 8, "")
    _follow(step, 150 * S, V, 8, ", with scores near 1000,")
    return "m, l and acc keep their promise after each tile, with large scores too"


def _follow(step: Callable, S: Tensor, V: Tensor, width: int, what: str) -> None:
    m = torch.full((S.shape[0], 1), -math.inf)
    state = m, torch.zeros_like(m), torch.zeros(S.shape[0], V.shape[1])
    for count, start in enumerate(range(0, S.shape[1], width), 1):
        end = start + width
        state = step(*state, S[:, start:end], V[start:end])
        assert isinstance(state, tuple) and len(state) == 3, "return the new m, l, acc"
        seen = S[:, :end], V[:end]
        for i, name in enumerate(("m", "l", "acc")):
            assert_matches(
                f"{name} after tile {count}{what}",
                state[i],
                lambda S, V, i=i: _state(S, V)[i],
                *seen,
                condition=_condition(S),
            )


def _state(S: Tensor, V: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    m = S.amax(dim=-1, keepdim=True)
    P = torch.exp(S - m)
    return m, P.sum(dim=-1, keepdim=True), P @ V


@checker("nb04-2", calls={"nb04-1": ["online_step"]})
def row_tile(rows: Callable) -> str:
    Q, K, V = random(16, 32, seed=1), random(96, 32, seed=2), random(96, 32, seed=3)
    for BLOCK_K in (96, 32, 16):
        _judge_row(rows(Q, K, V, BLOCK_K), Q, K, V, f"with BLOCK_K = {BLOCK_K}")
    _judge_row(rows(Q, 20 * K, V, 32), Q, 20 * K, V, "with large scores")
    return "O and L are right for every BLOCK_K"


def _judge_row(
    got: object, Q: Tensor, K: Tensor, V: Tensor, what: str, causal_from: int | None = None
) -> None:
    """``causal_from``: Q starts at 0 of the sequence, and ``got`` holds its rows from there on."""
    assert isinstance(got, tuple) and len(got) == 2, "return O and L"
    causal, start = causal_from is not None, causal_from or 0

    def made() -> dict[str, tuple[Tensor, ...]]:
        every = mistakes.outputs(Q, K, V, causal)
        return {words: (O[start:],) for words, (O,) in every.items()}

    with mistakes.named(("O",), got[0], made):
        assert_matches(
            f"O {what}",
            got[0],
            lambda q, k, v: attention(q, k, v, causal)[start:],
            Q,
            K,
            V,
            condition=_condition(log_sum_exp(Q, K, causal)),
        )
    assert_matches(f"L {what}", got[1], lambda q, k: log_sum_exp(q, k, causal)[start:], Q, K)


@checker("nb04-3")
def tile_ranges(ranges: Callable) -> str:
    cases = [
        (q_start, BLOCK_Q, BLOCK_K, seq_k)
        for BLOCK_Q, BLOCK_K in ((64, 64), (32, 64), (64, 32), (16, 128))
        for seq_k in (256, 128)
        for q_start in range(0, 256, BLOCK_Q)
    ]
    # one key more or less shows only where a tile of queries starts just before a tile of keys
    cases.append((15, 16, 16, 256))
    for q_start, BLOCK_Q, BLOCK_K, seq_k in cases:
        first_keys = range(0, seq_k, BLOCK_K)
        full = sum(k + BLOCK_K - 1 <= q_start for k in first_keys)
        end = sum(k <= q_start + BLOCK_Q - 1 for k in first_keys)
        got = ranges(q_start, BLOCK_Q, BLOCK_K, seq_k)
        assert tuple(got) == (full, end), (
            f"queries {q_start} to {q_start + BLOCK_Q - 1}, {len(first_keys)} tiles of {BLOCK_K} "
            f"keys: full, end should be {full}, {end}; got {got[0]}, {got[1]}."
        )
    return "full, diagonal and skipped tiles are told apart, whatever the shape of a tile"


@checker("nb04-4", calls={"nb04-1": ["online_step"], "nb04-3": ["tile_ranges"]})
def causal_row_tile(rows: Callable) -> str:
    Q, K, V = (random(64, 16, seed=seed) for seed in (1, 2, 3))
    for BLOCK_Q, BLOCK_K in ((16, 16), (16, 32), (32, 16)):
        for q_start in range(0, 64, BLOCK_Q):
            stop = q_start + BLOCK_Q
            what = f"of queries {q_start} to {stop - 1} with BLOCK_K = {BLOCK_K}"
            end = math.ceil(stop / BLOCK_K) * BLOCK_K
            # the tiles to be skipped hold NaN, which spreads to whatever reads them
            unseen = torch.arange(64)[:, None] >= end
            poisoned = (t.masked_fill(unseen, torch.nan) for t in (K, V))
            got = rows(Q[q_start:stop], *poisoned, q_start, BLOCK_K)
            assert end == 64 or not got[0].isnan().all(), (
                f"O {what} is NaN: keys were read that no query of the tile can see."
            )
            _judge_row(got, Q[:stop], K[:stop], V[:stop], what, q_start)
    return "causal O and L are right, and keys behind the diagonal tiles are never read"


@checker("nb04-5")
def probabilities(recompute: Callable) -> str:
    Q, K = random(32, 16, seed=1), random(32, 16, seed=2)
    Q[:16] += 2  # rows must not look like columns
    cases = {
        "P": (K, slice(None)),
        "P, for a tile of the keys,": (K, slice(8, 24)),
        "P, with large scores,": (100 * K, slice(8, 24)),
    }
    for name, (keys, part) in cases.items():
        L = log_sum_exp(Q, keys)
        assert_matches(
            name,
            recompute(Q, keys[part], L),
            lambda q, k, part=part: torch.softmax(scores(q, k), dim=-1)[:, part],
            Q,
            keys,
            condition=_condition(L),
        )
    return "any tile of P comes back from L alone"


@checker("nb04-6")
def score_gradient(delta: Callable | None, gradient: Callable) -> str:
    """``delta`` is None where nb04-7, which needs only ``gradient``, asks on its behalf."""
    S, V, dO = random(16, 24, seed=1), random(24, 8, seed=2), random(16, 8, seed=3)
    P = torch.softmax(S, dim=-1)
    D = delta(P @ V, dO) if delta else (P @ V * dO).sum(-1)
    assert_matches("D", D, lambda O, g: torch.einsum("qd,qd->q", O, g), P @ V, dO)
    for name, part in (("dS", slice(None)), ("dS, for a tile of the keys,", slice(8, 16))):
        assert_matches(
            name,
            gradient(P[:, part], V[part], dO, D),
            lambda s, v, g, part=part: _through_softmax(s, v, g)[:, part],
            S,
            V,
            dO,
            condition=_condition(S),
        )
    return "dS agrees with PyTorch's autograd, for the whole row and for a tile of it"


def _through_softmax(S: Tensor, V: Tensor, dO: Tensor) -> Tensor:
    S = S.detach().requires_grad_()
    return torch.autograd.grad((torch.softmax(S, dim=-1) @ V * dO).sum(), S)[0]


@checker("nb04-7", calls={"nb04-5": ["probabilities"], "nb04-6": ["delta", "score_gradient"]})
def backward_tile(tile: Callable) -> str:
    _judge_tiles(tile, False, "")
    _judge_tiles(tile, True, " under the causal mask")
    Q, K, V, dO = (random(8, 4, seed=seed) for seed in range(4))
    K = 1e4 * K
    L, D = log_sum_exp(Q, K, True), (attention(Q, K, V, True) * dO).sum(-1)
    parts = tile(Q, K, V, dO, L, D, torch.ones(8, 8, dtype=torch.bool).triu(1))
    assert all(part.isfinite().all() for part in parts), (
        "a hidden pair with a huge score gives inf or NaN. inf * 0 is NaN, so hide with "
        "masked_fill or torch.where, not with a product."
    )
    return "dQ, dK, dV of the tiles add up to what autograd finds, masked or not"


def _judge_tiles(tile: Callable, is_causal: bool, what: str) -> None:
    seq, block, rows = 48, 16, slice(32, 48)
    Q, K, V, dO = (random(seq, 8, seed=seed) for seed in range(4))
    L, D = log_sum_exp(Q, K, is_causal), (attention(Q, K, V, is_causal) * dO).sum(-1)
    hidden = torch.ones(seq, seq, dtype=torch.bool).triu(1) & is_causal
    parts = []
    for start in range(0, seq, block):
        keys = slice(start, start + block)
        part = tile(Q[rows], K[keys], V[keys], dO[rows], L[rows], D[rows], hidden[rows, keys])
        assert isinstance(part, tuple) and len(part) == 3, "return dQ, dK, dV"
        parts.append(part)
    dQ, dK, dV = zip(*parts, strict=True)
    got = torch.stack(dQ).sum(0), torch.cat(dK), torch.cat(dV)
    # only this tile of queries matters to the sum, so autograd's dK and dV are its parts
    alone = torch.zeros_like(dO)
    alone[rows] = dO[rows]

    def exact(q: Tensor, k: Tensor, v: Tensor, g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        dQ, dK, dV = attention_gradients(q, k, v, g, is_causal)
        return dQ[rows], dK, dV

    # dV first: dQ and dK need everything that dV needs, and more
    for i, name in ((2, "dV"), (1, "dK"), (0, "dQ, summed over all key tiles,")):
        assert_matches(
            f"{name}{what}",
            got[i],
            lambda q, k, v, g, i=i: exact(q, k, v, g)[i],
            Q,
            K,
            V,
            alone,
            condition=_condition(L),
        )


class _Largest(TorchDispatchMode):
    """The largest tensor that any operator returned, and how many matrix products there were."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = self.products = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # skipping imports torch's compiler: a second of CPU time for nothing

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.products += func.overloadpacket.__name__ in ("mm", "bmm", "addmm", "baddbmm")
        if isinstance(result, Tensor):
            self.elements = max(self.elements, result.numel())
        return result


@checker("nb04-8", calls={"nb04-6": ["delta", "score_gradient"], "nb04-7": ["backward_tile"]})
def tiled_backward(gradients: Callable) -> str:
    seq, block = 96, 16
    Q, K, V, dO = (random(seq, 8, seed=seed) for seed in range(4))
    O, L = attention(Q, K, V, True), log_sum_exp(Q, K, True)
    with _Largest() as largest:
        got = gradients(Q, K, V, O, L, dO, block)
    mistakes.assert_gradients(got, Q, K, V, dO, True, _condition(L))
    assert largest.elements < seq * seq, (
        f"the numbers are right, but a tensor of {seq} x {seq} elements was built on the way."
    )
    tiles = seq // block * (seq // block + 1) // 2
    assert largest.products <= 5 * tiles, (
        f"the numbers are right, but it took {largest.products} matrix products; {tiles} tiles "
        "with 5 each are enough: tiles above the diagonal can be skipped."
    )
    return f"gradients agree with autograd; {tiles} tiles visited, and no {seq} x {seq} matrix"
