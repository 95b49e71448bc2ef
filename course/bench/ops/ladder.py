"""The rungs of the attention ladder, forward only; tensors of shape (seq, heads, d).

The first rungs know one head, (seq, d): they are called head after head, and pay for it.
"""

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, ClassVar

import torch
from torch import Tensor

from course.bench.harness import as_tensor
from course.bench.ops.attention import flops
from course.bench.reference import ROWS, attention_and_gradients
from course.bench.registry import DTYPES, Case, Function, Implementation, Op, Sizes
from course.check import assert_close_to_exact
from course.oracle import fp8
from course.oracle.attention import attention as whole


def _rung(name: str, heads: bool = True) -> Callable[[Case], Function]:
    def make(case: Case) -> Function:
        attention: Any = importlib.import_module(f"attention_ladder.{name}").attention
        is_causal = case["is_causal"]
        if heads:
            return lambda q, k, v: attention(q, k, v, is_causal)

        def one_by_one(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            by_head = zip(q.unbind(1), k.unbind(1), v.unbind(1), strict=True)
            return torch.stack([attention(*one, is_causal) for one in by_head], 1)

        return one_by_one

    return make


def _naive_batched(case: Case) -> Function:
    """The formula for all heads in one product each: the fair form of naive PyTorch."""

    def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (t.transpose(0, 1) for t in (q, k, v))
        return whole(q, k, v, case["is_causal"]).transpose(0, 1)

    return attention


def _one(name: str, heads: bool = True, **more: Any) -> Implementation:
    return Implementation(_rung(name, heads), module=f"attention_ladder.{name}", **more)


class Ladder(Op):
    name = "attention_ladder"
    title = "attention, rung by rung"
    sizes: ClassVar[Sizes] = {"heads": (8,), "seq_len": (1024, 4096, 8192), "head_dim": (64,)}
    dtypes = ("fp32", "fp16", "bf16")
    causal = (False, True)
    implementations: Mapping[str, Implementation] = {
        "naive_batched": Implementation(_naive_batched),
        "naive": _one("naive", heads=False, dtypes=("fp32", "fp16")),
        "basic": _one(
            "basic",
            heads=False,
            dtypes=("fp32", "fp16"),
            compiles=True,
            largest=(("seq_len", 16384),),
        ),
        "vectorized": _one(
            "vectorized",
            heads=False,
            dtypes=("fp32", "fp16"),
            compiles=True,
        ),
        "tiled": _one("tiled", compiles=True),
        "multihead": _one("multihead", compiles=True),
        "descriptors": _one("descriptors", compiles=True, needs="tma", long_only=True),
        "fp8": _one("fp8", compiles=True, needs="fp8"),
    }

    def inputs(self, case: Case, device: str) -> tuple[Tensor, ...]:
        shape = (case["seq_len"], case["heads"], case["head_dim"])
        dtype = DTYPES[case["dtype"]]
        return tuple(torch.randn(shape, dtype=dtype, device=device) for _ in range(3))

    def judge(
        self, case: Case, inputs: tuple[Tensor, ...], passes: Sequence[str]
    ) -> Callable[[str, Function], None]:
        """Of the first and the last head, every row; FP8 by what it loses in PyTorch."""
        heads = [0, case["heads"] - 1] if case["heads"] > 1 else [0]
        q, k, v = (t.transpose(0, 1)[heads] for t in inputs)
        is_causal = case["is_causal"]

        @cache
        def answer(kind: str) -> tuple[Tensor, float]:
            if kind == "fp8":
                (O, *_), largest = _in_fp8(q, k, v, is_causal)
            else:
                Q, K, V = (t.double() if kind == "exact" else t for t in (q, k, v))
                (O, *_), largest = attention_and_gradients(Q, K, V, Q, is_causal)
            return O, largest

        def right(name: str, attention: Function) -> None:
            got = as_tensor(attention(*inputs), name)
            assert got.shape == inputs[0].shape, (
                f"o: expected shape {tuple(inputs[0].shape)}, got {tuple(got.shape)}"
            )
            got = got.transpose(0, 1)[heads]
            exact, largest = answer("exact")
            own = answer("fp8" if name == "fp8" else "own")[0].to(got.dtype)
            condition = 1.0
            if q.dtype == torch.float32:
                # each row is a sum over all keys, which the lowest rungs take one after the other
                condition = max(1.0, largest, math.sqrt(case["seq_len"]))
            scale = exact.abs().max().item()
            eps = torch.finfo(q.dtype).eps
            assert_close_to_exact("o", got, exact, own, scale, eps, condition)

        return right

    def flops(self, case: Case, what: str) -> float:
        return flops(case["heads"], case["seq_len"], case["head_dim"], case["is_causal"])

    def moved(self, case: Case, what: str) -> float:
        elements = case["heads"] * case["seq_len"] * case["head_dim"]
        return 4 * elements * DTYPES[case["dtype"]].itemsize


def _in_fp8(Q: Tensor, K: Tensor, V: Tensor, is_causal: bool) -> tuple[tuple[Tensor, ...], float]:
    """:func:`course.oracle.fp8.attention`, a few rows at a time."""
    q, k, v = (fp8.quantize(t.float()) for t in (Q, K, V))
    j = torch.arange(k.shape[1], device=k.device)
    chunks = []
    for start in range(0, q.shape[1], ROWS):
        s = q[:, start : start + ROWS] @ k.mT / math.sqrt(q.shape[-1])
        if is_causal:
            i = torch.arange(start, start + s.shape[1], device=s.device)
            s.masked_fill_(j[None, :] > i[:, None], float("-inf"))
        p = torch.exp(s - s.amax(-1, keepdim=True))
        rounded = (p * 256).to(fp8.E4M3).float() / 256
        chunks.append(rounded @ v / p.sum(-1, keepdim=True))
    return (torch.cat(chunks, 1),), 0.0


OPS = {"attention_ladder": Ladder()}
