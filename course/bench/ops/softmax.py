"""Softmax over the last dimension, beside a copy of the same size; tensors (batch, d1, d2)."""

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from course.bench.harness import as_tensor
from course.bench.registry import DTYPES, Case, Function, Implementation, Op, Sizes
from course.check import assert_matches
from course.oracle.softmax import softmax

_ONLINE = "online_softmax.online_softmax"
_FAST = "online_softmax.fast"
# rows x columns a program takes at a time; the first is what the function does unless asked
TILES = ((16, 16), (16, 64), (4, 256), (4, 1024), (1, 2048), (1, 4096))


def _online(rows: int, cols: int) -> Implementation:
    def make(case: Case) -> Function:
        module: Any = importlib.import_module(_ONLINE)
        return lambda x: module.online_softmax(x, rows, cols)

    return Implementation(make, module=_ONLINE, compiles=True)


def _fast(case: Case) -> Function:
    module: Any = importlib.import_module(_FAST)
    return module.fast_softmax


class Softmax(Op):
    name = "softmax"
    title = "softmax over the last dimension"
    sizes: ClassVar[Sizes] = {"batch": (8,), "d1": (2048,), "d2": (1024, 2048, 4096, 8192, 16384)}
    dtypes = ("fp32", "fp16", "bf16")
    rate = "GB_per_s"
    implementations: Mapping[str, Implementation] = {
        "fast": Implementation(_fast, module=_FAST, compiles=True),
        "online_softmax": _online(*TILES[0]),
        **{f"online_softmax_{m}x{n}": _online(m, n) for m, n in TILES[1:]},
        "torch.softmax": Implementation(lambda case: partial(torch.softmax, dim=-1)),
        "copy": Implementation(lambda case: torch.clone),
    }

    def inputs(self, case: Case, device: str) -> tuple[Tensor, ...]:
        shape = (case["batch"], case["d1"], case["d2"])
        return (torch.randn(shape, dtype=DTYPES[case["dtype"]], device=device),)

    def judge(
        self, case: Case, inputs: tuple[Tensor, ...], passes: Sequence[str]
    ) -> Callable[[str, Function], None]:
        (x,) = inputs

        def right(name: str, function: Function) -> None:
            result = as_tensor(function(x), name)
            if name == "copy":
                assert torch.equal(result, x), "the copy differs"
                return
            assert result.shape == x.shape, (
                f"expected shape {tuple(x.shape)}, got {tuple(result.shape)}"
            )
            # the denominators are sums of that many terms
            condition = math.sqrt(x.shape[-1]) if x.dtype == torch.float32 else 1.0
            for batch in (0, -1):
                assert_matches("softmax", result[batch], softmax, x[batch], condition=condition)

        return right

    def flops(self, case: Case, what: str) -> float:
        return 0.0

    def moved(self, case: Case, what: str) -> float:
        return 2 * case["batch"] * case["d1"] * case["d2"] * DTYPES[case["dtype"]].itemsize


OPS = {"softmax": Softmax()}
