"""The checks of nb06-2 and nb06-5: the rungs tiled and multihead, with tiles of every form."""

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from course.check.case import case
from course.check.close import assert_matches
from course.check.fresh import random, surrounded
from course.check.nb06_mistakes import rung_mistake
from course.check.nb06_traffic import arithmetic, products
from course.check.rungs import Rung, assert_writes_only_its_output, by_heads_in_float32, reloaded
from course.device import prepare
from course.interpreter import proves

_OTHER_TILES = ((64, 32), (32, 64), (128, 64), (64, 128))  # queries, keys: in the lists, too


class LadderRung(Rung):
    """A rung that is called with tiles of our choice, or with more arguments than q, k and v."""

    tiles: tuple[int, ...] = ()
    options: tuple[Any, ...] = ()

    def run(self, q: Tensor, k: Tensor, v: Tensor, is_causal: bool, alone: bool = False) -> Tensor:
        """See :meth:`Rung.run`."""
        if not self.tiles and not self.options:
            return super().run(q, k, v, is_causal, alone)
        target, inputs = f"attention_ladder.{self.name}:attention", (q, k, v, is_causal)
        if self.tiles:
            target = "attention_ladder.launch:with_tiles"
            reply = self._subject.call(target, self.name, *inputs, *self.tiles)
        else:
            reply = self._subject.call(target, *inputs, *self.options)
        return self.by_kernels(reply, alone)

    def own_mistake(self, got: Tensor, q: Tensor, k: Tensor, v: Tensor, is_causal: bool) -> str:
        """Those of the upper rungs."""
        if not isinstance(got, Tensor) or got.shape != q.shape:
            return ""
        got, q, k, v = (t.transpose(0, 1) if t.ndim == 3 else t[None] for t in (got, q, k, v))
        return rung_mistake(got, (q, k, v), is_causal)

    @contextlib.contextmanager
    def cut_in(self, BLOCK_Q: int, BLOCK_K: int) -> Iterator[str]:
        """Inside it the rung runs with these tiles; gives them in words."""
        self.tiles = (BLOCK_Q, BLOCK_K)
        try:
            yield f", tiles of {BLOCK_Q} queries and {BLOCK_K} keys"
        finally:
            self.tiles = ()


def judge_tiled() -> str:
    """Judge the rung "tiled".

    Raises:
        AssertionError: in words.
    """
    with contextlib.closing(LadderRung("tiled")) as rung:
        _any_rung(rung)
        # 96 components: more than one tile of features, and the last one started
        q, k, v = (surrounded(random(n, 96, seed=s)) for s, n in enumerate((20, 40, 40)))
        rung.judge(q, k, v, "")
        _other_tiles(rung)
        judge_tiles_visited(rung, torch.float32)
    _fenced("tiled")
    return "any length, strides and tiles, causal or not, and nothing beyond the diagonal is read"


def judge_multihead() -> str:
    """Judge the rung "multihead".

    Raises:
        AssertionError: in words.
    """
    with contextlib.closing(LadderRung("multihead")) as rung:
        _any_rung(rung)
        for dtype in (torch.float16, *_bfloat16()):
            q, k, v = (random(70, 3, 32, seed=s, dtype=dtype) for s in range(3))
            q, k, v = (surrounded(t) for t in (q, k, v))
            rung.judge(q, k, v, f", {str(dtype).removeprefix('torch.')}")
        _sums_in_float32(rung)
        _other_tiles(rung)
        judge_tiles_visited(rung, torch.float32)
    _fenced("multihead")
    if prepare().interpreted:  # only the interpreter counts
        judge_products("multihead", "fp16", "16-bit numbers many times as fast")
        _judge_masks()
    return "every head, 16 bits or 32, any length and tiles, and no key beyond the diagonal is read"


def _bfloat16() -> tuple[torch.dtype, ...]:
    if prepare().interpreted:
        return (torch.bfloat16,) if proves(torch.bfloat16) else ()
    return (torch.bfloat16,) if torch.cuda.get_device_capability() >= (8, 0) else ()


def _any_rung(rung: LadderRung) -> None:
    for seq_q, seq_k, d in ((1, 1, 16), (70, 100, 16), (140, 70, 40)):
        lengths = (seq_q, seq_k, seq_k)
        q, k, v = (surrounded(random(n, d, seed=s)) for s, n in enumerate(lengths))
        rung.judge(q, k, v, "")
    far = torch.ones(70, 16)
    q, k, v = (surrounded(t) for t in (far, -30 * far + random(70, 16), random(70, 16, seed=1)))
    rung.judge(q, k, v, ", scores around -120")
    # (query or key, head, component): heads close together, components far apart, gaps
    layouts = ((50, 1, 2), (3, 61, 123), (49, 1000, 2))
    q, k, v = (
        surrounded(random(20, 2, 24, seed=s), strides=layout) for s, layout in enumerate(layouts)
    )
    rung.judge(q, k, v, f", strides {layouts[0]} of q, {layouts[1]} of k, {layouts[2]} of v")

    if prepare().interpreted:
        # what a mask should hide may change no number: the interpreter sees who reads beyond these
        q, k, v = (random(n, 40, seed=s) for s, n in enumerate((70, 100, 100)))
        rung.judge(q, k, v, ", nothing behind them")


def _other_tiles(rung: LadderRung) -> None:
    q, k, v = (random(n, 16, seed=s) for s, n in enumerate((130, 150, 150)))
    q, k, v = (surrounded(t) for t in (q, k, v))
    for tiles in _OTHER_TILES:
        with rung.cut_in(*tiles) as words:
            rung.judge(q, k, v, words)


def _sums_in_float32(rung: LadderRung) -> None:
    """float16 ends at 65504, and from 1024 on it has whole numbers only."""
    k, v = 0.1 * random(140, 1, 32, seed=1), 1000 + 100 * random(140, 1, 32, seed=2)
    advice = "Up to 140 weights times 1,000 exceed float16's 65504: keep acc in float32."
    _judge_wide(rung, k, k, v, ", values around 1,000", advice)
    q, k, v = (0.5 * random(20, 1, 32, seed=s) for s in range(3))
    q[..., 0], k[..., 0] = 40.0, -40.0
    advice = "float16 would round such scores to whole numbers: keep s in float32."
    _judge_wide(rung, q, k, v, ", products of q and k around -1,600", advice)


def _judge_wide(rung: Rung, q: Tensor, k: Tensor, v: Tensor, what: str, advice: str) -> None:
    q, k, v = (surrounded(t.half()) for t in (q, k, v))
    got = rung.run(q, k, v, False)
    with case(f"seq={len(q)}, d=32, float16{what}"):
        try:
            assert_matches("o", got, by_heads_in_float32, q, k, v, False)
        except AssertionError as error:
            raise AssertionError(f"{error} {advice}") from None


def judge_tiles_visited(rung: Rung, dtype: torch.dtype) -> None:
    """Keys that no query of the first tiles may see hold NaN, which spreads to whoever reads it.

    Raises:
        AssertionError: they were read.
    """
    q, k, v = (random(256, 1, 16, seed=s, dtype=dtype) for s in range(3))
    k[128:] = v[128:] = math.nan
    q, k, v = (surrounded(t) for t in (q, k, v))
    got = rung.run(q, k, v, True)
    assert not got[:128].isnan().any(), (
        "the numbers are right, but keys 128 to 255 were read for queries 0 to 127, none of which "
        "sees one of these. The walk ends with the diagonal."
    )


def _fenced(name: str) -> None:
    q, k, v = (surrounded(random(3, 40, seed=s)) for s in range(3))
    assert_writes_only_its_output(name, q, k, v, what="seq_q=3, seq_k=3, d=40")


def judge_products(name: str, wanted: str, speed: str) -> None:
    """What the rung multiplies when it is given float16; only where it is interpreted.

    Args:
        name: the rung.
        wanted: the type both sides of each ``tl.dot`` should have, as triton names it.
        speed: what tensor cores multiply, and how fast.

    Raises:
        AssertionError: something else was multiplied.
    """
    attention = reloaded(name)
    with products() as multiplied:
        attention(*(random(70, 1, 16, dtype=torch.float16) for _ in range(3)), True)
    other = [pair for pair in multiplied or [] if pair != (wanted, wanted)]
    assert not other, (
        f"the numbers are right, but a tl.dot got {' and '.join(other[0])} instead of {wanted} "
        f"twice, and tensor cores multiply {speed}. Leave q, k and v as they were loaded, and give "
        "the weights the dtype of v: p.to(v.dtype)"
    )


def _judge_masks() -> None:
    """Of 10 tiles of a causal walk over 256 keys 4 are on the diagonal; of 64 keys the only one."""
    attention = reloaded("multihead")
    masks = []
    for seq in (64, 256):
        with arithmetic((64, 64)) as counts:
            attention(*(random(seq, 1, 16, seed=s) for s in range(3)), True)
        masks.append(counts["select"] if counts else 0)
    # a tile may be masked by more than one tl.where
    assert not masks[0] or masks[1] < 10 * masks[0], (
        "the numbers are right, but all 10 tiles of a causal walk over 256 keys were masked, and "
        "only the 4 on the diagonal need it: keys below `unmasked` go through a loop without masks"
    )
